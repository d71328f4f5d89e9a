//! What every protocol of this project is.

use std::fmt;

use crate::{Deadline, Instant};

/// A protocol with its side effects removed.
///
/// Laws, checked for every machine by `testkit::laws`:
/// 1. Callers pass a `now` that never decreases.
/// 2. After `handle_timeout(now)`, `next_deadline()` is `None` or later than `now`.
/// 3. The same seed, settings and inputs give the same outputs in the same order.
/// 4. One call adds at most `OUTPUTS_PER_CALL_MAX` outputs.
pub trait StateMachine {
    /// What happened.
    type Input;
    /// What the caller must do about it.
    type Output;
    /// Most outputs that one call may add.
    const OUTPUTS_PER_CALL_MAX: usize;

    /// Applies one input. Cannot fail: a peer's mistake is an output, not an error.
    fn handle(&mut self, now: Instant, input: Self::Input);

    /// Fires every timer due at or before `now`.
    fn handle_timeout(&mut self, now: Instant);

    /// Takes the oldest output. Call until `None` after each `handle*`.
    #[must_use]
    fn poll_output(&mut self) -> Option<Self::Output>;

    /// When to call `handle_timeout`, and why (shown in logs and simulator traces).
    #[must_use]
    fn next_deadline(&self) -> Option<Deadline>;
}

/// Names one asynchronous effect: the output that asks for it and the input that ends it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

impl Ticket {
    /// The ticket after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// Its number, for whoever writes it down.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The ticket with a number that was written down.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ticket-{}", self.0)
    }
}
