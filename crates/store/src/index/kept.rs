//! Blocks that are kept below the floor of their log: given up as parts of it, so that no neighbour
//! is promised them, and still there for questions.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use model::{BlockId, LogId, Sequence};

use super::{FLOOR_MIN, Index, Place};
use crate::footer::BlockEntry;

impl Index {
    /// Keeps a block at a place of its own, whatever becomes of its log. A later place counts.
    pub(crate) fn keep(&mut self, segment: u32, entry: &BlockEntry) {
        let place = self.place(segment, entry);
        let log = self.logs.entry(entry.id.log).or_default();
        log.kept.insert(entry.id.sequence, place);
    }

    /// Where a block lies that is kept.
    pub(crate) fn kept(&self, id: BlockId) -> Option<Place> {
        self.logs.get(&id.log)?.kept.get(&id.sequence).copied()
    }

    /// What the entry of a kept block in its segment's footer is.
    pub(crate) fn kept_entry(&self, id: BlockId) -> Option<BlockEntry> {
        Some(self.entry_of(id, self.kept(id)?, None))
    }

    /// Forgets a kept block.
    pub(crate) fn remove_kept(&mut self, id: BlockId) {
        if let Some(log) = self.logs.get_mut(&id.log) {
            log.kept.remove(&id.sequence);
        }
    }

    /// Forgets the kept blocks of segments that are gone.
    pub(crate) fn remove_kept_of<T>(&mut self, gone: &BTreeMap<u32, T>) {
        for log in self.logs.values_mut() {
            log.kept
                .retain(|_, place| !gone.contains_key(&place.segment));
        }
    }

    /// How many blocks are kept.
    pub(crate) fn kept_count(&self) -> usize {
        self.logs.values().map(|log| log.kept.len()).sum()
    }

    /// Gives the places of a log from a sequence on to `visit` in order, those that are kept below
    /// its floor first, until it breaks.
    pub(crate) fn visit_with_kept(
        &self,
        id: &LogId,
        from: Sequence,
        through: Sequence,
        mut visit: impl FnMut(Sequence, &Place) -> ControlFlow<()>,
    ) {
        let Some(log) = self.logs.get(id) else { return };
        let floor = log.floor.max(FLOOR_MIN);
        if from < floor {
            for (sequence, place) in log.kept.range(from..floor) {
                if *sequence > through || visit(*sequence, place).is_break() {
                    return;
                }
            }
        }
        self.visit(id, from, through, visit);
    }
}
