//! Where every block lies, in memory.
//!
//! A log is kept as runs of blocks without gaps, so its frontier is read off and a place costs 40
//! bytes. Blocks that come in order, or newest first, are added at an end of a run.
//!
//! # The canonical log of a machine
//!
//! The log of an origin is its epochs in order, each cut at the position that its successor's first
//! block names. The rule is applied from the newest epoch backwards: what lies between the named
//! position and the epoch that names it are stragglers, whole epochs included. They are stored and
//! given to gossip like others, but queries leave them out. Where an origin began anew because it
//! had lost everything, the rule is applied to each line (`model::lines`) for itself.

mod kept;

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

use gossip::{FrontierEntry, Span};
use model::{BlockId, Epoch, LogId, MachineId, Position, Sequence, Timestamp, lines};

use crate::footer::BlockEntry;
use crate::series_set::SeriesSet;

/// Where a block lies, and what a query wants to know before it reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The number of the segment.
    pub(crate) segment: u32,
    /// Where its record starts. Unit: bytes.
    pub(crate) offset: u32,
    /// How long its record is, header included. Unit: bytes.
    pub(crate) length: u32,
    /// How many readings it holds.
    pub(crate) readings: u32,
    /// Which series, for [`Index::set`].
    pub(crate) set: SetNumber,
    /// The time of its oldest reading.
    pub(crate) first: Timestamp,
    /// The time of its newest reading.
    pub(crate) last: Timestamp,
}

/// The number of a set of series in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SetNumber(u32);

/// All that is held.
#[derive(Debug)]
pub(crate) struct Index {
    logs: BTreeMap<LogId, Log>,
    sets: Vec<SeriesSet>,
    set_numbers: BTreeMap<SeriesSet, SetNumber>,
    /// How many blocks.
    pub(crate) blocks: u64,
    /// How many readings.
    pub(crate) readings: u64,
}

/// What is held of one log.
#[derive(Debug, Default)]
struct Log {
    /// Blocks without gaps, by the sequence of the first. No two runs touch.
    runs: BTreeMap<Sequence, VecDeque<Place>>,
    /// Blocks that are kept whatever becomes of the runs; only those below the floor matter.
    kept: BTreeMap<Sequence, Place>,
    /// Blocks before this one are given up for good; 0 and 1 give up nothing.
    floor: Sequence,
    /// What block 1 says to continue; `None` unless it was held and says so.
    continues: Option<Position>,
    /// The last sequence that is no straggler.
    cut: Cut,
    /// By set of series: the block with the newest reading, and its time.
    newest: BTreeMap<SetNumber, (Timestamp, Sequence)>,
    /// What came since somebody last asked; `None` if nobody keeps up with it.
    fresh: Option<Vec<Sequence>>,
}

/// The last sequence of a log that is no straggler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut(Sequence);

impl Default for Cut {
    fn default() -> Self {
        Self(Sequence::MAX)
    }
}

impl Index {
    /// Holds nothing.
    pub(crate) fn new() -> Self {
        Self {
            logs: BTreeMap::new(),
            sets: vec![SeriesSet::any()],
            set_numbers: BTreeMap::new(),
            blocks: 0,
            readings: 0,
        }
    }

    /// Adds a block; `false` if its number is taken.
    pub(crate) fn insert(&mut self, segment: u32, entry: &BlockEntry) -> bool {
        let place = self.place(segment, entry);
        let BlockId { log: id, sequence } = entry.id;
        let is_new_log = !self.logs.contains_key(&id);
        let log = self.logs.entry(id).or_default();
        if !log.insert(sequence, place) {
            return false;
        }
        if sequence == 1 {
            log.continues = entry.continues;
        }
        self.blocks += 1;
        self.readings += u64::from(place.readings);
        if is_new_log || sequence == 1 {
            self.cut_again(id.machine);
        }
        if let Some(log) = self.logs.get_mut(&id) {
            log.note_newest(sequence, place);
        }
        true
    }

    fn place(&mut self, segment: u32, entry: &BlockEntry) -> Place {
        Place {
            segment,
            offset: entry.offset,
            length: entry.length,
            readings: entry.extent.readings,
            set: self.intern(&entry.extent.series),
            first: entry.extent.first,
            last: entry.extent.last,
        }
    }

    /// Adds a block as it is found at the start. Of two places of one block the later counts: it
    /// was written a second time only because the first did not read back.
    pub(crate) fn restore(&mut self, segment: u32, entry: &BlockEntry) {
        if let Some(damaged) = self.get(entry.id) {
            self.remove(entry.id, damaged.segment);
        }
        self.insert(segment, entry);
    }

    /// Forgets a block that does not read back, so that gossip may bring it again.
    pub(crate) fn remove(&mut self, id: BlockId, segment: u32) {
        let Some(log) = self.logs.get_mut(&id.log) else {
            return;
        };
        if let Some(place) = log.remove(id.sequence, segment) {
            self.blocks -= 1;
            self.readings -= u64::from(place.readings);
            if id.sequence == 1 {
                log.continues = None;
                self.cut_again(id.log.machine);
            }
        }
    }

    /// Gives up the blocks of a log before `floor` for good. A lower floor changes nothing.
    pub(crate) fn advance_floor(&mut self, id: LogId, floor: Sequence) {
        let log = self.logs.entry(id).or_default();
        for place in log.advance_floor(floor) {
            self.blocks -= 1;
            self.readings -= u64::from(place.readings);
        }
    }

    /// Takes over what is known of a log that has a floor, before any of its blocks is added.
    pub(crate) fn restore_floor(
        &mut self,
        id: LogId,
        floor: Sequence,
        continues: Option<Position>,
    ) {
        let log = self.logs.entry(id).or_default();
        (log.floor, log.continues) = (floor, continues);
        self.cut_again(id.machine);
    }

    /// Whether a block is given up for good.
    pub(crate) fn is_given_up(&self, id: BlockId) -> bool {
        let log = self.logs.get(&id.log);
        log.is_some_and(|log| id.sequence < log.floor)
    }

    /// What the first block of a log says to continue, also if it is given up by now.
    pub(crate) fn continues(&self, log: &LogId) -> Option<Position> {
        self.logs.get(log)?.continues
    }

    /// The end of the gap-free part of a machine's newest log that has one.
    pub(crate) fn last_of(&self, machine: MachineId) -> Option<BlockId> {
        let logs = self.logs.range(all_epochs(machine)).rev();
        let mut ends = logs.map(|(id, log)| (*id, log.frontier(*id)));
        let (log, entry) = ends.find(|(_, entry)| entry.end >= entry.floor)?;
        let sequence = entry.end;
        Some(BlockId { log, sequence })
    }

    /// What of a machine's logs lies beyond a gap, from an epoch on: the first and the last block
    /// of each run, and where the last one lies.
    pub(crate) fn beyond(
        &self,
        machine: MachineId,
        from: Option<Epoch>,
    ) -> Vec<(BlockId, BlockId, Place)> {
        let logs = self.logs.range(all_epochs(machine));
        let logs = logs.filter(|(id, _)| from.is_none_or(|from| id.epoch >= from));
        let runs = logs.flat_map(|(log, held)| {
            let spans = held.frontier(*log).beyond.into_iter();
            spans.filter_map(|span| {
                let id = |sequence| BlockId {
                    log: *log,
                    sequence,
                };
                let place = held.get(span.last).copied()?;
                Some((id(span.first), id(span.last), place))
            })
        });
        runs.collect()
    }

    /// Where a block lies.
    pub(crate) fn get(&self, id: BlockId) -> Option<Place> {
        self.logs.get(&id.log)?.get(id.sequence).copied()
    }

    /// What the entry of a block in its segment's footer is.
    pub(crate) fn entry(&self, id: BlockId) -> Option<BlockEntry> {
        let log = self.logs.get(&id.log)?;
        let continues = log.continues.filter(|_| id.sequence == 1);
        Some(self.entry_of(id, *log.get(id.sequence)?, continues))
    }

    fn entry_of(&self, id: BlockId, place: Place, continues: Option<Position>) -> BlockEntry {
        BlockEntry {
            id,
            continues,
            offset: place.offset,
            length: place.length,
            extent: crate::record::Extent {
                first: place.first,
                last: place.last,
                readings: place.readings,
                series: self.set(place.set).clone(),
            },
        }
    }

    /// The series of a place.
    pub(crate) fn set(&self, number: SetNumber) -> &SeriesSet {
        usize::try_from(number.0)
            .ok()
            .and_then(|number| self.sets.get(number))
            .unwrap_or(&self.sets[0])
    }

    /// Gives the places of a log from a sequence on to `visit` in order, until it breaks.
    pub(crate) fn visit(
        &self,
        log: &LogId,
        from: Sequence,
        through: Sequence,
        mut visit: impl FnMut(Sequence, &Place) -> ControlFlow<()>,
    ) {
        let Some(log) = self.logs.get(log) else {
            return;
        };
        let start = log.run_at(from).map_or(from, |(start, _)| start);
        for (start, run) in log.runs.range(start..) {
            let first = from.max(*start);
            let skipped = usize::try_from(first - start).unwrap_or(usize::MAX);
            for (sequence, place) in (first..=through).zip(run.range(skipped.min(run.len())..)) {
                if visit(sequence, place).is_break() {
                    return;
                }
            }
        }
    }

    /// How many readings a part of a log holds.
    pub(crate) fn readings_in(&self, log: &LogId, from: Sequence, through: Sequence) -> u64 {
        let mut readings = 0;
        self.visit(log, from, through, |_, place| {
            readings += u64::from(place.readings);
            ControlFlow::Continue(())
        });
        readings
    }

    /// Gives the places of a log that are no stragglers to `visit`, newest first, until it breaks.
    pub(crate) fn visit_back(
        &self,
        log: &LogId,
        mut visit: impl FnMut(Sequence, &Place) -> ControlFlow<()>,
    ) {
        let Some(log) = self.logs.get(log) else {
            return;
        };
        for (start, run) in log.runs.iter().rev() {
            for (back, place) in (0_u64..).zip(run.iter().rev()) {
                let sequence = last_of(*start, run) - back;
                if sequence <= log.cut.0 && visit(sequence, place).is_break() {
                    return;
                }
            }
        }
    }

    /// The last sequence of a log that is no straggler.
    pub(crate) fn cut(&self, log: &LogId) -> Sequence {
        self.logs.get(log).map_or(Sequence::MAX, |log| log.cut.0)
    }

    /// By set of series, the block with the newest reading of a log, stragglers left out.
    pub(crate) fn newest(&self, log: &LogId) -> impl Iterator<Item = (Timestamp, Sequence)> {
        let log = self.logs.get(log);
        log.into_iter().flat_map(|log| log.newest.values().copied())
    }

    /// Returns what came to a log since the last call; `None` if that is not known, because this is
    /// the first call, too much came, or a cut moved.
    pub(crate) fn take_fresh(&mut self, log: &LogId) -> Option<Vec<Sequence>> {
        self.logs.get_mut(log)?.fresh.replace(Vec::new())
    }

    /// What is held, log by log.
    pub(crate) fn frontier(&self) -> Vec<FrontierEntry> {
        let logs = self.logs.iter();
        let logs = logs.filter(|(_, log)| !log.runs.is_empty() || log.floor > FLOOR_MIN);
        logs.map(|(id, log)| log.frontier(*id)).collect()
    }

    /// The number of a set of series; [`SeriesSet::any`] once there are too many different ones.
    fn intern(&mut self, set: &SeriesSet) -> SetNumber {
        if let Some(number) = self.set_numbers.get(set) {
            return *number;
        }
        if self.sets.len() >= SETS_MAX {
            return SetNumber(0);
        }
        let number = SetNumber(u32::try_from(self.sets.len()).unwrap_or(0));
        self.sets.push(set.clone());
        self.set_numbers.insert(set.clone(), number);
        number
    }

    /// Applies the rule of the canonical log to a machine.
    fn cut_again(&mut self, machine: MachineId) {
        let logs = self.logs.range(all_epochs(machine));
        let of = lines(logs.map(|(id, log)| (id.epoch, log.beginning())));
        // By line, the position that the epochs after this one continue, if any does.
        let mut limits: BTreeMap<Epoch, Position> = BTreeMap::new();
        for (id, log) in self.logs.range_mut(all_epochs(machine)).rev() {
            let line = of.get(&id.epoch).copied().unwrap_or(id.epoch);
            let limit = limits.get(&line).copied();
            let cut = match limit {
                Some(Position { epoch, .. }) if epoch < id.epoch => Cut(0),
                Some(Position { epoch, sequence }) if epoch == id.epoch => Cut(sequence),
                _ => Cut::default(),
            };
            if cut != log.cut {
                log.cut = cut;
                log.fresh = None;
                log.note_newest_again();
            }
            let is_straggler = limit.is_some_and(|position| position.epoch < id.epoch);
            if !is_straggler {
                // A block that claims to continue its own future continues nothing.
                match log.continues.filter(|position| position.epoch < id.epoch) {
                    Some(named) => _ = limits.insert(line, named),
                    None => _ = limits.remove(&line),
                }
            }
        }
    }
}

impl Log {
    /// What its first block names as the one before it; `None` as long as that is not known.
    fn beginning(&self) -> Option<Option<Position>> {
        let is_known = self.floor > FLOOR_MIN || self.get(FLOOR_MIN).is_some();
        (is_known || self.continues.is_some()).then_some(self.continues)
    }

    fn insert(&mut self, sequence: Sequence, place: Place) -> bool {
        if sequence < self.floor.max(FLOOR_MIN) || self.get(sequence).is_some() {
            return false;
        }
        let after = sequence.checked_add(1);
        let mut next = after.and_then(|after| self.runs.remove(&after));
        let before = self.run_at(sequence - 1).map(|(start, _)| start);
        if let Some(start) = before {
            let run = self.runs.entry(start).or_default();
            run.push_back(place);
            if let Some(next) = &mut next {
                run.append(next);
            }
        } else {
            let mut run = next.unwrap_or_default();
            run.push_front(place);
            self.runs.insert(sequence, run);
        }
        true
    }

    fn note_newest(&mut self, sequence: Sequence, place: Place) {
        if sequence > self.cut.0 {
            return;
        }
        let newest = self
            .newest
            .entry(place.set)
            .or_insert((place.last, sequence));
        *newest = (place.last, sequence).max(*newest);
        match &mut self.fresh {
            Some(fresh) if fresh.len() < FRESH_MAX => fresh.push(sequence),
            fresh => *fresh = None,
        }
    }

    fn note_newest_again(&mut self) {
        self.newest.clear();
        for (start, run) in &self.runs {
            for (sequence, place) in (*start..=self.cut.0).zip(run) {
                let newest = self
                    .newest
                    .entry(place.set)
                    .or_insert((place.last, sequence));
                *newest = (place.last, sequence).max(*newest);
            }
        }
    }

    fn remove(&mut self, sequence: Sequence, segment: u32) -> Option<Place> {
        let (start, run) = self.run_at(sequence)?;
        let at = usize::try_from(sequence - start).ok()?;
        let place = *run.get(at).filter(|place| place.segment == segment)?;
        let mut run = self.runs.remove(&start)?;
        let mut rest = run.split_off(at);
        rest.pop_front();
        if !run.is_empty() {
            self.runs.insert(start, run);
        }
        if !rest.is_empty() {
            self.runs.insert(sequence + 1, rest);
        }
        self.fresh = None;
        Some(place)
    }

    /// Returns the places of what it gives up.
    fn advance_floor(&mut self, floor: Sequence) -> Vec<Place> {
        if floor <= self.floor.max(FLOOR_MIN) {
            return Vec::new();
        }
        self.floor = floor;
        let kept = self.runs.split_off(&floor);
        let mut dropped = std::mem::replace(&mut self.runs, kept);
        if let Some(mut last) = dropped.last_entry()
            && let Ok(count) = usize::try_from(floor - last.key())
            && count < last.get().len()
        {
            self.runs.insert(floor, last.get_mut().split_off(count));
        }
        self.fresh = None;
        if self.newest.values().any(|(_, sequence)| *sequence < floor) {
            self.note_newest_again();
        }
        dropped.into_values().flatten().collect()
    }

    fn get(&self, sequence: Sequence) -> Option<&Place> {
        let (start, run) = self.run_at(sequence)?;
        run.get(usize::try_from(sequence - start).ok()?)
    }

    /// The run that covers a sequence.
    fn run_at(&self, sequence: Sequence) -> Option<(Sequence, &VecDeque<Place>)> {
        let (start, run) = self.runs.range(..=sequence).next_back()?;
        (sequence <= last_of(*start, run)).then_some((*start, run))
    }

    fn frontier(&self, log: LogId) -> FrontierEntry {
        let mut spans = self.runs.iter().map(|(start, run)| Span {
            first: *start,
            last: last_of(*start, run),
        });
        let floor = self.floor.max(FLOOR_MIN);
        let held = self.runs.contains_key(&floor);
        let end = if held { spans.next() } else { None };
        FrontierEntry {
            log,
            floor,
            end: end.map_or(floor - 1, |span| span.last),
            beyond: spans.take(FrontierEntry::BEYOND_MAX).collect(),
        }
    }
}

/// The sequence of the last block of a run, which has one.
fn last_of(start: Sequence, run: &VecDeque<Place>) -> Sequence {
    start.saturating_add(u64::try_from(run.len().saturating_sub(1)).unwrap_or(u64::MAX))
}

/// Every log that a machine could have.
fn all_epochs(machine: MachineId) -> std::ops::RangeInclusive<LogId> {
    let log = |counter, tag| LogId {
        machine,
        epoch: Epoch { counter, tag },
    };
    log(0, 0)..=log(u64::MAX, u32::MAX)
}

/// The floor of a log of which nothing is given up.
const FLOOR_MIN: Sequence = 1;
/// Most different sets of series; whoever draws more makes queries look into needless blocks.
/// Source: guess, 4 MiB at most.
const SETS_MAX: usize = 8_192;
/// Most blocks of a log that are remembered for whoever asks for its newest readings. Source:
/// guess; with more it is cheaper to look again.
const FRESH_MAX: usize = 256;

#[cfg(test)]
mod tests;
