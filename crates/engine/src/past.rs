//! What this machine published in epochs before the running one.
//!
//! After an unclean stop the disk may lack the last blocks that were sent; they come back from
//! neighbours. As long as the new epoch has no block, it continues the last of them, and what their
//! publishers send again is known to be stored.
//!
//! A machine whose disk knew nothing, or what had come back from others alone, continues nothing:
//! it would cut off what has not come yet of a log that it does not know. What it says is a line of
//! its own (`model::lines`).

use std::collections::BTreeMap;

use model::{Block, BlockHash, NetworkId, Position, PublisherMark};

/// The end of this machine's log before the running epoch.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    /// It is not known where the log ends.
    is_lost: bool,
    last: Option<(Position, BlockHash)>,
    /// Blocks that came back and do not follow the last one yet, and runs of blocks that the disk
    /// still has beyond a gap, by their first.
    beyond: BTreeMap<Position, Returned>,
}

#[derive(Clone, Debug)]
struct Returned {
    /// The last of the run, or the block itself.
    last: Position,
    /// Of the last one.
    hash: BlockHash,
    continues: Option<Position>,
    publishers: Vec<PublisherMark>,
}

impl Past {
    /// A past that ends with this block, or with one of these runs if what lies before them comes
    /// back; `None` if nothing was ever published.
    pub(crate) fn new(
        last: Option<(Position, BlockHash)>,
        runs: impl IntoIterator<Item = (Position, Position, BlockHash)>,
    ) -> Self {
        let returned = |(first, last, hash)| {
            let (continues, publishers) = (None, Vec::new()); // What it needs of them it has read.
            let run = Returned {
                last,
                hash,
                continues,
                publishers,
            };
            (first, run)
        };
        Self {
            is_lost: false,
            last,
            beyond: runs.into_iter().map(returned).collect(),
        }
    }

    /// A past whose end is not known.
    pub(crate) const fn lost() -> Self {
        Self {
            is_lost: true,
            last: None,
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
        if self.is_lost || is_known || self.beyond.len() >= BEYOND_MAX {
            return Vec::new();
        }
        let returned = Returned {
            last: position,
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
            self.last = Some((returned.last, returned.hash));
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

#[cfg(test)]
mod tests {
    use identity::Keypair;
    use model::{BlockHeader, Draft, Epoch, HashPrefix, LogId, Timestamp};

    use super::*;

    const NETWORK: NetworkId = NetworkId::from_bytes([7; 32]);

    fn block(sequence: u64) -> Block {
        let keypair = Keypair::from_seed(&[1; 32]);
        let epoch = Epoch { counter: 1, tag: 2 };
        let header = BlockHeader {
            log: LogId {
                machine: keypair.machine(),
                epoch,
            },
            sequence,
            previous: HashPrefix::NONE,
            continues: None,
            sealed: Timestamp::from_nanos(0),
            watermark: Timestamp::from_nanos(0),
            count: 0,
            urgent: false,
            publishers: Vec::new(),
        };
        let readings = Vec::new();
        let draft = Draft { header, readings };
        draft
            .seal(&NETWORK, |digest| keypair.sign(digest))
            .expect("an empty block")
    }

    fn end_of(block: &Block) -> (Position, BlockHash) {
        (block.id().position(), block.hash(&NETWORK))
    }

    #[test]
    fn what_the_disk_kept_beyond_a_gap_counts_once_the_gap_has_closed() {
        let (last, hash) = end_of(&block(9));
        let run = (block(6).id().position(), last, hash);
        let mut past = Past::new(Some(end_of(&block(4))), [run]);
        assert_eq!(past.last(), Some(end_of(&block(4))));

        past.take_back(&block(5), &NETWORK);

        assert_eq!(past.last(), Some((last, hash)));
    }

    #[test]
    fn a_disk_that_knew_nothing_continues_nothing_that_comes_back() {
        for (mut past, last) in [
            (Past::new(None, []), Some(end_of(&block(1)))),
            (Past::lost(), None),
        ] {
            past.take_back(&block(1), &NETWORK);

            assert_eq!(past.last(), last);
        }
    }

    #[test]
    fn a_gap_that_stays_open_ends_the_past_before_it() {
        let (last, hash) = end_of(&block(9));
        let run = (block(7).id().position(), last, hash);
        let mut past = Past::new(Some(end_of(&block(4))), [run]);

        past.take_back(&block(5), &NETWORK);

        assert_eq!(past.last(), Some(end_of(&block(5))));
    }
}
