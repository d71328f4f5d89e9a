//! Follower: reads one line of an origin in order, folds it into windows, and keeps the records
//! until a sink has acknowledged them.
//!
//! Every candidate follows every origin, whether it serves it or not, so that taking over means
//! only to upload what is there already. What another relay's progress covers is dropped.
//!

use std::collections::VecDeque;

use aggregate::{
    AggregateError, Applied, Progress, RawKey, RawRecord, Record, SeriesKey, WindowRecord, Windows,
};
use model::{
    Block, BlockHeader, Epoch, MachineId, NetworkId, Position, Reading, Sequence, SeriesNumber,
    Timestamp,
};
use statemachine::Instant;

use crate::canonical::{self, Logs, Next, Rewind};
use crate::config::{Forward, UplinkConfig};
use crate::lookback::{Found, Lookback, Search, Step};
use crate::{Catalogue, UploadId};

/// What following logs came to since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedStats {
    /// Times that windows which had left memory were computed from the log.
    pub lookbacks: u64,
    /// Windows that were given up: too many waited to be computed from the log, or the log does not
    /// reach back to their beginning any more.
    pub windows_lost: u64,
    /// Readings that are in no window because of their time, counted once for each window length.
    pub readings_misdated: u64,
}

impl FeedStats {
    /// Both together.
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            lookbacks: self.lookbacks + other.lookbacks,
            windows_lost: self.windows_lost + other.windows_lost,
            readings_misdated: self.readings_misdated + other.readings_misdated,
        }
    }
}

/// Records of one origin that no relay has had acknowledged, as far as this machine knows.
#[derive(Clone, Copy, Debug)]
pub struct Backlog<'a> {
    /// How many they are. Unit: records.
    pub records: usize,
    /// There may be more in the log, which is not read on before these have gone.
    pub is_full: bool,
    /// The first of them.
    pub oldest: &'a Record,
}

#[derive(Debug)]
struct Item {
    record: Record,
    upload: Option<UploadId>,
    acknowledged: bool,
    /// Holds once this item and all before it are acknowledged; set on the last of an emission.
    then: Option<Progress>,
}

#[derive(Debug)]
pub(crate) struct Follower {
    machine: MachineId,
    network: NetworkId,
    windows: Windows,
    /// Where the fold begins; the oldest block that is kept if `None`.
    start: Option<Position>,
    /// The epoch of which nothing will come any more.
    skipped: Option<Epoch>,
    items: VecDeque<Item>,
    /// The furthest progress that any relay has told.
    done: Option<Progress>,
    /// Progress of this machine that it has not told yet.
    untold: Option<Progress>,
    serving: bool,
    /// Windows that have left memory are being computed.
    lookback: Option<Lookback>,
    stats: FeedStats,
    /// A read of the log is under way.
    pub(crate) reading: bool,
    /// The next block waits for definitions of series.
    blocked: bool,
    heard: Instant,
    given_up: bool,
}

impl Follower {
    pub(crate) fn new(
        network: NetworkId,
        machine: MachineId,
        config: &UplinkConfig,
        done: Option<Progress>,
        now: Instant,
    ) -> Self {
        let mut follower = Self {
            machine,
            network,
            windows: Windows::new(network, machine, config.windows.clone()),
            start: None,
            skipped: None,
            items: VecDeque::new(),
            done,
            untold: None,
            serving: false,
            lookback: None,
            stats: FeedStats::default(),
            reading: false,
            blocked: false,
            heard: now,
            given_up: false,
        };
        follower.start_over(config, done);
        follower
    }

    /// What comes next, as far as `logs` tells.
    pub(crate) fn next(&self, logs: &Logs) -> Next {
        let is_full = self.items.len() >= ITEMS_MAX; // With the oldest that nobody has uploaded.
        if self.blocked || is_full || self.lookback.as_ref().is_some_and(Lookback::is_chasing) {
            return Next::Wait;
        }
        canonical::next(logs, self.windows.last(), self.start, self.skipped)
    }

    /// Definitions of series have arrived.
    pub(crate) fn unblock(&mut self) {
        self.blocked = false;
    }

    /// Of an epoch nothing will come any more.
    pub(crate) fn skip(&mut self, epoch: Epoch) {
        self.skipped = Some(epoch);
    }

    /// Folds the next block, or waits for definitions of its series. Returns whether it started
    /// over instead, because what was folded does not count.
    pub(crate) fn apply(
        &mut self,
        now: Instant,
        block: &Block,
        config: &UplinkConfig,
        catalogue: &Catalogue,
    ) -> bool {
        let header = block.header();
        // Gossip has decoded it before, so the columns are there.
        let Ok(mut readings) = block.readings() else {
            return false;
        };
        let defined = |reading: &model::Reading| catalogue.definition(&header.log, reading.series);
        if readings.iter().any(|reading| defined(reading).is_none()) {
            self.blocked = true;
            return false;
        }
        let raw = self.take_raw(header, &mut readings, config, catalogue);
        let define = |number| catalogue.definition(&header.log, number).map(AsRef::as_ref);
        let applied = match self.windows.apply(header, &readings, define) {
            Ok(applied) => applied,
            Err(AggregateError::Undefined(_)) => {
                self.blocked = true;
                return false;
            }
            Err(AggregateError::Rewind { to }) => {
                let by = header.log.epoch;
                self.rewind(config, Rewind { to, by });
                return true;
            }
            Err(_) => {
                // What came before is given as it is: part of the log is gone for good.
                let empty = Windows::new(self.network, self.machine, config.windows.clone());
                let rest = std::mem::replace(&mut self.windows, empty).close();
                self.emit(Vec::new(), rest);
                self.start_over(config, None);
                self.windows
                    .apply(header, &readings, define)
                    .unwrap_or_default()
            }
        };
        self.hear(now);
        self.emit(raw, applied);
        false
    }

    /// Splits a block's readings by what the uplink gets of them: those that are folded stay, those
    /// that it gets one by one are returned.
    fn take_raw(
        &self,
        header: &BlockHeader,
        readings: &mut Vec<Reading>,
        config: &UplinkConfig,
        catalogue: &Catalogue,
    ) -> Vec<Record> {
        let mut raw = Vec::new();
        if config.gets_all_windows() {
            return raw;
        }
        let names = catalogue.names(&self.machine);
        let mut memo: Option<(SeriesNumber, Forward, Option<SeriesKey>)> = None;
        let mut index = 0;
        readings.retain(|reading| {
            let known = memo.take().filter(|(number, ..)| *number == reading.series);
            let (number, forward, key) = known.unwrap_or_else(|| {
                let series = catalogue.definition(&header.log, reading.series);
                let forward = series.map_or(Forward::Nothing, |s| config.forward(&names, &s.name));
                let key = series
                    .filter(|_| forward == Forward::Raw)
                    .map(|s| SeriesKey::from(s.as_ref()));
                (reading.series, forward, key)
            });
            if let Some(series) = &key {
                raw.push(self.raw_record(header, series.clone(), index, reading));
            }
            index += 1;
            memo = Some((number, forward, key));
            forward == Forward::Windows
        });
        raw
    }

    fn raw_record(
        &self,
        header: &BlockHeader,
        series: SeriesKey,
        index: u32,
        reading: &Reading,
    ) -> Record {
        Record::Raw(RawRecord {
            key: RawKey {
                network: self.network,
                machine: self.machine,
                series,
                log_epoch: header.log.epoch,
                sequence: header.sequence,
                index,
            },
            time: reading.time,
            received: header.sealed,
            value: reading.value.clone(),
            quality: reading.quality,
        })
    }

    /// The origin has nothing to say beyond its last block.
    pub(crate) fn pass(&mut self, last: Position, watermark: Timestamp) {
        let applied = self.windows.pass(last, watermark);
        self.emit(Vec::new(), applied);
    }

    /// Gives partial records if the origin has been silent for too long.
    pub(crate) fn check_silence(&mut self, now: Instant, config: &UplinkConfig) {
        if self.silence_deadline(config).is_some_and(|at| at <= now) {
            self.given_up = true;
            let applied = self.windows.give_up();
            self.emit(Vec::new(), applied);
        }
    }

    /// When the origin will have been silent for too long; `None` if nothing is unfinished.
    pub(crate) fn silence_deadline(&self, config: &UplinkConfig) -> Option<Instant> {
        let waits = !self.given_up && self.windows.has_unfinished();
        waits.then(|| self.heard + config.partial_after)
    }

    /// Starts over, because stragglers were folded, or a progress relied on them.
    pub(crate) fn rewind(&mut self, config: &UplinkConfig, rewind: Rewind) {
        let holds = |done: &Progress| done.through <= rewind.to || done.through.epoch >= rewind.by;
        self.items.clear();
        self.untold = None;
        self.start_over(config, self.done.filter(holds));
    }

    /// Begins a fresh fold after a progress, or at the oldest block that is kept.
    pub(crate) fn start_over(&mut self, config: &UplinkConfig, after: Option<Progress>) {
        let windows = config.windows.clone();
        self.lookback = None;
        self.start = after.map(|progress| progress.resume);
        if after.is_some() {
            self.skipped = None; // Whoever tells of progress has had it.
        }
        self.windows = match after {
            Some(progress) => Windows::resume_from(self.network, self.machine, windows, progress),
            None => Windows::new(self.network, self.machine, windows),
        };
    }

    /// A relay has told its progress.
    pub(crate) fn on_progress(&mut self, progress: Progress, config: &UplinkConfig) {
        if self.done.is_some_and(|done| done >= progress) {
            return;
        }
        self.done = Some(progress);
        self.items.retain(|item| !covers(&progress, &item.record));
        self.windows.on_progress(&progress);
        if self
            .windows
            .last()
            .is_none_or(|last| last < progress.resume)
        {
            self.start_over(config, Some(progress)); // The log between is not needed any more.
        }
    }

    /// The epochs of what it relies on.
    pub(crate) fn epochs(&self) -> impl Iterator<Item = Epoch> {
        let done = self.done.map(|done| done.through);
        let positions = [self.windows.last(), self.start, done];
        let positions = positions.into_iter().flatten();
        positions.map(|position| position.epoch)
    }

    /// Whether it has come to the end of a line, and nobody waits for what was in it.
    pub(crate) fn is_through(&self, logs: &Logs) -> bool {
        let end = logs.last_key_value().map(|(epoch, info)| Position {
            epoch: *epoch,
            sequence: info.end,
        });
        let waits = self.windows.has_unfinished() || self.windows.wants_scan();
        self.windows.last() == end && self.items.is_empty() && !waits
    }

    /// What was handed out is given again.
    pub(crate) fn upload_again(&mut self) {
        let open = self.items.iter_mut().filter(|item| !item.acknowledged);
        open.for_each(|item| item.upload = None);
    }

    /// Starts or stops serving; while serving, records are uploaded.
    pub(crate) fn set_serving(&mut self, serving: bool) {
        self.serving = serving;
        if !serving {
            self.lookback = None;
            self.items.retain(|item| !item.acknowledged);
            self.items.iter_mut().for_each(|item| item.upload = None);
            self.untold = None;
        }
    }

    /// Takes the records that wait for upload, naming each with the next id.
    pub(crate) fn take_uploads(&mut self, next: &mut UploadId) -> Vec<(UploadId, Record)> {
        if !self.serving {
            return Vec::new();
        }
        let mut uploads = Vec::new();
        for item in self.items.iter_mut().filter(|item| item.upload.is_none()) {
            next.0 += 1;
            item.upload = Some(*next);
            uploads.push((*next, item.record.clone()));
        }
        uploads
    }

    /// The uplink has done with a record. Returns whether it was one of this origin's.
    pub(crate) fn on_uploaded(&mut self, id: UploadId) -> bool {
        let Some(item) = self.items.iter_mut().find(|item| item.upload == Some(id)) else {
            return false;
        };
        item.acknowledged = true;
        while self.items.front().is_some_and(|item| item.acknowledged) {
            if let Some(item) = self.items.pop_front() {
                self.untold = item.then.or(self.untold);
            }
        }
        true
    }

    /// The uplink has lost a record: it is given out again.
    pub(crate) fn on_upload_lost(&mut self, id: UploadId) {
        if let Some(item) = self.items.iter_mut().find(|item| item.upload == Some(id)) {
            item.upload = None;
        }
    }

    /// Takes progress that nobody has been told of.
    pub(crate) fn take_progress(&mut self) -> Option<Progress> {
        self.untold
            .take()
            .filter(|progress| self.done.is_none_or(|done| done < *progress))
    }

    pub(crate) fn has_untold_progress(&self) -> bool {
        self.untold.is_some()
    }

    /// Whether windows have left memory that this machine is to compute.
    pub(crate) fn wants_lookback(&self) -> bool {
        self.serving && self.lookback.is_none() && self.windows.wants_scan()
    }

    /// Begins a lookback if one is wanted.
    pub(crate) fn begin_lookback(&mut self) {
        if self.wants_lookback() {
            self.lookback = self.windows.scan().map(Lookback::new);
        }
    }

    /// Takes the next step of the lookback under way. Returns what it wants searched; `None` if
    /// none is under way any more.
    pub(crate) fn look_back(&mut self, logs: &Logs) -> Option<Search> {
        let lookback = self.lookback.as_mut()?;
        let applied = match lookback.step(logs, self.windows.last()?) {
            Step::Search(search) => return Some(search),
            Step::Done => {
                let (scan, lacking) = self.lookback.take()?.end();
                self.stats.lookbacks += 1;
                self.windows.end_scan(scan, lacking)
            }
            Step::Failed => self.windows.abandon_scan(self.lookback.take()?.end().0),
        };
        self.emit(Vec::new(), applied);
        None
    }

    /// What a search of the lookback has found.
    pub(crate) fn on_found(&mut self, blocks: &[Block], searched: Sequence, catalogue: &Catalogue) {
        let found = self
            .lookback
            .as_mut()
            .map(|lookback| lookback.on_found(blocks, searched, catalogue));
        match found {
            Some(Found::GoOn) | None => {}
            Some(Found::Later) => self.lookback = None,
            Some(Found::Never) => {
                if let Some(lookback) = self.lookback.take() {
                    let applied = self.windows.abandon_scan(lookback.end().0);
                    self.emit(Vec::new(), applied);
                }
            }
        }
    }

    /// What was counted.
    pub(crate) fn stats(&self) -> FeedStats {
        self.stats
    }

    /// The records that nobody has had acknowledged; `None` if there are none.
    pub(crate) fn backlog(&self) -> Option<Backlog<'_>> {
        let oldest = &self.items.front()?.record;
        Some(Backlog {
            records: self.items.len(),
            is_full: self.items.len() >= ITEMS_MAX,
            oldest,
        })
    }

    /// The origin has given a sign of life.
    pub(crate) fn hear(&mut self, now: Instant) {
        self.heard = now;
        self.given_up = false;
    }

    /// Takes what one step has given, all at once: the progress after it holds when all of it is
    /// acknowledged.
    fn emit(&mut self, raw: Vec<Record>, applied: Applied) {
        self.stats.windows_lost += applied.windows_lost;
        self.stats.readings_misdated += applied.misdated;
        let windows = applied.records.into_iter().map(Record::Window);
        let records = raw.into_iter().chain(windows);
        let done = self.done;
        let fresh = |record: &Record| !done.is_some_and(|done| covers(&done, record));
        let items = records.filter(fresh).map(|record| Item {
            record,
            upload: None,
            acknowledged: false,
            then: None,
        });
        self.items.extend(items);
        if let (Some(item), Some(progress)) = (self.items.back_mut(), self.windows.progress()) {
            item.then = Some(progress);
        }
    }
}

/// Whether a relay with this progress has had the record acknowledged, or a complete one in the
/// place of a partial one.
fn covers(progress: &Progress, record: &Record) -> bool {
    match record {
        Record::Raw(_) => record.position() <= progress.through,
        Record::Window(WindowRecord { key, .. }) => {
            let end = key.window_start.saturating_add(key.window_length);
            progress.covers(record.position(), end)
        }
    }
}

/// Records of one origin that wait at one uplink; beyond it the log is not read on, and gives
/// them again later. Source: guess, an hour of ten series with windows of ten seconds.
const ITEMS_MAX: usize = 4_096;
