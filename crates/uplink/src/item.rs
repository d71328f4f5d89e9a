//! A record on its way out.

use aggregate::Record;
use bytes::Bytes;
use model::MachineId;

use crate::{json, packed};

/// A record as sinks take it.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The record.
    pub record: Record,
    /// The display name of its origin.
    pub machine_name: String,
    /// The machine that uploads it.
    pub relay: MachineId,
}

impl Item {
    /// Its idempotency key as one line.
    #[must_use]
    pub fn key(&self) -> String {
        self.record.name()
    }

    /// What it takes while it waits. Unit: bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        packed::pack(self).len() as u64
    }

    /// The record as one line of JSON, as the contract names its fields.
    #[must_use]
    pub fn json(&self) -> Bytes {
        json::render(self)
    }
}

#[cfg(test)]
pub(crate) mod samples {
    use std::time::Duration;

    use aggregate::{RawKey, RawRecord, SeriesKey, Summary, WindowKey, WindowRecord};
    use model::{Labels, NetworkId, Quality, QualityLevel, QualityReason, Timestamp, Value};

    use super::*;

    fn series(name: &str) -> SeriesKey {
        let labels = [("line".to_owned(), "3".to_owned())];
        SeriesKey {
            name: name.parse().expect("a name"),
            unit: "Cel".parse().expect("a unit"),
            labels: Labels::new(labels.into()).expect("labels"),
        }
    }

    /// A window of a series; its records are told apart by the last block's sequence.
    pub(crate) fn window(name: &str, last_sequence: u64) -> WindowRecord {
        WindowRecord {
            key: WindowKey {
                network: NetworkId::from_bytes([1; 32]),
                machine: MachineId::from_bytes([2; 32]),
                series: series(name),
                window_start: Timestamp::from_nanos(1_767_225_600_000_000_000),
                window_length: Duration::from_millis(100),
                log_epoch: "3-9f2c11aa".parse().expect("an epoch"),
                last_sequence,
                complete: true,
            },
            summary: Summary {
                count: 2,
                min: Some(1.5),
                max: Some(2.5),
                sum: 4.0,
                mean: Some(2.0),
                stddev: Some(0.5),
                first: Some(Value::F64(1.5)),
                last: Some(Value::F64(2.5)),
                time_weighted_mean: Some(2.25),
                good_percent: 50.0,
                quantiles: vec![(0.5, 1.5), (0.95, 2.5), (0.99, 2.5)],
            },
        }
    }

    /// A reading as it is.
    pub(crate) fn raw(name: &str, value: Value) -> RawRecord {
        RawRecord {
            key: RawKey {
                network: NetworkId::from_bytes([1; 32]),
                machine: MachineId::from_bytes([2; 32]),
                series: series(name),
                log_epoch: "3-9f2c11aa".parse().expect("an epoch"),
                sequence: 17,
                index: 4,
            },
            time: Timestamp::from_nanos(1_767_225_600_000_000_001),
            received: Timestamp::from_nanos(1_767_225_601_000_000_000),
            value,
            quality: Quality::new(QualityLevel::Bad, QualityReason::DeviceFault),
        }
    }

    pub(crate) fn of(record: Record) -> Item {
        Item {
            record,
            machine_name: "press-1".to_owned(),
            relay: MachineId::from_bytes([3; 32]),
        }
    }

    /// An item that is told from others by the name of its series.
    pub(crate) fn item(name: &str) -> Item {
        of(Record::Window(window(name, 1)))
    }
}
