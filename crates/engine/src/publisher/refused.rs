//! Own blocks that the disk refused. Their numbers are used and neighbours may hold them, so they
//! are written again until they are there: a log with a gap is not read beyond it.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Block, Position};
use statemachine::Instant;

/// Blocks to write again, at most as many as may be unsynced.
#[derive(Debug, Default)]
pub(super) struct Refused {
    blocks: BTreeMap<Position, Block>,
    retry_at: Option<Instant>,
}

impl Refused {
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(super) fn insert(&mut self, now: Instant, block: Block) {
        self.blocks.insert(block.id().position(), block);
        self.retry_at.get_or_insert(now + RETRY_AFTER);
    }

    /// Forgets a block, which is on disk now or never will be.
    pub(super) fn remove(&mut self, position: &Position) -> Option<Block> {
        let block = self.blocks.remove(position);
        if self.blocks.is_empty() {
            self.retry_at = None;
        }
        block
    }

    /// What is to be written again now; what fails once more is inserted once more.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Block> {
        if self.retry_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.retry_at = None;
        self.blocks.values().cloned().collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.retry_at
    }
}

/// How long the disk is left alone after it refused a block. Source: guess.
const RETRY_AFTER: Duration = Duration::from_secs(1);
