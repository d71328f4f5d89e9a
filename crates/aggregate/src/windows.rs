//! The windows of one origin: a fold over its log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::{BlockHeader, Epoch, MachineId, NetworkId, Position, QualityReason, Reading};
use model::{Sequence, SeriesDefinition, SeriesNumber, Timestamp};

use crate::window::Window;
use crate::{AggregateError, Applied, Config, Progress, SeriesKey, WindowKey, WindowRecord};

/// The windows of one origin. No clock: everything follows from the log, but for
/// [`Windows::pass`] and [`Windows::give_up`].
///
/// A window is *open* until the watermark reaches its end; then its record is given and it stays
/// *complete* while it takes late readings, each block of them giving another record; then it is
/// *closed* and forgotten. Watermarks come from blocks and from [`Windows::pass`], never from
/// readings.
#[derive(Clone, Debug)]
pub struct Windows {
    network: NetworkId,
    machine: MachineId,
    config: Config,
    last: Option<Position>,
    watermark: Timestamp,
    /// No window that ends at or before this time takes readings.
    closed: Timestamp,
    /// Set while blocks are read that a predecessor has already uploaded.
    resuming: Option<Progress>,
    names: Names,
    open: BTreeMap<Slot, Window>,
    complete: BTreeMap<Slot, Window>,
    /// First blocks of all windows, with how many windows each began.
    first_blocks: BTreeMap<Position, usize>,
}

/// Orders windows by their end, so that those that are due come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Slot {
    end: Timestamp,
    length: Duration,
    series: Arc<SeriesKey>,
}

/// What the series numbers of one epoch mean.
#[derive(Clone, Debug, Default)]
struct Names {
    epoch: Option<Epoch>,
    known: BTreeMap<SeriesNumber, Arc<SeriesKey>>,
}

/// Consecutive readings of one series.
type Run<'a> = (Arc<SeriesKey>, &'a [Reading]);

impl Windows {
    /// Windows of an origin of which nothing has been read. The first block that is applied is
    /// taken as it is; if it is not the first of the log that is held anywhere, windows that began
    /// before it may lack readings.
    ///
    /// # Panics
    ///
    /// If a length is not a positive number of milliseconds: the settings were checked before.
    #[must_use]
    pub fn new(network: NetworkId, machine: MachineId, mut config: Config) -> Self {
        let is_valid = |length: &Duration| {
            *length > Duration::ZERO && length.subsec_nanos().is_multiple_of(NANOS_PER_MILLI)
        };
        assert!(config.lengths.iter().all(is_valid), "settings are checked");
        config.lengths.sort_unstable();
        config.lengths.dedup();
        Self {
            network,
            machine,
            config,
            last: None,
            watermark: Timestamp::MIN,
            closed: Timestamp::MIN,
            resuming: None,
            names: Names::default(),
            open: BTreeMap::new(),
            complete: BTreeMap::new(),
            first_blocks: BTreeMap::new(),
        }
    }

    /// Windows of an origin whose records up to `progress` have been acknowledged. Blocks from
    /// `progress.resume` on must be applied; those up to `progress.through` give no records, and
    /// those after it the same as in a fold from the start of the log.
    ///
    /// # Panics
    ///
    /// As [`Windows::new`].
    #[must_use]
    pub fn resume_from(
        network: NetworkId,
        machine: MachineId,
        config: Config,
        progress: Progress,
    ) -> Self {
        let mut windows = Self::new(network, machine, config);
        windows.closed = progress.closed;
        windows.resuming = Some(progress);
        windows
    }

    /// Adds the next block of the gap-free prefix: the next of its epoch, or the first of a later
    /// epoch that continues the last block (or nothing, for a machine that lost everything).
    /// `define` says what a series number of the block's epoch means.
    ///
    /// # Errors
    ///
    /// [`AggregateError`]; nothing has changed then.
    pub fn apply<'a>(
        &mut self,
        header: &BlockHeader,
        readings: &[Reading],
        define: impl Fn(SeriesNumber) -> Option<&'a SeriesDefinition>,
    ) -> Result<Applied, AggregateError> {
        debug_assert_eq!(header.origin(), self.machine, "a fold is of one origin");
        let position = header.id().position();
        self.check_order(position, header.continues)?;
        let runs = self.names.resolve(position.epoch, readings, define)?;

        let mut applied = Applied::default();
        if self
            .resuming
            .is_some_and(|progress| progress.through < position)
        {
            self.finish_resuming();
        }
        let mut revised = BTreeSet::new();
        for (series, run) in &runs {
            for index in 0..self.config.lengths.len() {
                let length = self.config.lengths[index];
                self.add_run(position, series, length, run, &mut revised, &mut applied);
            }
        }
        self.last = Some(position);
        if self
            .resuming
            .is_some_and(|progress| progress.through == position)
        {
            self.finish_resuming();
            applied = Applied::default(); // The predecessor has counted what came too late.
        }
        if self.resuming.is_some() {
            self.evict(&mut applied);
            return Ok(Applied::default());
        }
        for key in &revised {
            let window = self.complete.get(key);
            applied
                .records
                .extend(window.map(|window| self.record(key, window, true)));
        }
        self.advance(header.watermark, &mut applied);
        Ok(applied)
    }

    /// The origin has nothing more to say: its log ends at `last` and nothing older than
    /// `watermark` follows. Ignored unless `last` is the block that was added last.
    pub fn pass(&mut self, last: Position, watermark: Timestamp) -> Applied {
        let mut applied = Applied::default();
        if self.last == Some(last) && self.resuming.is_none() {
            self.advance(watermark, &mut applied);
        }
        applied
    }

    /// The origin has been silent for too long: gives partial records of all windows that were not
    /// given yet in this state, and keeps them open.
    pub fn give_up(&mut self) -> Applied {
        let mut applied = Applied::default();
        if self.resuming.is_some() {
            return applied;
        }
        let unfinished = self.open.iter().filter(|(_, window)| is_unfinished(window));
        let records = unfinished.map(|(key, window)| self.record(key, window, false));
        applied.records = records.collect();
        self.open
            .values_mut()
            .for_each(|window| window.partial = Some(window.last_block));
        applied
    }

    /// The last block that was added.
    #[must_use]
    pub fn last(&self) -> Option<Position> {
        self.last
    }

    /// How far the origin's watermark has come.
    #[must_use]
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// The first block that contributed to a window that still takes readings: where a successor
    /// must start to compute the same. Without such a window, the last block that was added
    /// (reading it again changes nothing); `None` before the first block.
    #[must_use]
    pub fn resume(&self) -> Option<Position> {
        let first = self.first_blocks.keys().next().copied();
        first.or(self.last)
    }

    /// What may be told to everyone once a sink has acknowledged every record given so far;
    /// `None` before the first block, and before a resumed fold has reached its own progress.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        if self.resuming.is_some() {
            return None;
        }
        Some(Progress {
            through: self.last?,
            watermark: self.watermark,
            closed: self.closed,
            resume: self.resume()?,
        })
    }

    /// Whether a window has readings and no record of them yet.
    #[must_use]
    pub fn has_unfinished(&self) -> bool {
        self.resuming.is_none() && self.open.values().any(is_unfinished)
    }

    fn check_order(
        &self,
        found: Position,
        continues: Option<Position>,
    ) -> Result<(), AggregateError> {
        let Some(last) = self.last else {
            return Ok(());
        };
        if found.epoch == last.epoch && last.sequence.checked_add(1) == Some(found.sequence) {
            return Ok(());
        }
        if found.epoch > last.epoch && found.sequence == FIRST {
            // A progress speaks for blocks up to its own; a cut before it takes that away.
            let through = self.resuming.map(|progress| progress.through);
            let through = through.filter(|through| *through < found).unwrap_or(last);
            match continues {
                None => return Ok(()),
                Some(to) if to < last.max(through) => return Err(AggregateError::Rewind { to }),
                Some(to) if to == last => return Ok(()),
                Some(_) => {}
            }
        }
        let expected = self.last;
        Err(AggregateError::OutOfOrder { expected, found })
    }

    /// Adds consecutive readings of one series to the windows of one length, looking a window up
    /// once for each stretch of readings in it.
    fn add_run(
        &mut self,
        position: Position,
        series: &Arc<SeriesKey>,
        length: Duration,
        run: &[Reading],
        revised: &mut BTreeSet<Slot>,
        applied: &mut Applied,
    ) {
        let mut rest = run;
        while let Some(reading) = rest.first() {
            let Some((start, end)) = span(reading, length) else {
                applied.ahead_dropped += u64::from(is_ahead(reading));
                applied.late_dropped += u64::from(!is_ahead(reading));
                rest = &rest[1..];
                continue;
            };
            let within = |r: &&Reading| start <= r.time && r.time < end && !is_ahead(r);
            let (stretch, after) = rest.split_at(rest.iter().take_while(within).count());
            rest = after;
            if end <= self.closed {
                applied.late_dropped += stretch.len() as u64;
                continue;
            }
            let series = Arc::clone(series);
            let key = Slot {
                end,
                length,
                series,
            };
            let is_complete = end <= self.watermark;
            if is_complete && !revised.contains(&key) {
                revised.insert(key.clone());
            }
            let windows = if is_complete {
                &mut self.complete
            } else {
                &mut self.open
            };
            let window = windows.entry(key).or_insert_with(|| {
                *self.first_blocks.entry(position).or_default() += 1;
                Window::new(position)
            });
            window.add(position, stretch);
        }
    }

    /// A resumed fold has come to where its predecessor stood: from here on it gives records.
    fn finish_resuming(&mut self) {
        if let Some(progress) = self.resuming.take() {
            self.watermark = progress.watermark;
            self.complete_due(|_, _| {});
        }
    }

    /// Raises the watermark, gives what is complete, forgets what is closed.
    fn advance(&mut self, watermark: Timestamp, applied: &mut Applied) {
        self.watermark = self.watermark.max(watermark);
        let mut records = Vec::new();
        let (network, machine) = (self.network, self.machine);
        self.complete_due(|key, window| {
            records.push(record(network, machine, key, window, true));
        });
        applied.records.append(&mut records);
        let closed = self.watermark.saturating_sub(self.config.allowed_lateness);
        self.close(closed, applied);
        self.evict(applied);
    }

    /// Closes the oldest windows, with all that ended with them, until there are few enough.
    fn evict(&mut self, applied: &mut Applied) {
        while self.open.len() + self.complete.len() > self.config.windows_max {
            let oldest = self.complete.keys().chain(self.open.keys()).next();
            let Some(end) = oldest.map(|key| key.end) else {
                break;
            };
            self.close(end, applied);
        }
    }

    /// Moves every window that ended at or before the watermark to those that are complete.
    fn complete_due(&mut self, mut each: impl FnMut(&Slot, &Window)) {
        while let Some(entry) = self.open.first_entry()
            && entry.key().end <= self.watermark
        {
            let (key, window) = entry.remove_entry();
            each(&key, &window);
            self.complete.insert(key, window);
        }
    }

    /// Forgets every window that ended at or before `closed`; what is still open gives a partial
    /// record.
    fn close(&mut self, closed: Timestamp, applied: &mut Applied) {
        self.closed = self.closed.max(closed);
        while let Some(entry) = self.complete.first_entry()
            && entry.key().end <= self.closed
        {
            let window = entry.remove();
            self.forget_first(window.first_block);
        }
        while let Some(entry) = self.open.first_entry()
            && entry.key().end <= self.closed
        {
            let (key, window) = entry.remove_entry();
            if is_unfinished(&window) {
                applied.records.push(self.record(&key, &window, false));
            }
            self.forget_first(window.first_block);
        }
    }

    fn forget_first(&mut self, first_block: Position) {
        if let Some(count) = self.first_blocks.get_mut(&first_block) {
            *count -= 1;
            if *count == 0 {
                self.first_blocks.remove(&first_block);
            }
        }
    }

    fn record(&self, key: &Slot, window: &Window, complete: bool) -> WindowRecord {
        record(self.network, self.machine, key, window, complete)
    }
}

impl Names {
    /// Splits a block's readings into runs of one series, with what the series is.
    fn resolve<'a, 'r>(
        &mut self,
        epoch: Epoch,
        readings: &'r [Reading],
        define: impl Fn(SeriesNumber) -> Option<&'a SeriesDefinition>,
    ) -> Result<Vec<Run<'r>>, AggregateError> {
        if self.epoch != Some(epoch) || self.known.len() >= NAMES_MAX {
            self.known.clear();
            self.epoch = Some(epoch);
        }
        let runs = readings.chunk_by(|a, b| a.series == b.series);
        let named = runs.map(|run| {
            let number = run[0].series;
            if let Some(series) = self.known.get(&number) {
                return Ok((Arc::clone(series), run));
            }
            let definition = define(number).ok_or(AggregateError::Undefined(number))?;
            let series = Arc::new(SeriesKey::from(definition));
            self.known.insert(number, Arc::clone(&series));
            Ok((series, run))
        });
        named.collect()
    }
}

fn record(
    network: NetworkId,
    machine: MachineId,
    key: &Slot,
    window: &Window,
    complete: bool,
) -> WindowRecord {
    WindowRecord {
        key: WindowKey {
            network,
            machine,
            series: SeriesKey::clone(&key.series),
            window_start: key.end.saturating_sub(key.length),
            window_length: key.length,
            log_epoch: window.last_block.epoch,
            last_sequence: window.last_block.sequence,
            complete,
        },
        summary: window.summary(key.end),
    }
}

fn is_unfinished(window: &Window) -> bool {
    window.partial != Some(window.last_block)
}

fn is_ahead(reading: &Reading) -> bool {
    reading.quality.reason == QualityReason::TimeAhead
}

/// The window of a reading: from its start up to, but not including, its end. `None` if there is
/// none: the time is not to be trusted, or the window does not fit into what can be written.
fn span(reading: &Reading, length: Duration) -> Option<(Timestamp, Timestamp)> {
    if is_ahead(reading) {
        return None;
    }
    let nanos = reading.time.as_nanos();
    let length = i64::try_from(length.as_nanos()).ok()?;
    let start = nanos.checked_sub(nanos.rem_euclid(length))?;
    let end = start.checked_add(length)?;
    Some((Timestamp::from_nanos(start), Timestamp::from_nanos(end)))
}

/// The sequence of the first block of an epoch.
const FIRST: Sequence = 1;
/// Most series numbers whose meaning is remembered between blocks. Source: guess.
const NAMES_MAX: usize = 65_536;
const NANOS_PER_MILLI: u32 = 1_000_000;

#[cfg(test)]
mod tests;
