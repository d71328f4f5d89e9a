//! Records: what leaves the mesh, and under which names.
//!
//! A record is the summary of a window of one series, or one reading as it is. Equal keys mean
//! equal content, whichever relay made the record.

use std::fmt;
use std::time::Duration;

use model::{
    Epoch, Labels, MachineId, NetworkId, Position, Quality, Sequence, SeriesDefinition, SeriesName,
    Timestamp, Unit, Value,
};

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

impl From<&SeriesDefinition> for SeriesKey {
    fn from(definition: &SeriesDefinition) -> Self {
        Self {
            name: definition.name.clone(),
            unit: definition.unit.clone(),
            labels: definition.labels.clone(),
        }
    }
}

/// The idempotency key of a window's record (design, section 10). Of several records of a window
/// the one with the greatest (epoch, sequence, complete) is the valid one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WindowKey {
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
    /// The epoch of the last block that contributed, or of the first one after a later cut.
    pub log_epoch: Epoch,
    /// The sequence of that block.
    pub last_sequence: Sequence,
    /// The watermark has passed the window's end; otherwise the origin fell silent before.
    pub complete: bool,
}

impl WindowKey {
    /// The block that names it.
    #[must_use]
    pub const fn position(&self) -> Position {
        Position {
            epoch: self.log_epoch,
            sequence: self.last_sequence,
        }
    }
}

impl fmt::Display for WindowKey {
    /// The key as one string without spaces, the same on every platform:
    /// `NETWORK/MACHINE/NAME[UNIT]{LABEL=VALUE,…}/START/LENGTH/EPOCH/SEQUENCE/complete`, or
    /// `partial` at the end. Start (since the Unix epoch) and length are in milliseconds, without
    /// unit or labels their brackets are missing, and what is no ASCII letter, digit, `/`, `-`,
    /// `_`, `~` or `.` of name, unit and labels is percent-encoded. Different keys print
    /// differently.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.complete { "complete" } else { "partial" };
        write!(f, "{}/{}/{}", self.network, self.machine, self.series)?;
        write!(
            f,
            "/{}",
            self.window_start.as_nanos().div_euclid(NANOS_PER_MILLI)
        )?;
        write!(f, "/{}/{}", self.window_length.as_millis(), self.log_epoch)?;
        write!(f, "/{}/{state}", self.last_sequence)
    }
}

/// The idempotency key of a reading that leaves as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RawKey {
    /// The network.
    pub network: NetworkId,
    /// The origin.
    pub machine: MachineId,
    /// The series.
    pub series: SeriesKey,
    /// The epoch of its block.
    pub log_epoch: Epoch,
    /// The sequence of its block.
    pub sequence: Sequence,
    /// Its place among all readings of the block, from 0.
    pub index: u32,
}

impl fmt::Display for RawKey {
    /// `NETWORK/MACHINE/NAME[UNIT]{LABEL=VALUE,…}/EPOCH/SEQUENCE/INDEX/raw`, written as in
    /// [`WindowKey`], whose keys end in another word.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.network, self.machine, self.series)?;
        write!(
            f,
            "/{}/{}/{}/raw",
            self.log_epoch, self.sequence, self.index
        )
    }
}

impl fmt::Display for SeriesKey {
    /// `NAME[UNIT]{LABEL=VALUE,…}`, see [`WindowKey`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_encoded(f, self.name.as_str())?;
        if !self.unit.as_str().is_empty() {
            f.write_str("[")?;
            write_encoded(f, self.unit.as_str())?;
            f.write_str("]")?;
        }
        for (index, (key, value)) in self.labels.iter().enumerate() {
            f.write_str(if index == 0 { "{" } else { "," })?;
            write_encoded(f, key)?;
            f.write_str("=")?;
            write_encoded(f, value)?;
        }
        f.write_str(if self.labels.is_empty() { "" } else { "}" })
    }
}

fn write_encoded(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    text.bytes().try_for_each(|byte| {
        if byte.is_ascii_alphanumeric() || b"/-_~.".contains(&byte) {
            write!(f, "{}", char::from(byte))
        } else {
            write!(f, "%{byte:02X}")
        }
    })
}

/// What is known of a window's readings. Numbers are of the readings whose quality is good; those
/// of text and bytes have none.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Readings with a good value: a finite number, a truth value, text or bytes.
    pub count: u64,
    /// The smallest.
    pub min: Option<f64>,
    /// The greatest.
    pub max: Option<f64>,
    /// Their sum, added in log order; infinite beyond the range of doubles.
    pub sum: f64,
    /// Sum divided by count.
    pub mean: Option<f64>,
    /// The population standard deviation.
    pub stddev: Option<f64>,
    /// The good value with the earliest time; of equal times the first in the log.
    pub first: Option<Value>,
    /// The good value with the latest time; of equal times the last in the log.
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
pub struct WindowRecord {
    /// Its name, which is also its idempotency key.
    pub key: WindowKey,
    /// What it says.
    pub summary: Summary,
}

/// One reading as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct RawRecord {
    /// Its name, which is also its idempotency key.
    pub key: RawKey,
    /// When it was measured.
    pub time: Timestamp,
    /// When its origin received it: when its block was sealed.
    pub received: Timestamp,
    /// What was measured.
    pub value: Value,
    /// How good it is.
    pub quality: Quality,
}

/// What is uploaded.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A window, summarised.
    Window(WindowRecord),
    /// A reading as it is.
    Raw(RawRecord),
}

impl Record {
    /// The network.
    #[must_use]
    pub const fn network(&self) -> NetworkId {
        match self {
            Self::Window(record) => record.key.network,
            Self::Raw(record) => record.key.network,
        }
    }

    /// The series.
    #[must_use]
    pub const fn series(&self) -> &SeriesKey {
        match self {
            Self::Window(record) => &record.key.series,
            Self::Raw(record) => &record.key.series,
        }
    }

    /// The machine whose log it comes from.
    #[must_use]
    pub const fn machine(&self) -> MachineId {
        match self {
            Self::Window(record) => record.key.machine,
            Self::Raw(record) => record.key.machine,
        }
    }

    /// The block that names it.
    #[must_use]
    pub const fn position(&self) -> Position {
        match self {
            Self::Window(WindowRecord { key, .. }) => key.position(),
            Self::Raw(RawRecord { key, .. }) => Position {
                epoch: key.log_epoch,
                sequence: key.sequence,
            },
        }
    }

    /// Its key as text, which different records never share.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Window(record) => record.key.to_string(),
            Self::Raw(record) => record.key.to_string(),
        }
    }
}

const NANOS_PER_MILLI: i64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_line_that_names_everything() {
        let epoch = "3-9f2c11aa".parse().expect("an epoch");
        let labels = [("line".to_owned(), "press hall/3, é".to_owned())];
        let key = WindowKey {
            network: NetworkId::from_bytes([1; 32]),
            machine: MachineId::from_bytes([2; 32]),
            series: SeriesKey {
                name: "oil/temperature{x}".parse().expect("a name"),
                unit: "m/s".parse().expect("a unit"),
                labels: Labels::new(labels.into()).expect("labels"),
            },
            window_start: Timestamp::from_nanos(-10_000_000_000),
            window_length: Duration::from_secs(10),
            log_epoch: epoch,
            last_sequence: 17,
            complete: true,
        };

        let expected = format!(
            "{}/{}/oil/temperature%7Bx%7D[m/s]{{line=press%20hall/3%2C%20%C3%A9}}/-10000/10000\
             /3-9f2c11aa/17/complete",
            key.network, key.machine
        );
        assert_eq!(key.to_string(), expected);
    }
}
