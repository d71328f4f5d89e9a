//! The bytes in which the outbox keeps an item: nothing of it is lost, so that every kind of sink
//! can render it after a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use aggregate::{RawKey, RawRecord, Record, SeriesKey, Summary, WindowKey, WindowRecord};
use model::{Epoch, Labels, MachineId, NetworkId, Position, Quality, Timestamp, Value};
use prost::Message as _;

use crate::Item;

/// The bytes that [`unpack`] reads.
pub(crate) fn pack(item: &Item) -> Vec<u8> {
    let (record, series) = (&item.record, item.record.series());
    let position = record.position();
    let labels = series.labels.iter();
    Packed {
        network: record.network().as_bytes().to_vec(),
        machine: record.machine().as_bytes().to_vec(),
        series: series.name.as_str().to_owned(),
        unit: series.unit.as_str().to_owned(),
        labels: labels
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        epoch_counter: position.epoch.counter,
        epoch_tag: position.epoch.tag,
        sequence: position.sequence,
        content: Some(match record {
            Record::Window(record) => PackedContent::Window(PackedWindow::of(record)),
            Record::Raw(record) => PackedContent::Raw(PackedRaw::of(record)),
        }),
        machine_name: item.machine_name.clone(),
        relay: item.relay.as_bytes().to_vec(),
    }
    .encode_to_vec()
}

/// Reads what [`pack`] wrote; `None` if it is something else.
pub(crate) fn unpack(bytes: &[u8]) -> Option<Item> {
    let packed = Packed::decode(bytes).ok()?;
    let names = Names {
        network: NetworkId::from_bytes(packed.network.as_slice().try_into().ok()?),
        machine: MachineId::from_bytes(packed.machine.as_slice().try_into().ok()?),
        series: SeriesKey {
            name: packed.series.parse().ok()?,
            unit: packed.unit.parse().ok()?,
            labels: Labels::new(packed.labels).ok()?,
        },
        position: Position {
            epoch: Epoch {
                counter: packed.epoch_counter,
                tag: packed.epoch_tag,
            },
            sequence: packed.sequence,
        },
    };
    Some(Item {
        record: match packed.content? {
            PackedContent::Window(window) => Record::Window(window.into_record(names)),
            PackedContent::Raw(raw) => Record::Raw(raw.into_record(names)?),
        },
        machine_name: packed.machine_name,
        relay: MachineId::from_bytes(packed.relay.as_slice().try_into().ok()?),
    })
}

/// What the keys of all records have.
struct Names {
    network: NetworkId,
    machine: MachineId,
    series: SeriesKey,
    position: Position,
}

/// Times are in nanoseconds.
#[derive(Clone, PartialEq, prost::Message)]
struct Packed {
    #[prost(bytes = "vec", tag = "1")]
    network: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    machine: Vec<u8>,
    #[prost(string, tag = "3")]
    series: String,
    #[prost(string, tag = "4")]
    unit: String,
    #[prost(btree_map = "string, string", tag = "5")]
    labels: BTreeMap<String, String>,
    #[prost(uint64, tag = "6")]
    epoch_counter: u64,
    #[prost(fixed32, tag = "7")]
    epoch_tag: u32,
    #[prost(uint64, tag = "8")]
    sequence: u64,
    #[prost(string, tag = "9")]
    machine_name: String,
    #[prost(bytes = "vec", tag = "10")]
    relay: Vec<u8>,
    #[prost(oneof = "PackedContent", tags = "11, 12")]
    content: Option<PackedContent>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum PackedContent {
    #[prost(message, tag = "11")]
    Window(PackedWindow),
    #[prost(message, tag = "12")]
    Raw(PackedRaw),
}

#[derive(Clone, PartialEq, prost::Message)]
struct PackedWindow {
    #[prost(sfixed64, tag = "1")]
    start: i64,
    #[prost(uint64, tag = "2")]
    length: u64,
    #[prost(bool, tag = "3")]
    complete: bool,
    #[prost(uint64, tag = "4")]
    count: u64,
    #[prost(double, optional, tag = "5")]
    min: Option<f64>,
    #[prost(double, optional, tag = "6")]
    max: Option<f64>,
    #[prost(double, tag = "7")]
    sum: f64,
    #[prost(double, optional, tag = "8")]
    mean: Option<f64>,
    #[prost(double, optional, tag = "9")]
    stddev: Option<f64>,
    #[prost(message, optional, tag = "10")]
    first: Option<PackedValue>,
    #[prost(message, optional, tag = "11")]
    last: Option<PackedValue>,
    #[prost(double, optional, tag = "12")]
    time_weighted_mean: Option<f64>,
    #[prost(double, tag = "13")]
    good_percent: f64,
    #[prost(double, repeated, tag = "14")]
    ranks: Vec<f64>,
    #[prost(double, repeated, tag = "15")]
    quantiles: Vec<f64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PackedRaw {
    #[prost(uint32, tag = "1")]
    index: u32,
    #[prost(sfixed64, tag = "2")]
    time: i64,
    #[prost(sfixed64, tag = "3")]
    received: i64,
    #[prost(message, optional, tag = "4")]
    value: Option<PackedValue>,
    #[prost(uint32, tag = "5")]
    quality: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PackedValue {
    #[prost(oneof = "PackedKind", tags = "1, 2, 3, 4, 5")]
    kind: Option<PackedKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum PackedKind {
    #[prost(double, tag = "1")]
    F64(f64),
    #[prost(sint64, tag = "2")]
    I64(i64),
    #[prost(bool, tag = "3")]
    Bool(bool),
    #[prost(string, tag = "4")]
    Text(String),
    #[prost(bytes, tag = "5")]
    Bytes(Vec<u8>),
}

impl PackedWindow {
    fn of(WindowRecord { key, summary }: &WindowRecord) -> Self {
        let quantiles = &summary.quantiles;
        Self {
            start: key.window_start.as_nanos(),
            length: u64::try_from(key.window_length.as_nanos()).unwrap_or(u64::MAX),
            complete: key.complete,
            count: summary.count,
            min: summary.min,
            max: summary.max,
            sum: summary.sum,
            mean: summary.mean,
            stddev: summary.stddev,
            first: summary.first.as_ref().map(PackedValue::of),
            last: summary.last.as_ref().map(PackedValue::of),
            time_weighted_mean: summary.time_weighted_mean,
            good_percent: summary.good_percent,
            ranks: quantiles.iter().map(|(rank, _)| *rank).collect(),
            quantiles: quantiles.iter().map(|(_, value)| *value).collect(),
        }
    }

    fn into_record(self, names: Names) -> WindowRecord {
        WindowRecord {
            key: WindowKey {
                network: names.network,
                machine: names.machine,
                series: names.series,
                window_start: Timestamp::from_nanos(self.start),
                window_length: Duration::from_nanos(self.length),
                log_epoch: names.position.epoch,
                last_sequence: names.position.sequence,
                complete: self.complete,
            },
            summary: Summary {
                count: self.count,
                min: self.min,
                max: self.max,
                sum: self.sum,
                mean: self.mean,
                stddev: self.stddev,
                first: self.first.map(PackedValue::into_value),
                last: self.last.map(PackedValue::into_value),
                time_weighted_mean: self.time_weighted_mean,
                good_percent: self.good_percent,
                quantiles: self.ranks.into_iter().zip(self.quantiles).collect(),
            },
        }
    }
}

impl PackedRaw {
    fn of(record: &RawRecord) -> Self {
        Self {
            index: record.key.index,
            time: record.time.as_nanos(),
            received: record.received.as_nanos(),
            value: Some(PackedValue::of(&record.value)),
            quality: record.quality.code().into(),
        }
    }

    fn into_record(self, names: Names) -> Option<RawRecord> {
        Some(RawRecord {
            key: RawKey {
                network: names.network,
                machine: names.machine,
                series: names.series,
                log_epoch: names.position.epoch,
                sequence: names.position.sequence,
                index: self.index,
            },
            time: Timestamp::from_nanos(self.time),
            received: Timestamp::from_nanos(self.received),
            value: self.value?.into_value(),
            quality: Quality::from_code(u8::try_from(self.quality).ok()?)?,
        })
    }
}

impl PackedValue {
    fn of(value: &Value) -> Self {
        let kind = match value {
            Value::Null => None,
            Value::F64(value) => Some(PackedKind::F64(*value)),
            Value::I64(value) => Some(PackedKind::I64(*value)),
            Value::Bool(value) => Some(PackedKind::Bool(*value)),
            Value::Text(value) => Some(PackedKind::Text(value.clone())),
            Value::Bytes(value) => Some(PackedKind::Bytes(value.clone())),
        };
        Self { kind }
    }

    fn into_value(self) -> Value {
        match self.kind {
            None => Value::Null,
            Some(PackedKind::F64(value)) => Value::F64(value),
            Some(PackedKind::I64(value)) => Value::I64(value),
            Some(PackedKind::Bool(value)) => Value::Bool(value),
            Some(PackedKind::Text(value)) => Value::Text(value),
            Some(PackedKind::Bytes(value)) => Value::Bytes(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::samples;

    #[test]
    fn what_is_packed_reads_back_to_the_bit_whatever_its_values() {
        let values = [
            Value::Null,
            Value::F64(-0.0),
            Value::F64(f64::INFINITY),
            Value::I64(i64::MIN),
            Value::Bool(false),
            Value::Text(String::new()),
            Value::Bytes(vec![0, 255]),
        ];
        for value in values {
            let mut window = samples::window("press/oil", u64::MAX);
            window.summary.first = Some(value.clone());
            (window.summary.last, window.summary.max) = (None, None);
            window.summary.min = Some(0.1 + 0.2);
            let window = samples::of(Record::Window(window));
            let raw = samples::of(Record::Raw(samples::raw("press/oil", value)));

            assert_eq!(unpack(&pack(&window)), Some(window));
            assert_eq!(unpack(&pack(&raw)), Some(raw));
        }
    }

    #[test]
    fn bytes_that_are_no_item_are_none() {
        let whole = pack(&samples::item("press/oil"));
        for end in 0..whole.len() {
            assert!(
                unpack(&whole[..end]).is_none_or(|item| pack(&item) != whole),
                "{end}"
            );
        }
        assert_eq!(unpack(b""), None);
        assert_eq!(unpack(b"\xff"), None);
    }
}
