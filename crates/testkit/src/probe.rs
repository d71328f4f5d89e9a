//! The caller of one machine, as a test needs it.

use std::time::Duration;

use statemachine::{Instant, StateMachine};

/// Drives one machine and keeps what it says.
#[derive(Debug)]
pub struct Probe<M: StateMachine> {
    machine: M,
    now: Instant,
    outputs: Vec<M::Output>,
}

impl<M: StateMachine> Probe<M> {
    /// Drives `machine` from time zero on; what it has to say already is kept.
    pub fn new(machine: M) -> Self {
        let mut probe = Self {
            machine,
            now: Instant::ZERO,
            outputs: Vec::new(),
        };
        probe.drain();
        probe
    }

    /// The machine.
    pub const fn machine(&self) -> &M {
        &self.machine
    }

    /// The machine, for methods beside `handle` that change it; drains what they make it say.
    pub fn with<T>(&mut self, call: impl FnOnce(&mut M) -> T) -> T {
        let answer = call(&mut self.machine);
        self.drain();
        answer
    }

    /// The time that the machine was told last, or that [`Self::advance`] reached since.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Applies one input now.
    pub fn input(&mut self, input: M::Input) {
        self.machine.handle(self.now, input);
        self.drain();
    }

    /// Lets time pass, firing each timer exactly at its deadline, in order.
    ///
    /// # Panics
    ///
    /// If the machine breaks the second law, because time would never pass.
    pub fn advance(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(deadline) = self.machine.next_deadline().filter(|due| due.at <= end) {
            self.now = self.now.max(deadline.at);
            self.machine.handle_timeout(self.now);
            self.drain();
            let next = self.machine.next_deadline();
            assert!(
                next.is_none_or(|next| next.at > self.now),
                "law 2: at {} the timer {:?} is still due after handle_timeout",
                self.now,
                next.map(|next| next.why),
            );
        }
        self.now = end;
    }

    /// What the machine said since the last [`Self::take`], oldest first.
    pub fn outputs(&self) -> &[M::Output] {
        &self.outputs
    }

    /// Takes what the machine said since the last call, oldest first.
    pub fn take(&mut self) -> Vec<M::Output> {
        std::mem::take(&mut self.outputs)
    }

    fn drain(&mut self) {
        self.outputs
            .extend(std::iter::from_fn(|| self.machine.poll_output()));
    }
}

#[cfg(test)]
mod tests {
    use statemachine::{Deadline, Timers};

    use super::*;

    /// Echoes numbers, and says the time at every multiple of its period.
    #[derive(Default)]
    struct Echo {
        timers: Timers<Duration>,
        said: std::collections::VecDeque<u64>,
    }

    impl StateMachine for Echo {
        type Input = u64;
        type Output = u64;
        const OUTPUTS_PER_CALL_MAX: usize = 1;

        fn handle(&mut self, now: Instant, input: u64) {
            self.said.push_back(input);
            let period = Duration::from_nanos(input);
            self.timers.set(period, now + period);
        }

        fn handle_timeout(&mut self, now: Instant) {
            while let Some((at, period)) = self.timers.pop_due(now) {
                self.said.push_back(now.as_nanos());
                self.timers.set(period, at + period);
            }
        }

        fn poll_output(&mut self) -> Option<u64> {
            self.said.pop_front()
        }

        fn next_deadline(&self) -> Option<Deadline> {
            self.timers.next_deadline(|_| "tick")
        }
    }

    #[test]
    fn timers_fire_at_their_deadlines_in_order_and_the_last_one_at_the_end() {
        let mut probe = Probe::new(Echo::default());

        probe.input(10);
        probe.input(15);
        probe.advance(Duration::from_nanos(29));
        assert_eq!(probe.take(), [10, 15, 10, 15, 20]);
        probe.advance(Duration::from_nanos(1));

        assert_eq!(probe.outputs(), [30, 30]);
        assert_eq!(probe.now(), Instant::from_nanos(30));
    }

    /// Never fires what is due.
    struct Stuck;

    impl StateMachine for Stuck {
        type Input = ();
        type Output = ();
        const OUTPUTS_PER_CALL_MAX: usize = 0;

        fn handle(&mut self, _now: Instant, (): ()) {}

        fn handle_timeout(&mut self, _now: Instant) {}

        fn poll_output(&mut self) -> Option<()> {
            None
        }

        fn next_deadline(&self) -> Option<Deadline> {
            Some(Deadline {
                at: Instant::ZERO,
                why: "stuck",
            })
        }
    }

    #[test]
    #[should_panic(expected = "law 2")]
    fn a_timer_that_stays_due_is_told_instead_of_hanging_the_test() {
        Probe::new(Stuck).advance(Duration::from_nanos(1));
    }
}
