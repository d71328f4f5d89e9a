//! The key schedule: from secrets to packet keys.
//!
//! Every secret comes from a Noise chaining key (what `split` gives) and the transcript hash at
//! that point, by HKDF-SHA-256; every key from a secret by HKDF-Expand under a label of its own. As
//! in RFC 9001, each direction has its own secret, and a key update replaces the secrets and packet
//! keys but not the keys of header protection.

use std::fmt;

use hkdf::Hkdf;
use identity::LinkKeys;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{ExportError, Side};

/// What protects packet payloads in one direction. Wiped when dropped, never printed.
pub struct PacketKey {
    /// For ChaCha20-Poly1305.
    pub key: Zeroizing<[u8; 32]>,
    /// Combined with the packet number.
    pub iv: Zeroizing<[u8; 12]>,
}

/// What protects packets in one direction. Wiped when dropped, never printed.
pub struct DirectionKeys {
    /// For the payload.
    pub packet: PacketKey,
    /// For the header: ChaCha20, RFC 9001 section 5.4.4.
    pub header: Zeroizing<[u8; 32]>,
}

/// The keys of a packet space.
#[derive(Debug)]
pub struct KeySet {
    /// For what this side sends.
    pub local: DirectionKeys,
    /// For what it receives.
    pub remote: DirectionKeys,
}

/// Packet keys of one key phase.
#[derive(Debug)]
pub struct PacketKeySet {
    /// For what this side sends.
    pub local: PacketKey,
    /// For what it receives.
    pub remote: PacketKey,
}

/// Keys that [`crate::Session::write`] hands out: they take effect after what it wrote.
#[derive(Debug)]
pub enum KeyChange {
    /// Of the Handshake space.
    Handshake(KeySet),
    /// Of the 1-RTT space, and the source of those after them.
    OneRtt(KeySet, UpdateChain),
}

/// Where the packet keys of later key phases come from.
pub struct UpdateChain {
    local: Secret,
    remote: Secret,
}

impl UpdateChain {
    /// The packet keys of the next key phase. What was handed out before cannot be computed from
    /// what is kept.
    pub fn advance(&mut self) -> PacketKeySet {
        self.local = Zeroizing::new(expand(&self.local, &[b"update"]));
        self.remote = Zeroizing::new(expand(&self.remote, &[b"update"]));
        PacketKeySet {
            local: packet_key(&self.local),
            remote: packet_key(&self.remote),
        }
    }
}

/// The keys of the Initial space, for the destination id of the client's first datagram.
#[must_use]
pub fn initial_keys(keys: &LinkKeys, destination: &[u8], side: Side) -> KeySet {
    Directions::new(&extract(destination, keys.initial()), side).keys()
}

/// Secrets of one stage of the handshake.
pub(crate) struct Stage {
    directions: Directions,
    secret: Secret,
}

impl Stage {
    /// A stage keyed by what Noise's `split` gives, at this point of the transcript.
    pub(crate) fn new(split: &[u8; 64], transcript: &[u8; 32], side: Side) -> Self {
        let secret = extract(transcript, split);
        Self {
            directions: Directions::new(&secret, side),
            secret,
        }
    }

    pub(crate) fn keys(&self) -> KeySet {
        self.directions.keys()
    }

    /// What the responder shows to prove that it has these keys.
    pub(crate) fn confirmation(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(expand(&self.secret, &[b"confirmation"]))
    }

    pub(crate) fn exporter(&self) -> Exporter {
        Exporter(Zeroizing::new(expand(&self.secret, &[b"exporter"])))
    }

    pub(crate) fn into_chain(self) -> UpdateChain {
        UpdateChain {
            local: self.directions.local,
            remote: self.directions.remote,
        }
    }
}

/// Where keying material for other purposes comes from (RFC 5705, in spirit).
pub(crate) struct Exporter(Secret);

impl Exporter {
    pub(crate) fn export(
        &self,
        label: &[u8],
        context: &[u8],
        out: &mut [u8],
    ) -> Result<(), ExportError> {
        let label_length = u64::try_from(label.len()).map_err(|_| ExportError::TooLong)?;
        let label_length = label_length.to_be_bytes();
        expand_into(&self.0, &[b"exported", &label_length, label, context], out)
    }
}

type Secret = Zeroizing<[u8; 32]>;

struct Directions {
    local: Secret,
    remote: Secret,
}

impl Directions {
    fn new(secret: &[u8; 32], side: Side) -> Self {
        let initiator = Zeroizing::new(expand(secret, &[b"initiator"]));
        let responder = Zeroizing::new(expand(secret, &[b"responder"]));
        let (local, remote) = match side {
            Side::Initiator => (initiator, responder),
            Side::Responder => (responder, initiator),
        };
        Self { local, remote }
    }

    fn keys(&self) -> KeySet {
        let direction = |secret: &Secret| DirectionKeys {
            packet: packet_key(secret),
            header: Zeroizing::new(expand(secret, &[b"header"])),
        };
        KeySet {
            local: direction(&self.local),
            remote: direction(&self.remote),
        }
    }
}

fn packet_key(secret: &Secret) -> PacketKey {
    PacketKey {
        key: Zeroizing::new(expand(secret, &[b"key"])),
        iv: Zeroizing::new(expand(secret, &[b"iv"])),
    }
}

fn extract(salt: &[u8], input: &[u8]) -> Secret {
    let (secret, _) = Hkdf::<Sha256>::extract(Some(salt), input);
    Zeroizing::new(secret.into())
}

fn expand<const N: usize>(secret: &[u8; 32], info: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    expand_into(secret, info, &mut out).expect("HKDF gives up to 255 times 32 bytes");
    out
}

fn expand_into(secret: &[u8; 32], info: &[&[u8]], out: &mut [u8]) -> Result<(), ExportError> {
    let hkdf = Hkdf::<Sha256>::from_prk(secret).expect("a secret is as long as a hash");
    let info = [&[LABEL], info].concat();
    hkdf.expand_multi_info(&info, out)
        .map_err(|_| ExportError::TooLong)
}

impl fmt::Debug for PacketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PacketKey(secret)")
    }
}

impl fmt::Debug for DirectionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DirectionKeys(secret)")
    }
}

impl fmt::Debug for UpdateChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpdateChain(secret)")
    }
}

/// Before every label: keys of this protocol are keys of no other.
const LABEL: &[u8] = b"fieldmesh-link-v1 ";
