//! Patience: how long a relay may be silent before it is suspected.
//!
//! On a network that loses nothing it is the configured time. Where packets get lost, heartbeats
//! come in bursts, with gaps that a fixed time would now and then take for death; so twice the
//! widest gap of the last one or two minutes is waited for, up to twice the configured time (the
//! idea of the φ accrual detector, Hayashibara et al., SRDS 2004, in integers). And a machine that
//! was late itself doubts itself first (Lifeguard's local health).

use std::time::Duration;

use statemachine::Instant;

/// The gaps between one machine's heartbeats.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gaps {
    /// The last heartbeat: when it came and its counter.
    last: Option<(Instant, u64)>,
    widest: Duration,
    /// The widest of the period before this one.
    widest_before: Duration,
    period_start: Instant,
}

impl Gaps {
    /// A heartbeat has come. One that does not follow the last one says nothing about gaps: its
    /// sender was silent on purpose.
    pub(crate) fn on_heartbeat(&mut self, now: Instant, counter: u64) {
        let last = self.last.replace((now, counter));
        let Some((at, _)) = last.filter(|(_, before)| before.checked_add(1) == Some(counter))
        else {
            return;
        };
        self.rotate(now);
        self.widest = self.widest.max(now.since(at));
    }

    /// This machine was late itself: the gap that it sees now is its own.
    pub(crate) fn forget_last(&mut self) {
        self.last = None;
    }

    /// How long the machine may be silent, `configured` at least.
    pub(crate) fn patience(&mut self, now: Instant, configured: Duration) -> Duration {
        self.rotate(now);
        let twice_widest = self.widest.max(self.widest_before) * 2;
        twice_widest.clamp(configured, configured * 2)
    }

    fn rotate(&mut self, now: Instant) {
        let age = now.since(self.period_start);
        if age < PERIOD {
            return;
        }
        self.widest_before = if age < PERIOD * 2 {
            self.widest
        } else {
            Duration::ZERO
        };
        self.widest = Duration::ZERO;
        self.period_start = now;
    }
}

/// How often this machine was late lately.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LocalHealth {
    strikes: u32,
    /// When the last strike came or was forgiven.
    changed: Instant,
}

impl LocalHealth {
    /// A timer came late.
    pub(crate) fn strike(&mut self, now: Instant) {
        self.forgive(now);
        self.strikes = (self.strikes + 1).min(STRIKES_MAX);
        self.changed = now;
    }

    /// Stretches a patience by what this machine must doubt itself.
    pub(crate) fn stretch(&mut self, now: Instant, patience: Duration) -> Duration {
        self.forgive(now);
        patience * (STRIKES_PER_MULTIPLE + self.strikes) / STRIKES_PER_MULTIPLE
    }

    fn forgive(&mut self, now: Instant) {
        while self.strikes > 0 && now.since(self.changed) >= FORGIVE_AFTER {
            self.strikes -= 1;
            self.changed = self.changed + FORGIVE_AFTER;
        }
    }
}

/// How long gaps are remembered at least. Source: guess; at 10 % loss, three losses in a row come
/// about once in this time.
const PERIOD: Duration = Duration::from_secs(60);
/// Strikes that double the patience. Lifeguard takes one; see the documentation of `detector`.
const STRIKES_PER_MULTIPLE: u32 = 4;
/// Most strikes; with them, patience is three times as long. Lifeguard: 8 multiples.
const STRIKES_MAX: u32 = 8;
/// Time without a strike after which one is forgiven. Source: guess.
const FORGIVE_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURED: Duration = Duration::from_millis(300);

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn patience_is_as_configured_until_gaps_come_near_it_and_again_when_they_are_long_past() {
        let mut gaps = Gaps::default();
        gaps.on_heartbeat(at(0), 1);
        gaps.on_heartbeat(at(100), 2);
        assert_eq!(gaps.patience(at(100), CONFIGURED), CONFIGURED);

        gaps.on_heartbeat(at(320), 3);
        assert_eq!(
            gaps.patience(at(320), CONFIGURED),
            Duration::from_millis(440)
        );
        gaps.on_heartbeat(at(1_320), 4);
        assert_eq!(gaps.patience(at(1_320), CONFIGURED), CONFIGURED * 2);

        assert_eq!(gaps.patience(at(61_000), CONFIGURED), CONFIGURED * 2);
        assert_eq!(gaps.patience(at(122_000), CONFIGURED), CONFIGURED);
    }

    #[test]
    fn a_gap_that_the_sender_made_on_purpose_or_this_machine_itself_counts_for_nothing() {
        let mut gaps = Gaps::default();
        gaps.on_heartbeat(at(0), 1);
        gaps.on_heartbeat(at(5_000), 9);
        gaps.forget_last();
        gaps.on_heartbeat(at(10_000), 10);

        assert_eq!(gaps.patience(at(10_000), CONFIGURED), CONFIGURED);
    }

    #[test]
    fn who_was_late_is_more_patient_for_a_while() {
        let mut health = LocalHealth::default();
        (0..4).for_each(|_| health.strike(at(0)));

        assert_eq!(health.stretch(at(999), CONFIGURED), CONFIGURED * 2);
        assert_eq!(health.stretch(at(4_000), CONFIGURED), CONFIGURED);
    }
}
