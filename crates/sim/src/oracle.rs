//! What the sink should have, computed anew and naively from the blocks themselves: no watermarks,
//! no folds that resume, no state between windows.

use std::collections::BTreeMap;
use std::time::Duration;

use aggregate::{Record, WindowKey, WindowRecord};
use model::{
    Block, Epoch, LogId, MachineId, Position, QualityLevel, QualityReason, Reading, Sequence,
    SeriesDefinition, SeriesName, Timestamp, Value,
};

use crate::workload::{ValueBits, bits};

/// All blocks of a network, log by log.
pub(crate) type Blocks = BTreeMap<LogId, BTreeMap<Sequence, Block>>;

/// A window: origin, series, start. Unit of the start: nanoseconds since the Unix epoch.
pub(crate) type WindowName = (MachineId, SeriesName, i64);

/// The readings of one window in log order, with the last block that contributed.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    readings: Vec<Reading>,
    last: Option<Position>,
    /// A reading came when the window had ended.
    is_late: bool,
}

/// The blocks of an origin that count, line by line: what goes back to the same beginning, epoch by
/// epoch, each cut where the first block of the next one says that it goes on. From the newest
/// epoch back, what lies between is left out.
pub(crate) fn canonical(blocks: &Blocks, origin: MachineId) -> Vec<Vec<&Block>> {
    let logs = || blocks.keys().filter(|log| log.machine == origin);
    let mut lines: Vec<Epoch> = logs().map(|log| line_of(blocks, log)).collect();
    lines.sort_unstable();
    lines.dedup();
    let is_of = |line: Epoch| logs().filter(move |log| line_of(blocks, log) == line);
    let lines = lines.into_iter();
    lines
        .map(|line| count(blocks, is_of(line).copied().collect()))
        .collect()
}

/// The epoch where a log goes back to. Without its first block it goes with the epoch before it.
pub(crate) fn line_of(blocks: &Blocks, log: &LogId) -> Epoch {
    let first = blocks.get(log).and_then(|log| log.get(&1));
    let before = match first.map(|first| first.header().continues) {
        Some(None) => return log.epoch,
        Some(Some(named)) => {
            let epoch = named.epoch;
            blocks.range(..=LogId { epoch, ..*log }).next_back()
        }
        None => blocks.range(..log).next_back(),
    };
    let before = before.filter(|(before, _)| before.machine == log.machine);
    before.map_or(log.epoch, |(before, _)| line_of(blocks, before))
}

/// The blocks that count of the logs of one line.
fn count(blocks: &Blocks, logs: Vec<LogId>) -> Vec<&Block> {
    let mut cut: Option<Position> = None;
    let mut counted: Vec<Vec<&Block>> = Vec::new();
    for log in logs.into_iter().rev() {
        let last = match cut {
            Some(cut) if log.epoch > cut.epoch => continue,
            Some(cut) if log.epoch == cut.epoch => cut.sequence,
            _ => Sequence::MAX,
        };
        let in_order = (1..).zip(blocks.get(&log).into_iter().flatten());
        let gap_free = in_order.take_while(|(n, (sequence, _))| n == *sequence && *n <= last);
        let gap_free: Vec<&Block> = gap_free.map(|(_, (_, block))| block).collect();
        cut = gap_free.first().and_then(|first| first.header().continues);
        counted.push(gap_free);
    }
    counted.into_iter().rev().flatten().collect()
}

/// Every value of an origin's blocks that count, with how often it occurs.
#[must_use]
pub(crate) fn values(canonical: &[Vec<&Block>]) -> BTreeMap<ValueBits, usize> {
    let mut values = BTreeMap::new();
    for block in canonical.iter().flatten() {
        for reading in block.readings().unwrap_or_default() {
            if let Some(bits) = bits(&reading.value) {
                *values.entry(bits).or_default() += 1;
            }
        }
    }
    values
}

/// The windows of a line that have a reading.
#[must_use]
pub(crate) fn windows<'a>(
    canonical: &[&Block],
    define: impl Fn(&LogId, &Reading) -> Option<&'a SeriesDefinition>,
    length: Duration,
) -> BTreeMap<WindowName, Expected> {
    let length = i64::try_from(length.as_nanos()).unwrap_or(i64::MAX);
    let mut windows: BTreeMap<WindowName, Expected> = BTreeMap::new();
    let mut watermark = Timestamp::MIN;
    for block in canonical {
        let log = block.header().log;
        for reading in block.readings().unwrap_or_default() {
            if reading.quality.reason == QualityReason::TimeAhead {
                continue; // Its origin knows that this is no time at all.
            }
            let Some(series) = define(&log, &reading) else {
                continue;
            };
            let start = reading.time.as_nanos().div_euclid(length) * length;
            let window = windows
                .entry((log.machine, series.name.clone(), start))
                .or_default();
            window.readings.push(reading);
            window.last = Some(block.id().position());
            window.is_late |= start.saturating_add(length) <= watermark.as_nanos();
        }
        watermark = watermark.max(block.header().watermark);
    }
    windows
}

/// Of the records of each window the one that is valid: the one with the greatest name.
#[must_use]
pub(crate) fn valid<'a>(
    records: impl Iterator<Item = &'a Record>,
) -> BTreeMap<WindowName, &'a WindowRecord> {
    let mut valid: BTreeMap<WindowName, &WindowRecord> = BTreeMap::new();
    let order = |key: &WindowKey| (key.log_epoch, key.last_sequence, key.complete);
    for record in records {
        let Record::Window(record) = record else {
            continue;
        };
        let key = &record.key;
        let name = (
            key.machine,
            key.series.name.clone(),
            key.window_start.as_nanos(),
        );
        let best = valid.entry(name).or_insert(record);
        if order(&best.key) < order(key) {
            *best = record;
        }
    }
    valid
}

impl Expected {
    /// The last block that contributed.
    pub(crate) const fn last(&self) -> Option<Position> {
        self.last
    }

    /// Whether a reading came when the window had ended.
    pub(crate) const fn is_late(&self) -> bool {
        self.is_late
    }

    /// Compares a record with the readings; says what is wrong with it. Nothing completes the last
    /// windows of a line that is over.
    ///
    /// # Errors
    ///
    /// What differs.
    pub(crate) fn compare(&self, record: &WindowRecord, is_over: bool) -> Result<(), String> {
        let position = record.key.position();
        let is_named_by_cut = position.sequence == 1 && Some(position) > self.last;
        let good: Vec<&Reading> = (self.readings.iter())
            .filter(|reading| reading.quality.level == QualityLevel::Good)
            .collect();
        let numbers: Vec<f64> = good.iter().filter_map(|r| r.value.as_f64()).collect();
        let mut sum = 0.0;
        numbers.iter().for_each(|number| sum += number);
        let count = u64::try_from(numbers.len()).unwrap_or(u64::MAX);
        let earliest = good.iter().min_by_key(|reading| reading.time);
        let latest = good.iter().max_by_key(|reading| reading.time);
        let value = |reading: Option<&&Reading>| reading.map(|reading| reading.value.clone());
        let summary = &record.summary;
        let checks = [
            ("complete", record.key.complete || is_over),
            ("name", Some(position) == self.last || is_named_by_cut),
            ("count", summary.count == count),
            ("sum", summary.sum.to_bits() == f64::to_bits(sum)),
            (
                "min",
                summary.min == numbers.iter().copied().reduce(f64::min),
            ),
            (
                "max",
                summary.max == numbers.iter().copied().reduce(f64::max),
            ),
            ("first", summary.first == value(earliest)),
            ("last", summary.last == value(latest)),
            (
                "mean",
                match summary.mean {
                    Some(mean) => is_near(mean * numbers_f64(count), sum),
                    None => count == 0,
                },
            ),
            (
                "stddev",
                match summary.stddev {
                    Some(s) => is_near(s, stddev(&numbers)),
                    None => count == 0,
                },
            ),
        ];
        let wrong: Vec<_> = checks
            .iter()
            .filter(|(_, right)| !right)
            .map(|(what, _)| *what)
            .collect();
        if wrong.is_empty() {
            return Ok(());
        }
        let values: Vec<&Value> = self.readings.iter().map(|reading| &reading.value).collect();
        Err(format!(
            "{} of {record:?} differ from {values:?} up to {:?}",
            wrong.join(", "),
            self.last
        ))
    }
}

fn numbers_f64(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn stddev(numbers: &[f64]) -> f64 {
    let count = numbers_f64(u64::try_from(numbers.len()).unwrap_or(u64::MAX));
    let mean = numbers.iter().sum::<f64>() / count;
    (numbers
        .iter()
        .map(|number| (number - mean).powi(2))
        .sum::<f64>()
        / count)
        .sqrt()
}

/// Equal but for what rounding on another way to the same number costs.
fn is_near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * (1.0 + a.abs().max(b.abs()))
}
