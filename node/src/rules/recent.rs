//! The newest blocks: a series whose definition comes after its first readings loses none of them.

use std::collections::VecDeque;

use model::{Block, BlockId, Reading};
use rule::SeriesKey;

/// The newest blocks that were delivered.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    blocks: VecDeque<Block>,
    /// Unit: bytes.
    size: usize,
}

impl Recent {
    /// Keeps a block in place of the oldest.
    pub(crate) fn put(&mut self, block: &Block) {
        self.size += block.as_bytes().len();
        self.blocks.push_back(block.clone()); // Shares its bytes.
        while self.blocks.len() > BLOCKS_MAX || self.size > BYTES_MAX {
            let Some(oldest) = self.blocks.pop_front() else {
                return;
            };
            self.size -= oldest.as_bytes().len();
        }
    }

    /// The readings of a series in them, block by block.
    pub(crate) fn readings_of(&self, (log, series): SeriesKey) -> Vec<(BlockId, Vec<Reading>)> {
        let blocks = self.blocks.iter().filter(|block| block.id().log == log);
        let readings = blocks.filter_map(|block| {
            let mut readings = block.readings().ok()?;
            readings.retain(|reading| reading.series == series);
            (!readings.is_empty()).then_some((block.id(), readings))
        });
        readings.collect()
    }
}

/// Most blocks. Source: guess; a definition travels with the first of them.
const BLOCKS_MAX: usize = 64;
/// Most bytes of them. Source: guess, four of the largest blocks.
const BYTES_MAX: usize = 1024 * 1024;
