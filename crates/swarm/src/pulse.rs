//! Whether the other side is still there, and how far away.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep};

use crate::frame::PING_BYTES;

/// What a pulse asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Send a ping with these bytes.
    Ping([u8; PING_BYTES]),
    /// Nothing at all was heard for as long as is allowed.
    Silent,
}

/// Sends a ping at once and then regularly, and counts the time.
///
/// Any frame is a sign of life, so a link that is busy for long with a large one is not taken for
/// dead; only the answer to the ping gives a round trip.
#[derive(Debug)]
pub(crate) struct Pulse {
    interval: Duration,
    timeout: Duration,
    timer: Pin<Box<Sleep>>,
    number: u64,
    /// When the ping was sent that is not answered yet.
    sent: Option<Instant>,
    is_heard: bool,
}

impl Pulse {
    pub(crate) fn new(interval: Duration, timeout: Duration) -> Self {
        Self {
            interval,
            timeout,
            timer: Box::pin(sleep(Duration::ZERO)),
            number: 0,
            sent: None,
            is_heard: false,
        }
    }

    /// Something came from the other side.
    pub(crate) fn on_heard(&mut self) {
        self.is_heard = true;
    }

    /// An answer came; gives the round trip if it is the one to the last ping.
    pub(crate) fn on_pong(&mut self, bytes: &[u8]) -> Option<Duration> {
        if bytes != self.number.to_be_bytes() {
            return None;
        }
        let round_trip = now().saturating_duration_since(self.sent.take()?);
        self.timer = Box::pin(sleep(self.interval));
        Some(round_trip)
    }

    /// Asks for a sign of life within `timeout`, from now.
    pub(crate) fn probe(&mut self, timeout: Duration) {
        self.is_heard = false;
        self.timer = match self.sent {
            Some(_) => Box::pin(sleep(timeout)),
            None => Box::pin(sleep(Duration::ZERO)),
        };
        self.timeout = timeout;
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Beat> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            self.timer = Box::pin(sleep(self.timeout));
            if self.sent.is_none() {
                self.number += 1;
                self.is_heard = false;
                self.sent = Some(now());
                return Poll::Ready(Beat::Ping(self.number.to_be_bytes()));
            }
            if !std::mem::take(&mut self.is_heard) {
                return Poll::Ready(Beat::Silent);
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a round trip is measured where frames leave and arrive; nothing else is timed by it"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);
    const SHORT: Duration = Duration::from_millis(20);

    async fn beat(pulse: &mut Pulse) -> Beat {
        let beat = poll_fn(|cx| pulse.poll(cx));
        tokio::time::timeout(Duration::from_secs(10), beat)
            .await
            .expect("a beat")
    }

    #[tokio::test]
    async fn a_ping_that_nobody_answers_means_silence() {
        let mut pulse = Pulse::new(LONG, SHORT);

        assert_eq!(beat(&mut pulse).await, Beat::Ping(1_u64.to_be_bytes()));
        assert_eq!(beat(&mut pulse).await, Beat::Silent);
    }

    #[tokio::test]
    async fn only_the_answer_to_the_last_ping_gives_a_round_trip() {
        let mut pulse = Pulse::new(SHORT, LONG);
        let Beat::Ping(ping) = beat(&mut pulse).await else {
            panic!("a new pulse starts with a ping");
        };

        assert_eq!(pulse.on_pong(&[9; PING_BYTES]), None);
        assert!(pulse.on_pong(&ping).is_some());
        assert_eq!(pulse.on_pong(&ping), None);
        assert_eq!(beat(&mut pulse).await, Beat::Ping(2_u64.to_be_bytes()));
    }

    #[tokio::test]
    async fn a_probe_asks_again_before_the_interval_is_over() {
        let mut pulse = Pulse::new(LONG, LONG);
        let Beat::Ping(ping) = beat(&mut pulse).await else {
            panic!("a new pulse starts with a ping");
        };
        pulse.on_pong(&ping);

        pulse.probe(SHORT);

        assert_eq!(beat(&mut pulse).await, Beat::Ping(2_u64.to_be_bytes()));
        assert_eq!(beat(&mut pulse).await, Beat::Silent);
    }
}
