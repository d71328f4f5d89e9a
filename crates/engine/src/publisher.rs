//! Publisher: gathers readings into blocks, numbers and signs them, and answers publishers.
//!
//! A lone reading leaves at once; a flood is gathered for at most `Config::gather` or until a block
//! is full. A batch never spans two blocks, so a publisher's mark and its readings live or die
//! together.

mod batch;
mod queue;
mod refused;
mod repeated;
mod replicas;
mod urgent;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use identity::Signer;
use model::{
    Block, BlockHash, BlockHeader, ClockState, Draft, Epoch, LogId, MachineId, NetworkId,
    NewReading, Position, PublisherMark, Reading, Sequence, SeriesDefinition, SeriesNumber,
    Timestamp,
};
use statemachine::Instant;

pub(crate) use batch::Batch;
use batch::{BATCH_BYTES_MAX, Gathered, Mark, Waiting, batch_bytes, judge};
use queue::Queue;
use refused::Refused;
use replicas::Replicas;
use urgent::is_urgent;

use crate::past::Past;
use crate::{AckLevel, PublishError, Published, RequestId};

/// Wall-clock time with its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wall {
    pub(crate) time: Timestamp,
    pub(crate) state: ClockState,
}

/// What the publisher wants done, in this order.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Tell everyone what a series number means; before the first block that uses it.
    Define(Epoch, SeriesNumber, Arc<SeriesDefinition>),
    /// Send and store a block.
    Publish(Block),
    /// Answer a publisher.
    Reply(RequestId, Result<Published, PublishError>),
}

#[derive(Debug)]
pub(crate) struct Publisher {
    machine: MachineId,
    network: NetworkId,
    gather: Duration,
    watermark_delay: Duration,
    epoch: Epoch,
    last: Sequence,
    previous: BlockHash,
    past: Past,
    watermark: Timestamp,
    series: BTreeMap<Arc<SeriesDefinition>, SeriesNumber>,
    queue: Queue,
    /// Batches with alarms, which go first.
    urgent: Queue,
    gathered: Gathered,
    /// Sealed blocks that are not durable yet, with who waits for them.
    unsynced: BTreeMap<Position, Vec<Waiting>>,
    /// Those of them that the disk refused.
    refused: Refused,
    unreplicated: Replicas,
    marks: BTreeMap<String, Mark>,
    sealed_at: Option<Instant>,
    /// Sealing waits until then: the epoch before may still be completed by neighbours.
    held_until: Option<Instant>,
    effects: Vec<Effect>,
}

/// Where the numbering goes on.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) epoch: Epoch,
    /// The last block of this epoch; 0 in a new one.
    pub(crate) last: Sequence,
    /// The last block of all, which the next one names.
    pub(crate) last_own: Option<(Position, BlockHash)>,
    /// What lies beyond gaps after it.
    pub(crate) own_runs: Vec<(Position, Position, BlockHash)>,
    /// What came before is not known, or not from the machine's own disk.
    pub(crate) is_lost: bool,
    pub(crate) held_until: Option<Instant>,
}

impl Publisher {
    pub(crate) fn new(
        machine: MachineId,
        network: NetworkId,
        config: &crate::Config,
        start: Start,
        publishers: Vec<PublisherMark>,
    ) -> Self {
        let before = Position {
            epoch: Epoch { counter: 0, tag: 0 },
            sequence: 0,
        };
        let known = |mark: PublisherMark| {
            let (sequence, block) = (mark.sequence, Some(before));
            (mark.publisher, Mark { sequence, block })
        };
        let marks = publishers.into_iter().map(known).collect();
        let is_running = |last: &(Position, BlockHash)| last.0.epoch == start.epoch;
        let running = start.last_own.filter(is_running);
        let past = start.last_own.filter(|last| !is_running(last));
        let mut own_runs = start.own_runs;
        own_runs.retain(|(first, _, _)| first.epoch != start.epoch);
        Self {
            machine,
            network,
            gather: config.gather,
            watermark_delay: config.watermark_delay,
            epoch: start.epoch,
            last: start.last,
            previous: running.map_or(NO_HASH, |(_, hash)| hash),
            past: match start.is_lost {
                true => Past::lost(),
                false => Past::new(past, own_runs),
            },
            watermark: Timestamp::MIN,
            series: BTreeMap::new(),
            queue: Queue::new(),
            urgent: Queue::new(),
            gathered: Gathered::default(),
            unsynced: BTreeMap::new(),
            refused: Refused::default(),
            unreplicated: Replicas::default(),
            marks,
            sealed_at: None,
            held_until: start.held_until,
            effects: Vec::new(),
        }
    }

    /// A block of an epoch before the running one has come back from a neighbour.
    pub(crate) fn take_back(&mut self, block: &Block) {
        if self.last > 0 {
            return; // The running epoch has named the end of the one before: this one is cut off.
        }
        let stored = Some(block.id().position());
        for PublisherMark {
            publisher,
            sequence,
        } in self.past.take_back(block, &self.network)
        {
            let known = self
                .marks
                .get(&publisher)
                .is_some_and(|mark| mark.sequence >= sequence);
            if !known {
                self.marks.insert(
                    publisher,
                    Mark {
                        sequence,
                        block: stored,
                    },
                );
            }
        }
    }

    /// Knows what a series number of the running epoch means, from before a stop in order.
    pub(crate) fn remember(&mut self, number: SeriesNumber, definition: Arc<SeriesDefinition>) {
        self.series.insert(definition, number);
    }

    /// Starts another epoch, because others know a later one of this machine.
    pub(crate) fn start_epoch(&mut self, epoch: Epoch) {
        if self.last > 0 {
            self.past = Past::new(Some((self.last(), self.previous)), []);
        }
        self.epoch = epoch;
        self.last = 0;
        self.series.clear();
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The last block that was sealed; sequence 0 before the first of the epoch.
    pub(crate) fn last(&self) -> Position {
        Position {
            epoch: self.epoch,
            sequence: self.last,
        }
    }

    /// The last block of this machine's log, also if it is of an epoch before; `None` in the life
    /// of a machine that has published nothing.
    pub(crate) fn end(&self) -> Option<Position> {
        let past = self.past.last().map(|(position, _)| position);
        if self.last > 0 {
            Some(self.last())
        } else {
            past
        }
    }

    /// Whether blocks are sealed already.
    pub(crate) fn is_open(&self) -> bool {
        self.held_until.is_none()
    }

    /// Raises the watermark to `wall` less the delay, for the state that says so.
    pub(crate) fn advance_watermark(&mut self, wall: Wall) -> Timestamp {
        self.watermark = self
            .watermark
            .max(wall.time.saturating_sub(self.watermark_delay));
        self.watermark
    }

    /// Whether all that was published is in a block.
    pub(crate) fn is_idle(&self) -> bool {
        self.gathered.is_empty() && self.queue.is_empty() && self.urgent.is_empty()
    }

    /// Takes a batch, or refuses it with the reason.
    pub(crate) fn publish(&mut self, batch: Batch) {
        if !self.refused.is_empty() {
            let error = PublishError::DiskRefuses;
            self.effects.push(Effect::Reply(batch.request, Err(error)));
            return;
        }
        let bytes = batch_bytes(&batch.readings);
        let readings = batch.readings.len();
        if readings > Block::READINGS_MAX || bytes > BATCH_BYTES_MAX {
            let (readings_max, bytes_max) = (Block::READINGS_MAX, BATCH_BYTES_MAX);
            let error = PublishError::TooLarge {
                readings,
                bytes,
                readings_max,
                bytes_max,
            };
            self.effects.push(Effect::Reply(batch.request, Err(error)));
            return;
        }
        let fits = |reading: &NewReading| {
            reading
                .value
                .value_type()
                .is_none_or(|found| found == reading.series.value_type)
        };
        if let Some(wrong) = batch.readings.iter().find(|reading| !fits(reading)) {
            let error = PublishError::WrongType {
                series: wrong.series.name.clone(),
            };
            self.effects.push(Effect::Reply(batch.request, Err(error)));
            return;
        }
        let request = batch.request;
        let queue = match Self::goes_first(&batch) {
            true => &mut self.urgent,
            false => &mut self.queue,
        };
        if queue.push(batch).is_err() {
            self.effects
                .push(Effect::Reply(request, Err(PublishError::Busy)));
        }
    }

    /// Moves what can be moved: batches into the block that is gathered, full or due blocks out.
    pub(crate) fn pump(&mut self, key: &dyn Signer, now: Instant, wall: Wall) {
        if self.held_until.is_some_and(|until| until > now) {
            return; // What comes back meanwhile decides which batches are stored already.
        }
        self.held_until = None;
        let again = self.refused.take_due(now);
        self.effects.extend(again.into_iter().map(Effect::Publish));
        self.pump_urgent(key, now, wall);
        while let Some(batch) = self.queue.first() {
            if self.fits(batch) {
                if let Some(batch) = self.queue.pop() {
                    self.gather(batch, wall);
                }
            } else if self.may_seal() {
                self.seal(key, now, wall);
            } else {
                return;
            }
        }
        if self.may_seal() && self.seal_at().is_some_and(|at| at <= now) {
            self.seal(key, now, wall);
        }
    }

    /// When `pump` wants to be called again.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let seal = match self.held_until {
            Some(until) => Some(until),
            None if self.may_seal() => self.seal_at(),
            None => None, // A block becoming durable makes room.
        };
        seal.into_iter().chain(self.refused.next_deadline()).min()
    }

    /// Seals whatever is gathered, for a stop in order.
    pub(crate) fn flush(&mut self, key: &dyn Signer, now: Instant, wall: Wall) {
        self.held_until = None;
        self.pump(key, now, wall);
        if !self.gathered.is_empty() {
            self.seal(key, now, wall);
        }
        self.refuse_queued(&PublishError::Stopping);
    }

    /// Whether every sealed block is durable.
    pub(crate) fn is_synced(&self) -> bool {
        self.unsynced.is_empty()
    }

    /// An own block is on disk. Returns whether it belongs to the log as this machine knows it; if
    /// not, somebody else has numbered on: this machine before its disk was restored, or a copy.
    pub(crate) fn on_durable(&mut self, block: &Block) -> bool {
        let position = block.id().position();
        if self
            .refused
            .remove(&position)
            .is_some_and(|own| own != *block)
        {
            self.disown(position);
            return false;
        }
        let Some(waiting) = self.unsynced.remove(&position) else {
            return match position.epoch == self.epoch {
                true => position.sequence <= self.last,
                false => position.epoch.counter < self.epoch.counter,
            };
        };
        for waiting in waiting {
            match waiting.level {
                AckLevel::Accepted => {}
                AckLevel::Durable => self.effects.push(waiting.reply(Ok(()))),
                AckLevel::Replicated(_) => {
                    self.unreplicated.wait(position, waiting, &mut self.effects);
                }
            }
        }
        true
    }

    /// An own block could not be written: it is tried again, and until it is there nothing is
    /// taken. What came back of an old epoch is left to gossip.
    pub(crate) fn on_not_persisted(&mut self, now: Instant, block: Block) {
        let Some(waiting) = self.unsynced.get_mut(&block.id().position()) else {
            return;
        };
        let told = std::mem::take(waiting);
        self.refused.insert(now, block);
        self.refuse(told);
        let told = std::mem::take(&mut self.gathered.waiting);
        self.refuse(told);
        self.refuse_queued(&PublishError::DiskRefuses);
    }

    /// An own block will never be written, because its number is taken. Returns whether it was one
    /// that this machine has sealed.
    pub(crate) fn disown(&mut self, position: Position) -> bool {
        self.refused.remove(&position);
        let Some(waiting) = self.unsynced.remove(&position) else {
            return false;
        };
        self.refuse(waiting);
        self.marks.retain(|_, mark| mark.block != Some(position));
        true
    }

    /// Tells publishers that their batches are not taken.
    fn refuse_queued(&mut self, error: &PublishError) {
        while let Some(batch) = self.urgent.pop().or_else(|| self.queue.pop()) {
            let reply = Effect::Reply(batch.request, Err(error.clone()));
            self.effects.push(reply);
        }
    }

    /// Tells publishers that their readings are not on disk.
    fn refuse(&mut self, waiting: Vec<Waiting>) {
        let waiting = waiting.into_iter();
        let unanswered = waiting.filter(|waiting| waiting.level != AckLevel::Accepted);
        let reply = |waiting: Waiting| waiting.reply(Err(PublishError::NotPersisted));
        self.effects.extend(unanswered.map(reply));
    }

    /// Whether requests wait for which neighbours have not been counted yet.
    pub(crate) fn take_uncounted(&mut self) -> bool {
        self.unreplicated.take_uncounted()
    }

    /// Neighbours' frontiers have moved; `holders` counts those that cover a block.
    pub(crate) fn on_frontiers(&mut self, holders: impl Fn(Position) -> usize) {
        self.unreplicated.count(holders, &mut self.effects);
    }

    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    fn may_seal(&self) -> bool {
        self.held_until.is_none() && self.unsynced.len() < UNSYNCED_MAX
    }

    fn seal_at(&self) -> Option<Instant> {
        if self.gathered.is_empty() {
            return None;
        }
        let is_full = self.gathered.readings.len() >= Block::READINGS_MAX;
        if is_full || self.gathered.urgent {
            return Some(Instant::ZERO);
        }
        Some(self.sealed_at.map_or(Instant::ZERO, |at| at + self.gather))
    }

    fn fits(&self, batch: &Batch) -> bool {
        let new_mark = batch.publisher.as_ref().is_some_and(|mark| {
            !self.gathered.marks.contains_key(&mark.publisher)
                && self.gathered.marks.len() >= Block::PUBLISHERS_MAX
        });
        !new_mark
            && self.gathered.readings.len() + batch.readings.len() <= Block::READINGS_MAX
            && self.gathered.bytes + batch_bytes(&batch.readings) <= BATCH_BYTES_MAX
            && self.gathered.waiting.len() < Block::READINGS_MAX
    }

    /// Puts a batch into the block that is gathered, unless it was stored before.
    fn gather(&mut self, batch: Batch, wall: Wall) {
        let Batch {
            request,
            readings,
            publisher,
            level,
        } = batch;
        let mut waiting = Waiting {
            request,
            readings: readings.len(),
            repeated: false,
            level,
        };
        if let Some(mark) = &publisher
            && let Some(known) = self.marks.get(&mark.publisher).copied()
            && known.sequence >= mark.sequence
        {
            waiting.repeated = true;
            self.wait_for(known.block, waiting);
            return;
        }
        if self.series.len() + self.count_new_series(&readings) > SERIES_MAX {
            let error = PublishError::TooManySeries { max: SERIES_MAX };
            self.effects.push(waiting.reply(Err(error)));
            return;
        }
        self.gathered.bytes += batch_bytes(&readings);
        self.gathered.urgent |= is_urgent(&readings);
        self.gathered
            .readings
            .extend(readings.into_iter().map(|reading| {
                let quality = judge(reading.quality, reading.time, wall);
                NewReading { quality, ..reading }
            }));
        if let Some(mark) = publisher {
            self.note_mark(mark);
        }
        if level == AckLevel::Accepted {
            self.effects.push(waiting.reply(Ok(())));
        }
        self.gathered.waiting.push(waiting);
    }

    fn count_new_series(&self, readings: &[NewReading]) -> usize {
        let mut new = BTreeSet::new();
        for run in readings.chunk_by(|a, b| Arc::ptr_eq(&a.series, &b.series)) {
            if let Some(reading) = run.first()
                && !self.series.contains_key(&reading.series)
            {
                new.insert(&reading.series);
            }
        }
        new.len()
    }

    fn next_position(&self) -> Position {
        Position {
            epoch: self.epoch,
            sequence: self.last + 1,
        }
    }

    /// Gives every series of the readings its number, and tells everyone of new ones.
    fn number(&mut self, readings: Vec<NewReading>) -> Vec<Reading> {
        let mut numbered = Vec::with_capacity(readings.len());
        let mut memo: Option<(Arc<SeriesDefinition>, SeriesNumber)> = None;
        for reading in readings {
            let series = match memo {
                Some((ref known, number)) if Arc::ptr_eq(known, &reading.series) => number,
                _ => self.number_of(&reading.series),
            };
            memo = Some((reading.series, series));
            let (time, value, quality) = (reading.time, reading.value, reading.quality);
            numbered.push(Reading {
                series,
                time,
                value,
                quality,
            });
        }
        numbered
    }

    fn number_of(&mut self, series: &Arc<SeriesDefinition>) -> SeriesNumber {
        if let Some(number) = self.series.get(series) {
            return *number;
        }
        let number = SeriesNumber(u32::try_from(self.series.len() + 1).unwrap_or(u32::MAX));
        self.series.insert(Arc::clone(series), number);
        self.effects
            .push(Effect::Define(self.epoch, number, Arc::clone(series)));
        number
    }

    fn seal(&mut self, key: &dyn Signer, now: Instant, wall: Wall) {
        let gathered = std::mem::take(&mut self.gathered);
        let watermark = self.advance_watermark(wall);
        let position = self.next_position();
        let readings = self.number(gathered.readings);
        let mut publishers = Vec::with_capacity(gathered.marks.len());
        for (publisher, sequence) in gathered.marks {
            if let Some(mark) = self.marks.get_mut(&publisher) {
                mark.block = Some(position);
            }
            publishers.push(PublisherMark {
                publisher,
                sequence,
            });
        }
        let (previous, continues) = match self.past.last() {
            Some((position, hash)) if self.last == 0 => (hash, Some(position)),
            _ => (self.previous, None),
        };
        let header = BlockHeader {
            log: LogId {
                machine: self.machine,
                epoch: self.epoch,
            },
            sequence: position.sequence,
            previous: previous.prefix(),
            continues,
            sealed: wall.time,
            watermark,
            count: u32::try_from(readings.len()).unwrap_or(u32::MAX),
            urgent: gathered.urgent,
            publishers,
        };
        let draft = Draft { header, readings };
        let block = draft
            .seal(&self.network, |hash| key.sign(hash))
            .expect("gathered readings are within a block's limits");
        self.last = position.sequence;
        self.previous = block.hash(&self.network);
        self.sealed_at = Some(now);
        self.unsynced.insert(position, gathered.waiting);
        self.effects.push(Effect::Publish(block));
    }
}

/// Stands where there is no block before.
const NO_HASH: BlockHash = BlockHash([0; 32]);
/// Sealed blocks that are not durable yet; beyond it a publisher hears `Busy`. Source: guess.
const UNSYNCED_MAX: usize = 64;
/// Series of one epoch. Source: guess, half of the states that others keep of one origin by default
/// (`gossip::Config::states_max`).
const SERIES_MAX: usize = 8_192;
