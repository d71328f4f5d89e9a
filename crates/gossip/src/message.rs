//! What gossips say to each other.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Block, LogId, MachineId, State, StateKey, StateVersion};

use crate::{FrontierEntry, Interest, Span, Sums};

/// Messages between neighbours, after Plumtree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// What the sender replicates, first of all after connecting; until it is said, it is what the
    /// receiver does.
    Interest(Interest),
    /// The sums over all that the sender holds, once after connecting; the receiver lists what it
    /// holds where its own sums differ. Those over all count between equal interests only.
    Sums(Holdings, Sums),
    /// What the sender holds durably: after connecting where the sums differ, then what changed.
    /// What is new in it is at the same time the announcement of blocks.
    Frontier {
        /// At most [`Message::FRONTIER_ENTRIES_MAX`].
        entries: Vec<FrontierEntry>,
        /// Which of the newest blocks of these logs hold alarms; at most [`Message::URGENT_MAX`].
        urgent: Vec<(LogId, Span)>,
        /// How long the sender has had the newest block of an entry, where it came just now.
        /// Unit: on the wire 100 us, rounded down.
        ages: BTreeMap<LogId, Duration>,
        /// It has changed just now, so that what is new is on its way along the trees.
        is_news: bool,
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
        /// They are of the past, so that what is new goes before them.
        is_past: bool,
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
    /// Which states the sender holds where the sums differ; at most [`Message::SUMMARY_MAX`].
    StateSummary(Vec<(StateKey, StateVersion)>),
    /// States that the receiver has listed and the sender lacks; at most [`Message::SUMMARY_MAX`].
    StateWant(Vec<StateKey>),
    /// States that are new to the receiver, as far as the sender knows.
    States(Vec<State>),
}

/// What sums are made over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holdings {
    /// The entries of the frontier.
    Logs,
    /// The states, by key and version.
    States,
    /// The entries of the logs that both sides want.
    SharedLogs,
    /// The states that concern both sides.
    SharedStates,
}

impl Holdings {
    /// Whether the sums are made over states.
    #[must_use]
    pub const fn is_states(self) -> bool {
        matches!(self, Self::States | Self::SharedStates)
    }

    /// Whether they are made over what both sides want, because their interests differ.
    #[must_use]
    pub const fn is_shared(self) -> bool {
        matches!(self, Self::SharedLogs | Self::SharedStates)
    }
}

impl Message {
    /// Most entries in one frontier message. At 100 bytes each a frame of 256 KiB holds them.
    pub const FRONTIER_ENTRIES_MAX: usize = 512;
    /// Most runs of urgent blocks in one frontier message: with 62 bytes each it still fits a
    /// frame.
    pub const URGENT_MAX: usize = 64;
    /// Most spans in one want.
    pub const SPANS_MAX: usize = 16;
    /// Most entries in one state summary. At 200 bytes each a frame of 256 KiB holds them.
    pub const SUMMARY_MAX: usize = 512;
    /// Most states in one message.
    pub const STATES_MAX: usize = 32;
}
