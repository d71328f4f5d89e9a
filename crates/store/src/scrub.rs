//! Scrub: reads what lies there again, little by little, so that damage is found while neighbours
//! still have what was lost.
//!
//! It goes through the sealed segments in their order, and through each from its beginning to its
//! end, as disks like it. A block that does not read back is treated as if a query had met it.
//!
//! # Not here
//!
//! How fast it goes (`node`). States: the newest ones are in the index as well. The segment that is
//! written to: its turn comes when it is sealed.

use std::collections::VecDeque;

use model::BlockId;

use crate::store::{Shared, read};
use crate::{Store, segments};

/// A walk through everything that is stored, round after round.
#[derive(Debug)]
pub struct Scrub {
    store: Store,
    /// The segment that it is in; 0 before the first.
    segment: u32,
    /// The blocks in it that are still to be read, in the order of their offsets.
    blocks: VecDeque<(u32, BlockId)>,
}

impl Scrub {
    /// Begins with the oldest segment.
    #[must_use]
    pub const fn new(store: Store) -> Self {
        Self {
            store,
            segment: 0,
            blocks: VecDeque::new(),
        }
    }

    /// Reads on until it has read `bytes_max`, or a block more, or the round has ended. Returns how
    /// much it has read. Unit: bytes.
    pub fn step(&mut self, bytes_max: u64) -> u64 {
        let mut bytes = 0;
        while bytes < bytes_max {
            let Some((offset, id)) = self.blocks.pop_front() else {
                if !self.next_segment() {
                    break;
                }
                continue;
            };
            let shared = self.store.shared();
            let place = read(&shared.index).get(id);
            let here = place.filter(|p| (p.segment, p.offset) == (self.segment, offset));
            if let Some(place) = here {
                bytes += u64::from(place.length);
                let _ = shared.block(id, place); // Counts, and says, what does not read back.
            }
        }
        bytes
    }

    /// Goes to the next sealed segment; `false` after the last, from where it begins anew.
    fn next_segment(&mut self) -> bool {
        let shared = self.store.shared();
        let numbers = segments::list(&shared.config.segments()).unwrap_or_else(|error| {
            tracing::warn!(%error, "stored readings could not be checked");
            Vec::new()
        });
        let next = numbers.into_iter().find(|number| *number > self.segment);
        self.segment = next.unwrap_or(0);
        self.blocks = next.map_or_else(VecDeque::new, |number| blocks_of(shared, number));
        next.is_some()
    }
}

fn blocks_of(shared: &Shared, number: u32) -> VecDeque<(u32, BlockId)> {
    let contents = segments::read_footer(&shared.config, number).unwrap_or_else(|error| {
        tracing::warn!(segment = number, %error, "a segment could not be checked");
        None
    });
    let blocks = contents.map(|contents| contents.blocks).unwrap_or_default();
    let mut blocks: Vec<_> = blocks.iter().map(|b| (b.offset, b.id)).collect();
    blocks.sort_unstable();
    blocks.into()
}
