//! At most so many in so much time.

use std::time::Duration;

use statemachine::Instant;

use crate::Limit;

/// A token bucket: it starts full.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    limit: Limit,
    /// What is left. Unit: millionths of one.
    left: u64,
    counted: Instant,
}

impl Bucket {
    pub(crate) fn new(limit: Limit) -> Self {
        Self {
            limit,
            left: u64::from(limit.count) * ONE,
            counted: Instant::ZERO,
        }
    }

    /// Takes one if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let full = u64::from(self.limit.count) * ONE;
        let passed = now.since(self.counted).as_nanos();
        let gained = u128::from(full).saturating_mul(passed) / self.limit.per.as_nanos().max(1);
        let left = u64::try_from(u128::from(self.left).saturating_add(gained));
        self.left = left.unwrap_or(full).min(full);
        self.counted = now;
        let Some(left) = self.left.checked_sub(ONE) else {
            return false;
        };
        self.left = left;
        true
    }

    /// When there is one again.
    pub(crate) fn next(&self) -> Instant {
        let missing = u128::from(ONE.saturating_sub(self.left));
        let full = u128::from(self.limit.count) * u128::from(ONE);
        let nanos = missing * self.limit.per.as_nanos() / full.max(1);
        let wait = u64::try_from(nanos).unwrap_or(u64::MAX);
        self.counted + Duration::from_nanos(wait.saturating_add(ROUNDING))
    }
}

/// One. Unit: millionths.
const ONE: u64 = 1_000_000;
/// What rounding may have cost. Unit: nanoseconds. Source: a millionth of the longest time of a
/// rule, seven days, is 0.6 s; of a minute it is 60 us.
const ROUNDING: u64 = 1_000_000;
