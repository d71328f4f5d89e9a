//! Letters: commands for a machine that is not there, and their answers, as others carry them.
//!
//! Everybody can read the [`Envelope`]: for whom, which command, until when. What is asked, and
//! what came of it, is sealed.
//!
//! # Not here
//!
//! Sealing (`handshake`), states and slots (`engine`).

use std::time::Duration;

use bytes::Bytes;
use model::{MachineId, Timestamp};
use prost::Message as _;

use crate::{CommandId, CommandName, Lineage, NoteError};

/// What a letter asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// What is to be done.
    pub name: CommandName,
    /// With what, encoded.
    pub argument: Bytes,
    /// Which rules led to it.
    pub lineage: Lineage,
}

/// What everybody can read of a letter or of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Who can open it.
    pub to: MachineId,
    /// Which command of the letter's sender.
    pub id: CommandId,
    /// When the letter was written, by its sender's clock.
    pub written: Timestamp,
    /// How long the letter counts from then on; at most [`Envelope::LIFETIME_MAX`].
    pub lifetime: Duration,
    /// The rest.
    pub sealed: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawLetter {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "bytes", tag = "2")]
    argument: Bytes,
    #[prost(fixed32, repeated, tag = "3")]
    lineage: Vec<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawEnvelope {
    #[prost(bytes = "bytes", tag = "1")]
    to: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    id: Bytes,
    #[prost(sfixed64, tag = "3")]
    written_nanos: i64,
    #[prost(uint64, tag = "4")]
    lifetime_millis: u64,
    #[prost(bytes = "bytes", tag = "5")]
    sealed: Bytes,
}

impl Letter {
    /// Longest letter, and longest answer to one, before it is sealed. Unit: bytes. Source: what a
    /// state may carry, less the envelope.
    pub const BYTES_MAX: usize = 3_584;

    /// Its bytes, to be sealed.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        RawLetter {
            name: self.name.to_string(),
            argument: self.argument.clone(),
            lineage: self.lineage.rules().to_vec(),
        }
        .encode_to_vec()
    }

    /// Reads what was sealed.
    ///
    /// # Errors
    ///
    /// [`NoteError`] if it does not decode or has no name that a command can have.
    pub fn decode(bytes: &[u8]) -> Result<Self, NoteError> {
        let raw = RawLetter::decode(bytes).map_err(|_| NoteError("letter"))?;
        Ok(Self {
            name: raw.name.parse().map_err(|_| NoteError("name"))?,
            argument: raw.argument,
            lineage: Lineage::new(raw.lineage).ok_or(NoteError("lineage"))?,
        })
    }
}

impl Envelope {
    /// Longest lifetime. Source: guess; the target keeps the id for as long.
    pub const LIFETIME_MAX: Duration = Duration::from_hours(7 * 24);

    /// When the letter does not count any more.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        self.written.saturating_add(self.lifetime)
    }

    /// What a seal is bound to: everything of the envelope but whom it is for, to which a seal is
    /// bound anyway, and what is inside.
    #[must_use]
    pub fn context(&self, what: &str) -> Vec<u8> {
        let lifetime = u64::try_from(self.lifetime.as_millis()).unwrap_or(u64::MAX);
        [
            what.as_bytes(),
            &self.id.to_bytes(),
            &self.written.as_nanos().to_be_bytes(),
            &lifetime.to_be_bytes(),
        ]
        .concat()
    }

    /// The payload of a state.
    #[must_use]
    pub fn to_payload(&self) -> Vec<u8> {
        RawEnvelope {
            to: Bytes::copy_from_slice(self.to.as_bytes()),
            id: Bytes::copy_from_slice(&self.id.to_bytes()),
            written_nanos: self.written.as_nanos(),
            lifetime_millis: u64::try_from(self.lifetime.as_millis()).unwrap_or(u64::MAX),
            sealed: self.sealed.clone(),
        }
        .encode_to_vec()
    }

    /// Reads the payload of a state; `None` if it is empty or no envelope.
    #[must_use]
    pub fn from_payload(payload: &[u8]) -> Option<Self> {
        let raw = RawEnvelope::decode(payload).ok()?;
        let lifetime = Duration::from_millis(raw.lifetime_millis);
        Some(Self {
            to: MachineId::from_bytes(raw.to.as_ref().try_into().ok()?),
            id: CommandId::from_bytes(raw.id.as_ref().try_into().ok()?),
            written: Timestamp::from_nanos(raw.written_nanos),
            lifetime: (lifetime <= Self::LIFETIME_MAX).then_some(lifetime)?,
            sealed: raw.sealed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(lifetime: Duration) -> Envelope {
        Envelope {
            to: MachineId::from_bytes([3; 32]),
            id: CommandId::from_bytes([9; 16]),
            written: Timestamp::from_nanos(1_790_000_000_000_000_000),
            lifetime,
            sealed: Bytes::from_static(b"sealed"),
        }
    }

    #[test]
    fn letters_and_envelopes_read_back_and_what_is_none_does_not() {
        let letter = Letter {
            name: "heating/set".parse().expect("a name"),
            argument: Bytes::from_static(&[0]),
            lineage: Lineage::new(vec![1, 2]).expect("few"),
        };
        let enveloped = envelope(Duration::from_secs(60));

        assert_eq!(Letter::decode(&letter.encode()), Ok(letter));
        assert_eq!(
            Envelope::from_payload(&enveloped.to_payload()),
            Some(enveloped)
        );
        assert!(Letter::decode(b"").is_err());
        assert_eq!(Envelope::from_payload(b""), None);
        let endless = envelope(Envelope::LIFETIME_MAX * 2).to_payload();
        assert_eq!(Envelope::from_payload(&endless), None);
    }

    #[test]
    fn the_largest_letter_in_its_envelope_fits_into_a_state() {
        let mut envelope = envelope(Envelope::LIFETIME_MAX);
        envelope.sealed = vec![0; Letter::BYTES_MAX + SEAL_BYTES].into();

        assert!(envelope.to_payload().len() <= model::State::PAYLOAD_BYTES_MAX);
    }

    /// What Noise X adds: an ephemeral key, a sealed key with its tag, a tag.
    const SEAL_BYTES: usize = 32 + 48 + 16;
}
