//! How often something is worth a record that others can cause as often as they like.

use std::time::Duration;

use statemachine::Instant;

/// A bucket of tokens: a burst, then one record an interval.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// When the bucket is full again; it holds [`BURST`] tokens from then on.
    full_at: Instant,
    left_out: u64,
}

impl Pace {
    /// Takes a token; says how many went without one since the last that had one, or `None` if
    /// this one does.
    pub fn admit(&mut self, now: Instant, interval: Duration) -> Option<u64> {
        let full_at = self.full_at.max(now) + interval;
        if full_at.since(now) > interval * BURST {
            self.left_out += 1;
            return None;
        }
        self.full_at = full_at;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// Records in a row. Source: guess, twice the links of a busy node that starts.
const BURST: u32 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    #[test]
    fn a_flood_leaves_a_burst_and_then_one_record_an_interval_which_says_how_many_it_stands_for() {
        let mut pace = Pace::default();
        let start = Instant::ZERO + Duration::from_secs(5);

        let admitted = (0..1_000)
            .filter(|_| pace.admit(start, INTERVAL).is_some())
            .count();
        let too_soon = pace.admit(start + INTERVAL / 2, INTERVAL);
        let later = pace.admit(start + INTERVAL, INTERVAL);
        let again = pace.admit(start + INTERVAL, INTERVAL);

        assert_eq!(admitted, usize::try_from(BURST).expect("small"));
        assert_eq!(
            (too_soon, later, again),
            (None, Some(1_000 - 128 + 1), None)
        );
    }

    #[test]
    fn what_comes_slowly_is_never_left_out() {
        let mut pace = Pace::default();

        for n in 0..1_000 {
            assert_eq!(pace.admit(Instant::ZERO + INTERVAL * n, INTERVAL), Some(0));
        }
    }
}
