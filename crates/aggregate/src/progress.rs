//! Progress: how far an origin's records have been acknowledged by a sink.

use model::{Position, StateError, Timestamp};

/// How far a relay has uploaded one origin's log, as it tells everyone in a state of kind
/// `Progress`. Moved by the sink's acknowledgement only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Progress {
    /// Every record that blocks up to this one produced has been acknowledged ...
    pub through: Position,
    /// ... as far as it belongs to a window that ended at or before this time.
    pub watermark: Timestamp,
    /// Where a successor starts reading the log: the first block that has a reading in a window
    /// that was not finished then.
    pub resume: Position,
}

impl Progress {
    /// The payload of its state.
    #[must_use]
    pub fn to_payload(&self) -> Vec<u8> {
        unimplemented!()
    }

    /// Reads the payload of a state of kind `Progress`.
    ///
    /// # Errors
    ///
    /// [`StateError::Malformed`] if it does not decode.
    pub fn from_payload(payload: &[u8]) -> Result<Self, StateError> {
        let _ = payload;
        unimplemented!()
    }
}
