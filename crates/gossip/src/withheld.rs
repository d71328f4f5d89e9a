//! What a neighbour withholds: blocks that it says it holds, and does not give.
//!
//! A member with bad intent takes part in everything and swallows the blocks of others. Alone it
//! costs its neighbours a timeout; many of them around one machine keep everything from it, and
//! nothing that they say is wrong. What gives them away is that they answer nothing: not once in a
//! while, over several attempts, although their links work.
//!
//! It is counted by origin, so that blocks of one origin do not make good for those of another. A
//! neighbour's own blocks do not count: who else has them if it does not want to give them?
//!
//! A neighbour that is merely slow, paused, cut off or held back gives something now and then, or
//! is silent altogether, and neither is counted. What follows is the caller's matter: `overlay`
//! sees whether it is this machine that reads slowly.

use std::time::Duration;

use model::MachineId;
use statemachine::{BoundedMap, Instant};

/// What one neighbour has not given, by origin.
#[derive(Debug)]
pub(crate) struct Withheld {
    origins: BoundedMap<MachineId, Vain>,
}

/// Attempts that came to nothing, since the last block.
#[derive(Clone, Copy, Debug)]
struct Vain {
    since: Instant,
    attempts: u32,
}

impl Withheld {
    /// Nothing.
    pub(crate) fn new() -> Self {
        Self {
            origins: BoundedMap::new(ORIGINS_MAX),
        }
    }

    /// It gave a block of an origin that we lacked.
    pub(crate) fn forgive(&mut self, origin: &MachineId) {
        self.origins.remove(origin);
    }

    /// Blocks of an origin that were asked of it did not come; returns whether that is enough to
    /// say that it withholds them. Then counting begins anew.
    pub(crate) fn count(&mut self, now: Instant, origin: MachineId, timeout: Duration) -> bool {
        let vain = || Vain {
            since: now,
            attempts: 0,
        };
        let Ok(vain) = self.origins.entry(origin, vain) else {
            return false; // Too many other origins wait for the same.
        };
        vain.attempts = vain.attempts.saturating_add(1);
        let is_proven =
            vain.attempts >= ATTEMPTS_MIN && now.since(vain.since) >= timeout * PATIENCE;
        if is_proven {
            self.origins.remove(&origin);
        }
        is_proven
    }
}

/// Most origins that are counted for one neighbour. Source: guess.
const ORIGINS_MAX: usize = 64;
/// How often blocks of an origin must have been asked in vain. Source: guess; each attempt asks for
/// other blocks, or for the same after a pause.
const ATTEMPTS_MIN: u32 = 8;
/// For how many want timeouts. Source: guess, as long as a block may be wanted while others come.
const PATIENCE: u32 = crate::neighbour::WANT_PATIENCE;
