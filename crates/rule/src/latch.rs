//! When a rule acts: hold time, hysteresis, cool-down, rate limit.

use std::time::Duration;

use statemachine::Instant;

use crate::Limit;
use crate::bucket::Bucket;

/// How far a rule has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its condition is false, or unknown.
    Idle,
    /// Its condition has been true since then.
    Holding(Instant),
    /// It has acted, and has not ended.
    Active,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Rest,
    /// Act.
    Act,
    /// The condition has ended.
    End,
    /// Act with the safe value: an input is stale or bad, since just now.
    ActSafely,
    /// It would act, but may not so often. Said once for each time.
    Limited,
}

/// What is known of the condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Truth {
    /// The condition; `None` if an input is stale or bad.
    pub(crate) when: Option<bool>,
    /// What ends it.
    pub(crate) until: Option<bool>,
}

/// Times of a rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) hold: Duration,
    pub(crate) cooldown: Duration,
    pub(crate) limit: Limit,
}

/// Decides when a rule acts.
#[derive(Clone, Debug)]
pub(crate) struct Latch {
    times: Times,
    phase: Phase,
    is_blind: bool,
    /// It does not act before.
    cool_at: Instant,
    acts: Bucket,
    is_limited: bool,
}

impl Latch {
    pub(crate) fn new(times: Times, is_active: bool) -> Self {
        let phase = if is_active {
            Phase::Active
        } else {
            Phase::Idle
        };
        Self {
            times,
            phase,
            is_blind: false,
            cool_at: Instant::ZERO,
            acts: Bucket::new(times.limit),
            is_limited: false,
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        self.phase == Phase::Active
    }

    /// Does not act for this long: what is left of a cool-down from before a restart.
    pub(crate) fn cool(&mut self, now: Instant, left: Duration) {
        self.cool_at = now + left.min(self.times.cooldown);
    }

    /// Takes in what is known now.
    pub(crate) fn judge(&mut self, now: Instant, truth: Truth) -> Verdict {
        let Some(when) = truth.when else {
            return self.on_blind(now);
        };
        self.is_blind = false;
        match (self.phase, when) {
            (Phase::Active, when) => {
                self.is_limited = false;
                if truth.until.unwrap_or(!when) {
                    self.phase = Phase::Idle;
                    return Verdict::End;
                }
                Verdict::Rest
            }
            (Phase::Idle | Phase::Holding(_), false) => {
                self.phase = Phase::Idle;
                self.is_limited = false;
                Verdict::Rest
            }
            (Phase::Idle, true) => {
                self.is_limited = false;
                self.phase = Phase::Holding(now);
                self.on_holding(now, now)
            }
            (Phase::Holding(since), true) => self.on_holding(now, since),
        }
    }

    /// When it must be judged again though nothing new has come; `None` for never.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Holding(since) if self.is_limited => Some(since.max(self.acts.next())),
            Phase::Holding(since) => Some((since + self.times.hold).max(self.cool_at)),
            // It owes its safe act.
            Phase::Idle | Phase::Active => self.is_limited.then(|| self.acts.next()),
        }
    }

    /// An input may still come: what was being held starts over, and nothing is owed.
    pub(crate) fn wait(&mut self) {
        if matches!(self.phase, Phase::Holding(_)) {
            self.phase = Phase::Idle;
        }
        self.is_limited = false;
    }

    fn on_holding(&mut self, now: Instant, since: Instant) -> Verdict {
        if now < since + self.times.hold || now < self.cool_at {
            return Verdict::Rest;
        }
        if !self.acts.take(now) {
            return self.limited();
        }
        self.is_limited = false;
        self.phase = Phase::Active;
        self.cool_at = now + self.times.cooldown;
        Verdict::Act
    }

    /// An input is stale or bad: said once, and what was being held starts over.
    fn on_blind(&mut self, now: Instant) -> Verdict {
        if matches!(self.phase, Phase::Holding(_)) {
            self.wait();
        }
        if self.is_blind {
            return Verdict::Rest;
        }
        if !self.acts.take(now) {
            return self.limited();
        }
        (self.is_blind, self.is_limited) = (true, false);
        Verdict::ActSafely
    }

    fn limited(&mut self) -> Verdict {
        if std::mem::replace(&mut self.is_limited, true) {
            Verdict::Rest
        } else {
            Verdict::Limited
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUE: Truth = truth(Some(true));
    const FALSE: Truth = truth(Some(false));
    const BLIND: Truth = truth(None);

    const fn truth(when: Option<bool>) -> Truth {
        Truth { when, until: None }
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn latch(hold: u64, cooldown: u64, count: u32) -> Latch {
        let times = Times {
            hold: Duration::from_secs(hold),
            cooldown: Duration::from_secs(cooldown),
            limit: Limit {
                count,
                per: Duration::from_secs(60),
            },
        };
        Latch::new(times, false)
    }

    #[test]
    fn a_condition_must_hold_before_the_rule_acts_and_a_break_starts_over() {
        let mut latch = latch(10, 0, 9);

        assert_eq!(latch.judge(at(0), TRUE), Verdict::Rest);
        assert_eq!(latch.judge(at(9), FALSE), Verdict::Rest);
        assert_eq!(latch.judge(at(10), TRUE), Verdict::Rest);
        assert_eq!(latch.due(), Some(at(20)));
        assert_eq!(latch.judge(at(20), TRUE), Verdict::Act);
        assert_eq!(latch.judge(at(21), TRUE), Verdict::Rest);
    }

    #[test]
    fn with_a_hysteresis_it_ends_where_that_says_and_not_before() {
        let mut latch = latch(0, 0, 9);
        let hot = |when, until| Truth {
            when: Some(when),
            until: Some(until),
        };

        assert_eq!(latch.judge(at(0), hot(true, false)), Verdict::Act);
        assert_eq!(latch.judge(at(1), hot(false, false)), Verdict::Rest);
        assert_eq!(latch.judge(at(2), hot(false, true)), Verdict::End);
    }

    #[test]
    fn after_it_acted_it_cools_down_and_then_acts_if_it_still_must() {
        let mut latch = latch(0, 30, 9);
        latch.judge(at(0), TRUE);
        latch.judge(at(1), FALSE);

        assert_eq!(latch.judge(at(2), TRUE), Verdict::Rest);
        assert_eq!(latch.due(), Some(at(30)));
        assert_eq!(latch.judge(at(30), TRUE), Verdict::Act);
    }

    #[test]
    fn beyond_its_limit_it_does_not_act_says_so_once_and_goes_on_later() {
        let mut latch = latch(0, 0, 1);
        latch.judge(at(0), TRUE);
        latch.judge(at(1), FALSE);

        assert_eq!(latch.judge(at(2), TRUE), Verdict::Limited);
        assert_eq!(latch.judge(at(3), TRUE), Verdict::Rest);
        let due = latch.due().expect("it waits for its turn");
        assert!(due > at(59) && due <= at(61), "{due}");
        assert_eq!(latch.judge(at(61), TRUE), Verdict::Act);
    }

    #[test]
    fn blindness_acts_safely_once_and_ends_no_rule_that_is_active() {
        let mut latch = latch(0, 0, 9);
        latch.judge(at(0), TRUE);

        assert_eq!(latch.judge(at(1), BLIND), Verdict::ActSafely);
        assert_eq!(latch.judge(at(2), BLIND), Verdict::Rest);
        assert!(latch.is_active());
        assert_eq!(latch.judge(at(3), FALSE), Verdict::End);
        assert_eq!(latch.judge(at(4), BLIND), Verdict::ActSafely);
    }

    #[test]
    fn blindness_beyond_its_limit_acts_safely_as_soon_as_it_may() {
        let mut latch = latch(0, 0, 1);
        latch.judge(at(0), TRUE);

        assert_eq!(latch.judge(at(1), BLIND), Verdict::Limited);
        assert_eq!(latch.judge(at(2), BLIND), Verdict::Rest);
        let due = latch.due().expect("it waits for its turn");
        assert!(due > at(59) && due <= at(61), "{due}");
        assert_eq!(latch.judge(due, BLIND), Verdict::ActSafely);
        assert_eq!(latch.due(), None);
    }

    #[test]
    fn what_was_being_held_starts_over_after_blindness() {
        let mut latch = latch(10, 0, 9);
        latch.judge(at(0), TRUE);
        latch.judge(at(5), BLIND);

        assert_eq!(latch.judge(at(10), TRUE), Verdict::Rest);
        assert_eq!(latch.judge(at(20), TRUE), Verdict::Act);
    }
}
