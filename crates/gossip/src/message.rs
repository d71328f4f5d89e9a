//! What gossips say to each other.

use model::{Block, LogId, MachineId, State, StateKey, StateVersion};

use crate::{FrontierEntry, Span};

/// Messages between neighbours, after Plumtree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// What the sender holds durably: all of it in parts after connecting, then what changed.
    /// What is new in it is at the same time the announcement of blocks.
    Frontier {
        /// At most [`Message::FRONTIER_ENTRIES_MAX`].
        entries: Vec<FrontierEntry>,
        /// The last part of the first exchange: logs that were not listed are not held.
        complete: bool,
    },
    /// A block, either pushed along the origin's tree or in answer to a want.
    Block {
        /// The block as its origin made it.
        block: Block,
        /// Pushed along the tree, not asked for.
        pushed: bool,
    },
    /// Blocks that the sender lacks and the receiver announced.
    Want {
        /// Their log.
        log: LogId,
        /// Which ones, most urgent first; at most [`Message::SPANS_MAX`].
        spans: Vec<Span>,
    },
    /// Push the blocks of this origin from now on.
    Graft {
        /// The origin whose tree gains the link.
        origin: MachineId,
    },
    /// Do not push the blocks of this origin any more: they come by another way.
    Prune {
        /// The origin whose tree loses the link.
        origin: MachineId,
    },
    /// Which states the sender holds between two keys; the receiver sends what is newer or
    /// missing there.
    StateSummary {
        /// The range starts after this key, or at the first key.
        after: Option<StateKey>,
        /// The range ends with this key, or with the last key.
        through: Option<StateKey>,
        /// What the sender holds there; at most [`Message::SUMMARY_MAX`].
        entries: Vec<(StateKey, StateVersion)>,
    },
    /// States that are new to the receiver, as far as the sender knows.
    States(Vec<State>),
}

impl Message {
    /// Most entries in one frontier message. At 100 bytes each a frame of 256 KiB holds them.
    pub const FRONTIER_ENTRIES_MAX: usize = 512;
    /// Most spans in one want.
    pub const SPANS_MAX: usize = 16;
    /// Most entries in one state summary. At 200 bytes each a frame of 256 KiB holds them.
    pub const SUMMARY_MAX: usize = 512;
    /// Most states in one message.
    pub const STATES_MAX: usize = 32;
}
