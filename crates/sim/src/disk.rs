//! A simulated store: what is written is safe once it was synced, and until then a crash keeps
//! the beginning of it or nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use command::{Note, NoteWrite};
use engine::{CleanStop, Recovered};
use gossip::{FrontierEntry, Span, Write};
use model::{
    Block, BlockHash, BlockId, Epoch, LogId, MachineId, NetworkId, Position, PublisherMark,
    Sequence, State, StateKey, StateKind, Timestamp,
};
use overlay::Contact;
use statemachine::{Rng, Ticket};

/// Something to be written.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// A block or a state, whose ticket wants an answer.
    Write(Ticket, Write),
    /// A block that nobody asked to be written.
    Unasked(Write),
    /// A note on a command, whose ticket wants an answer.
    Note(Ticket, NoteWrite),
    /// The counter of an epoch that starts.
    Epoch(u64),
    /// A contact for the address book.
    Contact(Contact),
}

/// What is safe.
#[derive(Debug, Default)]
struct Content {
    blocks: BTreeMap<LogId, BTreeMap<Sequence, Block>>,
    states: BTreeMap<StateKey, State>,
    contacts: BTreeMap<MachineId, Contact>,
    notes: Vec<Note>,
    /// From which block on each log is kept, where that is not the first.
    floors: BTreeMap<LogId, Sequence>,
    epoch_counter: u64,
    clean: Option<CleanStop>,
}

/// The disk of one machine. It outlives the node.
#[derive(Debug)]
pub(crate) struct Disk {
    rng: Rng,
    content: Content,
    /// Written in this order, not yet synced.
    unsynced: Vec<Op>,
    /// How many of them the running sync makes safe; zero if none runs.
    syncing: usize,
    is_slow: bool,
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            rng,
            content: Content::default(),
            unsynced: Vec::new(),
            syncing: 0,
            is_slow: false,
        }
    }

    /// Whether syncs and reads take very long.
    pub(crate) const fn set_slow(&mut self, is_slow: bool) {
        self.is_slow = is_slow;
    }

    /// How long reading blocks takes.
    #[must_use]
    pub(crate) const fn read_time(&self) -> Duration {
        if self.is_slow { READ_SLOW } else { READ }
    }

    /// Everything is gone.
    pub(crate) fn wipe(&mut self) {
        (self.content, self.unsynced, self.syncing) = (Content::default(), Vec::new(), 0);
    }

    /// A bit of a block is flipped: it does not read any more.
    pub(crate) fn lose(&mut self, id: &BlockId) {
        if let Some(blocks) = self.content.blocks.get_mut(&id.log) {
            blocks.remove(&id.sequence);
        }
    }

    /// Gives up the blocks of a log before `floor`; returns them.
    pub(crate) fn give_up(&mut self, log: LogId, floor: Sequence) -> BTreeMap<Sequence, Block> {
        let blocks = self.content.blocks.entry(log).or_default();
        let kept = blocks.split_off(&floor);
        self.content.floors.insert(log, floor);
        std::mem::replace(blocks, kept)
    }

    /// From which block on a log is kept.
    #[must_use]
    pub(crate) fn floor(&self, log: &LogId) -> Sequence {
        self.content.floors.get(log).copied().unwrap_or(1)
    }

    /// The last block of the gap-free part of a log; 0 if there is none.
    #[must_use]
    pub(crate) fn end(&self, log: &LogId) -> Sequence {
        let blocks = self.content.blocks.get(log);
        blocks.map_or(0, |blocks| frontier_of(*log, self.floor(log), blocks).end)
    }

    /// Writes. Returns how long the sync takes that this starts, if none is running.
    pub(crate) fn write(&mut self, op: Op) -> Option<Duration> {
        self.unsynced.push(op);
        (self.syncing == 0).then(|| self.start_sync())
    }

    /// A sync has ended. Returns the tickets that it made safe, and how long the next one takes if
    /// more was written meanwhile.
    pub(crate) fn synced(&mut self) -> (Vec<Ticket>, Option<Duration>) {
        let done: Vec<_> = self.unsynced.drain(..self.syncing).collect();
        self.syncing = 0;
        let ticket = |op: &Op| match op {
            Op::Write(ticket, _) | Op::Note(ticket, _) => Some(*ticket),
            Op::Epoch(_) | Op::Contact(_) | Op::Unasked(_) => None,
        };
        let tickets = done.iter().filter_map(ticket).collect();
        done.into_iter().for_each(|op| self.content.keep(op));
        let next = (!self.unsynced.is_empty()).then(|| self.start_sync());
        (tickets, next)
    }

    /// The machine crashes: of what was not synced, the beginning may be there nevertheless.
    pub(crate) fn crash(&mut self) {
        let kept = self.rng.index(self.unsynced.len() + 1).unwrap_or(0);
        let ops: Vec<_> = self.unsynced.drain(..).take(kept).collect();
        ops.into_iter().for_each(|op| self.content.keep(op));
        self.syncing = 0;
    }

    /// Somebody puts a list of thrown-out machines from before in place of the newer one.
    pub(crate) fn forget_revocations(&mut self) {
        self.content
            .states
            .retain(|key, _| key.kind != StateKind::Revocation);
    }

    /// A stop in order syncs what was written and leaves a marker.
    pub(crate) fn stop(&mut self, clean: CleanStop) {
        let ops = std::mem::take(&mut self.unsynced);
        ops.into_iter().for_each(|op| self.content.keep(op));
        self.syncing = 0;
        self.mark_clean(clean);
    }

    /// The marker of a stop in order is there.
    pub(crate) const fn mark_clean(&mut self, clean: CleanStop) {
        self.content.clean = Some(clean);
    }

    /// Whether a block is being written and is not safe yet.
    #[must_use]
    pub(crate) fn is_written(&self, log: &LogId, sequence: Sequence) -> bool {
        self.unsynced.iter().any(|op| {
            matches!(op, Op::Write(_, Write::Block(block))
                if block.id() == BlockId { log: *log, sequence })
        })
    }

    /// Reads blocks of a span in order, and stops before they exceed `bytes_max`, but not before
    /// the first.
    #[must_use]
    pub(crate) fn read(&self, log: LogId, span: Span, bytes_max: usize) -> Vec<Block> {
        let mut bytes = 0;
        let synced = self.content.blocks.get(&log);
        let blocks = synced
            .into_iter()
            .flat_map(|b| b.range(span.first..=span.last));
        blocks
            .map(|(_, block)| block.clone())
            .take_while(|block| {
                let first = bytes == 0;
                bytes += block.as_bytes().len();
                first || bytes <= bytes_max
            })
            .collect()
    }

    /// Finds the blocks of a span that hold readings of some times, as `store` does. Returns them
    /// and the last sequence up to which nothing was overlooked.
    #[must_use]
    pub(crate) fn search(
        &self,
        log: LogId,
        span: Span,
        times: Option<(Timestamp, Timestamp)>,
        bytes_max: usize,
    ) -> (Vec<Block>, Sequence) {
        let (mut found, mut searched, mut bytes) = (Vec::new(), span.first - 1, 0);
        let held = self.content.blocks.get(&log).into_iter();
        for (sequence, block) in held.flat_map(|held| held.range(span.first..=span.last)) {
            if *sequence != searched + 1 {
                break;
            }
            let readings = block.readings().unwrap_or_default();
            let is_wanted = times.is_none_or(|(from, to)| {
                readings
                    .iter()
                    .any(|reading| from <= reading.time && reading.time < to)
            });
            if is_wanted {
                bytes += block.as_bytes().len();
                if bytes > bytes_max && !found.is_empty() {
                    break;
                }
                found.push(block.clone());
            }
            searched = *sequence;
        }
        (found, searched)
    }

    /// Whether a block is safe, or was until it was given up.
    #[must_use]
    pub(crate) fn holds(&self, id: &BlockId) -> bool {
        let blocks = self.content.blocks.get(&id.log);
        id.sequence < self.floor(&id.log)
            || blocks.is_some_and(|blocks| blocks.contains_key(&id.sequence))
    }

    /// The blocks that are safe, log by log.
    #[must_use]
    pub(crate) const fn blocks(&self) -> &BTreeMap<LogId, BTreeMap<Sequence, Block>> {
        &self.content.blocks
    }

    /// What a node is told at its start; the marker of the stop in order is gone after that.
    pub(crate) fn recover(&mut self, machine: MachineId, network: &NetworkId) -> Recovered {
        let own = self
            .content
            .blocks
            .iter()
            .filter(|(log, _)| log.machine == machine);
        let mut publishers: BTreeMap<String, u64> = BTreeMap::new();
        for block in own.clone().flat_map(|(_, blocks)| blocks.values()) {
            for mark in &block.header().publishers {
                let sequence = publishers.entry(mark.publisher.clone()).or_default();
                *sequence = mark.sequence.max(*sequence);
            }
        }
        let last_own = own.rev().find_map(|(log, blocks)| {
            let floor = self.content.floors.get(log).copied().unwrap_or(1);
            let end = frontier_of(*log, floor, blocks).end;
            let block = blocks.get(&end)?;
            Some((block.id().position(), block.hash(network)))
        });
        let newest = last_own.map(|(last, _): (Position, BlockHash)| last.epoch);
        let own_runs = self.runs_of(machine, newest, network);
        let marks = publishers.into_iter();
        Recovered {
            frontier: self.content.frontier(),
            states: self.content.states.values().cloned().collect(),
            contacts: self.content.contacts.values().cloned().collect(),
            clean: self.content.clean.take(),
            epoch_counter_highest: self.content.epoch_counter,
            last_own,
            own_runs,
            notes: self.content.notes.clone(),
            publishers: marks
                .map(|(publisher, sequence)| PublisherMark {
                    publisher,
                    sequence,
                })
                .collect(),
        }
    }

    /// What of a machine's logs lies beyond a gap, from an epoch on.
    fn runs_of(
        &self,
        machine: MachineId,
        from: Option<Epoch>,
        network: &NetworkId,
    ) -> Vec<(Position, Position, BlockHash)> {
        let own =
            self.content.blocks.iter().filter(|(log, _)| {
                log.machine == machine && from.is_none_or(|from| log.epoch >= from)
            });
        let runs = own.flat_map(|(log, blocks)| {
            let beyond = frontier_of(*log, self.floor(log), blocks).beyond;
            let ends = beyond.into_iter().filter_map(|span| {
                let (first, last) = (blocks.get(&span.first)?, blocks.get(&span.last)?);
                Some((
                    first.id().position(),
                    last.id().position(),
                    last.hash(network),
                ))
            });
            ends.collect::<Vec<_>>()
        });
        runs.collect()
    }

    fn start_sync(&mut self) -> Duration {
        self.syncing = self.unsynced.len();
        let slow = self.rng.chance(SLOW_PERMILLE);
        let mean = match self.is_slow {
            true => SYNC_VERY_SLOW,
            false if slow => SYNC_SLOW,
            false => SYNC,
        };
        self.rng.jitter(mean)
    }
}

impl Content {
    fn keep(&mut self, op: Op) {
        match op {
            Op::Write(_, Write::Block(block)) | Op::Unasked(Write::Block(block)) => {
                let BlockId { log, sequence } = block.id();
                self.blocks.entry(log).or_default().insert(sequence, block);
            }
            Op::Write(_, Write::State(state)) | Op::Unasked(Write::State(state)) => {
                self.states.insert(state.key().clone(), state);
            }
            Op::Note(_, NoteWrite::Append(note)) => self.notes.push(note),
            Op::Note(_, NoteWrite::Replace(notes)) => self.notes = notes,
            Op::Epoch(counter) => self.epoch_counter = self.epoch_counter.max(counter),
            Op::Contact(contact) => {
                self.contacts.insert(contact.machine, contact);
            }
        }
    }

    fn frontier(&self) -> Vec<FrontierEntry> {
        self.blocks
            .iter()
            .map(|(log, blocks)| {
                let floor = self.floors.get(log).copied().unwrap_or(1);
                frontier_of(*log, floor, blocks)
            })
            .collect()
    }
}

/// What a log's blocks claim: everything from the floor on, and runs beyond the first gap as far as
/// a frontier has room for them.
fn frontier_of(log: LogId, floor: Sequence, blocks: &BTreeMap<Sequence, Block>) -> FrontierEntry {
    let mut entry = FrontierEntry {
        log,
        floor,
        end: floor - 1,
        beyond: Vec::new(),
    };
    for (&sequence, _) in blocks.range(floor..) {
        let has_room = entry.beyond.len() < FrontierEntry::BEYOND_MAX;
        match entry.beyond.last_mut() {
            None if sequence == entry.end + 1 => entry.end = sequence,
            Some(run) if sequence == run.last + 1 => run.last = sequence,
            _ if has_room => entry.beyond.push(Span {
                first: sequence,
                last: sequence,
            }),
            _ => break,
        }
    }
    entry
}

/// Mean time of a sync. Source: guess, an industrial flash card.
const SYNC: Duration = Duration::from_millis(3);
/// Mean time of a slow one.
const SYNC_SLOW: Duration = Duration::from_millis(150);
/// Slow ones. Unit: per mille.
const SLOW_PERMILLE: u32 = 20;
/// Mean time of a sync of a disk that is about to die.
const SYNC_VERY_SLOW: Duration = Duration::from_secs(5);
/// How long reading blocks takes.
const READ: Duration = Duration::from_millis(1);
/// The same on a disk that is about to die.
const READ_SLOW: Duration = Duration::from_secs(1);
