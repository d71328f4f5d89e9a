//! Sinks: what takes records, one file per kind.

mod file;
mod influx;
mod jetstream;
mod line;
mod mqtt;
mod subject;
mod traffic;

use std::future::Future;

use crate::{Item, SinkError};

pub(crate) use file::FileSink;
pub(crate) use influx::InfluxSink;
pub(crate) use jetstream::JetStreamSink;
pub(crate) use mqtt::{MqttSink, V3, V5};

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The sink has it for good.
    Delivered,
    /// The sink will never take it; why.
    Refused(String),
    /// The sink works but does not take this record now; why.
    PutOff(String),
    /// The sink does not work: nothing is known of the record; why.
    Failed(String),
}

/// What takes records. Every sink passes the suite in `tests/conformance.rs`.
pub trait Sink {
    /// What it costs to stay connected. Unit: bytes a minute.
    const IDLE_COST: u64;

    /// Makes the sink ready; called again after a failure.
    ///
    /// # Errors
    ///
    /// [`SinkError`], with what an operator can do about it.
    fn connect(&mut self) -> impl Future<Output = Result<(), SinkError>>;

    /// Returns when the sink is found to be gone; never while it is well. May be dropped and
    /// called again.
    fn gone(&mut self) -> impl Future<Output = SinkError>;

    /// Delivers records in their order; one outcome each. If it is dropped before it is done, the
    /// records are delivered again.
    fn deliver(&mut self, batch: &[Item]) -> impl Future<Output = Vec<Outcome>>;

    /// What connecting costs, about. Unit: bytes.
    fn connect_cost(&self) -> u64;

    /// What delivering a record costs at most, in both directions. Unit: bytes.
    fn cost(&self, item: &Item) -> u64;

    /// What has gone over the wire since this was asked last, as far as the sink can tell. Unit:
    /// bytes.
    fn take_traffic(&mut self) -> u64;

    /// Says goodbye.
    fn close(&mut self) -> impl Future<Output = ()>;
}
