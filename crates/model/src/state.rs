//! States: small records of which the latest wins.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::{MachineId, NetworkId, Signature, StateError};

/// What a state is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateKind {
    /// The origin's membership, so that whoever holds its blocks can judge its right to publish.
    Membership,
    /// The origin is there: its addresses, and its neighbours with round-trip times.
    Presence,
    /// What a series number of the origin means; the subject is `EPOCH/NUMBER`.
    Series,
    /// How far the origin's log goes and its watermark, sent when it has nothing else to say.
    Watermark,
    /// The origin could forward to an uplink; the subject is the uplink's id.
    Candidacy,
    /// How far the origin has uploaded another machine's log; the subject is `UPLINK/MACHINE`, and
    /// `UPLINK/MACHINE/TAG` beside it for a line that begins with an epoch of this tag.
    Progress,
    /// The origin, the operator or an admitter, throws out the machine that the subject names.
    Revocation,
    /// The origin, an admitter, has made a machine a member by an invitation; the subject is
    /// `INVITATION/MACHINE`.
    Redemption,
    /// The origin, the operator or an admitter, gives the machine that the subject names a newer
    /// membership.
    Renewal,
    /// The origin, the operator, gives the machine that the subject names a newer network key,
    /// sealed to it.
    NetworkKey,
    /// The origin commands a machine that may not be reachable, sealed to it; the subject is one of
    /// [`State::SLOTS`] numbers, and an empty payload takes what stood there back.
    Letter,
    /// The origin has signed two different blocks of one number; the payload proves it, so that
    /// anyone may say it and nobody needs to sign it.
    Equivocation,
    /// The origin has carried out what a letter asked, or not, sealed to who sent that; the subject
    /// is as for letters.
    Reply,
}

impl StateKind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Membership,
        Self::Presence,
        Self::Series,
        Self::Watermark,
        Self::Candidacy,
        Self::Progress,
        Self::Revocation,
        Self::Redemption,
        Self::Renewal,
        Self::NetworkKey,
        Self::Letter,
        Self::Reply,
        Self::Equivocation,
    ];

    /// Its number on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Membership => 1,
            Self::Presence => 2,
            Self::Series => 3,
            Self::Watermark => 4,
            Self::Candidacy => 5,
            Self::Progress => 6,
            Self::Revocation => 7,
            Self::Redemption => 10,
            Self::Renewal => 8,
            Self::NetworkKey => 9,
            Self::Letter => 11,
            Self::Reply => 12,
            Self::Equivocation => 13,
        }
    }

    /// The kind with this number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Whether it still says something when its origin was thrown out: what is needed to read the
    /// origin's blocks, whom it has thrown out itself, which invitations are used up, and what it
    /// is convicted of.
    #[must_use]
    pub const fn outlives_its_origin(self) -> bool {
        match self {
            Self::Membership
            | Self::Series
            | Self::Revocation
            | Self::Redemption
            | Self::Equivocation => true,
            Self::Presence
            | Self::Watermark
            | Self::Candidacy
            | Self::Progress
            | Self::Renewal
            | Self::NetworkKey
            | Self::Letter
            | Self::Reply => false,
        }
    }

    /// Whether nodes write it down. The others are said again often enough.
    #[must_use]
    pub const fn is_persistent(self) -> bool {
        match self {
            Self::Membership
            | Self::Series
            | Self::Progress
            | Self::Revocation
            | Self::Redemption
            | Self::Renewal
            | Self::NetworkKey
            | Self::Letter
            | Self::Reply
            | Self::Equivocation => true,
            Self::Presence | Self::Watermark | Self::Candidacy => false,
        }
    }
}

/// Which record: of several states with one key the one with the greatest version is valid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateKey {
    /// Who says it.
    pub origin: MachineId,
    /// What it is about.
    pub kind: StateKind,
    /// Which one of its kind. At most [`State::SUBJECT_BYTES_MAX`] bytes.
    pub subject: String,
}

/// The order of the states of one key: epochs of the origin, then a counter in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateVersion {
    /// The counter of the origin's epoch.
    pub epoch: u64,
    /// Counts the origin's states in that epoch.
    pub counter: u64,
}

impl fmt::Display for StateVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.counter)
    }
}

/// A state that lacks its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDraft {
    /// Which record.
    pub key: StateKey,
    /// Its place in the order.
    pub version: StateVersion,
    /// What it says, in the encoding of its kind. At most [`State::PAYLOAD_BYTES_MAX`] bytes.
    pub payload: Bytes,
}

/// A signed state, kept as the bytes that travelled; cloning shares them. Its signature may not
/// have been checked yet: `identity::verify_state` does that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State(Arc<Content>);

#[derive(Debug, PartialEq, Eq)]
struct Content {
    draft: StateDraft,
    bytes: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawState {
    #[prost(bytes = "bytes", tag = "1")]
    signed: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    signature: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawDraft {
    #[prost(bytes = "bytes", tag = "1")]
    origin: Bytes,
    #[prost(uint32, tag = "2")]
    kind: u32,
    #[prost(string, tag = "3")]
    subject: String,
    #[prost(uint64, tag = "4")]
    epoch: u64,
    #[prost(uint64, tag = "5")]
    counter: u64,
    #[prost(bytes = "bytes", tag = "6")]
    payload: Bytes,
}

impl StateDraft {
    /// The bytes that the signature covers, by way of [`State::digest`].
    fn encode(&self) -> Bytes {
        RawDraft {
            origin: Bytes::copy_from_slice(self.key.origin.as_bytes()),
            kind: self.key.kind.code().into(),
            subject: self.key.subject.clone(),
            epoch: self.version.epoch,
            counter: self.version.counter,
            payload: self.payload.clone(),
        }
        .encode_to_vec()
        .into()
    }

    /// Signs it: `sign` is given the digest to sign with the origin's key.
    ///
    /// # Panics
    ///
    /// If subject or payload exceed their limits: both are our own.
    #[must_use]
    pub fn seal(self, network: &NetworkId, sign: impl FnOnce(&[u8; 32]) -> Signature) -> State {
        assert!(
            self.key.subject.len() <= State::SUBJECT_BYTES_MAX,
            "our own subject is too long"
        );
        assert!(
            self.payload.len() <= State::PAYLOAD_BYTES_MAX,
            "our own payload is too long"
        );
        let signed = self.encode();
        let signature = sign(&digest(network, &signed));
        let raw = RawState {
            signed,
            signature: Bytes::copy_from_slice(&signature.0),
        };
        State(Arc::new(Content {
            draft: self,
            bytes: raw.encode_to_vec().into(),
        }))
    }
}

impl State {
    /// Longest subject. Unit: bytes. An uplink's id of 64 and a machine id of 52 fit.
    pub const SUBJECT_BYTES_MAX: usize = 128;
    /// Longest payload. Unit: bytes. Source: a membership with 32 command patterns has 3 KiB.
    pub const PAYLOAD_BYTES_MAX: usize = 4 * 1024;
    /// Most letters, and most replies, of one origin at a time: what they cost everyone is bounded
    /// by this whatever becomes of their origin. Source: guess; 512 KiB of an origin at worst.
    pub const SLOTS: u8 = 64;
    /// Longest state as it travels. Unit: bytes.
    pub const BYTES_MAX: usize = Self::PAYLOAD_BYTES_MAX + Self::SUBJECT_BYTES_MAX + 256;

    /// Reads a state; its signature is not checked here.
    ///
    /// # Errors
    ///
    /// [`StateError`] if it is too long, does not decode, or a field is out of range.
    pub fn decode(bytes: Bytes) -> Result<Self, StateError> {
        if bytes.len() > Self::BYTES_MAX {
            return Err(StateError::TooLong {
                size: bytes.len(),
                limit: Self::BYTES_MAX,
            });
        }
        let raw = RawState::decode(bytes.clone()).map_err(|_| StateError::Malformed("state"))?;
        if raw.encoded_len() != bytes.len() {
            // What the signature does not cover, anyone could change on the way.
            return Err(StateError::Malformed("bytes beside signature and fields"));
        }
        if raw.signature.len() != SIGNATURE_BYTES {
            return Err(StateError::Malformed("signature length"));
        }
        let draft =
            RawDraft::decode(raw.signed.clone()).map_err(|_| StateError::Malformed("fields"))?;
        let origin = draft.origin.as_ref().try_into();
        let kind = u8::try_from(draft.kind).ok().and_then(StateKind::from_code);
        if draft.subject.len() > Self::SUBJECT_BYTES_MAX {
            return Err(StateError::Malformed("subject length"));
        }
        if draft.payload.len() > Self::PAYLOAD_BYTES_MAX {
            return Err(StateError::Malformed("payload length"));
        }
        let draft = StateDraft {
            key: StateKey {
                origin: MachineId::from_bytes(origin.map_err(|_| StateError::Malformed("origin"))?),
                kind: kind.ok_or(StateError::Malformed("kind"))?,
                subject: draft.subject,
            },
            version: StateVersion {
                epoch: draft.epoch,
                counter: draft.counter,
            },
            payload: draft.payload,
        };
        Ok(Self(Arc::new(Content { draft, bytes })))
    }

    /// Which record it is.
    #[must_use]
    pub fn key(&self) -> &StateKey {
        &self.0.draft.key
    }

    /// Its place in the order of its key.
    #[must_use]
    pub fn version(&self) -> StateVersion {
        self.0.draft.version
    }

    /// What it says.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.0.draft.payload
    }

    /// The bytes that travel and are stored.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0.bytes
    }

    /// The signature and the digest that it must be of.
    ///
    /// # Panics
    ///
    /// Never: the bytes were read, or made, when this state was.
    #[must_use]
    pub fn signed(&self, network: &NetworkId) -> (Signature, [u8; 32]) {
        let raw = RawState::decode(&self.0.bytes[..]).expect("it was read before");
        let mut signature = [0; SIGNATURE_BYTES];
        signature.copy_from_slice(&raw.signature);
        (Signature(signature), digest(network, &raw.signed))
    }
}

/// Source: Ed25519, RFC 8032.
const SIGNATURE_BYTES: usize = 64;

/// SHA-256 over a label, the network and the signed bytes.
fn digest(network: &NetworkId, signed: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"fieldmesh-state-v1")
        .chain_update(network.as_bytes())
        .chain_update(signed)
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: NetworkId = NetworkId::from_bytes([3; 32]);

    fn state() -> State {
        let key = StateKey {
            origin: MachineId::from_bytes([7; 32]),
            kind: StateKind::Series,
            subject: "3-9f2c11aa/12".to_owned(),
        };
        let version = StateVersion {
            epoch: 3,
            counter: 41,
        };
        let payload = Bytes::from_static(b"payload");
        StateDraft {
            key,
            version,
            payload,
        }
        .seal(&NETWORK, |_| Signature([9; 64]))
    }

    #[test]
    fn a_state_reads_back_as_it_was_sealed() {
        assert_eq!(State::decode(state().as_bytes().clone()), Ok(state()));
    }

    #[test]
    fn bytes_that_no_signature_covers_are_refused() {
        let mut bytes = state().as_bytes().to_vec();

        bytes.extend([0x18, 0x01]); // A third field, which a decoder would skip.

        assert!(State::decode(bytes.into()).is_err());
    }

    #[test]
    fn a_state_beyond_its_limits_is_refused() {
        let long = vec![0; State::BYTES_MAX + 1];

        assert!(matches!(
            State::decode(long.into()),
            Err(StateError::TooLong { .. })
        ));
    }
}
