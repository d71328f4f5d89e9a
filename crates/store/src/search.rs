//! Blocks by the times of their readings, in the order of their log.

use std::ops::ControlFlow;

use gossip::Span;
use model::{Block, BlockId, LogId, Sequence, Timestamp};

use crate::Store;
use crate::index::Place;
use crate::store::read;

/// What [`Store::search`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundBlocks {
    /// Blocks in the order of their sequences.
    pub blocks: Vec<Block>,
    /// Up to this sequence nothing was overlooked; one before the span if that is so from its
    /// beginning.
    pub searched: Sequence,
    /// What did not read back and is forgotten, so that gossip can bring it again.
    pub damaged: Vec<BlockId>,
}

/// Where a part of a log without gaps has blocks that are looked for.
struct Part {
    places: Vec<(Sequence, Place)>,
    through: Sequence,
}

impl Store {
    /// Finds the blocks of a span that may hold readings of some times, from the first on and
    /// before the second, or all its blocks. Stops before they exceed `bytes_max` encoded bytes,
    /// but gives at least one; and before a block that is missing or does not read back.
    #[must_use]
    pub fn search(
        &self,
        log: LogId,
        span: Span,
        times: Option<(Timestamp, Timestamp)>,
        bytes_max: usize,
    ) -> FoundBlocks {
        let mut found = FoundBlocks {
            searched: span.first.saturating_sub(1),
            ..FoundBlocks::default()
        };
        let mut bytes = 0;
        while found.blocks.is_empty() && found.searched < span.last {
            let part = self.part(log, found.searched + 1, span.last, times);
            for (sequence, place) in part.places {
                let id = BlockId { log, sequence };
                let Some(block) = self.shared().block(id, place) else {
                    found.damaged.push(id);
                    return found;
                };
                bytes += block.as_bytes().len();
                if bytes > bytes_max && !found.blocks.is_empty() {
                    return found;
                }
                found.searched = sequence;
                found.blocks.push(block);
            }
            if part.through <= found.searched {
                return found;
            }
            found.searched = part.through;
        }
        found
    }

    fn part(
        &self,
        log: LogId,
        first: Sequence,
        last: Sequence,
        times: Option<(Timestamp, Timestamp)>,
    ) -> Part {
        let mut part = Part {
            places: Vec::new(),
            through: first.saturating_sub(1),
        };
        let is_wanted =
            |place: &Place| times.is_none_or(|(from, to)| place.last >= from && place.first < to);
        let mut visits = 0;
        read(&self.shared().index).visit(&log, first, last, |sequence, place| {
            let is_full = visits >= VISITS_MAX || part.places.len() >= PLACES_MAX;
            if is_full || part.through.checked_add(1) != Some(sequence) {
                return ControlFlow::Break(());
            }
            visits += 1;
            part.through = sequence;
            if is_wanted(place) {
                part.places.push((sequence, *place));
            }
            ControlFlow::Continue(())
        });
        part
    }
}

/// Most blocks that are looked through under one lock. Source: guess, below a millisecond.
const VISITS_MAX: usize = 16_384;
/// Most blocks that are read before the index is looked at again. Source: guess.
const PLACES_MAX: usize = 64;
