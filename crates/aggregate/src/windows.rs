//! The windows of one origin: a fold over its log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{BlockHeader, MachineId, NetworkId, Position, Reading, Sequence};
use model::{SeriesDefinition, SeriesNumber, Timestamp};

use crate::cold::{Cold, Scan};
use crate::slot::{Mark, Names, SeriesId, Slot, is_ahead};
use crate::window::Window;
use crate::{AggregateError, Applied, Config, Progress, SeriesKey, WindowKey, WindowRecord};

/// The windows of one origin. No clock: everything follows from the log, but for [`Windows::pass`]
/// and [`Windows::give_up`].
///
/// A window is *open* until the watermark reaches its end; then its record is given, and it stays
/// in memory as *complete* while late readings are likely. Each late reading makes it *revised*: it
/// is given again when the origin's time has gone on a little. A window that has left memory is
/// *cold*: when a reading comes for it, it must be computed from the log by a [`Scan`]. Watermarks
/// come from blocks and from [`Windows::pass`], never from readings.
///
/// **Invariant:** a window in memory holds every reading of the log up to the last block.
#[derive(Clone, Debug)]
pub struct Windows {
    network: NetworkId,
    machine: MachineId,
    config: Config,
    last: Option<Mark>,
    /// When the last block was sealed.
    sealed: Timestamp,
    /// The latest time of any reading.
    newest: Timestamp,
    watermark: Timestamp,
    /// Set while blocks are read that a predecessor has already uploaded.
    resuming: Option<Progress>,
    names: Names,
    /// Those whose end the watermark has not reached.
    open: BTreeMap<Slot, Window>,
    /// The others.
    complete: BTreeMap<Slot, Window>,
    /// Complete ones with a reading that is in no record.
    revised: BTreeSet<Slot>,
    /// By length: of windows that start later, all readings are in memory or to come.
    horizons: BTreeMap<Duration, Timestamp>,
    cold: Cold,
    /// How many windows in memory began at each block.
    firsts: BTreeMap<Mark, usize>,
}

impl Windows {
    /// Windows of an origin of which nothing has been read. If the first block that is applied is
    /// not the first of the log, windows that may have begun before it are cold.
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
            sealed: Timestamp::MIN,
            newest: Timestamp::MIN,
            watermark: Timestamp::MIN,
            resuming: None,
            names: Names::default(),
            open: BTreeMap::new(),
            complete: BTreeMap::new(),
            revised: BTreeSet::new(),
            horizons: BTreeMap::new(),
            cold: Cold::default(),
            firsts: BTreeMap::new(),
        }
    }

    /// Windows of an origin whose records up to `progress` have been acknowledged. Blocks from
    /// `progress.resume` on must be applied; those up to `progress.through` give no records.
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
        windows.resuming = Some(progress);
        windows.begin_after(progress.horizon);
        windows
    }

    /// Adds the next block of the gap-free prefix: the next of its epoch, or the first of a later
    /// epoch that continues the last block. `define` says what a series number of the block's epoch
    /// means.
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
        self.begin(header);
        if self
            .resuming
            .is_some_and(|progress| progress.through < position)
        {
            self.finish_resuming();
        }
        let block = Mark {
            position,
            newest: self.newest,
        };
        if position.sequence == FIRST {
            self.outrank_stragglers(position);
        }
        for (series, run) in &runs {
            for index in 0..self.config.lengths.len() {
                let length = self.config.lengths[index];
                self.add_run(block, header.sealed, *series, length, run, &mut applied);
            }
            let times = run.iter().filter(|reading| !is_ahead(reading));
            let newest = times.map(|reading| reading.time).max();
            self.newest = self.newest.max(newest.unwrap_or(Timestamp::MIN));
        }
        let sealed_before = std::mem::replace(&mut self.sealed, header.sealed);
        self.last = Some(block);
        if self.resuming.is_some() {
            if self
                .resuming
                .is_some_and(|progress| progress.through == position)
            {
                self.finish_resuming();
            }
            self.evict(&mut applied);
            return Ok(Applied::default()); // The predecessor has given and counted it.
        }
        self.advance(header.watermark, &mut applied);
        if self.stretch_of(sealed_before) != self.stretch_of(header.sealed) {
            self.give_revised(&mut applied);
        }
        self.evict(&mut applied);
        Ok(applied)
    }

    /// The origin has nothing more to say: its log ends at `last` and nothing older than
    /// `watermark` follows. Ignored unless `last` is the block that was added last.
    pub fn pass(&mut self, last: Position, watermark: Timestamp) -> Applied {
        let mut applied = Applied::default();
        if self.last() == Some(last) && self.resuming.is_none() {
            self.advance(watermark, &mut applied);
            self.give_revised(&mut applied);
        }
        applied
    }

    /// The origin has been silent for too long: gives complete windows with a late reading again,
    /// and partial records of all open windows that were not given yet in this state, which stay
    /// open.
    pub fn give_up(&mut self) -> Applied {
        let mut applied = Applied::default();
        if self.resuming.is_some() {
            return applied;
        }
        let mut open = std::mem::take(&mut self.open);
        for (slot, window) in &mut open {
            let name = self.name_of(window);
            if window.partial != Some(name) {
                applied.records.push(self.record(slot, window, false));
                window.partial = Some(name);
            }
        }
        self.open = open;
        self.give_revised(&mut applied);
        applied
    }

    /// Nothing follows the last block: gives all windows as they are, but for cold ones, which are
    /// given up.
    #[must_use]
    pub fn close(mut self) -> Applied {
        let mut applied = self.give_up();
        if self.resuming.is_none() {
            applied.windows_lost += self.cold.count();
        }
        applied
    }

    /// Begins to compute cold windows from the log; `None` if there are none whose end has come.
    ///
    /// Every block up to [`Windows::last`] that holds a reading in [`Scan::times`] must go through
    /// [`Scan::apply`], in the order of the log; then it goes back to [`Windows::end_scan`].
    #[must_use]
    pub fn scan(&self) -> Option<Scan> {
        if self.resuming.is_some() {
            return None;
        }
        self.cold.scan(self.watermark, &self.names)
    }

    /// Whether [`Windows::scan`] would give one.
    #[must_use]
    pub fn wants_scan(&self) -> bool {
        self.resuming.is_none() && self.cold.is_due(self.watermark)
    }

    /// Takes back a scan that has come to the last block, and gives its windows' records. `lacking`
    /// says that the log does not reach back to its beginning any more, and up to when readings
    /// may have been in what is gone: windows that start before are given up.
    pub fn end_scan(&mut self, scan: Scan, lacking: Option<Timestamp>) -> Applied {
        let mut applied = Applied::default();
        for (slot, window) in scan.into_windows() {
            self.cold.remove(&slot);
            let Some(mut window) = window else {
                continue;
            };
            window.last.newest = self.newest; // More than was before it, which only costs a scan.
            if lacking.is_some_and(|horizon| slot.start() <= horizon) {
                applied.windows_lost += 1;
                continue;
            }
            applied.records.push(self.record(&slot, &window, true));
            self.complete.insert(slot, window);
        }
        self.evict(&mut applied);
        applied
    }

    /// A scan could not be carried through: its windows are given up.
    pub fn abandon_scan(&mut self, scan: Scan) -> Applied {
        let mut applied = Applied::default();
        for (slot, _) in scan.into_windows() {
            self.cold.remove(&slot);
            applied.windows_lost += 1;
        }
        applied
    }

    /// Another relay has told its progress: cold windows that it covers need no scan here.
    pub fn on_progress(&mut self, progress: &Progress) {
        self.cold
            .retain(|slot, mark| !progress.covers(mark.position, slot.end));
    }

    /// The last block that was added.
    #[must_use]
    pub fn last(&self) -> Option<Position> {
        self.last.map(|mark| mark.position)
    }

    /// How far the origin's watermark has come.
    #[must_use]
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// What may be told to everyone once a sink has acknowledged every record given so far;
    /// `None` before the first block, and before a resumed fold has reached its own progress.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        if self.resuming.is_some() {
            return None;
        }
        let last = self.last?;
        let revised = self
            .revised
            .iter()
            .filter_map(|slot| self.complete.get(slot));
        let untold = revised
            .map(|window| window.last)
            .chain(self.cold.marks())
            .min();
        // Without a window in memory: reading the last block again changes nothing.
        let first = self.firsts.keys().next().copied().unwrap_or(last);
        let resume = untold.map_or(first, |untold| untold.min(first));
        Some(Progress {
            through: last.position,
            watermark: self.watermark,
            resume: resume.position,
            horizon: resume.newest,
            late: untold.map(|mark| mark.position),
        })
    }

    /// Whether a window has readings that are in no record yet.
    #[must_use]
    pub fn has_unfinished(&self) -> bool {
        let is_unfinished = |window: &Window| window.partial != Some(self.name_of(window));
        let is_any = !self.revised.is_empty() || self.open.values().any(is_unfinished);
        self.resuming.is_none() && is_any
    }
}

impl Windows {
    fn check_order(
        &self,
        found: Position,
        continues: Option<Position>,
    ) -> Result<(), AggregateError> {
        let Some(last) = self.last() else {
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
                Some(to) if to < last.max(through) => return Err(AggregateError::Rewind { to }),
                Some(to) if to == last => return Ok(()),
                Some(_) | None => {}
            }
        }
        let expected = Some(last);
        Err(AggregateError::OutOfOrder { expected, found })
    }

    /// An epoch begins, which cuts stragglers off: a relay that had folded them may have given
    /// records that are named by them. What is in memory is given once more, named by the cut.
    fn outrank_stragglers(&mut self, cut: Position) {
        if self.is_untold(cut) {
            self.revised.extend(self.open.keys());
        }
        self.revised.extend(self.complete.keys());
    }

    /// The block that names a record: the last one that contributed, or the first one of the epoch
    /// if that is later.
    fn name_of(&self, window: &Window) -> Position {
        let epoch = self.last.map(|last| last.position.epoch);
        epoch.map_or(window.last.position, |epoch| {
            let sequence = FIRST;
            window.last.position.max(Position { epoch, sequence })
        })
    }

    /// Before the first block: if the log does not begin with it, there may have been more.
    fn begin(&mut self, header: &BlockHeader) {
        let is_beginning = header.sequence == FIRST && header.continues.is_none();
        if self.last.is_none() && self.resuming.is_none() && !is_beginning {
            self.begin_after(horizon_before(header));
        }
    }

    fn begin_after(&mut self, horizon: Timestamp) {
        self.newest = horizon;
        for length in &self.config.lengths {
            self.horizons.insert(*length, horizon);
        }
    }

    /// Adds consecutive readings of one series to the windows of one length, looking a window up
    /// once for each stretch of readings in it.
    fn add_run(
        &mut self,
        block: Mark,
        sealed: Timestamp,
        series: SeriesId,
        length: Duration,
        run: &[Reading],
        applied: &mut Applied,
    ) {
        for (slot, stretch) in Slot::stretches(series, length, run) {
            let Some(slot) = slot else {
                applied.misdated += 1;
                continue;
            };
            if !self.add(slot, block, sealed, stretch) {
                self.touch_cold(slot, block, applied);
            }
        }
    }

    /// Adds readings to a window in memory, or to a new one; returns whether it is one of these.
    fn add(&mut self, slot: Slot, block: Mark, sealed: Timestamp, readings: &[Reading]) -> bool {
        let is_complete = slot.end <= self.watermark;
        let windows = match is_complete {
            true => &mut self.complete,
            false => &mut self.open,
        };
        if let Some(window) = windows.get_mut(&slot) {
            window.add(block, sealed, readings);
        } else if self
            .horizons
            .get(&slot.length)
            .is_none_or(|horizon| slot.start() > *horizon)
        {
            let mut window = Window::new(Some(block), block);
            window.add(block, sealed, readings);
            windows.insert(slot, window);
            *self.firsts.entry(block).or_default() += 1;
        } else {
            return false;
        }
        if is_complete || self.is_untold(block.position) {
            self.revised.insert(slot);
        }
        true
    }

    /// Whether a resumed fold reads a block of which its predecessor had not given everything.
    fn is_untold(&self, position: Position) -> bool {
        let late = self.resuming.and_then(|progress| progress.late);
        late.is_some_and(|late| position >= late)
    }

    /// Notes that a block has a reading for a window that is not in memory, unless the predecessor
    /// of a resumed fold has given that already.
    fn touch_cold(&mut self, slot: Slot, block: Mark, applied: &mut Applied) {
        let resuming = self.resuming.as_ref();
        if !resuming.is_some_and(|progress| progress.covers(block.position, slot.end)) {
            applied.windows_lost += self.cold.touch(slot, block);
        }
    }

    /// A resumed fold has come to where its predecessor stood: from here on it gives records.
    fn finish_resuming(&mut self) {
        let Some(progress) = self.resuming.take() else {
            return;
        };
        self.watermark = progress.watermark;
        self.complete_due();
        self.revised.retain(|slot| self.complete.contains_key(slot));
        self.forget_old();
    }

    /// Raises the watermark and gives what is complete.
    fn advance(&mut self, watermark: Timestamp, applied: &mut Applied) {
        self.watermark = self.watermark.max(watermark);
        let due = self.complete_due();
        self.give(due, applied);
    }

    /// Moves every window that ended at or before the watermark to those that are complete.
    fn complete_due(&mut self) -> Vec<Slot> {
        let mut due = Vec::new();
        while let Some(entry) = self.open.first_entry()
            && entry.key().end <= self.watermark
        {
            let (slot, window) = entry.remove_entry();
            due.push(slot);
            self.complete.insert(slot, window);
        }
        due
    }

    /// Gives records of what was revised, and forgets what is old.
    fn give_revised(&mut self, applied: &mut Applied) {
        let revised = std::mem::take(&mut self.revised);
        self.give(revised, applied);
        self.forget_old();
    }

    fn give(&mut self, slots: impl IntoIterator<Item = Slot>, applied: &mut Applied) {
        for slot in slots {
            let window = self.complete.get(&slot);
            let given = window.map(|window| self.record(&slot, window, true));
            applied.records.extend(given);
        }
    }

    /// Forgets complete windows for which no reading has come for a while, and of which none is
    /// likely to come.
    fn forget_old(&mut self) {
        let (lateness, sealed) = (self.config.allowed_lateness, self.sealed);
        let old = self.watermark.saturating_sub(lateness);
        let is_quiet = |window: &Window| {
            // A clock that went back says nothing of how long ago it was.
            sealed < window.touched || window.touched.saturating_add(lateness) <= sealed
        };
        let ended = self.complete.iter().take_while(|(slot, _)| slot.end <= old);
        let forgotten =
            ended.filter(|(slot, window)| is_quiet(window) && !self.revised.contains(slot));
        let forgotten: Vec<Slot> = forgotten.map(|(slot, _)| *slot).collect();
        for slot in forgotten {
            if let Some(window) = self.complete.remove(&slot) {
                self.forget(&slot, &window);
            }
        }
    }

    /// Makes room: first the oldest complete windows go, then those that end last. What has no
    /// record of its last reading is computed from the log when it is due.
    fn evict(&mut self, applied: &mut Applied) {
        while self.open.len() + self.complete.len() > self.config.windows_max {
            let (slot, window, given) = if let Some((slot, window)) = self.complete.pop_first() {
                (slot, window, !self.revised.remove(&slot))
            } else if let Some((slot, window)) = self.open.pop_last() {
                (slot, window, false)
            } else {
                return;
            };
            if !given {
                applied.windows_lost += self.cold.touch(slot, window.last);
            }
            self.forget(&slot, &window);
        }
    }

    /// A window has left memory: it is not new when a reading comes for it.
    fn forget(&mut self, slot: &Slot, window: &Window) {
        let horizon = self.horizons.entry(slot.length).or_insert(Timestamp::MIN);
        *horizon = slot.start().max(*horizon);
        if let Some(first) = window.first
            && let Some(count) = self.firsts.get_mut(&first)
        {
            *count -= 1;
            if *count == 0 {
                self.firsts.remove(&first);
            }
        }
    }

    /// The stretch of the origin's time, in each of which a revised window is given once.
    fn stretch_of(&self, sealed: Timestamp) -> i64 {
        let shortest = self.config.lengths.first().copied().unwrap_or(REVISION_MAX);
        let stretch = shortest.min(REVISION_MAX).as_nanos();
        sealed
            .as_nanos()
            .div_euclid(i64::try_from(stretch).unwrap_or(i64::MAX))
    }

    fn record(&self, slot: &Slot, window: &Window, complete: bool) -> WindowRecord {
        let name = self.name_of(window);
        WindowRecord {
            key: WindowKey {
                network: self.network,
                machine: self.machine,
                series: SeriesKey::clone(self.names.key(slot.series)),
                window_start: slot.start(),
                window_length: slot.length,
                log_epoch: name.epoch,
                last_sequence: name.sequence,
                complete,
            },
            summary: window.summary(slot.end),
        }
    }
}

/// Up to when readings may have been in the log before a block: its origin flags what lies further
/// ahead of its clock.
#[must_use]
pub fn horizon_before(header: &BlockHeader) -> Timestamp {
    header
        .sealed
        .max(header.watermark)
        .saturating_add(AHEAD_MAX)
}

/// The sequence of the first block of an epoch.
const FIRST: Sequence = 1;
/// Longest time, on the origin's clock, for which revisions of a window are gathered. With shorter
/// windows it is their length. Source: guess.
const REVISION_MAX: Duration = Duration::from_secs(10);
/// How far ahead of its origin's clock an unflagged reading may lie. Source: `engine`, which flags
/// what lies further ahead.
const AHEAD_MAX: Duration = Duration::from_secs(300);
const NANOS_PER_MILLI: u32 = 1_000_000;

#[cfg(test)]
mod tests;
