//! Trees follow the links that have become faster.
//!
//! A tree is of the links that were fastest when it grew. Plumtree shortens it by hops that are
//! announced (Leitão, Pereira, Rodrigues 2007, section 3.8); here by time. Whoever announces a
//! block says how long it has had it. Taken from the moment at which that is heard, this is when
//! the block would have come, had it been pushed over this link: no clocks are compared, and no
//! round trips. If that is clearly sooner than the first copy came, the announcer pushes from now
//! on, and whoever brought that copy does no more.
//!
//! For one block everyone hangs on somebody who had it sooner, so no circle comes of it. Two blocks
//! at a time can close one; then the graft timer opens it.
//!
//! A neighbour is given the place for an origin once, until another neighbour comes: who claims
//! more than it gives costs one graft timeout, and two that are equally fast do not take turns.

use std::time::Duration;

use model::{BlockId, LogId, MachineId};
use statemachine::Instant;

use crate::recent::Via;
use crate::{FrontierEntry, Gossip};

impl Gossip {
    /// How long the newest block of a log has been here, if that is not long.
    pub(crate) fn age_of(
        &self,
        now: Option<Instant>,
        entry: &FrontierEntry,
    ) -> Option<(LogId, Duration)> {
        let (_, came) = self.recent.arrival(&newest_of(entry))?;
        let age = now?.since(came);
        (age < AGE_MAX).then_some((entry.log, age))
    }

    /// A neighbour has had a block for so long: it takes the place of whoever pushed it here, if it
    /// would have been sooner. Returns whether it did.
    pub(crate) fn note_age(
        &mut self,
        now: Instant,
        from: MachineId,
        id: &BlockId,
        age: Duration,
    ) -> bool {
        let Some((Via::Pushed(first), came)) = self.recent.arrival(id) else {
            return false;
        };
        let (origin, here_for) = (id.log.machine, now.since(came));
        let neighbour = self.neighbours.get_mut(&from).filter(|_| first != from);
        let Some(neighbour) = neighbour else {
            return false;
        };
        let Some(later) = neighbour.pruned.get_mut(&origin) else {
            return false; // It pushes already.
        };
        *later = here_for.saturating_sub(age);
        let gain = age.saturating_sub(here_for);
        if gain < GAIN_MIN || !neighbour.preferred.insert(origin) {
            return false;
        }
        self.graft(from, origin);
        self.prune(first, origin, gain);
        true
    }
}

pub(crate) fn newest_of(entry: &FrontierEntry) -> BlockId {
    BlockId {
        log: entry.log,
        sequence: entry.top(),
    }
}

/// Blocks that are here for longer say nothing about the tree of today. Source: guess.
const AGE_MAX: Duration = Duration::from_secs(10);
/// How much sooner a block must have come for another way to be taken. Source: guess, above what
/// the scheduling of processes varies by, and less than most links between sites take.
const GAIN_MIN: Duration = Duration::from_millis(1);
/// Most trees that change their way for one message. Source: guess.
pub(crate) const CHANGES_PER_MESSAGE_MAX: usize = 64;
