//! Blocks that were held and do not read back any more: claimed no longer, and asked of neighbours
//! like anything else that they hold and we lack.

use std::collections::BTreeSet;

use model::{BlockId, LogId, Sequence};
use statemachine::Instant;

use crate::digests::item_of_entry;
use crate::{FrontierEntry, Gossip, Holdings};

impl Gossip {
    /// The store has lost blocks. Blocks that it has said before, and those that are not held, are
    /// ignored, so that it can say all that it lacks now and then.
    pub(crate) fn on_lost(&mut self, now: Instant, ids: Vec<BlockId>) {
        let mut changed = BTreeSet::new();
        for id in ids {
            let before = self.frontier.get(&id.log).cloned();
            if self.lost.len() < LOST_MAX && self.disclaim(&id) {
                self.count_entry(id.log, before.as_ref().map(item_of_entry));
                self.assume_held(before);
                self.stats.blocks_lost += 1;
                self.recent.remove(&id);
                self.lost.insert(id);
                changed.insert(id.log);
                self.lead_again(&id);
            }
        }
        if changed.is_empty() {
            return;
        }
        for log in changed {
            self.on_entry_changed(now, log);
        }
        self.fill_all(now);
    }

    /// What was given up is not missed.
    pub(crate) fn forget_lost_before(&mut self, log: LogId, floor: Sequence) {
        (self.lost).retain(|id| id.log != log || id.sequence >= floor);
    }

    /// Stops claiming a block; `false` if it was not claimed, or the entry has no room for one more
    /// gap: then it stays claimed until the store says again that it is lost.
    fn disclaim(&mut self, id: &BlockId) -> bool {
        self.unclaimed.remove(id) || self.frontier.remove(id)
    }

    /// A neighbour that has listed nothing of the log held the same as this machine when they
    /// compared; what it did not hold it leaves unanswered.
    fn assume_held(&mut self, before: Option<FrontierEntry>) {
        let Some(before) = before else { return };
        for neighbour in self.neighbours.values_mut() {
            let (of, with) = match &neighbour.interest {
                None => (Holdings::Logs, None),
                Some(theirs) => (Holdings::SharedLogs, Some(theirs)),
            };
            let has_compared = neighbour.compared.contains(&of)
                && self.states.shares_log(with, &before.log.machine);
            if has_compared && neighbour.frontier.get(&before.log).is_none() {
                // Without room for one more log others are asked.
                _ = neighbour.frontier.insert(before.log, before.clone());
            }
        }
    }

    /// Whoever holds it leads there, whatever was settled before.
    fn lead_again(&mut self, id: &BlockId) {
        for neighbour in self.neighbours.values_mut() {
            if neighbour.covers(id) {
                let lead = neighbour.leads.entry(id.log).or_default();
                lead.settled = lead.settled.max(id.sequence);
            }
        }
    }
}

/// Most lost blocks that are asked for at a time. Source: guess; a disk that loses more is broken.
const LOST_MAX: usize = 4_096;
