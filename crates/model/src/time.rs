//! Wall-clock time, as readings carry it.

use std::fmt;
use std::time::Duration;

/// A point of wall-clock time. Unit: nanoseconds since the Unix epoch, UTC, without leap seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest time that can be written, in the year 1677.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest time that can be written, in the year 2262.
    pub const MAX: Self = Self(i64::MAX);

    /// The time `nanos` nanoseconds after the Unix epoch.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Returns the time `duration` later; saturates at [`Self::MAX`].
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// Returns the time `duration` earlier; saturates at [`Self::MIN`].
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }

    /// Returns the time from `earlier` to this point, zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let nanos = i128::from(self.0) - i128::from(earlier.0);
        Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Timestamp {
    /// Seconds and nanoseconds; faces that people read print RFC 3339 instead.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{:09}",
            self.0.div_euclid(1_000_000_000),
            self.0.rem_euclid(1_000_000_000)
        )
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// How far this machine's wall clock can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClockState {
    /// Nobody has vouched for it, or it stands before a floor that is known to be past.
    #[default]
    Unsynchronised,
    /// Agrees with the median of at least three admitted neighbours.
    Coarse,
    /// The operating system says that it is disciplined.
    Synchronised,
}

impl fmt::Display for ClockState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsynchronised => "unsynchronised",
            Self::Coarse => "coarse",
            Self::Synchronised => "synchronised",
        })
    }
}
