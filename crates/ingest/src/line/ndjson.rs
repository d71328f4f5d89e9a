//! One JSON object a line: `{"series": "press/oil/temperature", "value": 21.5, "unit": "Cel"}`.
//!
//! | field | |
//! | --- | --- |
//! | `series` | required; a name of a series as it is |
//! | `value` | required; a number, a truth value, a text, or null for none |
//! | `type` | `f64`, `i64`, `bool`, `string` or `bytes` (text in base64) |
//! | `time` | RFC 3339 with offset, or nanoseconds since 1970 as an integer; default: now |
//! | `unit` | a UCUM code |
//! | `labels` | an object of texts |
//! | `quality` | `good`, `uncertain`, `bad` or `stale`; a reason after a colon: `bad:missing` |
//!
//! Without `type`, numbers and null are of type double, so that `20` and `20.5` fit into one
//! series; only an integer that a double cannot hold is of type `i64`. Integers of 1973 and before
//! as `time` are refused, since they are seconds or milliseconds by mistake. Other fields are
//! ignored, so that what `fieldmesh query` prints can be published again.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::{
    Labels, NewReading, Quality, QualityLevel, QualityReason, Timestamp, Value, ValueType,
};
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;

use super::{Defaults, reading};
use crate::LineFault;
use crate::error::shorten;

#[derive(Deserialize)]
struct Raw {
    series: Option<String>,
    /// Null is a value, so its absence is told apart.
    #[serde(default, deserialize_with = "present")]
    value: Option<Json>,
    #[serde(rename = "type")]
    value_type: Option<String>,
    time: Option<Json>,
    unit: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    quality: Option<String>,
}

/// Parses one line.
///
/// # Errors
///
/// [`LineFault`] if a field is missing or cannot be read.
pub fn parse_line(line: &str, defaults: &Defaults) -> Result<NewReading, LineFault> {
    let raw: Raw = serde_json::from_str(line).map_err(|error| LineFault::Malformed {
        what: shorten(&error.to_string()),
        expected: r#"an object like {"series": "press/oil/temperature", "value": 21.5}"#,
    })?;
    let name = raw.series.ok_or(LineFault::Missing("series"))?.parse()?;
    let value = raw.value.ok_or(LineFault::Missing("value"))?;
    let declared = match raw.value_type.as_deref() {
        Some(text) => Some(read_type(text)?),
        None => defaults.value_type,
    };
    let unit = match raw.unit {
        Some(unit) => unit.parse()?,
        None => defaults.unit.clone(),
    };
    let time = match raw.time {
        Some(time) => read_time(&time)?,
        None => defaults.now,
    };
    let quality = raw.quality.as_deref().map(read_quality).transpose()?;
    let labels = Labels::new(raw.labels.unwrap_or_default())?;
    reading(
        name,
        unit,
        labels,
        time,
        read_value(value, declared)?,
        quality,
    )
}

/// The type of a series by its name.
fn read_type(text: &str) -> Result<ValueType, LineFault> {
    [
        ValueType::F64,
        ValueType::I64,
        ValueType::Bool,
        ValueType::Text,
        ValueType::Bytes,
    ]
    .into_iter()
    .find(|value_type| value_type.name() == text)
    .ok_or_else(|| LineFault::field("type", text, "f64, i64, bool, string or bytes"))
}

fn read_value(json: Json, declared: Option<ValueType>) -> Result<(Value, ValueType), LineFault> {
    let value_type = match (&json, declared) {
        (_, Some(declared)) => declared,
        (Json::Number(number), None) if is_beyond_doubles(number) => ValueType::I64,
        (Json::Number(_), None) => ValueType::F64,
        (Json::Bool(_), None) => ValueType::Bool,
        (Json::String(_), None) => ValueType::Text,
        (Json::Null | Json::Array(_) | Json::Object(_), None) => ValueType::F64,
    };
    let value = match (&json, value_type) {
        (Json::Null, _) => Some(Value::Null),
        (Json::Number(number), ValueType::F64) => number.as_f64().map(Value::F64),
        (Json::Number(number), ValueType::I64) => number.as_i64().map(Value::I64),
        (Json::Bool(value), ValueType::Bool) => Some(Value::Bool(*value)),
        (Json::String(text), ValueType::Text) => Some(Value::Text(text.clone())),
        (Json::String(text), ValueType::Bytes) => STANDARD.decode(text).ok().map(Value::Bytes),
        // As `fieldmesh query` prints integers that a double cannot hold.
        (Json::String(text), ValueType::I64) => text.parse().ok().map(Value::I64),
        _ => None,
    };
    match value {
        Some(value) => Ok((value, value_type)),
        None => Err(LineFault::field(
            "value",
            &json.to_string(),
            expected(value_type),
        )),
    }
}

/// Whether a number is an integer that a double may not hold: beyond 2^53 either way.
fn is_beyond_doubles(number: &serde_json::Number) -> bool {
    match number.as_i64() {
        Some(integer) => integer.unsigned_abs() > 1 << 53,
        None => number.is_u64(),
    }
}

fn expected(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::F64 => "a number, a truth value, a text or null",
        ValueType::I64 => "an integer of 64 bits, or declare `type` f64",
        ValueType::Bool => "true, false or null, or declare another `type`",
        ValueType::Text => "a text or null, or declare another `type`",
        ValueType::Bytes => "bytes as text in base64",
    }
}

fn read_time(json: &Json) -> Result<Timestamp, LineFault> {
    let refused = |expected| Err(LineFault::field("time", &json.to_string(), expected));
    match json {
        Json::String(text) => match rfc3339(text) {
            Some(time) => Ok(time),
            None => refused("RFC 3339 with an offset, like 2014-01-01T00:00:00Z"),
        },
        Json::Number(number) => match number.as_i64() {
            Some(nanos) if nanos >= NANOS_MIN => Ok(Timestamp::from_nanos(nanos)),
            _ => refused("nanoseconds since 1970, or RFC 3339"),
        },
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => {
            refused("RFC 3339, or nanoseconds since 1970")
        }
    }
}

fn rfc3339(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    let nanos = i64::try_from(time.as_nanosecond()).ok()?;
    Some(Timestamp::from_nanos(nanos))
}

fn read_quality(text: &str) -> Result<Quality, LineFault> {
    let (level, reason) = text.split_once(':').unwrap_or((text, ""));
    let level = QualityLevel::ALL.into_iter().find(|l| l.name() == level);
    let reason = QualityReason::ALL.into_iter().find(|r| r.name() == reason);
    match (level, reason) {
        (Some(level), Some(reason)) => Ok(Quality::new(level, reason)),
        _ => Err(LineFault::field(
            "quality",
            text,
            "good, uncertain, bad or stale, and a known reason after a colon",
        )),
    }
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(deserializer).map(Some)
}

/// The earliest integer that is taken for nanoseconds: March 1973. Source: as milliseconds, and all
/// the more as seconds, it lies three million years ahead.
const NANOS_MIN: i64 = 100_000_000_000_000_000;

#[cfg(test)]
mod tests;
