//! Requests that wait until enough neighbours hold their block.

use std::collections::BTreeMap;

use model::Position;

use super::{Effect, Waiting};
use crate::{AckLevel, PublishError};

/// Durable blocks whose requests wait for neighbours.
#[derive(Debug, Default)]
pub(super) struct Replicas {
    waiting: BTreeMap<Position, Vec<Waiting>>,
    /// Something came since neighbours' frontiers were looked at.
    uncounted: bool,
}

impl Replicas {
    /// A request waits from now on; if too many do, those of the oldest block hear so.
    pub(super) fn wait(&mut self, position: Position, waiting: Waiting, effects: &mut Vec<Effect>) {
        self.uncounted = true;
        self.waiting.entry(position).or_default().push(waiting);
        while self.waiting.len() > BLOCKS_MAX {
            let Some((_, waiting)) = self.waiting.pop_first() else {
                break;
            };
            let busy = |waiting: Waiting| waiting.reply(Err(PublishError::Busy));
            effects.extend(waiting.into_iter().map(busy));
        }
    }

    /// Whether neighbours have not been counted for all that waits: they may be faster than the
    /// own disk, and then have nothing more to say.
    pub(super) fn take_uncounted(&mut self) -> bool {
        std::mem::take(&mut self.uncounted)
    }

    /// Answers what is held by enough neighbours; `holders` counts those that cover a block.
    pub(super) fn count(&mut self, holders: impl Fn(Position) -> usize, effects: &mut Vec<Effect>) {
        self.waiting.retain(|position, waiting| {
            let held = holders(*position);
            waiting.retain(|waiting| {
                let AckLevel::Replicated(asked) = waiting.level else {
                    return false;
                };
                let done = held >= usize::from(asked);
                if done {
                    effects.push(waiting.reply(Ok(())));
                }
                !done
            });
            !waiting.is_empty()
        });
    }
}

/// Blocks whose requests wait for neighbours; beyond it the oldest hear `Busy`. Source: guess.
const BLOCKS_MAX: usize = 1_024;
