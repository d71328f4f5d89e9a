//! The same windows again, slowly: every record anew from the whole log before it.

use std::collections::{BTreeMap, BTreeSet};

use model::{QualityLevel, QualityReason};
use proptest::prelude::*;

use super::{Config, Position, Reading, TestBlock, Timestamp, Value, WindowRecord};

/// A window: series, start and length in nanoseconds.
type Name = (u32, i64, i64);

/// Checks what relays gave of a log that has ended: each record is what the log says up to its
/// contributor, one name has one content, and the valid record of each window knows all of it.
pub(super) fn check_all(
    config: &Config,
    log: &[TestBlock],
    records: &[WindowRecord],
) -> Result<(), TestCaseError> {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut valid: BTreeMap<Name, (Position, bool)> = BTreeMap::new();
    for record in records {
        let content = format!("{:?}", record.summary);
        let first = known
            .entry(record.key.to_string())
            .or_insert_with(|| content.clone());
        prop_assert_eq!(&*first, &content, "one name, two contents");
        let (name, place) = (name(record), (record.key.position(), record.key.complete));
        let best = valid.entry(name).or_insert(place);
        *best = place.max(*best);
        let contributions = contributions(log, name, place.0);
        let contributor = contributions.last().map(|(block, _)| *block);
        let is_named_by_cut = place.0.sequence == 1 && contributor < Some(place.0);
        prop_assert!(contributor == Some(place.0) || is_named_by_cut);
        let readings: Vec<&Reading> = contributions.iter().map(|(_, reading)| *reading).collect();
        check_summary(record, &readings, name.1 + name.2)?;
    }
    for name in names(config, log) {
        let last = log[log.len() - 1].header.id().position();
        let Some((contributor, _)) = contributions(log, name, last).last().copied() else {
            continue;
        };
        let (place, complete) = valid.remove(&name).unwrap_or((contributor, false));
        prop_assert!(complete && place >= contributor, "{name:?} at {place:?}");
    }
    prop_assert!(valid.is_empty(), "windows from nowhere: {:?}", valid);
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

/// The readings of a window up to a block, each with its block.
fn contributions(
    log: &[TestBlock],
    (series, start, length): Name,
    through: Position,
) -> Vec<(Position, &Reading)> {
    let position = |block: &TestBlock| block.header.id().position();
    let blocks = log.iter().filter(|block| position(block) <= through);
    let readings = blocks.flat_map(|block| {
        block
            .readings
            .iter()
            .map(move |reading| (position(block), reading))
    });
    let within = readings.filter(|(_, reading)| {
        reading.series.0 == series
            && reading.quality.reason != QualityReason::TimeAhead
            && (start..start + length).contains(&reading.time.as_nanos())
    });
    within.collect()
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
