//! Who the peer is: its machine id, its signature over this session, and its credential.

use std::error::Error;
use std::fmt;

use bytes::Bytes;
use identity::{Credential, Keypair, verify_digest};
use model::{MachineId, NetworkId, Signature};
use sha2::{Digest as _, Sha256};

use crate::codec::{Fields, put_bytes};
use crate::noise::Noise;
use crate::{HandshakeError, Side};

/// What this machine shows in every handshake.
pub struct Local {
    keypair: Keypair,
    network: NetworkId,
    credential: Bytes,
}

impl Local {
    /// A machine of a network, with its key and its credential as carried
    /// ([`Credential::to_bytes`]).
    #[must_use]
    pub const fn new(keypair: Keypair, network: NetworkId, credential: Bytes) -> Self {
        Self {
            keypair,
            network,
            credential,
        }
    }

    /// This machine.
    #[must_use]
    pub fn machine(&self) -> MachineId {
        self.keypair.machine()
    }

    /// Its network.
    #[must_use]
    pub const fn network(&self) -> NetworkId {
        self.network
    }

    pub(crate) fn check(&self) -> Result<(), HandshakeError> {
        if self.credential.len() > CREDENTIAL_BYTES_MAX {
            return Err(HandshakeError::OwnTooLong {
                what: "credential",
                length: self.credential.len(),
                limit: CREDENTIAL_BYTES_MAX,
            });
        }
        Ok(())
    }

    /// Appends the proof for the message that is written next.
    pub(crate) fn prove(&self, payload: &mut Vec<u8>, noise: &Noise, side: Side) {
        let digest = digest(&self.network, side, &noise.transcript(), noise.static_key());
        payload.extend_from_slice(self.machine().as_bytes());
        payload.extend_from_slice(&self.keypair.sign(&digest).0);
        put_bytes(payload, &self.credential);
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Local").field(&self.machine()).finish()
    }
}

/// Who the other end has proved to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The machine.
    pub machine: MachineId,
    /// What it has shown, as the [`Judge`] has read it.
    pub credential: Credential,
}

/// Reads what the machine at the other end shows, and decides whether that lets it in now.
pub trait Judge {
    /// Lets the machine in, or refuses it. `machine` is whose key it has proved to hold; whether
    /// the credential is that machine's own is the judge's to find out.
    ///
    /// # Errors
    ///
    /// The reason, which comes back as [`HandshakeError::Refused`].
    fn judge(
        &self,
        machine: MachineId,
        shown: Bytes,
    ) -> Result<Credential, Box<dyn Error + Send + Sync>>;
}

/// What the verifier of a proof brings.
pub(crate) struct Verifier<'a> {
    pub(crate) local: &'a Local,
    pub(crate) judge: &'a dyn Judge,
    /// Who was dialled.
    pub(crate) expected: Option<MachineId>,
    /// The transcript before the message that carries the proof.
    pub(crate) transcript: [u8; 32],
    /// The side that proves.
    pub(crate) side: Side,
}

impl Verifier<'_> {
    /// Reads and checks the proof, which ends a message that `noise` has just read.
    pub(crate) fn verify(
        &self,
        mut fields: Fields<'_>,
        noise: &Noise,
    ) -> Result<Peer, HandshakeError> {
        let machine = MachineId::from_bytes(fields.array()?);
        let signature = Signature(fields.array()?);
        let shown = fields.bytes()?;
        fields.finish()?;
        if machine == self.local.machine() {
            return Err(HandshakeError::Itself);
        }
        if let Some(expected) = self.expected.filter(|expected| *expected != machine) {
            return Err(HandshakeError::OtherMachine {
                expected,
                shown: machine,
            });
        }
        let static_key = noise
            .peer_static_key()
            .ok_or(HandshakeError::Malformed("no static key"))?;
        let network = self.local.network;
        let digest = digest(&network, self.side, &self.transcript, &static_key);
        verify_digest(machine, &digest, &signature)
            .map_err(|_| HandshakeError::Signature(machine))?;
        let judged = self.judge.judge(machine, Bytes::copy_from_slice(shown));
        let credential = judged.map_err(|reason| HandshakeError::Refused { machine, reason })?;
        Ok(Peer {
            machine,
            credential,
        })
    }
}

/// What is signed: it binds network, direction, everything said so far, and the Noise key.
pub(crate) fn digest(
    network: &NetworkId,
    side: Side,
    transcript: &[u8; 32],
    static_key: &[u8; 32],
) -> [u8; 32] {
    let role: &[u8] = match side {
        Side::Initiator => b"initiator",
        Side::Responder => b"responder",
    };
    Sha256::new()
        .chain_update(LABEL)
        .chain_update(network.as_bytes())
        .chain_update(role)
        .chain_update(transcript)
        .chain_update(static_key)
        .finalize()
        .into()
}

/// Largest credential. Unit: bytes.
pub(crate) const CREDENTIAL_BYTES_MAX: usize = Credential::BYTES_MAX;

/// Machine id, signature, length of the credential. Unit: bytes.
pub(crate) const PROOF_BYTES_MAX: usize = 32 + 64 + 2 + CREDENTIAL_BYTES_MAX;

/// Binds a signature to its purpose.
const LABEL: &[u8] = b"fieldmesh-link-v1";
