//! A record as JSON, with the names that programs outside rely on.
//!
//! Equal keys give equal bytes but for `relay`. Integers beyond 2⁵³ are strings, since many
//! readers take numbers for doubles; what is not finite is null; bytes are base64.

use std::collections::BTreeMap;

use aggregate::{RawRecord, Record, WindowRecord};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use model::{Quality, Timestamp, Value};
use serde::Serialize;
use serde_json::Value as Json;

use crate::Item;

#[derive(Serialize)]
struct Rendered<'a, T> {
    network: String,
    machine_id: String,
    machine: &'a str,
    series: &'a str,
    unit: &'a str,
    labels: BTreeMap<&'a str, &'a str>,
    #[serde(flatten)]
    content: T,
    relay: String,
    key: String,
}

#[derive(Serialize)]
struct WindowContent {
    window_start: String,
    window_end: String,
    log_epoch: String,
    last_sequence: Json,
    complete: bool,
    count: Json,
    min: Option<f64>,
    max: Option<f64>,
    mean: Option<f64>,
    sum: Option<f64>,
    stddev: Option<f64>,
    first: Json,
    last: Json,
    time_weighted_mean: Option<f64>,
    good_percent: f64,
    quantiles: BTreeMap<String, f64>,
}

#[derive(Serialize)]
struct RawContent {
    time: String,
    received_time: String,
    value: Json,
    quality: String,
    log_epoch: String,
    sequence: Json,
    index: u32,
}

/// The record as one line.
pub(crate) fn render(item: &Item) -> Bytes {
    match &item.record {
        Record::Window(record) => render_with(item, window_content(record)),
        Record::Raw(record) => render_with(item, raw_content(record)),
    }
}

fn render_with(item: &Item, content: impl Serialize) -> Bytes {
    let series = item.record.series();
    let rendered = Rendered {
        network: item.record.network().to_string(),
        machine_id: item.record.machine().to_string(),
        machine: &item.machine_name,
        series: series.name.as_str(),
        unit: series.unit.as_str(),
        labels: series.labels.iter().collect(),
        content,
        relay: item.relay.to_string(),
        key: item.key(),
    };
    let json = serde_json::to_vec(&rendered).expect("maps with text keys always serialise");
    Bytes::from(json)
}

fn window_content(WindowRecord { key, summary }: &WindowRecord) -> WindowContent {
    let numbers = summary.min.is_some();
    WindowContent {
        window_start: rfc3339(key.window_start),
        window_end: rfc3339(key.window_start.saturating_add(key.window_length)),
        log_epoch: key.log_epoch.to_string(),
        last_sequence: unsigned(key.last_sequence),
        complete: key.complete,
        count: unsigned(summary.count),
        min: summary.min,
        max: summary.max,
        mean: summary.mean,
        sum: numbers.then_some(summary.sum),
        stddev: summary.stddev,
        first: summary.first.as_ref().map_or(Json::Null, value),
        last: summary.last.as_ref().map_or(Json::Null, value),
        time_weighted_mean: summary.time_weighted_mean,
        good_percent: summary.good_percent,
        quantiles: summary
            .quantiles
            .iter()
            .map(|(q, value)| (q.to_string(), *value))
            .collect(),
    }
}

fn raw_content(record: &RawRecord) -> RawContent {
    RawContent {
        time: rfc3339(record.time),
        received_time: rfc3339(record.received),
        value: value(&record.value),
        quality: quality(record.quality),
        log_epoch: record.key.log_epoch.to_string(),
        sequence: unsigned(record.key.sequence),
        index: record.key.index,
    }
}

/// A quality as LEVEL or LEVEL:REASON.
fn quality(quality: Quality) -> String {
    match quality.reason.name() {
        "" => quality.level.name().to_owned(),
        reason => format!("{}:{reason}", quality.level.name()),
    }
}

fn value(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::F64(value) => Json::from(*value), // Null unless finite.
        Value::I64(value) if value.unsigned_abs() <= EXACT_MAX => Json::from(*value),
        Value::I64(value) => Json::from(value.to_string()),
        Value::Bool(value) => Json::from(*value),
        Value::Text(value) => Json::from(value.as_str()),
        Value::Bytes(value) => Json::from(STANDARD.encode(value)),
    }
}

fn unsigned(value: u64) -> Json {
    if value <= EXACT_MAX {
        Json::from(value)
    } else {
        Json::from(value.to_string())
    }
}

/// RFC 3339 in UTC, with as many decimals as it takes.
fn rfc3339(time: Timestamp) -> String {
    let time = jiff::Timestamp::from_nanosecond(time.as_nanos().into());
    time.expect("jiff's range is wider than nanoseconds in 64 bits")
        .to_string()
}

/// Greatest integer up to which doubles tell all integers apart. Source: IEEE 754, binary64.
const EXACT_MAX: u64 = 1 << 53;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::samples;

    #[test]
    fn a_record_has_the_fields_of_the_contract() {
        let mut window = samples::window("press/oil", (1 << 53) + 1);
        window.summary.last = Some(Value::I64(i64::MIN));
        let item = samples::of(Record::Window(window));
        let key = item.key();
        let (network, machine) = (item.record.network(), item.record.machine());

        let json = render(&item);

        let expected =
            format!(r#"{{"network":"{network}","machine_id":"{machine}","machine":"press-1","#)
                + r#""series":"press/oil","unit":"Cel","labels":{"line":"3"},"#
                + r#""window_start":"2026-01-01T00:00:00Z","window_end":"2026-01-01T00:00:00.1Z","#
                + r#""log_epoch":"3-9f2c11aa","last_sequence":"9007199254740993","complete":true,"#
                + r#""count":2,"min":1.5,"max":2.5,"mean":2.0,"sum":4.0,"stddev":0.5,"first":1.5,"#
                + r#""last":"-9223372036854775808","time_weighted_mean":2.25,"good_percent":50.0,"#
                + r#""quantiles":{"0.5":1.5,"0.95":2.5,"0.99":2.5},"#
                + &format!(r#""relay":"{}","key":"{key}"}}"#, item.relay);
        assert_eq!(String::from_utf8(json.to_vec()), Ok(expected));
    }

    #[test]
    fn a_raw_record_has_the_fields_of_a_reading_that_was_asked_for() {
        let record = samples::raw("press/oil", Value::F64(f64::NAN));
        let item = samples::of(Record::Raw(record));
        let key = item.key();

        let json: Json = serde_json::from_slice(&render(&item)).expect("JSON");

        assert!(key.ends_with("/3-9f2c11aa/17/4/raw"), "{key}");
        let expected = serde_json::json!({
            "network": item.record.network().to_string(),
            "machine_id": item.record.machine().to_string(), "machine": "press-1",
            "series": "press/oil", "unit": "Cel", "labels": {"line": "3"},
            "time": "2026-01-01T00:00:00.000000001Z", "received_time": "2026-01-01T00:00:01Z",
            "value": null, "quality": "bad:device-fault",
            "log_epoch": "3-9f2c11aa", "sequence": 17, "index": 4,
            "relay": item.relay.to_string(), "key": key,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn what_is_not_finite_or_missing_is_null_and_bytes_are_base64() {
        let mut window = samples::window("press/oil", 1);
        let summary = &mut window.summary;
        (summary.min, summary.sum) = (None, 0.0);
        summary.mean = Some(f64::NAN);
        summary.first = Some(Value::F64(f64::INFINITY));
        summary.last = Some(Value::Bytes(vec![0, 255]));

        let json = render(&samples::of(Record::Window(window)));

        let json: Json = serde_json::from_slice(&json).expect("JSON");
        for field in ["min", "sum", "mean", "first"] {
            assert_eq!(json[field], Json::Null, "{field}");
        }
        assert_eq!(json["last"], "AP8=");
    }
}
