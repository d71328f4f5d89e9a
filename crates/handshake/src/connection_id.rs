//! Connection ids that only members can make.
//!
//! A connection id is a nonce and a MAC over it. Anyone on the way can copy one, nobody without the
//! network key can make one, so datagrams with made-up ids are dropped before any other work.

use hkdf::hmac::{Hmac, KeyInit as _, Mac as _};
use identity::LinkKeys;
use model::MachineId;
use sha2::Sha256;

/// What a connection id is for; an id of one kind is none of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionIdKind {
    /// The destination of a client's first datagrams, drawn by the client.
    First,
    /// Issued by this machine to its peers, as the destination of their later datagrams.
    Issued(MachineId),
}

impl ConnectionIdKind {
    /// Unit: bytes. First ids also protect against guessing which machines exist, so they are
    /// longer; issued ids are paid for in every packet. Source: guess; a guesser at a million
    /// datagrams a second finds one issued id in nine years, and is answered a stateless reset.
    #[must_use]
    pub const fn id_bytes(self) -> usize {
        match self {
            Self::First => 16,
            Self::Issued(_) => 12,
        }
    }

    /// How many of these bytes are the nonce, to be drawn at random. Unit: bytes.
    #[must_use]
    pub const fn nonce_bytes(self) -> usize {
        self.id_bytes() / 2
    }

    fn mac(self, keys: &LinkKeys, nonce: &[u8]) -> Hmac<Sha256> {
        let mac = keyed(keys.connection_id());
        match self {
            Self::First => mac.chain_update([0]),
            Self::Issued(machine) => mac.chain_update([1]).chain_update(machine.as_bytes()),
        }
        .chain_update(nonce)
    }
}

/// Makes a connection id from random bytes, of which [`ConnectionIdKind::nonce_bytes`] are used.
///
/// The id has [`ConnectionIdKind::id_bytes`].
#[must_use]
pub fn connection_id(keys: &LinkKeys, kind: ConnectionIdKind, random: [u8; 8]) -> Vec<u8> {
    let nonce = &random[..kind.nonce_bytes()];
    let mac = kind.mac(keys, nonce).finalize().into_bytes();
    let mut id = nonce.to_vec();
    id.extend_from_slice(&mac[..kind.id_bytes() - nonce.len()]);
    id
}

/// Whether a connection id was made with these keys for this kind. Takes the same time for all.
#[must_use]
pub fn check_connection_id(keys: &LinkKeys, kind: ConnectionIdKind, id: &[u8]) -> bool {
    if id.len() != kind.id_bytes() {
        return false;
    }
    let (nonce, mac) = id.split_at(kind.nonce_bytes());
    kind.mac(keys, nonce).verify_truncated_left(mac).is_ok()
}

/// HMAC-SHA-256 under a key.
pub(crate) fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}
