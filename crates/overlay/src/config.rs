//! Sizes and times of the overlay.

use std::time::Duration;

/// Sizes and times of the overlay. Values out of range are taken as the nearest in range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Neighbours to keep. Range: 1..=64. HyParView suggests log₁₀(n) + 1.
    pub active_max: usize,
    /// Machines to remember for repair. Range: 8..=1024.
    pub passive_max: usize,
    /// How often views are refreshed. At least 100 ms.
    pub shuffle_interval: Duration,
}

impl Config {
    /// Most neighbours at any time: `active_max` and a few places above it for neighbours that
    /// were lost and came back.
    #[must_use]
    pub const fn active_limit(&self) -> usize {
        self.active_max + self.active_max / 4 + 1
    }

    /// The nearest settings in range.
    pub(crate) fn clamped(self) -> Self {
        Self {
            active_max: self.active_max.clamp(1, ACTIVE_LARGEST),
            passive_max: self.passive_max.clamp(8, 1024),
            shuffle_interval: self.shuffle_interval.max(Duration::from_millis(100)),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            active_max: ACTIVE_DEFAULT,
            passive_max: PASSIVE_DEFAULT,
            shuffle_interval: SHUFFLE_INTERVAL_DEFAULT,
        }
    }
}

/// Largest active view. Unit: machines. Source: guess.
pub(crate) const ACTIVE_LARGEST: usize = 64;

/// Unit: machines. Source: HyParView, section 5.1, for 10,000 machines.
const ACTIVE_DEFAULT: usize = 5;

/// Unit: machines. Source: with 80 % dead, a survivor that knows 64 others knows none alive with a
/// chance of 0.8⁶⁴, less than one in a million.
const PASSIVE_DEFAULT: usize = 64;

/// Source: guess; a walk of 6 hops, 8 contacts of 100 bytes, is 0.5 kB/s for each machine.
const SHUFFLE_INTERVAL_DEFAULT: Duration = Duration::from_secs(10);
