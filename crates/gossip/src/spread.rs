//! Trees and announcements: who gets a new block at once, and who hears that it is held.
//!
//! A duplicate that two neighbours pushed costs one of them its place. It is the later one, unless
//! the earlier one has been told to stop already and this push crossed the prune: were the later
//! one pruned too, nobody would push any more.

use std::time::Duration;

use model::{Block, BlockId, LogId, MachineId};
use statemachine::Instant;

use crate::machine::Timer;
use crate::recent::Via;
use crate::repair::GRAFTS_PER_CALL_MAX;
use crate::{FrontierEntry, Gossip, Message};

impl Gossip {
    /// Pushes a block along its origin's tree: not back, and not to who has it or cannot keep up.
    /// An alarm goes even there: it does not wait in the queue that is full.
    pub(crate) fn push(&mut self, block: &Block, via: Via) {
        let id = block.id();
        let origin = id.log.machine;
        let wants_it = |machine: &MachineId| *machine != origin && via != Via::Pushed(*machine);
        let targets = (self.neighbours.iter())
            .filter(|(machine, _)| wants_it(machine))
            .filter(|(_, n)| !n.congested || block.header().urgent)
            .filter(|(_, n)| !n.lazy.contains(&origin) && !n.covers(&id))
            .filter(|(_, n)| self.states.shares_log(n.interest.as_ref(), &origin))
            .map(|(machine, _)| *machine)
            .collect::<Vec<_>>();
        for machine in targets {
            self.stats.blocks_pushed += 1;
            self.stats.bytes_pushed += as_u64(block.as_bytes().len());
            let block = block.clone();
            let pushed = true;
            self.send(machine, Message::Block { block, pushed });
        }
    }

    /// A block that is here came again.
    pub(crate) fn on_duplicate(
        &mut self,
        now: Instant,
        from: MachineId,
        id: &BlockId,
        pushed: bool,
    ) {
        self.stats.blocks_duplicate += 1;
        if !pushed {
            return;
        }
        let origin = id.log.machine;
        let is_pruned = |machine: &MachineId| {
            (self.neighbours.get(machine)).is_none_or(|n| n.pruned.contains_key(&origin))
        };
        match self.recent.arrival(id) {
            Some((Via::Pushed(first), _)) if first == from => {}
            Some((Via::Pushed(first), _)) if is_pruned(&first) && !is_pruned(&from) => {
                self.prune(first, origin, Duration::ZERO);
            }
            Some((Via::Own | Via::Pushed(_), came)) => self.prune(from, origin, now.since(came)),
            Some((Via::Pulled, _)) | None => {} // Nobody else pushed it: the link may be the tree.
        }
    }

    pub(crate) fn on_graft(&mut self, from: MachineId, origin: MachineId) {
        if let Some(neighbour) = self.neighbours.get_mut(&from) {
            neighbour.lazy.remove(&origin);
        }
    }

    pub(crate) fn on_prune(&mut self, from: MachineId, origin: MachineId) {
        let is_known = origin == self.own || self.states.is_admitted(&origin);
        if let Some(neighbour) = self.neighbours.get_mut(&from)
            && is_known
        {
            neighbour.lazy.insert(origin);
        }
    }

    /// Makes a neighbour stop pushing the blocks of an origin: its last copy was so much later.
    pub(crate) fn prune(&mut self, machine: MachineId, origin: MachineId, later: Duration) {
        if let Some(neighbour) = self.neighbours.get_mut(&machine) {
            neighbour.pruned.insert(origin, later);
            self.stats.prunes_sent += 1;
            self.send(machine, Message::Prune { origin });
        }
    }

    /// A neighbour is gone along whose links the blocks of some origins came: of the others that
    /// were told to stop, whoever was the soonest is to push them again, so that the next block
    /// does not wait for the graft timer.
    pub(crate) fn replace_pusher(&mut self, gone: &MachineId) {
        for origin in self
            .recent
            .pushed_by(gone)
            .into_iter()
            .take(GRAFTS_PER_CALL_MAX)
        {
            let pruned = (self.neighbours.iter())
                .filter(|(_, neighbour)| !neighbour.congested)
                .filter_map(|(machine, n)| Some((*n.pruned.get(&origin)?, *machine)));
            if let Some((_, machine)) = pruned.min() {
                self.graft(machine, origin);
            }
        }
    }

    /// Makes a neighbour push the blocks of an origin, whatever was said before.
    pub(crate) fn graft(&mut self, machine: MachineId, origin: MachineId) {
        if let Some(neighbour) = self.neighbours.get_mut(&machine) {
            neighbour.pruned.remove(&origin);
            self.stats.grafts_sent += 1;
            self.send(machine, Message::Graft { origin });
        }
    }

    /// An own entry changed: say so soon, and see who still leads there.
    pub(crate) fn on_entry_changed(&mut self, now: Instant, log: LogId) {
        self.changed.insert(log);
        let at = now + self.config.announce_interval;
        self.timers.set_if_idle(Timer::Announce, at);
        self.note_entry_changed(&log);
    }

    /// Says to every neighbour what changed since the last time of what it wants, once for each
    /// log.
    pub(crate) fn on_announce_due(&mut self, now: Instant) {
        let entries = std::iter::from_fn(|| self.changed.pop_first())
            .take(ANNOUNCED_PER_TICK_MAX)
            .filter_map(|log| self.frontier.get(&log).cloned())
            .collect::<Vec<FrontierEntry>>();
        if !self.changed.is_empty() {
            let at = now + self.config.announce_interval;
            self.timers.set(Timer::Announce, at);
        }
        for machine in self.neighbours.keys().copied().collect::<Vec<_>>() {
            let entries = self.shared_entries(machine, entries.iter());
            self.stats.announcements_sent += as_u64(entries.len());
            let messages = self.frontier_messages(entries, URGENT_ANNOUNCED_MAX, Some(now));
            for message in messages {
                self.send(machine, message);
            }
        }
    }
}

/// A length as a counter takes it.
pub(crate) fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Most runs of urgent blocks of one log in an announcement: the newest. Source: guess.
const URGENT_ANNOUNCED_MAX: usize = 2;
/// Most entries announced in one tick. Source: eight messages; the rest waits for the next tick.
const ANNOUNCED_PER_TICK_MAX: usize = 8 * Message::FRONTIER_ENTRIES_MAX;
