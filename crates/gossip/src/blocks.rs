//! Blocks on their way in: checked, forwarded, written, and only then claimed and delivered.

use identity::Equivocation;
use model::{Block, BlockId, LogId, MachineId, Sequence};
use statemachine::Instant;

use crate::config::share_of_origin;
use crate::digests::{Place, Sum, item_of_entry};
use crate::machine::{Effect, Timer};
use crate::recent::Via;
use crate::repair::LATER_PATIENCE;
use crate::{Fault, FrontierEntry, Gossip, Insertion, Output, SEQUENCE_MAX, Span, Write};

impl Gossip {
    /// An own block goes out before it is on disk: a slow disk does not slow the mesh.
    pub(crate) fn on_publish(&mut self, now: Instant, block: Block) {
        if self.is_taken(&block.id()) {
            self.compare(now, None, &block);
            let write = Write::Block(block); // Another machine uses our key and log.
            self.outputs.push_back(Output::NotPersisted(write));
            return;
        }
        self.take(now, block, Via::Own);
    }

    /// A neighbour sent a block: the cheap questions first, then signature and columns.
    pub(crate) fn on_block(&mut self, now: Instant, from: MachineId, block: Block, pushed: bool) {
        let id = block.id();
        if let Some(neighbour) = self.neighbours.get_mut(&from) {
            let is_late = neighbour.later.contains_key(&id);
            if neighbour.note_answer(now, &id) {
                self.asking.spend(now, block.as_bytes().len());
                neighbour.withheld.forgive(&id.log.machine);
            } else if is_late {
                neighbour.withheld.forgive(&id.log.machine);
            }
        }
        if !span_of(&id).is_consistent() {
            self.misbehaved(from, Fault::Frontier);
        } else if self.is_taken(&id) {
            self.compare(now, Some(from), &block);
            self.on_duplicate(now, from, &id, pushed);
        } else if !self.states.wants_log(&id.log.machine) {
            self.stats.blocks_unwanted += 1; // It crossed what we said of our interest.
        } else if !self.states.may_publish(&id.log.machine) {
            self.stats.refused_unadmitted += 1; // Asked again once its membership is known.
        } else if !self.has_room_for(&block) {
            self.stats.refused_no_room += 1;
            self.postpone(now, from, id);
        } else if (self.signatures.verify_block(&self.network, &block)).is_err() {
            self.postpone(now, from, id);
            self.misbehaved(from, Fault::Signature);
        } else if block.readings().is_err() {
            self.postpone(now, from, id);
            self.misbehaved(from, Fault::Columns);
        } else {
            self.stats.blocks_first += 1;
            if let Some(neighbour) = self.neighbours.get_mut(&from) {
                neighbour.withheld.forgive(&id.log.machine);
            }
            let via = if pushed {
                Via::Pushed(from)
            } else {
                Via::Pulled
            };
            self.take(now, block, via);
        }
        self.fill_if_low(now, from);
    }

    /// The store has it: now it counts.
    pub(crate) fn on_block_persisted(&mut self, now: Instant, id: BlockId) {
        let Some(block) = self.take_out_of_flight(&id) else {
            return;
        };
        if block.header().urgent {
            self.urgent.note(&id);
        }
        if self.lost.remove(&id) {
            self.stats.blocks_restored += 1;
            self.outputs.push_back(Output::Restored(block));
        } else {
            self.outputs.push_back(Output::Deliver(block));
        }
        self.unclaimed.insert(id);
        self.claim(now, id.log);
    }

    /// The store lacks it: it is forgotten, so that it can come again when the disk is better.
    pub(crate) fn on_block_not_persisted(&mut self, now: Instant, id: BlockId) {
        let Some(block) = self.take_out_of_flight(&id) else {
            return;
        };
        self.recent.remove(&id);
        self.stats.blocks_not_persisted += 1;
        let write = Write::Block(block);
        self.outputs.push_back(Output::NotPersisted(write));
        self.spare_disk(now);
    }

    /// The disk has failed: it is left alone for a while.
    pub(crate) fn spare_disk(&mut self, now: Instant) {
        let at = now + self.config.want_timeout * LATER_PATIENCE;
        self.timers.set(Timer::Disk, at);
    }

    /// Retention gave blocks up.
    pub(crate) fn on_floor_moved(&mut self, now: Instant, log: LogId, floor: Sequence) {
        self.forget_lost_before(log, floor);
        let before = self.frontier.get(&log).map(item_of_entry);
        if self.frontier.advance_floor(&log, floor) {
            self.count_entry(log, before);
            self.on_entry_changed(now, log);
            self.claim(now, log);
        }
    }

    /// Whether a block is held, given up, or on its way to the disk.
    pub(crate) fn is_taken(&self, id: &BlockId) -> bool {
        self.in_flight.contains_key(id)
            || self.unclaimed.contains(id)
            || self.frontier.is_settled(id)
    }

    /// Whether one more log may be known, or this one is.
    pub(crate) fn has_room_for_log(&self, log: &LogId) -> bool {
        let max = self.config.logs_max;
        self.frontier.get(log).is_some()
            || (self.frontier.len() < max
                && self.frontier.logs_of(log.machine) < share_of_origin(max))
    }

    /// A second copy came of a block that is here. If the first is still in memory and the two
    /// differ, their origin has given one number to two blocks, and everyone is told. The first is
    /// kept in any case, and nothing is read to compare: where the copies meet while they are new,
    /// somebody sees both.
    fn compare(&mut self, now: Instant, from: Option<MachineId>, second: &Block) {
        let id = second.id();
        let first = self.in_flight.get(&id).or_else(|| self.recent.get(&id));
        let Some(first) = first.filter(|first| first.as_bytes() != second.as_bytes()) else {
            return;
        };
        let proof = Equivocation::between(first, second);
        if self.states.is_convicted(&id.log.machine) {
            return;
        }
        match (identity::verify_block(&self.network, second), from) {
            (Ok(()), _) => proof
                .into_iter()
                .for_each(|proof| self.convict(now, &proof)),
            (Err(_), Some(from)) => self.misbehaved(from, Fault::Signature),
            (Err(_), None) => {} // Our own key signs what we seal.
        }
    }

    /// Forwards a block that is new and right, and has it written.
    fn take(&mut self, now: Instant, block: Block, via: Via) {
        let id = block.id();
        let size = block.as_bytes().len();
        self.block_bytes = (self.block_bytes * 7 + size) / 8;
        for neighbour in self.neighbours.values_mut() {
            neighbour.wanted.remove(&id);
        }
        self.push(&block, via);
        self.recent.insert(now, block.clone(), via);
        self.in_flight.insert(id, block.clone());
        self.in_flight_bytes += size;
        let ticket = self.ticket(Effect::Block(id));
        let write = Write::Block(block);
        self.outputs.push_back(Output::Persist(ticket, write));
    }

    fn take_out_of_flight(&mut self, id: &BlockId) -> Option<Block> {
        let block = self.in_flight.remove(id)?;
        self.in_flight_bytes -= block.as_bytes().len();
        Some(block)
    }

    /// Enters durable blocks of a log into the frontier, as far as it has room.
    fn claim(&mut self, now: Instant, log: LogId) {
        let (first, last) = ends_of(log);
        let waiting = self.unclaimed.range(first..=last).copied();
        let before = self.frontier.get(&log).map(item_of_entry);
        let mut changed = false;
        for id in waiting.collect::<Vec<_>>() {
            match self.frontier.insert(id) {
                Insertion::New => changed = true,
                Insertion::Held => {}
                Insertion::NoRoom => continue,
            }
            self.unclaimed.remove(&id);
        }
        if changed {
            self.count_entry(log, before);
            self.on_entry_changed(now, log);
        }
    }

    /// Brings the sums up to date with an entry that changed.
    pub(crate) fn count_entry(&mut self, log: LogId, before: Option<Sum>) {
        let place = Place::of_log(&log);
        if let Some(entry) = self.frontier.get(&log) {
            self.log_digests.add(place, item_of_entry(entry));
        }
        if let Some(before) = before {
            self.log_digests.remove(place, before);
        }
    }

    /// Whether there is room for one more block in flight, and in the frontier once it is durable.
    fn has_room_for(&self, block: &Block) -> bool {
        let id = block.id();
        self.in_flight.len() < IN_FLIGHT_MAX
            && self.in_flight_bytes + block.as_bytes().len() <= IN_FLIGHT_BYTES_MAX
            && self.has_room_for_log(&id.log)
            && self.fits_the_entry(&id)
    }

    /// Whether a block that touches none of what is held or in flight may open one more span.
    fn fits_the_entry(&self, id: &BlockId) -> bool {
        let mut entry = match self.frontier.get(&id.log) {
            Some(entry) => entry.clone(),
            None => FrontierEntry::new(id.log),
        };
        let (first, last) = ends_of(id.log);
        let in_flight = self.in_flight.range(first..=last).map(|(id, _)| id);
        let unclaimed = self.unclaimed.range(first..=last);
        let touches = |sequence| {
            let near = BlockId { sequence, ..*id };
            entry.covers(sequence)
                || self.in_flight.contains_key(&near)
                || self.unclaimed.contains(&near)
        };
        if id.sequence == entry.end + 1 || touches(id.sequence - 1) || touches(id.sequence + 1) {
            return true;
        }
        (in_flight.chain(unclaimed)).all(|taken| entry.insert(taken.sequence) != Insertion::NoRoom)
            && entry.insert(id.sequence) != Insertion::NoRoom
    }
}

/// The names before and after all blocks of a log.
pub(crate) const fn ends_of(log: LogId) -> (BlockId, BlockId) {
    let first = BlockId { log, sequence: 0 };
    let last = BlockId {
        log,
        sequence: Sequence::MAX,
    };
    (first, last)
}

const fn span_of(id: &BlockId) -> Span {
    Span {
        first: id.sequence,
        last: id.sequence,
    }
}

/// Most blocks of others that wait for the disk. Source: guess, several group commits.
const IN_FLIGHT_MAX: usize = 4_096;
/// Most bytes of others that wait for the disk. Unit: bytes. Source: guess.
const IN_FLIGHT_BYTES_MAX: usize = 16 * 1024 * 1024;
const _: () = assert!(IN_FLIGHT_BYTES_MAX > Block::ENCODED_BYTES_MAX);
const _: () = assert!(SEQUENCE_MAX < Sequence::MAX);
