//! Which windows are computed, and what a step of the fold gives.

use std::time::Duration;

use crate::WindowRecord;

/// Which windows are computed. Relays that shall compute the same must agree on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The lengths of the windows; each must divide into whole milliseconds.
    pub lengths: Vec<Duration>,
    /// How long after its end (by the watermark), and after the last reading for it (on its
    /// origin's clock), a window stays in memory. Readings that come later are not lost: they cost
    /// reading the log again.
    pub allowed_lateness: Duration,
    /// Most windows in memory after a block; beyond it they are computed from the log when due.
    pub windows_max: usize,
}

/// What a block or a watermark produced.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// Records in an order that depends on the log alone.
    pub records: Vec<WindowRecord>,
    /// Readings that are in no window, because their origin flagged their time as lying further
    /// ahead than clocks may differ, or because no window of their time can be written. Counted
    /// once for each window length.
    pub misdated: u64,
    /// Windows that were given up: too many waited to be computed from the log, or the log does not
    /// reach back to their beginning any more.
    pub windows_lost: u64,
}
