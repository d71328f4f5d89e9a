//! Progress: how far an origin's records have been acknowledged by a sink.

use model::{Epoch, Position, StateError, Timestamp};
use prost::Message as _;

/// How far a relay has uploaded one origin's log, as it tells everyone in a state of kind
/// `Progress`. Moved by the sink's acknowledgement only. Made by [`crate::Windows::progress`],
/// followed by [`crate::Windows::resume_from`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Progress {
    /// Every record that blocks up to this one produced has been acknowledged ...
    pub through: Position,
    /// ... as far as it belongs to a window that ended at or before this time.
    pub watermark: Timestamp,
    /// No window that ended at or before this time takes readings any more.
    pub closed: Timestamp,
    /// Where a successor starts reading the log: the first block that has a reading in a window
    /// that was not finished then.
    pub resume: Position,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Payload {
    #[prost(message, optional, tag = "1")]
    through: Option<PositionPayload>,
    #[prost(message, optional, tag = "2")]
    resume: Option<PositionPayload>,
    #[prost(sfixed64, tag = "3")]
    watermark: i64,
    #[prost(sfixed64, tag = "4")]
    closed: i64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct PositionPayload {
    #[prost(uint64, tag = "1")]
    counter: u64,
    #[prost(fixed32, tag = "2")]
    tag: u32,
    #[prost(uint64, tag = "3")]
    sequence: u64,
}

impl Progress {
    /// The payload of its state.
    #[must_use]
    pub fn to_payload(&self) -> Vec<u8> {
        Payload {
            through: Some(self.through.into()),
            resume: Some(self.resume.into()),
            watermark: self.watermark.as_nanos(),
            closed: self.closed.as_nanos(),
        }
        .encode_to_vec()
    }

    /// Reads the payload of a state of kind `Progress`.
    ///
    /// # Errors
    ///
    /// [`StateError::Malformed`] if it does not decode, or if it resumes after where it stands.
    pub fn from_payload(payload: &[u8]) -> Result<Self, StateError> {
        let malformed = StateError::Malformed("progress");
        let raw = Payload::decode(payload).map_err(|_| malformed.clone())?;
        let progress = Self {
            through: raw.through.ok_or(malformed.clone())?.into(),
            watermark: Timestamp::from_nanos(raw.watermark),
            closed: Timestamp::from_nanos(raw.closed),
            resume: raw.resume.ok_or(malformed.clone())?.into(),
        };
        if progress.resume > progress.through {
            return Err(malformed);
        }
        Ok(progress)
    }
}

impl From<Position> for PositionPayload {
    fn from(position: Position) -> Self {
        Self {
            counter: position.epoch.counter,
            tag: position.epoch.tag,
            sequence: position.sequence,
        }
    }
}

impl From<PositionPayload> for Position {
    fn from(raw: PositionPayload) -> Self {
        let epoch = Epoch {
            counter: raw.counter,
            tag: raw.tag,
        };
        Self {
            epoch,
            sequence: raw.sequence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(sequence: u64) -> Position {
        let epoch = "3-9f2c11aa".parse().expect("an epoch");
        Position { epoch, sequence }
    }

    #[test]
    fn a_progress_reads_back_from_its_payload() {
        let progress = Progress {
            through: at(9),
            watermark: Timestamp::from_nanos(-5),
            closed: Timestamp::MIN,
            resume: at(7),
        };

        assert_eq!(Progress::from_payload(&progress.to_payload()), Ok(progress));
    }

    #[test]
    fn a_progress_that_resumes_after_where_it_stands_is_refused() {
        let progress = Progress {
            through: at(9),
            watermark: Timestamp::MIN,
            closed: Timestamp::MIN,
            resume: at(10),
        };

        assert!(Progress::from_payload(&progress.to_payload()).is_err());
        assert!(Progress::from_payload(b"\xff").is_err());
        assert!(Progress::from_payload(b"").is_err());
    }
}
