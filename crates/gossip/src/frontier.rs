//! Frontiers: what a node holds durably, log by log.

use std::collections::BTreeMap;

use model::{LogId, Sequence};

/// A run of sequences, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first.
    pub first: Sequence,
    /// The last, not before the first.
    pub last: Sequence,
}

/// What is held of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontierEntry {
    /// The log.
    pub log: LogId,
    /// The oldest block that is kept or could still be asked for; 1 unless retention moved it.
    pub floor: Sequence,
    /// The end of the gap-free part that starts at the floor; `floor - 1` if that is empty.
    pub end: Sequence,
    /// What is held beyond the first gap, in order, not touching each other; at most
    /// [`FrontierEntry::BEYOND_MAX`].
    pub beyond: Vec<Span>,
}

impl FrontierEntry {
    /// Most spans beyond the gap-free part. Source: guess; a block that would need one more is not
    /// taken and comes again once a gap has closed.
    pub const BEYOND_MAX: usize = 16;
}

/// What a node holds durably: the version vector of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    entries: BTreeMap<LogId, FrontierEntry>,
}

impl Frontier {
    /// What is held of one log.
    #[must_use]
    pub fn get(&self, log: &LogId) -> Option<&FrontierEntry> {
        self.entries.get(log)
    }

    /// The entries in the order of their logs.
    pub fn iter(&self) -> impl Iterator<Item = &FrontierEntry> {
        self.entries.values()
    }
}
