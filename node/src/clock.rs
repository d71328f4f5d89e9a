//! The only clocks of the process.

use std::time::{Duration, SystemTime};

use model::{ClockState, Timestamp};
use statemachine::Instant;

/// Monotonic time since the node started.
#[derive(Clone, Copy, Debug)]
pub struct Monotonic {
    started: tokio::time::Instant,
}

impl Monotonic {
    /// Starts at zero, now.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the only monotonic clock of the process"
    )]
    pub fn start() -> Self {
        Self {
            started: tokio::time::Instant::now(),
        }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.uptime().as_nanos()).unwrap_or(u64::MAX))
    }

    /// How long the node has been running.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The same point as the runtime's timers know it.
    #[must_use]
    pub fn to_tokio(&self, at: Instant) -> tokio::time::Instant {
        self.started + Duration::from_nanos(at.as_nanos())
    }
}

/// Wall-clock time now.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the only wall clock of the process"
)]
pub fn wall_time() -> Timestamp {
    let nanos = match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |n| -n),
    };
    Timestamp::from_nanos(nanos)
}

/// The wall clock, unless it shows a time that cannot be.
#[must_use]
pub fn trusted_time() -> Option<Timestamp> {
    let now = wall_time();
    (clock_state(now) != ClockState::Unsynchronised).then_some(now)
}

/// How far the wall clock can be trusted: not at all before this program was written; as far as
/// the kernel says otherwise.
#[must_use]
pub fn clock_state(now: Timestamp) -> ClockState {
    if now < FLOOR {
        ClockState::Unsynchronised
    } else if std::path::Path::new(TIMESYNCD_MARKER).exists() {
        ClockState::Synchronised
    } else {
        ClockState::Coarse
    }
}

/// No clock that shows an earlier time is right: 2026-01-01T00:00:00Z.
const FLOOR: Timestamp = Timestamp::from_nanos(1_767_225_600_000_000_000);
/// Written by systemd-timesyncd and chrony's wait-sync unit once the clock has been set.
const TIMESYNCD_MARKER: &str = "/run/systemd/timesync/synchronized";
