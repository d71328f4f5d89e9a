//! Readings by series and time, page by page.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use model::block::decoded_bytes;
use model::{Block, BlockId, LogId, Reading, Sequence, SeriesNumber, Timestamp};

use crate::Store;
use crate::index::Place;
use crate::store::{Shared, read};

/// Which series of which logs. The caller knows what the numbers mean.
pub type Selection = BTreeMap<LogId, BTreeSet<SeriesNumber>>;

/// A question for readings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Which series.
    pub selection: Selection,
    /// The earliest time, itself included.
    pub from: Timestamp,
    /// The end of time asked for, itself left out.
    pub to: Timestamp,
    /// Most readings in a page; taken as at least 1 and at most 4,096.
    pub limit: usize,
}

/// A place among the readings of a selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// The block.
    pub block: BlockId,
    /// The reading in it.
    pub index: u32,
}

/// A reading, named and with its block's time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The name of the reading.
    pub at: Cursor,
    /// When it was received: when its block was sealed.
    pub received: Timestamp,
    /// The reading.
    pub reading: Reading,
}

/// A part of the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Readings in the order of logs (machines, then epochs), blocks and indices.
    pub found: Vec<Found>,
    /// Where the next page goes on; `None` if this was the last.
    pub next: Option<Cursor>,
    /// Blocks that did not read back and are forgotten, so that gossip can bring them again.
    pub damaged: Vec<BlockId>,
}

impl Store {
    /// Answers one page of a question, after `after` if given. Stragglers are left out.
    ///
    /// Only blocks that hold a wanted series and overlap the time are read. A page takes no more
    /// than 4 MiB of readings and one block; what is appended meanwhile may be on a later page.
    #[must_use]
    pub fn query(&self, query: &Query, after: Option<Cursor>) -> Page {
        let mut page = Page::default();
        let mut bytes = 0;
        let limit = query.limit.clamp(1, PAGE_READINGS_MAX);
        let first = after.unwrap_or(Cursor::FIRST);
        for (log, wanted) in query.selection.range(first.block.log..) {
            let mut from = if *log == first.block.log {
                first.block.sequence
            } else {
                1
            };
            loop {
                let found = self.shared().matching(query, *log, wanted, from);
                for (sequence, place) in &found.places {
                    let id = BlockId {
                        log: *log,
                        sequence: *sequence,
                    };
                    let Some((block, readings)) = self.shared().readings(id, *place) else {
                        page.damaged.push(id);
                        continue;
                    };
                    for found in matching_readings(query, wanted, &block, readings) {
                        if after.is_some_and(|after| found.at <= after) {
                            continue;
                        }
                        bytes += decoded_bytes(&found.reading);
                        page.next = Some(found.at);
                        page.found.push(found);
                        if page.found.len() >= limit || bytes >= PAGE_BYTES_MAX {
                            return page;
                        }
                    }
                }
                match found.next {
                    Some(next) => from = next,
                    None => break,
                }
            }
        }
        page.next = None;
        page
    }
}

/// Blocks that may hold what is wanted.
struct Matching {
    places: Vec<(Sequence, Place)>,
    /// Where to look further; `None` at the end of the log.
    next: Option<Sequence>,
}

impl Shared {
    /// Looks up to [`VISITS_MAX`] blocks of a log through, from a sequence on.
    fn matching(
        &self,
        query: &Query,
        log: LogId,
        wanted: &BTreeSet<SeriesNumber>,
        from: Sequence,
    ) -> Matching {
        let mut found = Matching {
            places: Vec::new(),
            next: None,
        };
        let mut visits = 0;
        let index = read(&self.index);
        index.visit_with_kept(&log, from, index.cut(&log), |sequence, place| {
            if visits >= VISITS_MAX || found.places.len() >= PLACES_MAX {
                found.next = Some(sequence);
                return ControlFlow::Break(());
            }
            visits += 1;
            let overlaps = place.last >= query.from && place.first < query.to;
            if overlaps && index.set(place.set).meets(wanted) {
                found.places.push((sequence, *place));
            }
            ControlFlow::Continue(())
        });
        found
    }

    /// Reads and decodes a block; one that does not is counted and forgotten.
    pub(crate) fn readings(&self, id: BlockId, place: Place) -> Option<(Block, Vec<Reading>)> {
        let block = self.block(id, place)?;
        // It was decoded before it was written, and its CRC has just been checked.
        let readings = block.readings().ok()?;
        Some((block, readings))
    }
}

/// The readings of a block that are wanted.
fn matching_readings(
    query: &Query,
    wanted: &BTreeSet<SeriesNumber>,
    block: &Block,
    readings: Vec<Reading>,
) -> impl Iterator<Item = Found> {
    name_readings(block, readings).filter(|found| {
        let time = found.reading.time;
        time >= query.from && time < query.to && wanted.contains(&found.reading.series)
    })
}

/// The readings of a block with their names.
pub(crate) fn name_readings(
    block: &Block,
    readings: Vec<Reading>,
) -> impl Iterator<Item = Found> + use<> {
    let (id, received) = (block.id(), block.header().sealed);
    (0..).zip(readings).map(move |(index, reading)| Found {
        at: Cursor { block: id, index },
        received,
        reading,
    })
}

impl Cursor {
    /// Before every reading.
    const FIRST: Self = Self {
        block: BlockId {
            log: LogId {
                machine: model::MachineId::from_bytes([0; 32]),
                epoch: model::Epoch { counter: 0, tag: 0 },
            },
            sequence: 0,
        },
        index: 0,
    };
}

/// Most readings in a page. Source: guess, as many as in a block.
const PAGE_READINGS_MAX: usize = 4_096;
/// A page ends with the reading that exceeds this. Unit: bytes. Source: guess.
const PAGE_BYTES_MAX: usize = 4 << 20;
/// Most blocks that are looked through under one lock. Source: guess, below a millisecond.
const VISITS_MAX: usize = 16_384;
/// Most blocks that are read before the index is looked at again. Source: guess.
const PLACES_MAX: usize = 64;
