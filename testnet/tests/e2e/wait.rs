//! Waiting for what must come true in time.

use std::time::{Duration, Instant};

/// Checks again and again until it holds, and returns what was found.
///
/// # Panics
///
/// With `what` and the last reason, when it does not hold within `limit`.
pub(crate) async fn until<T>(
    what: &str,
    limit: Duration,
    mut check: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let start = Instant::now();
    loop {
        let reason = match tokio::time::timeout(limit, check()).await {
            Ok(Ok(found)) if start.elapsed() <= limit => return found,
            Ok(Ok(_)) => format!("it took {:?}", start.elapsed()),
            Ok(Err(reason)) => reason,
            Err(_) => "no answer".to_owned(),
        };
        assert!(
            start.elapsed() < limit,
            "{what}: not within {limit:?}: {reason}"
        );
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Short enough to measure a second by.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
