//! The blocks that came last: repair of live blocks needs no disk, and a duplicate can be compared
//! with the way of the first copy.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::{Block, BlockId, MachineId};
use statemachine::Instant;

/// How a block came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// It was made here.
    Own,
    /// A neighbour pushed it.
    Pushed(MachineId),
    /// It was asked for.
    Pulled,
}

/// A bounded cache, oldest out first.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    blocks: BTreeMap<BlockId, (Block, Via, Instant)>,
    order: VecDeque<BlockId>,
    bytes: usize,
}

impl Recent {
    pub(crate) fn get(&self, id: &BlockId) -> Option<&Block> {
        self.blocks.get(id).map(|(block, ..)| block)
    }

    /// How and when a block came.
    pub(crate) fn arrival(&self, id: &BlockId) -> Option<(Via, Instant)> {
        self.blocks.get(id).map(|(_, via, came)| (*via, *came))
    }

    /// The origins whose newest block here was pushed by a neighbour.
    pub(crate) fn pushed_by(&self, neighbour: &MachineId) -> BTreeSet<MachineId> {
        let mut origins = BTreeSet::new();
        for (id, (_, via, _)) in &self.blocks {
            if *via == Via::Pushed(*neighbour) {
                origins.insert(id.log.machine);
            } else {
                origins.remove(&id.log.machine); // A newer one came another way.
            }
        }
        origins
    }

    /// Keeps a block that is not in the cache, and lets the oldest go.
    pub(crate) fn insert(&mut self, now: Instant, block: Block, via: Via) {
        let id = block.id();
        self.bytes += block.as_bytes().len();
        self.order.push_back(id);
        self.blocks.insert(id, (block, via, now));
        while self.bytes > RECENT_BYTES_MAX || self.order.len() > RECENT_BLOCKS_MAX {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            self.forget(&oldest);
        }
    }

    pub(crate) fn remove(&mut self, id: &BlockId) {
        self.order.retain(|kept| kept != id);
        self.forget(id);
    }

    fn forget(&mut self, id: &BlockId) {
        if let Some((block, ..)) = self.blocks.remove(id) {
            self.bytes -= block.as_bytes().len();
        }
    }
}

/// Unit: bytes. Source: guess, an eighth of the memory of an idle node.
const RECENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Source: guess, at about 300 bytes of book-keeping a third of the bytes.
const RECENT_BLOCKS_MAX: usize = 4_096;
