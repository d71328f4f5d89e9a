//! Time for what QUIC itself times; everything else is told the time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A clock that is never set: it counts from the Unix epoch as if the process had started then.
///
/// QUIC dates the tokens of its Retry packets with it, so that setting the wall clock neither
/// expires them all nor keeps one alive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Monotonic {
    started: Instant,
}

impl Monotonic {
    pub(crate) fn start() -> Self {
        Self { started: now() }
    }

    /// Time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        now().saturating_duration_since(self.started)
    }
}

impl quinn::TimeSource for Monotonic {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + self.elapsed()
    }
}

/// The time of the runtime's timers.
#[expect(
    clippy::disallowed_methods,
    reason = "retransmissions and rates of real sockets need the real time"
)]
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
