//! Between the messages of `fieldmesh.v1` and the types of the model.

use std::collections::BTreeMap;

use engine::AckLevel;
use model::{
    Labels, NewReading, Pattern, Quality, QualityLevel, QualityReason, SeriesDefinition, Timestamp,
    Value, ValueType,
};
use proto::v1 as pb;
use tonic::Status;

use crate::{HeldReading, SeriesEntry};

/// Reads a pattern, which must be there.
pub(crate) fn pattern(text: &str) -> Result<Pattern, Status> {
    text.parse()
        .map_err(|error| Status::invalid_argument(format!("pattern: {error}")))
}

/// Reads a time; `field` names it in the error.
pub(crate) fn timestamp(
    raw: &prost_types::Timestamp,
    field: impl Fn() -> String,
) -> Result<Timestamp, Status> {
    let nanos = i128::from(raw.seconds) * NANOS_PER_SECOND + i128::from(raw.nanos);
    let valid = (0..1_000_000_000).contains(&raw.nanos);
    match i64::try_from(nanos) {
        Ok(nanos) if valid => Ok(Timestamp::from_nanos(nanos)),
        _ => Err(Status::invalid_argument(format!(
            "{}: seconds must lie between the years 1678 and 2262, nanos between 0 and 999999999",
            field()
        ))),
    }
}

/// Writes a time as the services take it.
///
/// # Panics
///
/// Never: the nanoseconds of a second fit.
#[must_use]
pub fn to_timestamp(time: Timestamp) -> prost_types::Timestamp {
    let nanos = time.as_nanos().rem_euclid(1_000_000_000);
    prost_types::Timestamp {
        seconds: time.as_nanos().div_euclid(1_000_000_000),
        nanos: i32::try_from(nanos).expect("less than 10^9"),
    }
}

/// Reads a value; `None` if it is too long.
pub(crate) fn value(raw: Option<pb::Value>) -> Option<Value> {
    use pb::value::Kind;
    let value = match raw.and_then(|value| value.kind) {
        None => Value::Null,
        Some(Kind::Double(value)) => Value::F64(value),
        Some(Kind::Integer(value)) => Value::I64(value),
        Some(Kind::Bool(value)) => Value::Bool(value),
        Some(Kind::Text(value)) => Value::Text(value),
        Some(Kind::Bytes(value)) => Value::Bytes(value),
    };
    let length = match &value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Null | Value::F64(_) | Value::I64(_) | Value::Bool(_) => 0,
    };
    (length <= Value::BYTES_MAX).then_some(value)
}

fn to_value(value: Value) -> Option<pb::Value> {
    use pb::value::Kind;
    let kind = match value {
        Value::Null => return None,
        Value::F64(value) => Kind::Double(value),
        Value::I64(value) => Kind::Integer(value),
        Value::Bool(value) => Kind::Bool(value),
        Value::Text(value) => Kind::Text(value),
        Value::Bytes(value) => Kind::Bytes(value),
    };
    Some(pb::Value { kind: Some(kind) })
}

/// Reads a type; `None` for none.
pub(crate) fn value_type(raw: pb::ValueType) -> Option<ValueType> {
    match raw {
        pb::ValueType::Unspecified => None,
        pb::ValueType::Double => Some(ValueType::F64),
        pb::ValueType::Integer => Some(ValueType::I64),
        pb::ValueType::Bool => Some(ValueType::Bool),
        pb::ValueType::Text => Some(ValueType::Text),
        pb::ValueType::Bytes => Some(ValueType::Bytes),
    }
}

const fn to_value_type(value_type: ValueType) -> pb::ValueType {
    match value_type {
        ValueType::F64 => pb::ValueType::Double,
        ValueType::I64 => pb::ValueType::Integer,
        ValueType::Bool => pb::ValueType::Bool,
        ValueType::Text => pb::ValueType::Text,
        ValueType::Bytes => pb::ValueType::Bytes,
    }
}

/// Reads a quality; `None` if the level or the reason is unknown.
pub(crate) fn quality(raw: pb::Quality) -> Option<Quality> {
    let level = QualityLevel::ALL
        .into_iter()
        .find(|level| to_level(*level) as i32 == raw.level)?;
    let reason = QualityReason::ALL
        .into_iter()
        .find(|reason| to_reason(*reason) as i32 == raw.reason)?;
    Some(Quality { level, reason })
}

fn to_quality(quality: Quality) -> pb::Quality {
    pb::Quality {
        level: to_level(quality.level).into(),
        reason: to_reason(quality.reason).into(),
    }
}

const fn to_level(level: QualityLevel) -> pb::quality::Level {
    use pb::quality::Level;
    match level {
        QualityLevel::Good => Level::Good,
        QualityLevel::Uncertain => Level::Uncertain,
        QualityLevel::Bad => Level::Bad,
        QualityLevel::Stale => Level::Stale,
    }
}

const fn to_reason(reason: QualityReason) -> pb::quality::Reason {
    use pb::quality::Reason;
    match reason {
        QualityReason::None => Reason::None,
        QualityReason::ClockUnsynchronised => Reason::ClockUnsynchronised,
        QualityReason::OutOfRange => Reason::OutOfRange,
        QualityReason::DeviceUnreachable => Reason::DeviceUnreachable,
        QualityReason::DeviceFault => Reason::DeviceFault,
        QualityReason::Missing => Reason::Missing,
        QualityReason::Malformed => Reason::Malformed,
        QualityReason::TimeAhead => Reason::TimeAhead,
    }
}

/// Reads a level; absent for durable.
pub(crate) fn ack_level(raw: Option<pb::Acknowledge>) -> Result<AckLevel, Status> {
    use pb::acknowledge::Level;
    let raw = raw.unwrap_or_default();
    match Level::try_from(raw.level) {
        Ok(Level::Unspecified | Level::Durable) => Ok(AckLevel::Durable),
        Ok(Level::Accepted) => Ok(AckLevel::Accepted),
        Ok(Level::Replicated) => match u8::try_from(raw.replicas) {
            Ok(replicas @ 1..=64) => Ok(AckLevel::Replicated(replicas)),
            _ => Err(Status::invalid_argument(
                "acknowledge.replicas: must be 1 to 64",
            )),
        },
        Err(_) => Err(Status::invalid_argument(
            "acknowledge.level: unknown; use accepted, durable or replicated",
        )),
    }
}

/// Writes a level.
pub(crate) fn to_acknowledge(level: AckLevel) -> pb::Acknowledge {
    use pb::acknowledge::Level;
    let (level, replicas) = match level {
        AckLevel::Accepted => (Level::Accepted, 0),
        AckLevel::Durable => (Level::Durable, 0),
        AckLevel::Replicated(replicas) => (Level::Replicated, replicas.into()),
    };
    pb::Acknowledge {
        level: level.into(),
        replicas,
    }
}

/// Writes a reading as `Publish` takes it.
#[must_use]
pub fn to_new_reading(reading: NewReading) -> pb::NewReading {
    let SeriesDefinition {
        name,
        unit,
        value_type,
        labels,
    } = &*reading.series;
    pb::NewReading {
        series: name.as_str().to_owned(),
        unit: unit.as_str().to_owned(),
        labels: to_labels(labels),
        time: Some(to_timestamp(reading.time)),
        value: to_value(reading.value),
        quality: Some(to_quality(reading.quality)),
        value_type: to_value_type(*value_type).into(),
    }
}

/// Writes a held reading.
pub(crate) fn to_reading(held: HeldReading) -> pb::Reading {
    let SeriesDefinition {
        name, unit, labels, ..
    } = &*held.series;
    pb::Reading {
        machine_id: held.origin.id().to_owned(),
        machine: held.origin.name().to_owned(),
        series: name.as_str().to_owned(),
        unit: unit.as_str().to_owned(),
        labels: to_labels(labels),
        time: Some(to_timestamp(held.time)),
        received_time: Some(to_timestamp(held.received)),
        value: to_value(held.value),
        quality: Some(to_quality(held.quality)),
        log_epoch: held.epoch.to_string(),
        sequence: held.sequence,
        index: held.index,
    }
}

/// Writes a series.
pub(crate) fn to_series(entry: &SeriesEntry) -> pb::Series {
    pb::Series {
        machine_id: entry.origin.id().to_owned(),
        machine: entry.origin.name().to_owned(),
        series: entry.series.name.as_str().to_owned(),
        unit: entry.series.unit.as_str().to_owned(),
        value_type: to_value_type(entry.series.value_type).into(),
        labels: to_labels(&entry.series.labels),
        log_epoch: entry.epoch.to_string(),
    }
}

fn to_labels(labels: &Labels) -> BTreeMap<String, String> {
    labels
        .iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

const NANOS_PER_SECOND: i128 = 1_000_000_000;
