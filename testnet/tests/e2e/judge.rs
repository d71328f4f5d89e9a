//! The judge of what arrives at a sink: windows computed from the published readings, in the
//! simplest way, without any code of the program.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use serde::Deserialize;

use crate::client::UNIT;
use crate::feed::Fed;
use crate::wait::until;

/// A record as it arrives.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Record {
    /// Its origin.
    pub(crate) machine_id: String,
    /// Its series.
    pub(crate) series: String,
    /// The machine that uploaded it.
    pub(crate) relay: String,
    unit: String,
    window_start: String,
    window_end: String,
    log_epoch: String,
    last_sequence: u64,
    complete: bool,
    count: u64,
    min: Option<f64>,
    max: Option<f64>,
    mean: Option<f64>,
    sum: Option<f64>,
    stddev: Option<f64>,
    first: Option<f64>,
    last: Option<f64>,
    time_weighted_mean: Option<f64>,
    good_percent: f64,
    quantiles: BTreeMap<String, f64>,
    key: String,
}

impl Record {
    /// When its window began. Unit: nanoseconds since the Unix epoch.
    pub(crate) fn start(&self) -> i64 {
        nanos(&self.window_start)
    }
}

/// A window by what it is of: machine, series, start. Unit: nanoseconds since the Unix epoch.
type Name<'a> = (&'a str, &'a str, i64);

/// Waits until the records in `sink` are those of the readings that were fed, in windows of
/// `length`, none missing, none wrong.
pub(crate) async fn all_arrive(fed: &[Fed], length: Duration, sink: &Path) {
    let what = format!("every window arrives in {}", sink.display());
    until(&what, ARRIVE_TIMEOUT, async || {
        // Judging takes a while where there are many; it shall not slow down what it waits for.
        tokio::time::sleep(JUDGE_INTERVAL).await;
        compare(fed, length, &lines(sink))
    })
    .await;
}

/// The records that have arrived in `sink` so far.
pub(crate) fn records(sink: &Path) -> Vec<Record> {
    lines(sink).iter().map(|line| parse(line)).collect()
}

/// The lines that have arrived in a file or in the files of a directory; what follows the last
/// line break is not a line yet.
fn lines(sink: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut add = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        lines.extend(whole.lines().map(str::to_owned));
    };
    match std::fs::read_dir(sink) {
        Ok(entries) => entries.for_each(|entry| add(&entry.expect("an entry").path())),
        Err(_) => add(sink),
    }
    lines
}

fn parse(line: &str) -> Record {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in what arrived: {line}"))
}

/// Says what of the records is missing or wrong.
fn compare(fed: &[Fed], length: Duration, lines: &[String]) -> Result<(), String> {
    let records = valid(lines);
    let nanos = i64::try_from(length.as_nanos()).expect("a window is shorter than centuries");
    let mut windows: BTreeMap<Name<'_>, Vec<&Fed>> = BTreeMap::new();
    for fed in fed {
        let start = fed.time - fed.time.rem_euclid(nanos);
        windows
            .entry((&fed.machine_id, &fed.series, start))
            .or_default()
            .push(fed);
    }
    let mut wrong = Vec::new();
    for (name, readings) in &windows {
        match records.get(&(name.0.to_owned(), name.1.to_owned(), name.2)) {
            None => wrong.push(format!("{name:?} is missing")),
            Some(record) => wrong.extend(judge(record, readings, name.2 + nanos)),
        }
    }
    for (name, record) in &records {
        if !windows.contains_key(&(name.0.as_str(), name.1.as_str(), name.2)) {
            wrong.push(format!("nobody published what {} is of", record.key));
        }
    }
    match wrong.len() {
        0 => Ok(()),
        count => {
            wrong.truncate(SHOWN_MAX);
            Err(format!(
                "{count} of {} windows are wrong: {}",
                windows.len(),
                wrong.join("; ")
            ))
        }
    }
}

/// The record of each window that counts: of several the one with the greatest name.
///
/// # Panics
///
/// If two records have equal keys and differ in more than their relay: waiting mends nothing then.
fn valid(lines: &[String]) -> BTreeMap<(String, String, i64), Record> {
    let mut by_key: BTreeMap<String, String> = BTreeMap::new();
    let mut valid: BTreeMap<(String, String, i64), Record> = BTreeMap::new();
    for line in lines {
        let record = parse(line);
        let content = line.replace(&format!(r#""relay":"{}""#, record.relay), r#""relay":"""#);
        if let Some(other) = by_key.insert(record.key.clone(), content.clone()) {
            assert_eq!(other, content, "equal keys, different content");
        }
        let name = (
            record.machine_id.clone(),
            record.series.clone(),
            record.start(),
        );
        let better = valid
            .get(&name)
            .is_none_or(|other| rank(other) <= rank(&record));
        if better {
            valid.insert(name, record);
        }
    }
    valid
}

fn rank(record: &Record) -> (u64, String, u64, bool) {
    let (counter, tag) = record.log_epoch.split_once('-').expect("COUNTER-TAG");
    let counter = counter.parse().expect("a number");
    (
        counter,
        tag.to_owned(),
        record.last_sequence,
        record.complete,
    )
}

/// Says what is wrong with the record of a window with these readings, if anything is.
fn judge(record: &Record, readings: &[&Fed], end: i64) -> Option<String> {
    let mut sorted: Vec<&Fed> = readings.to_vec();
    sorted.sort_by_key(|fed| fed.time);
    let values: Vec<f64> = sorted.iter().map(|fed| fed.value).collect();
    let count = f64::from(u32::try_from(values.len()).expect("few"));
    let sum: f64 = values.iter().sum();
    let mean = sum / count;
    let variance = values
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>()
        / count;
    let (min, max) = values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), value| {
            (min.min(*value), max.max(*value))
        });
    let checks = [
        ("unit", record.unit == UNIT),
        ("window_end", nanos(&record.window_end) == end),
        ("complete", record.complete),
        ("count", usize::try_from(record.count) == Ok(values.len())),
        ("min", record.min == Some(min)),
        ("max", record.max == Some(max)),
        ("sum", record.sum == Some(sum)),
        ("mean", is_near(record.mean, mean)),
        ("stddev", is_near(record.stddev, variance.sqrt())),
        ("first", record.first == values.first().copied()),
        ("last", record.last == values.last().copied()),
        (
            "time_weighted_mean",
            is_near(record.time_weighted_mean, time_weighted(&sorted, end)),
        ),
        ("good_percent", is_near(Some(record.good_percent), 100.0)),
        ("quantiles", quantiles_fit(record, values)),
    ];
    let wrong: Vec<&str> = checks
        .iter()
        .filter(|(_, right)| !right)
        .map(|(what, _)| *what)
        .collect();
    if wrong.is_empty() {
        return None;
    }
    Some(format!(
        "{} is wrong in {wrong:?}: {} readings in {record:?}",
        record.key,
        readings.len()
    ))
}

/// Each value holds until the next one, the last until the window's end.
fn time_weighted(sorted: &[&Fed], end: i64) -> f64 {
    let ends = sorted.iter().skip(1).map(|fed| fed.time).chain([end]);
    let mut weighted = (0.0, 0.0);
    for (fed, end) in sorted.iter().zip(ends) {
        let held =
            Duration::from_nanos(u64::try_from(end - fed.time).expect("sorted")).as_secs_f64();
        weighted = (weighted.0 + fed.value * held, weighted.1 + held);
    }
    weighted.0 / weighted.1
}

/// Whether each quantile lies within one percent of the value of its rank.
fn quantiles_fit(record: &Record, mut values: Vec<f64>) -> bool {
    values.sort_by(f64::total_cmp);
    ["0.5", "0.95", "0.99"]
        .iter()
        .zip([50, 95, 99])
        .all(|(name, percent)| {
            let exact = values[(values.len() - 1) * percent / 100];
            let found = record.quantiles.get(*name);
            found.is_some_and(|found| (found - exact).abs() <= exact.abs() * QUANTILE_ERROR)
        })
}

/// Equal but for the rounding of another order of operations.
fn is_near(found: Option<f64>, expected: f64) -> bool {
    found.is_some_and(|found| (found - expected).abs() <= ROUNDING * expected.abs().max(1.0))
}

fn nanos(text: &str) -> i64 {
    let time = humantime::parse_rfc3339(text).expect("RFC 3339");
    let since = time.duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_nanos()).expect("before 2262")
}

/// Longest time until the last window has arrived: its length, and what was behind.
const ARRIVE_TIMEOUT: Duration = Duration::from_secs(40);
/// Pause between two looks at the sink.
const JUDGE_INTERVAL: Duration = Duration::from_millis(300);
/// Wrong windows that are shown.
const SHOWN_MAX: usize = 5;
/// Relative error of quantiles. Source: contract of DDSketch at one percent, and its rounding.
const QUANTILE_ERROR: f64 = 0.010_001;
/// Relative error of a few dozen additions. Source: guess, 2^-52 each.
const ROUNDING: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(time_ms: i64, value: f64) -> Fed {
        Fed {
            machine_id: "12D3".to_owned(),
            series: "press/oil".to_owned(),
            time: time_ms * 1_000_000,
            value,
        }
    }

    /// The record of 1.0 at 0 s and 4.0 at 0.75 s in a window of a second.
    fn line(relay: &str, sum: f64) -> String {
        serde_json::json!({
            "machine_id": "12D3", "series": "press/oil", "unit": UNIT,
            "window_start": "1970-01-01T00:00:00Z", "window_end": "1970-01-01T00:00:01Z",
            "log_epoch": "1-00000000", "last_sequence": 1, "complete": true,
            "count": 2, "min": 1.0, "max": 4.0, "mean": 2.5, "sum": sum, "stddev": 1.5,
            "first": 1.0, "last": 4.0, "time_weighted_mean": 1.75, "good_percent": 100.0,
            "quantiles": { "0.5": 1.0, "0.95": 1.0, "0.99": 1.0 }, "relay": relay, "key": "k",
        })
        .to_string()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_judge_accepts_what_is_right_and_a_repeat_by_another_relay() {
        let lines = [line("a", 5.0), line("b", 5.0)];

        assert_eq!(
            compare(&[fed(0, 1.0), fed(750, 4.0)], SECOND, &lines),
            Ok(())
        );
    }

    #[test]
    fn the_judge_finds_a_wrong_a_missing_and_an_invented_window() {
        let readings = [fed(0, 1.0), fed(750, 4.0)];
        let missing = compare(&readings, SECOND, &[]).expect_err("none is there");
        let wrong = compare(&readings, SECOND, &[line("a", 5.5)]).expect_err("a wrong sum");
        let invented = compare(&[], SECOND, &[line("a", 5.0)]).expect_err("an invented one");

        assert!(missing.contains("is missing"), "{missing}");
        assert!(wrong.contains(r#"["sum"]"#), "{wrong}");
        assert!(invented.contains("nobody published"), "{invented}");
    }

    #[test]
    #[should_panic(expected = "equal keys, different content")]
    fn the_judge_finds_equal_keys_with_different_content() {
        let _ = compare(&[], SECOND, &[line("a", 5.0), line("b", 6.0)]);
    }
}
