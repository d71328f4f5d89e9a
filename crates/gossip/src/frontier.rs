//! Frontiers: what a node holds durably, log by log.
//!
//! An entry is a set of sequences, small because it is nearly always one run: everything from the
//! floor to the end, and a few spans beyond the first gap. What lies below the floor was given up
//! and is never missing.

use std::collections::BTreeMap;

use model::{BlockId, Epoch, LogId, MachineId, Sequence};

/// A run of sequences, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first.
    pub first: Sequence,
    /// The last, not before the first.
    pub last: Sequence,
}

impl Span {
    /// Whether it names blocks that can exist, in order.
    #[must_use]
    pub const fn is_consistent(&self) -> bool {
        self.first >= 1 && self.first <= self.last && self.last <= SEQUENCE_MAX
    }

    /// How many sequences it has.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }
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

/// What became of a sequence that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insertion {
    /// It was not there before.
    New,
    /// It was there, or lies below the floor.
    Held,
    /// It would need one span more than an entry may have; nothing changed.
    NoRoom,
}

impl FrontierEntry {
    /// Most spans beyond the gap-free part. Source: guess; a block that would need one more is not
    /// taken and comes again once a gap has closed.
    pub const BEYOND_MAX: usize = 16;

    /// Nothing of a log.
    #[must_use]
    pub const fn new(log: LogId) -> Self {
        Self {
            log,
            floor: 1,
            end: 0,
            beyond: Vec::new(),
        }
    }

    /// Whether it says what an entry can say. The other methods rely on it.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        if self.floor < 1 || self.end < self.floor - 1 || self.end > SEQUENCE_MAX {
            return false;
        }
        let mut reached = self.end;
        self.beyond.len() <= Self::BEYOND_MAX
            && self.beyond.iter().all(|span| {
                let apart = span.is_consistent() && span.first > reached + 1;
                reached = span.last;
                apart
            })
    }

    /// What it holds, in order.
    pub fn spans(&self) -> impl Iterator<Item = Span> {
        let prefix = Span {
            first: self.floor,
            last: self.end,
        };
        (prefix.first <= prefix.last)
            .then_some(prefix)
            .into_iter()
            .chain(self.beyond.iter().copied())
    }

    /// Whether it holds a sequence.
    #[must_use]
    pub fn covers(&self, sequence: Sequence) -> bool {
        if sequence <= self.end {
            return sequence >= self.floor;
        }
        let at = self.beyond.partition_point(|span| span.last < sequence);
        self.beyond
            .get(at)
            .is_some_and(|span| span.first <= sequence)
    }

    /// The greatest sequence that it holds, or its end if it holds none.
    #[must_use]
    pub fn top(&self) -> Sequence {
        self.beyond.last().map_or(self.end, |span| span.last)
    }

    /// Adds a sequence and joins what it touches.
    pub fn insert(&mut self, sequence: Sequence) -> Insertion {
        if sequence <= self.end || self.covers(sequence) {
            return Insertion::Held;
        }
        if sequence > SEQUENCE_MAX {
            return Insertion::NoRoom;
        }
        let at = self.beyond.partition_point(|span| span.last < sequence);
        let touches_next = (self.beyond.get(at)).is_some_and(|span| span.first == sequence + 1);
        let before = at
            .checked_sub(1)
            .map_or(self.end, |left| self.beyond[left].last);
        if before + 1 == sequence {
            let last = if touches_next {
                self.beyond.remove(at).last
            } else {
                sequence
            };
            match at.checked_sub(1) {
                Some(left) => self.beyond[left].last = last,
                None => self.end = last,
            }
        } else if touches_next {
            self.beyond[at].first = sequence;
        } else if self.beyond.len() < Self::BEYOND_MAX {
            let alone = Span {
                first: sequence,
                last: sequence,
            };
            self.beyond.insert(at, alone);
        } else {
            return Insertion::NoRoom;
        }
        Insertion::New
    }

    /// Takes a sequence out; `false` if it is not there, or the rest would need one span more than
    /// an entry may have: then nothing changed.
    pub fn remove(&mut self, sequence: Sequence) -> bool {
        if !self.covers(sequence) {
            return false;
        }
        let at = self.beyond.partition_point(|span| span.last < sequence);
        let last = match self.beyond.get(at) {
            Some(span) if span.first <= sequence => span.last,
            Some(_) | None => self.end,
        };
        let rest = Span {
            first: sequence + 1,
            last,
        };
        let has_rest = rest.first <= rest.last;
        if sequence <= self.end {
            if has_rest && self.beyond.len() >= Self::BEYOND_MAX {
                return false;
            }
            self.end = sequence - 1;
            if has_rest {
                self.beyond.insert(0, rest);
            }
            return true;
        }
        let first = self.beyond[at].first;
        match (first < sequence, has_rest) {
            (true, true) if self.beyond.len() >= Self::BEYOND_MAX => return false,
            (true, true) => {
                self.beyond[at].last = sequence - 1;
                self.beyond.insert(at + 1, rest);
            }
            (true, false) => self.beyond[at].last = sequence - 1,
            (false, true) => self.beyond[at] = rest,
            (false, false) => _ = self.beyond.remove(at),
        }
        true
    }

    /// Gives up what lies before `floor`; returns whether that changed anything.
    pub fn advance_floor(&mut self, floor: Sequence) -> bool {
        if floor <= self.floor || floor > SEQUENCE_MAX {
            return false;
        }
        self.floor = floor;
        if self.end < floor - 1 {
            self.end = floor - 1;
            self.beyond.retain(|span| span.last >= floor);
            if (self.beyond.first()).is_some_and(|span| span.first <= floor) {
                self.end = self.beyond.remove(0).last;
            }
        }
        true
    }

    /// What another entry of the same log holds and this one lacks, in order: at most
    /// `2 * BEYOND_MAX + 1` spans, none below this one's floor.
    #[must_use]
    pub fn missing_from(&self, other: &Self) -> Vec<Span> {
        let mut missing = Vec::new();
        for span in other.spans() {
            let mut first = span.first.max(self.end + 1);
            for held in &self.beyond {
                if held.last < first {
                    continue;
                }
                if held.first > span.last {
                    break;
                }
                if held.first > first {
                    let last = held.first - 1;
                    missing.push(Span { first, last });
                }
                first = held.last + 1;
            }
            if first <= span.last {
                let last = span.last;
                missing.push(Span { first, last });
            }
        }
        missing
    }
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

    /// How many logs it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it knows no log.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a block is held.
    #[must_use]
    pub fn covers(&self, id: &BlockId) -> bool {
        (self.get(&id.log)).is_some_and(|entry| entry.covers(id.sequence))
    }

    /// Whether a block is held or was given up, so that it is not taken again.
    #[must_use]
    pub fn is_settled(&self, id: &BlockId) -> bool {
        (self.get(&id.log))
            .is_some_and(|entry| id.sequence <= entry.end || entry.covers(id.sequence))
    }

    /// Adds a block.
    pub fn insert(&mut self, id: BlockId) -> Insertion {
        self.entries
            .entry(id.log)
            .or_insert_with(|| FrontierEntry::new(id.log))
            .insert(id.sequence)
    }

    /// Takes a block out; `false` if it is not held, or its entry has no room for one more gap.
    pub fn remove(&mut self, id: &BlockId) -> bool {
        (self.entries.get_mut(&id.log)).is_some_and(|entry| entry.remove(id.sequence))
    }

    /// Gives up the blocks of a known log before `floor`; returns whether that changed anything.
    pub fn advance_floor(&mut self, log: &LogId, floor: Sequence) -> bool {
        (self.entries.get_mut(log)).is_some_and(|entry| entry.advance_floor(floor))
    }

    /// What another's entry holds and this frontier lacks, in order.
    #[must_use]
    pub fn missing_from(&self, other: &FrontierEntry) -> Vec<Span> {
        match self.get(&other.log) {
            Some(entry) => entry.missing_from(other),
            None => other.spans().collect(),
        }
    }

    /// How many logs of a machine it knows.
    pub(crate) fn logs_of(&self, machine: MachineId) -> usize {
        self.entries_of(machine).count()
    }

    /// The entries of a machine's own logs, epochs in order.
    pub fn entries_of(
        &self,
        machine: MachineId,
    ) -> impl DoubleEndedIterator<Item = &FrontierEntry> {
        let log = |counter, tag| LogId {
            machine,
            epoch: Epoch { counter, tag },
        };
        let all = log(0, 0)..=log(u64::MAX, u32::MAX);
        self.entries.range(all).map(|(_, entry)| entry)
    }
}

impl FromIterator<FrontierEntry> for Frontier {
    /// Takes the consistent entries; of several for one log the last.
    fn from_iter<I: IntoIterator<Item = FrontierEntry>>(entries: I) -> Self {
        let entries = entries.into_iter().filter(FrontierEntry::is_consistent);
        Self {
            entries: entries.map(|entry| (entry.log, entry)).collect(),
        }
    }
}

/// The greatest number of a block, so that the one after it can still be written.
pub const SEQUENCE_MAX: Sequence = Sequence::MAX - 1;

#[cfg(test)]
mod tests;
