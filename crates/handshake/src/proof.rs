//! Who the peer is: its machine id, its signature over this session, and its credential.

use std::error::Error;
use std::fmt;

use bytes::Bytes;
use identity::{Keypair, Membership, Trust, verify_digest};
use model::{MachineId, NetworkId, Signature};
use sha2::{Digest as _, Sha256};

use crate::codec::{Fields, put_bytes};
use crate::noise::Noise;
use crate::{HandshakeError, Side};

/// What this machine shows in every handshake, and whom it trusts.
pub struct Local {
    keypair: Keypair,
    trust: Trust,
    credential: Bytes,
}

impl Local {
    /// A machine with its key, the operator that it trusts, and its credential: a membership as
    /// carried.
    #[must_use]
    pub const fn new(keypair: Keypair, trust: Trust, credential: Bytes) -> Self {
        Self {
            keypair,
            trust,
            credential,
        }
    }

    /// This machine.
    #[must_use]
    pub fn machine(&self) -> MachineId {
        self.keypair.machine()
    }

    /// The network whose operator it trusts.
    #[must_use]
    pub fn network(&self) -> NetworkId {
        self.trust.network()
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
        let digest = digest(
            &self.network(),
            side,
            &noise.transcript(),
            noise.static_key(),
        );
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
    /// Its membership: genuine, its own, and accepted by the [`Judge`].
    pub membership: Membership,
}

/// Decides whether a genuine membership is good enough now: its window, revocation, clocks.
pub trait Judge {
    /// Refuses, or lets the machine in.
    ///
    /// # Errors
    ///
    /// The reason, which comes back as [`HandshakeError::Refused`].
    fn judge(&self, membership: &Membership) -> Result<(), Box<dyn Error + Send + Sync>>;
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
    /// Reads and checks the proof in a message that `noise` has just read.
    pub(crate) fn verify(
        &self,
        fields: &mut Fields<'_>,
        noise: &Noise,
    ) -> Result<Peer, HandshakeError> {
        let machine = MachineId::from_bytes(fields.array()?);
        let signature = Signature(fields.array()?);
        let credential = fields.bytes()?;
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
        let network = self.local.network();
        let digest = digest(&network, self.side, &self.transcript, &static_key);
        verify_digest(machine, &digest, &signature)
            .map_err(|_| HandshakeError::Signature(machine))?;
        let membership = self.read(machine, credential)?;
        self.judge
            .judge(&membership)
            .map_err(|reason| HandshakeError::Refused { machine, reason })?;
        Ok(Peer {
            machine,
            membership,
        })
    }

    /// The one place that knows what a credential is.
    fn read(&self, machine: MachineId, credential: &[u8]) -> Result<Membership, HandshakeError> {
        let membership = self
            .local
            .trust
            .read(Bytes::copy_from_slice(credential))
            .map_err(|error| HandshakeError::Credential { machine, error })?;
        if membership.machine() != machine {
            return Err(HandshakeError::OtherMembership {
                shown_by: machine,
                of: membership.machine(),
            });
        }
        Ok(membership)
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
pub(crate) const CREDENTIAL_BYTES_MAX: usize = Membership::BYTES_MAX;

/// Machine id, signature, length of the credential. Unit: bytes.
pub(crate) const PROOF_BYTES_MAX: usize = 32 + 64 + 2 + CREDENTIAL_BYTES_MAX;

/// Binds a signature to its purpose.
const LABEL: &[u8] = b"fieldmesh-link-v1";
