//! What this machine published in epochs before the running one.
//!
//! After an unclean stop the disk may lack the last blocks that were sent; they come back from
//! neighbours. As long as the new epoch has no block, it continues the last of them, and what their
//! publishers send again is known to be stored.

use std::collections::BTreeMap;

use model::{Block, BlockHash, NetworkId, Position, PublisherMark};

/// The end of this machine's log before the running epoch.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    last: Option<(Position, BlockHash)>,
    /// Blocks that came back and do not follow the last one yet.
    beyond: BTreeMap<Position, Returned>,
}

#[derive(Clone, Debug)]
struct Returned {
    hash: BlockHash,
    continues: Option<Position>,
    publishers: Vec<PublisherMark>,
}

impl Past {
    /// A past that ends with this block; `None` if nothing was ever published.
    pub(crate) fn new(last: Option<(Position, BlockHash)>) -> Self {
        Self {
            last,
            beyond: BTreeMap::new(),
        }
    }

    /// Its last block.
    pub(crate) fn last(&self) -> Option<(Position, BlockHash)> {
        self.last
    }

    /// A block has come back. Returns the publishers' marks of all blocks that belong to the past
    /// since then.
    pub(crate) fn take_back(&mut self, block: &Block, network: &NetworkId) -> Vec<PublisherMark> {
        let header = block.header();
        let position = header.id().position();
        let is_known = self.last.is_some_and(|(last, _)| position <= last);
        if is_known || self.beyond.len() >= BEYOND_MAX {
            return Vec::new();
        }
        let returned = Returned {
            hash: block.hash(network),
            continues: header.continues,
            publishers: header.publishers.clone(),
        };
        self.beyond.insert(position, returned);
        let mut marks = Vec::new();
        while let Some(position) = self.following() {
            let Some(returned) = self.beyond.remove(&position) else {
                break;
            };
            self.last = Some((position, returned.hash));
            marks.extend(returned.publishers);
        }
        marks
    }

    /// The block that came back and follows the last one.
    fn following(&self) -> Option<Position> {
        let last = self.last.map(|(last, _)| last);
        let follows = |(position, returned): &(&Position, &Returned)| match last {
            Some(last) if last.epoch == position.epoch => {
                last.sequence.checked_add(1) == Some(position.sequence)
            }
            _ => position.sequence == 1 && returned.continues == last,
        };
        self.beyond
            .iter()
            .find(follows)
            .map(|(position, _)| *position)
    }
}

/// Blocks that came back with a gap before them. Source: guess, more than may be unsynced at once.
const BEYOND_MAX: usize = 1_024;
