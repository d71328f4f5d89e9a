//! The clocks of this crate: how old a record is must survive restarts, and files have dates.

use model::Timestamp;

/// Wall-clock time now; the epoch if the clock stands before it.
#[expect(
    clippy::disallowed_methods,
    reason = "ages in the outbox and dates in file names outlive the process; nothing is decided \
              by it that has to be repeatable"
)]
pub(crate) fn wall() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::default().saturating_add(since.unwrap_or_default())
}

/// Monotonic time now, to pace the backlog.
#[expect(
    clippy::disallowed_methods,
    reason = "the pace of uploads follows the runtime's own timer"
)]
pub(crate) fn monotonic() -> tokio::time::Instant {
    tokio::time::Instant::now()
}
