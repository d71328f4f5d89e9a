//! The id of a command.

use std::fmt;
use std::str::FromStr;

use model::Timestamp;
use statemachine::Rng;
use ulid::Ulid;

use crate::IdError;

/// Names one command of one caller, for ever: a ULID. To repeat a command is to send its id again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(Ulid);

impl CommandId {
    /// Draws an id for a command that is made at `time`.
    ///
    /// The time orders ids for people and is never relied on; a clock before 1970 counts as 1970.
    #[must_use]
    pub fn draw(time: Timestamp, rng: &mut Rng) -> Self {
        let millis = u64::try_from(time.as_nanos() / 1_000_000).unwrap_or(0);
        let random = (u128::from(rng.next_u64()) << 64) | u128::from(rng.next_u64());
        Self(Ulid::from_parts(millis, random))
    }

    /// The id of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Ulid::from_bytes(bytes))
    }

    /// Its bytes, in the order of the ids.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_bytes()
    }
}

impl FromStr for CommandId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Ulid::from_string(text).map(Self).map_err(|_| IdError)
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
