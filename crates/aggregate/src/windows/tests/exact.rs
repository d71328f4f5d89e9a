//! The same windows again, slowly: everything from the whole log, after every block.

use std::collections::BTreeSet;

use model::{QualityLevel, QualityReason};
use proptest::prelude::*;

use super::{Applied, Config, Position, Reading, TestBlock, Timestamp, Value, WindowRecord};

/// A window: series, start and length in nanoseconds.
type Name = (u32, i64, i64);

/// Checks what the last block of a log gave.
pub(super) fn check(
    config: &Config,
    log: &[TestBlock],
    applied: &Applied,
) -> Result<(), TestCaseError> {
    let (before, after) = (watermark(&log[..log.len() - 1]), watermark(log));
    let last = log[log.len() - 1].header.id().position();
    let mut expected = Vec::new();
    for name in names(config, log) {
        let contributions = contributions(config, log, name);
        let end = Timestamp::from_nanos(name.1 + name.2);
        let Some((contributor, _)) = contributions.last().copied() else {
            continue;
        };
        if end <= after && (end > before || contributor == last) {
            expected.push((name, contributor, contributions));
        }
    }

    prop_assert_eq!(applied.records.len(), expected.len());
    for (name, contributor, contributions) in expected {
        let found = applied
            .records
            .iter()
            .find(|record| self::name(record) == name);
        let record = found.ok_or_else(|| TestCaseError::fail(format!("{name:?} is missing")))?;
        prop_assert_eq!(position(record), contributor);
        prop_assert!(record.key.complete);
        let readings: Vec<&Reading> = contributions.iter().map(|(_, reading)| *reading).collect();
        check_summary(record, &readings, name.1 + name.2)?;
    }
    Ok(())
}

fn check_summary(
    record: &WindowRecord,
    readings: &[&Reading],
    end: i64,
) -> Result<(), TestCaseError> {
    let summary = &record.summary;
    let good: Vec<&&Reading> = readings.iter().filter(|reading| is_good(reading)).collect();
    let mut numbers: Vec<f64> = good.iter().filter_map(|r| r.value.as_f64()).collect();
    let count = numbers.len() as f64;
    let sum: f64 = numbers.iter().fold(0.0, |sum, number| sum + number);
    let mean = sum / count;
    let variance = numbers.iter().map(|n| (n - mean) * (n - mean)).sum::<f64>() / count;

    prop_assert_eq!(summary.count, good.len() as u64);
    prop_assert_eq!(
        summary.good_percent,
        100.0 * good.len() as f64 / readings.len() as f64
    );
    prop_assert_eq!(summary.sum.to_bits(), sum.to_bits());
    prop_assert_eq!(summary.mean, (count > 0.0).then_some(mean));
    prop_assert_eq!(summary.min, numbers.iter().copied().reduce(f64::min));
    prop_assert_eq!(summary.max, numbers.iter().copied().reduce(f64::max));
    prop_assert!(is_near(
        summary.stddev,
        (count > 0.0).then(|| variance.sqrt())
    ));
    let first = good.iter().min_by_key(|reading| reading.time);
    let last = good.iter().max_by_key(|reading| reading.time);
    prop_assert_eq!(summary.first.as_ref(), first.map(|reading| &reading.value));
    prop_assert_eq!(summary.last.as_ref(), last.map(|reading| &reading.value));
    let weighted = time_weighted(readings, end);
    prop_assert!(
        is_near(summary.time_weighted_mean, weighted),
        "{summary:?} for {weighted:?}"
    );

    numbers.sort_by(f64::total_cmp);
    prop_assert_eq!(
        summary.quantiles.len(),
        if numbers.is_empty() { 0 } else { 3 }
    );
    for &(quantile, found) in &summary.quantiles {
        let exact = numbers[rank(numbers.len(), quantile)];
        prop_assert!(
            (found - exact).abs() <= exact.abs() * 0.01,
            "{found} for {exact}"
        );
    }
    Ok(())
}

fn rank(count: usize, quantile: f64) -> usize {
    let permille = [(0.5, 500), (0.95, 950), (0.99, 990)];
    let found = permille.iter().find(|(known, _)| *known == quantile);
    (count - 1) * found.expect("a quantile that is promised").1 / 1_000
}

/// The time-weighted mean by looking at every millisecond: test times are whole ones.
fn time_weighted(readings: &[&Reading], end: i64) -> Option<f64> {
    let mut ordered = readings.to_vec();
    ordered.sort_by_key(|reading| reading.time);
    let start = ordered.first()?.time.as_nanos();
    let (mut sum, mut covered) = (0.0, 0.0);
    for millis in start / 1_000_000..end / 1_000_000 {
        let now = Timestamp::from_nanos(millis * 1_000_000);
        let held = ordered.iter().rev().find(|reading| reading.time <= now);
        let held = held.filter(|reading| is_good(reading));
        if let Some(number) = held.and_then(|reading| reading.value.as_f64()) {
            sum += number;
            covered += 1.0;
        }
    }
    (covered > 0.0).then_some(sum / covered)
}

fn is_near(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * (a.abs() + b.abs()) + 1e-6,
        (a, b) => a == b,
    }
}

fn is_good(reading: &Reading) -> bool {
    let is_value = match reading.value {
        Value::Null => false,
        Value::F64(value) => value.is_finite(),
        Value::I64(_) | Value::Bool(_) | Value::Text(_) | Value::Bytes(_) => true,
    };
    is_value && reading.quality.level == QualityLevel::Good
}

fn watermark(log: &[TestBlock]) -> Timestamp {
    let watermarks = log.iter().map(|block| block.header.watermark);
    watermarks.max().unwrap_or(Timestamp::MIN)
}

/// Every window that some reading lies in.
fn names(config: &Config, log: &[TestBlock]) -> BTreeSet<Name> {
    let lengths = config
        .lengths
        .iter()
        .map(|l| i64::try_from(l.as_nanos()).expect("short"));
    let lengths: Vec<i64> = lengths.collect();
    let readings = log.iter().flat_map(|block| &block.readings);
    let windows = readings.flat_map(|reading| {
        let start = |length: i64| reading.time.as_nanos().div_euclid(length) * length;
        lengths
            .iter()
            .map(move |&length| (reading.series.0, start(length), length))
    });
    windows.collect()
}

/// The readings of a window with their blocks, without those that came too late.
fn contributions<'a>(
    config: &Config,
    log: &'a [TestBlock],
    (series, start, length): Name,
) -> Vec<(Position, &'a Reading)> {
    let mut found = Vec::new();
    for (index, block) in log.iter().enumerate() {
        let closes = Timestamp::from_nanos(start + length).saturating_add(config.allowed_lateness);
        if watermark(&log[..index]) >= closes {
            break;
        }
        let within = block.readings.iter().filter(|reading| {
            reading.series.0 == series
                && reading.quality.reason != QualityReason::TimeAhead
                && (start..start + length).contains(&reading.time.as_nanos())
        });
        found.extend(within.map(|reading| (block.header.id().position(), reading)));
    }
    found
}

fn name(record: &WindowRecord) -> Name {
    let series = record
        .key
        .series
        .name
        .as_str()
        .trim_start_matches("series/");
    let length = i64::try_from(record.key.window_length.as_nanos()).expect("short");
    (
        series.parse().expect("a number"),
        record.key.window_start.as_nanos(),
        length,
    )
}

fn position(record: &WindowRecord) -> Position {
    Position {
        epoch: record.key.log_epoch,
        sequence: record.key.last_sequence,
    }
}
