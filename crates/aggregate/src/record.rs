//! Records: the summary of a window of one series.

use std::time::Duration;

use model::{Epoch, Labels, MachineId, NetworkId, Sequence, SeriesName, Timestamp, Unit, Value};

/// A series across epochs, in which its number may change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeriesKey {
    /// Its name.
    pub name: SeriesName,
    /// Its unit.
    pub unit: Unit,
    /// Its labels.
    pub labels: Labels,
}

/// The idempotency key of a record (design, section 10). Equal keys mean equal content; of several
/// records of a window the one with the greatest (epoch, sequence, complete) is the valid one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordKey {
    /// The network.
    pub network: NetworkId,
    /// The origin.
    pub machine: MachineId,
    /// The series.
    pub series: SeriesKey,
    /// The window's start, a multiple of its length since the Unix epoch.
    pub window_start: Timestamp,
    /// The window's length.
    pub window_length: Duration,
    /// The epoch of the last block that contributed.
    pub log_epoch: Epoch,
    /// The sequence of the last block that contributed.
    pub last_sequence: Sequence,
    /// The watermark has passed the window's end; otherwise the origin fell silent before.
    pub complete: bool,
}

/// What is known of a window's readings. Numbers are of the readings whose quality is good.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Readings with a good number.
    pub count: u64,
    /// The smallest.
    pub min: Option<f64>,
    /// The greatest.
    pub max: Option<f64>,
    /// Their sum, added in log order.
    pub sum: f64,
    /// Sum divided by count.
    pub mean: Option<f64>,
    /// The population standard deviation.
    pub stddev: Option<f64>,
    /// The value with the earliest time; of equal times the first in the log.
    pub first: Option<Value>,
    /// The value with the latest time; of equal times the last in the log.
    pub last: Option<Value>,
    /// The mean weighted by how long each value held within the window.
    pub time_weighted_mean: Option<f64>,
    /// How many of all readings were good. Unit: percent.
    pub good_percent: f64,
    /// Quantiles by DDSketch, relative error 1 %: (0.5, 0.95, 0.99) with their values.
    pub quantiles: Vec<(f64, f64)>,
}

/// A window of one series, summarised.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its name, which is also its idempotency key.
    pub key: RecordKey,
    /// What it says.
    pub summary: Summary,
}
