//! A budget: so many bytes a second, so that the past leaves room for the present.

use std::time::Duration;

use statemachine::Instant;

/// A token bucket that may be overdrawn by one block.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Unit: bytes a second. `None` is no limit.
    rate: Option<u32>,
    /// What may be spent at `counted`. Unit: bytes.
    left: i64,
    counted: Instant,
}

impl Budget {
    pub(crate) fn new(rate: Option<u32>) -> Self {
        Self {
            rate: rate.map(|rate| rate.max(1)),
            left: rate.map_or(0, burst_of),
            counted: Instant::ZERO,
        }
    }

    /// When something may be spent again; not later than `now` if it may at once.
    pub(crate) fn ready_at(&mut self, now: Instant) -> Instant {
        self.count(now);
        let Some(rate) = self.rate.filter(|_| self.left <= 0) else {
            return now;
        };
        let lacking = u64::try_from(1 - self.left).unwrap_or(0);
        let nanos = lacking
            .saturating_mul(NANOS_PER_SECOND)
            .div_ceil(rate.into());
        now + Duration::from_nanos(nanos)
    }

    /// How much may be on its way at once. Unit: bytes.
    pub(crate) fn burst(&self) -> usize {
        self.rate.map_or(usize::MAX, |rate| {
            usize::try_from(burst_of(rate)).unwrap_or(usize::MAX)
        })
    }

    pub(crate) fn spend(&mut self, now: Instant, bytes: usize) {
        if self.rate.is_some() {
            self.count(now);
            self.left -= i64::try_from(bytes).unwrap_or(i64::MAX / 2);
        }
    }

    fn count(&mut self, now: Instant) {
        let Some(rate) = self.rate else { return };
        let nanos = u64::try_from(now.since(self.counted).as_nanos()).unwrap_or(u64::MAX);
        let earned = nanos.saturating_mul(rate.into()) / NANOS_PER_SECOND;
        if earned > 0 {
            self.counted = now;
            let earned = i64::try_from(earned).unwrap_or(i64::MAX);
            self.left = self.left.saturating_add(earned).min(burst_of(rate));
        }
    }
}

/// What may be spent at once after a rest. Unit: bytes.
fn burst_of(rate: u32) -> i64 {
    (i64::from(rate) / BURST_PARTS).max(1)
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// Parts of a second's bytes that may come at once. Source: guess; it bounds how long what is new
/// waits behind them.
const BURST_PARTS: i64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn what_is_spent_stays_within_the_rate_whatever_the_pieces() {
        let mut budget = Budget::new(Some(1_000));
        let mut spent = 0;
        for now in (0..10_000).map(at) {
            while budget.ready_at(now) <= now {
                budget.spend(now, 300);
                spent += 300;
            }
        }

        assert!((9_700..=10_600).contains(&spent), "{spent} bytes in 10 s");
    }

    #[test]
    fn after_an_overdraft_it_is_ready_exactly_when_the_bytes_are_earned() {
        let mut budget = Budget::new(Some(1_000));
        budget.spend(at(0), 2_250);

        assert_eq!(budget.ready_at(at(0)), at(2_001));
        assert!(budget.ready_at(at(2_000)) > at(2_000));
        assert_eq!(budget.ready_at(at(2_001)), at(2_001));
    }

    #[test]
    fn without_a_rate_there_is_no_limit() {
        let mut budget = Budget::new(None);
        budget.spend(at(0), usize::MAX);

        assert_eq!(budget.ready_at(at(0)), at(0));
    }
}
