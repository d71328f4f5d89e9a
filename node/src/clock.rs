//! The only clocks of the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
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

/// The wall clock, and a time that is known to be past: no clock that shows an earlier one is
/// right. Cloning shares it.
#[derive(Clone, Debug)]
pub struct WallClock {
    /// Unit: nanoseconds since the Unix epoch.
    floor: Arc<AtomicI64>,
}

impl WallClock {
    /// A clock that knows at least when this program was written.
    #[must_use]
    pub fn new(floor: Timestamp) -> Self {
        let floor = floor.max(FLOOR).as_nanos();
        Self {
            floor: Arc::new(AtomicI64::new(floor)),
        }
    }

    /// This time is past too. The floor never goes back.
    pub fn raise(&self, floor: Timestamp) {
        self.floor.fetch_max(floor.as_nanos(), Ordering::Relaxed);
    }

    /// How far a time that the clock shows can be trusted: not at all before the floor; as far as
    /// the kernel says otherwise.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> ClockState {
        if now.as_nanos() < self.floor.load(Ordering::Relaxed) {
            ClockState::Unsynchronised
        } else if std::path::Path::new(TIMESYNCD_MARKER).exists() {
            ClockState::Synchronised
        } else {
            ClockState::Coarse
        }
    }

    /// The time, unless it is one that cannot be.
    #[must_use]
    pub fn trusted(&self) -> Option<Timestamp> {
        let now = wall_time();
        (self.state(now) != ClockState::Unsynchronised).then_some(now)
    }
}

/// No clock that shows an earlier time is right: 2026-01-01T00:00:00Z.
const FLOOR: Timestamp = Timestamp::from_nanos(1_767_225_600_000_000_000);
/// Written by systemd-timesyncd and chrony's wait-sync unit once the clock has been set.
const TIMESYNCD_MARKER: &str = "/run/systemd/timesync/synchronized";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adversarial_45_no_time_before_the_floor_is_trusted_and_the_floor_never_goes_back() {
        let clock = WallClock::new(Timestamp::MIN);
        let later = FLOOR.saturating_add(Duration::from_secs(86_400));

        let before = clock.state(FLOOR.saturating_sub(Duration::from_nanos(1)));
        let at_floor = clock.state(FLOOR);
        clock.raise(later);
        clock.raise(FLOOR);

        assert_eq!(before, ClockState::Unsynchronised);
        assert_ne!(at_floor, ClockState::Unsynchronised);
        assert_eq!(clock.state(FLOOR), ClockState::Unsynchronised);
        assert_ne!(clock.state(later), ClockState::Unsynchronised);
    }
}
