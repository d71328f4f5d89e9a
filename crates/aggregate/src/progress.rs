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
    /// ... as far as it belongs to a window that ended at or before this time ...
    pub watermark: Timestamp,
    /// ... except for what this block and later ones added to windows that had ended before.
    pub late: Option<Position>,
    /// Where a successor starts reading the log: at the first block that has a reading in a window
    /// which is not finished, or that is not in its record yet.
    pub resume: Position,
    /// No block before `resume` holds a reading later than this.
    pub horizon: Timestamp,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Payload {
    #[prost(message, optional, tag = "1")]
    through: Option<PositionPayload>,
    #[prost(message, optional, tag = "2")]
    resume: Option<PositionPayload>,
    #[prost(sfixed64, tag = "3")]
    watermark: i64,
    #[prost(sfixed64, tag = "5")]
    horizon: i64,
    #[prost(message, optional, tag = "6")]
    late: Option<PositionPayload>,
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
            horizon: self.horizon.as_nanos(),
            late: self.late.map(Into::into),
        }
        .encode_to_vec()
    }

    /// Reads the payload of a state of kind `Progress`.
    ///
    /// # Errors
    ///
    /// [`StateError::Malformed`] if it does not decode, or if it resumes after where it stands or
    /// after what it has not had acknowledged.
    pub fn from_payload(payload: &[u8]) -> Result<Self, StateError> {
        let malformed = StateError::Malformed("progress");
        let raw = Payload::decode(payload).map_err(|_| malformed.clone())?;
        let progress = Self {
            through: raw.through.ok_or(malformed.clone())?.into(),
            watermark: Timestamp::from_nanos(raw.watermark),
            late: raw.late.map(Into::into),
            resume: raw.resume.ok_or(malformed.clone())?.into(),
            horizon: Timestamp::from_nanos(raw.horizon),
        };
        if progress.late.is_some_and(|late| late < progress.resume)
            || progress.resume > progress.through
        {
            return Err(malformed);
        }
        Ok(progress)
    }

    /// Whether it speaks for a record of a window that ends at `end`, of which the last contributor
    /// is `position`.
    #[must_use]
    pub fn covers(&self, position: Position, end: Timestamp) -> bool {
        position <= self.through
            && end <= self.watermark
            && self.late.is_none_or(|late| position < late)
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

    fn progress() -> Progress {
        Progress {
            through: at(9),
            watermark: Timestamp::from_nanos(-5),
            late: Some(at(8)),
            resume: at(7),
            horizon: Timestamp::MIN,
        }
    }

    #[test]
    fn a_progress_reads_back_from_its_payload() {
        for late in [None, Some(at(8))] {
            let progress = Progress { late, ..progress() };
            assert_eq!(Progress::from_payload(&progress.to_payload()), Ok(progress));
        }
    }

    #[test]
    fn a_progress_that_resumes_too_late_is_refused() {
        for (resume, late) in [(at(10), None), (at(9), Some(at(8)))] {
            let progress = Progress {
                resume,
                late,
                ..progress()
            };
            assert!(Progress::from_payload(&progress.to_payload()).is_err());
        }
        assert!(Progress::from_payload(b"\xff").is_err());
        assert!(Progress::from_payload(b"").is_err());
    }

    #[test]
    fn a_progress_speaks_for_ended_windows_up_to_what_came_late() {
        let (ended, open) = (Timestamp::from_nanos(-5), Timestamp::from_nanos(-4));

        assert!(progress().covers(at(7), ended));
        assert!(!progress().covers(at(8), ended), "it came late");
        assert!(!progress().covers(at(7), open));
        assert!(
            !Progress {
                late: None,
                ..progress()
            }
            .covers(at(10), ended)
        );
    }
}
