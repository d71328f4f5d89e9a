//! When to try again: exponential backoff with full jitter (Brooker, AWS Architecture Blog, 2015).

use std::time::Duration;

use statemachine::Rng;

/// Draws delays that grow with failures.
#[derive(Debug)]
pub(crate) struct Backoff {
    rng: Rng,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(rng: Rng) -> Self {
        Self { rng, failures: 0 }
    }

    /// The delay after one more failure: anything up to 250 ms, then twice that, and so on to 60 s.
    pub(crate) fn next_delay(&mut self) -> Duration {
        let cap = FIRST_MAX
            .saturating_mul(1 << self.failures.min(DOUBLINGS_MAX))
            .min(DELAY_MAX);
        self.failures = self.failures.saturating_add(1);
        let nanos = u64::try_from(cap.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.rng.below(nanos)).max(DELAY_MIN)
    }

    /// It went well: the next failure is the first.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Longest first delay. Source: design, section 9: a relay's record may not wait longer for a
/// sink that was away for a moment.
const FIRST_MAX: Duration = Duration::from_millis(250);
/// Shortest delay, so that a drawn zero does not make a busy loop. Source: guess.
const DELAY_MIN: Duration = Duration::from_millis(10);
/// Longest delay. Source: design, section 11.
const DELAY_MAX: Duration = Duration::from_secs(60);
/// After these the longest delay is reached: 250 ms times 2⁸ is 64 s.
const DOUBLINGS_MAX: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_start_short_grow_to_a_minute_and_start_again() {
        let mut backoff = Backoff::new(Rng::from_u64(1));

        let delays: Vec<Duration> = (0..1_000).map(|_| backoff.next_delay()).collect();
        backoff.reset();

        assert!(delays[0] <= FIRST_MAX);
        assert!(delays[1] <= FIRST_MAX * 2);
        let longest = delays.iter().max().expect("some");
        assert!((Duration::from_secs(55)..=DELAY_MAX).contains(longest));
        assert!(
            delays[20..]
                .iter()
                .any(|delay| *delay < Duration::from_secs(5)),
            "full jitter"
        );
        assert!(backoff.next_delay() <= FIRST_MAX);
    }
}
