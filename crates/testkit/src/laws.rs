//! The laws of `StateMachine`, as a machine that watches another.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::time::Duration;

use statemachine::{Deadline, Instant, StateMachine};

use crate::Probe;

/// Two machines made alike, driven alike, and compared after each call.
///
/// Panics, naming the law, as soon as the caller or the machine breaks one. Outputs are compared
/// as their `Debug` text, so they need no `PartialEq`.
#[derive(Debug)]
pub struct Lawful<M: StateMachine> {
    machine: M,
    twin: M,
    now: Instant,
    outputs: VecDeque<M::Output>,
}

impl<M> Lawful<M>
where
    M: StateMachine<Input: Clone, Output: Debug>,
{
    /// Watches the machine that `make` makes; `make` must make the same one twice.
    pub fn new(make: impl Fn() -> M) -> Self {
        let mut lawful = Self {
            machine: make(),
            twin: make(),
            now: Instant::ZERO,
            outputs: VecDeque::new(),
        };
        lawful.compare("new");
        lawful
    }

    /// The machine inside.
    pub const fn inner(&self) -> &M {
        &self.machine
    }

    /// Law 1: the caller's time never goes back.
    fn pass_time(&mut self, now: Instant) {
        assert!(now >= self.now, "law 1: called at {now} after {}", self.now);
        self.now = now;
    }

    /// Law 3: both said the same in the same order and want to be called at the same time; law 4:
    /// not too much of it.
    fn compare(&mut self, call: &str) {
        let mut count = 0;
        loop {
            let (said, twin) = (self.machine.poll_output(), self.twin.poll_output());
            assert_eq!(
                format!("{said:?}"),
                format!("{twin:?}"),
                "law 3: output {count} of {call} at {} differs between two runs",
                self.now,
            );
            let Some(output) = said else { break };
            self.outputs.push_back(output);
            count += 1;
            assert!(
                count <= M::OUTPUTS_PER_CALL_MAX,
                "law 4: {call} at {} said more than {} outputs",
                self.now,
                M::OUTPUTS_PER_CALL_MAX,
            );
        }
        assert_eq!(
            self.machine.next_deadline(),
            self.twin.next_deadline(),
            "law 3: the deadline after {call} at {} differs between two runs",
            self.now,
        );
    }
}

impl<M> StateMachine for Lawful<M>
where
    M: StateMachine<Input: Clone, Output: Debug>,
{
    type Input = M::Input;
    type Output = M::Output;
    const OUTPUTS_PER_CALL_MAX: usize = M::OUTPUTS_PER_CALL_MAX;

    fn handle(&mut self, now: Instant, input: M::Input) {
        self.pass_time(now);
        self.machine.handle(now, input.clone());
        self.twin.handle(now, input);
        self.compare("handle");
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.pass_time(now);
        self.machine.handle_timeout(now);
        self.twin.handle_timeout(now);
        self.compare("handle_timeout");
        if let Some(deadline) = self.machine.next_deadline() {
            assert!(
                deadline.at > now,
                "law 2: at {now} the timer {:?} is still due after handle_timeout",
                deadline.why,
            );
        }
    }

    fn poll_output(&mut self) -> Option<M::Output> {
        self.outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Deadline> {
        self.machine.next_deadline()
    }
}

/// One step of a script that drives a machine.
#[derive(Clone, Debug)]
pub enum Step<I> {
    /// Apply an input.
    Input(I),
    /// Let time pass, and fire the timers that fall due in it.
    Advance(Duration),
}

/// Runs a script on the machine that `make` makes and returns what it said.
///
/// # Panics
///
/// If the machine breaks a law.
pub fn check<M>(
    make: impl Fn() -> M,
    script: impl IntoIterator<Item = Step<M::Input>>,
) -> Vec<M::Output>
where
    M: StateMachine<Input: Clone, Output: Debug>,
{
    let mut probe = Probe::new(Lawful::new(make));
    for step in script {
        match step {
            Step::Input(input) => probe.input(input),
            Step::Advance(duration) => probe.advance(duration),
        }
    }
    probe.take()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// What a machine does wrong.
    #[derive(Clone, Copy, PartialEq)]
    enum Crime {
        None,
        StaysDue,
        Unrepeatable,
        UnrepeatableDeadline,
        Talkative,
    }

    /// Says its input back a second later, unless it breaks a law.
    struct Suspect {
        crime: Crime,
        /// Differs between two machines that should be alike.
        serial: u64,
        due: Option<(Instant, u64)>,
        said: VecDeque<u64>,
    }

    impl StateMachine for Suspect {
        type Input = u64;
        type Output = u64;
        const OUTPUTS_PER_CALL_MAX: usize = 1;

        fn handle(&mut self, now: Instant, input: u64) {
            let delay = if self.crime == Crime::UnrepeatableDeadline {
                Duration::from_secs(self.serial)
            } else {
                Duration::from_secs(1)
            };
            self.due = Some((now + delay, input));
        }

        fn handle_timeout(&mut self, now: Instant) {
            let Some((_, number)) = self.due.filter(|(at, _)| *at <= now) else {
                return;
            };
            match self.crime {
                Crime::None | Crime::UnrepeatableDeadline => self.said.push_back(number),
                Crime::Unrepeatable => self.said.push_back(self.serial),
                Crime::Talkative => self.said.extend([number, number]),
                Crime::StaysDue => return,
            }
            self.due = None;
        }

        fn poll_output(&mut self) -> Option<u64> {
            self.said.pop_front()
        }

        fn next_deadline(&self) -> Option<Deadline> {
            self.due.map(|(at, _)| Deadline { at, why: "echo" })
        }
    }

    fn run(crime: Crime) -> Vec<u64> {
        let serial = Cell::new(1);
        let make = || Suspect {
            crime,
            serial: serial.replace(serial.get() + 1),
            due: None,
            said: VecDeque::new(),
        };
        check(
            make,
            [Step::Input(7), Step::Advance(Duration::from_secs(2))],
        )
    }

    #[test]
    fn a_lawful_machine_passes_and_its_outputs_come_through() {
        assert_eq!(run(Crime::None), [7]);
    }

    #[test]
    #[should_panic(expected = "law 1")]
    fn time_that_goes_back_is_found() {
        let mut lawful = Lawful::new(|| Suspect {
            crime: Crime::None,
            serial: 0,
            due: None,
            said: VecDeque::new(),
        });

        lawful.handle(Instant::from_nanos(2), 7);
        lawful.handle(Instant::from_nanos(1), 7);
    }

    #[test]
    #[should_panic(expected = "law 2")]
    fn a_timer_that_stays_due_is_found() {
        run(Crime::StaysDue);
    }

    #[test]
    #[should_panic(expected = "law 3: output")]
    fn an_output_that_differs_between_two_runs_is_found() {
        run(Crime::Unrepeatable);
    }

    #[test]
    #[should_panic(expected = "law 3: the deadline")]
    fn a_deadline_that_differs_between_two_runs_is_found() {
        run(Crime::UnrepeatableDeadline);
    }

    #[test]
    #[should_panic(expected = "law 4")]
    fn a_call_that_says_too_much_is_found() {
        run(Crime::Talkative);
    }
}
