//! Nearer neighbours: a far one gives its place to one that is much nearer, some far ones stay.
//!
//! After X-BOT (Leitão, Marques, Pereira, Rodrigues, "X-BOT: A Protocol for Resilient Optimization
//! of Unstructured Overlays", SRDS 2009): a full view is improved by trying one candidate at a
//! time, and the farthest neighbours, its unbiased part, are never given up for nearness, so that
//! the graph keeps its long links and stays connected.
//!
//! # Where we differ from the paper
//!
//! - Two machines exchange places instead of four: who asks drops its far neighbour once it is
//!   accepted; who is asked has a free place, or drops a far neighbour of its own that is worse.
//!   Those that were dropped have an empty place each and fill it as always.
//! - Nobody answers for round trips but the link itself: a candidate is dialled to measure it,
//!   seldom and ever more seldom while nothing comes of it.
//! - A gain must be worth it in time, not only in proportion: in a LAN, everything stays as it is.

use std::time::Duration;

use model::MachineId;
use statemachine::Instant;

use super::{Overlay, Timer};
use crate::Message;
use crate::links::{Question, Reason};

/// The search for nearer neighbours.
#[derive(Debug, Default)]
pub(super) struct Improvement {
    /// Looks in a row, since a neighbour was won, that came to nothing.
    in_vain: u32,
}

impl Overlay {
    pub(super) fn on_improve(&mut self, now: Instant) {
        let in_vain = self.improvement.in_vain.min(IN_VAIN_MAX);
        let pause = (PAUSE_MIN * (1 + in_vain * in_vain / 4)).min(PAUSE_MAX);
        let next = now + self.rng.jitter(pause);
        self.timers.set(Timer::Improve, next);
        self.improvement.in_vain = self.improvement.in_vain.saturating_add(1);
        if self.active.len() < self.config.active_max {
            return; // An empty place is filled by whoever comes.
        }
        let Some(limit) = self.replaceable(now).and_then(|(_, far)| nearer(far)) else {
            return;
        };
        if let Some(machine) = self.book.nearer_than(now, limit, &mut self.rng) {
            self.dial(now, machine, true);
        }
    }

    pub(super) fn on_round_trip(&mut self, now: Instant, machine: MachineId, time: Duration) {
        let Some(link) = self.links.get_mut(&machine) else {
            return;
        };
        link.round_trip = Some(time);
        self.book.measured(&machine, time);
        let is_full = self.active.len() >= self.config.active_max;
        if !is_full || self.is_neighbour(&machine) || self.book.rests(now, &machine) {
            return;
        }
        if self.is_doubted(now, &machine) {
            return;
        }
        if let Some((far, its_time)) = self.replaceable(now)
            && nearer(its_time).is_some_and(|limit| time <= limit)
        {
            self.ask(now, machine, false, Reason::InsteadOf(far));
        }
    }

    /// Whether a machine that asks gets the place of a neighbour that is much farther away.
    pub(super) fn drop_for_nearer(&mut self, now: Instant, from: MachineId) -> bool {
        let time = self.links.get(&from).and_then(|link| link.round_trip);
        let Some((far, its_time)) = self.replaceable(now) else {
            return false;
        };
        let is_nearer = (time.zip(nearer(its_time))).is_some_and(|(time, limit)| time <= limit);
        if is_nearer {
            self.drop_far(now, far);
        }
        is_nearer
    }

    /// The machine that was asked has come: the one whose place it was to have goes.
    pub(super) fn drop_replaced(&mut self, now: Instant, question: Question) {
        if let Reason::InsteadOf(far) = question.reason
            && self.is_neighbour(&far)
            && self.active.len() > self.config.active_max
        {
            self.drop_far(now, far);
        }
    }

    /// The view is another one now: it may be worth looking.
    pub(super) const fn look_for_nearer(&mut self) {
        self.improvement.in_vain = 0;
    }

    fn drop_far(&mut self, now: Instant, far: MachineId) {
        self.stats.replaced += 1;
        self.remove(now, far);
        self.send(far, Message::Disconnect);
    }

    /// The farthest neighbour that may be given up, with its round trip: beyond those that stay
    /// because they are the farthest, and settled.
    fn replaceable(&self, now: Instant) -> Option<(MachineId, Duration)> {
        let mut measured: Vec<(Duration, MachineId)> = self
            .neighbours()
            .filter_map(|machine| Some((self.links.get(&machine)?.round_trip?, machine)))
            .collect();
        measured.sort_unstable();
        let kept = self.config.active_max.div_ceil(KEPT_ONE_IN);
        let (time, machine) = measured.into_iter().rev().nth(kept)?;
        (self.settled(now).contains(&machine)).then_some((machine, time))
    }
}

/// How near a machine must be to take the place of one that is so far; `None` if that is near
/// enough.
fn nearer(far: Duration) -> Option<Duration> {
    let gain = GAIN_MIN.max(far / GAIN_ONE_IN);
    far.checked_sub(gain).filter(|limit| !limit.is_zero())
}

/// One neighbour in so many, the farthest ones, rounded up, is never given up for a nearer one.
/// Source: guess; with five neighbours two, which makes a random graph of long links connected.
const KEPT_ONE_IN: usize = 3;

/// How much nearer a candidate must be at least. Source: guess, above what round trips in a LAN
/// differ by, and what a second of gossip over one more link costs.
const GAIN_MIN: Duration = Duration::from_millis(2);

/// And in proportion: by one part in so many. Source: guess, so that places do not flap.
const GAIN_ONE_IN: u32 = 4;

/// First pause between two candidates; it grows with the square of those in vain. Source: guess, a
/// dozen candidates in the first two minutes, and a dozen more in the next quarter of an hour.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// More in vain make no longer pause. Unit: looks. Source: beyond [`PAUSE_MAX`].
const IN_VAIN_MAX: u32 = 40;

/// Longest pause between two candidates. Source: guess; a connection of 16 kB each time is 55 B/s.
const PAUSE_MAX: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;
