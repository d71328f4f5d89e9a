//! Which windows are computed, and what a step of the fold gives.

use std::time::Duration;

use crate::WindowRecord;

/// Which windows are computed. Relays that shall compute the same must agree on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The lengths of the windows; each must divide into whole milliseconds.
    pub lengths: Vec<Duration>,
    /// How long after its end (in event time, by the watermark) a window still takes late
    /// readings, each block of them making a record with a later contributor. Later ones are
    /// counted and left out.
    pub allowed_lateness: Duration,
    /// Most windows that are open after a block; beyond it the oldest are closed as they are.
    pub windows_max: usize,
}

/// What a block or a watermark produced.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// Records in an order that depends on the log alone.
    pub records: Vec<WindowRecord>,
    /// Readings that came later than allowed, or at a time whose window cannot be written, and
    /// were left out; counted once for each window length.
    pub late_dropped: u64,
    /// Readings that their origin flagged as lying further ahead than clocks may differ: which
    /// window they belong to is unknown, so they are in none. Counted once for each window length.
    pub ahead_dropped: u64,
}
