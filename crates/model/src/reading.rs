//! One value of a series at one time.

use std::sync::Arc;

use crate::{Quality, SeriesDefinition, SeriesNumber, Timestamp, Value};

/// One value of a series at one time, as it stands in a block.
///
/// Which machine and epoch it belongs to, and when it was received, the block says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The series, as its origin numbers it in this epoch.
    pub series: SeriesNumber,
    /// When the source says that the value was true.
    pub time: Timestamp,
    /// The value, of the series' type or null.
    pub value: Value,
    /// How far it can be trusted.
    pub quality: Quality,
}

/// A reading on its way into a block: it still names its series in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewReading {
    /// The series; shared, because a source gives many readings of few series.
    pub series: Arc<SeriesDefinition>,
    /// When the source says that the value was true.
    pub time: Timestamp,
    /// The value, of the series' type or null.
    pub value: Value,
    /// How far it can be trusted.
    pub quality: Quality,
}
