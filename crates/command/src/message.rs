//! What caller and target say to each other.

use std::time::Duration;

use bytes::Bytes;

use crate::{CommandId, CommandName, Status};

/// A message over a link's command stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// From the caller: do this.
    Call {
        /// Names it; the same id again is the same command.
        id: CommandId,
        /// What.
        name: CommandName,
        /// Time until the deadline, measured when it was sent; at most [`Message::REMAINING_MAX`].
        remaining: Duration,
        /// Which rules led to it.
        lineage: Lineage,
        /// How many values of the answer the caller has already.
        have: u32,
        /// Size of the whole encoded argument, at most [`crate::Argument::BYTES_MAX`]. Unit: bytes.
        size: usize,
        /// Its beginning, at most [`Message::CHUNK_BYTES_MAX`].
        chunk: Bytes,
    },
    /// From the caller: the next part of the argument, at most [`Message::CHUNK_BYTES_MAX`].
    Part(CommandId, Bytes),
    /// From the caller: nobody waits for it any more.
    Cancel(CommandId),
    /// From the target: a value of the answer.
    Item {
        /// Of which command.
        id: CommandId,
        /// Its place in the answer, counted from zero.
        index: u32,
        /// The encoded value, at most [`Message::CHUNK_BYTES_MAX`].
        value: Bytes,
    },
    /// From the target: the command has ended.
    Done {
        /// Which command.
        id: CommandId,
        /// How many values the answer has.
        items: u32,
        /// How it ended.
        status: Status,
    },
}

impl Message {
    /// Longest time until a deadline. Source: guess.
    pub const REMAINING_MAX: Duration = Duration::from_hours(1);
    /// Largest part of an argument, and largest value of an answer. Unit: bytes. Source: guess, so
    /// that other commands come through between the parts.
    pub const CHUNK_BYTES_MAX: usize = 32 * 1024;
    /// Most values of one answer. Source: guess; what gives more publishes readings.
    pub const ITEMS_MAX: u32 = 1_024;
}

/// Which rules led to a command or a reading, oldest first: how a circle of rules is noticed, on
/// whichever machines they run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage(Vec<u32>);

impl Lineage {
    /// Most rules. Source: guess; a chain that long is taken for a circle.
    pub const RULES_MAX: usize = 12;

    /// A lineage of these rules; `None` if there are too many.
    #[must_use]
    pub fn new(rules: Vec<u32>) -> Option<Self> {
        (rules.len() <= Self::RULES_MAX).then_some(Self(rules))
    }

    /// The rules, each as the number that its machine and name hash to.
    #[must_use]
    pub fn rules(&self) -> &[u32] {
        &self.0
    }
}
