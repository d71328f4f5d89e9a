//! The newest reading of each series, found when somebody asks and kept up from then on.
//!
//! Appending costs nothing here but a note of the sequence. For a log that is asked for the first
//! time, the newest block of every set of series is decoded, so that no series is missed; then
//! older blocks, newest first, as far as they could hold something newer. At most
//! [`BLOCKS_DECODED_MAX`] of [`BLOCKS_VISITED_MAX`] are decoded: beyond that a reading that is
//! newer by its time, but was written so much earlier, can be missed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use model::{BlockId, LogId, Sequence, SeriesNumber};

use crate::index::{Index, Place};
use crate::query::name_readings;
use crate::series_set::SeriesSet;
use crate::store::{Shared, lock, read, write};
use crate::{Found, Selection, Store};

/// What is known of the logs that were asked for.
#[derive(Debug, Default)]
pub(crate) struct Latest {
    logs: BTreeMap<LogId, Newest>,
}

type Newest = BTreeMap<SeriesNumber, Found>;

impl Store {
    /// Returns the newest reading of each series of a selection that has any: by time, then by
    /// place. Stragglers are left out.
    #[must_use]
    pub fn latest(&self, selection: &Selection) -> Vec<Found> {
        let mut latest = lock(&self.shared().latest);
        let mut found = Vec::new();
        for (log, wanted) in selection {
            let newest = latest.logs.remove(log);
            let newest = self.shared().bring_up_to_date(*log, newest);
            found.extend(
                wanted
                    .iter()
                    .filter_map(|series| newest.get(series))
                    .cloned(),
            );
            if latest.logs.len() < LOGS_MAX {
                latest.logs.insert(*log, newest);
            }
        }
        found
    }
}

impl Shared {
    fn bring_up_to_date(&self, log: LogId, newest: Option<Newest>) -> Newest {
        // What is appended from here on will be fresh the next time, also if it is seen below.
        let fresh = write(&self.index).take_fresh(&log);
        let (mut newest, fresh) = match (newest, fresh) {
            (Some(newest), Some(fresh)) => (newest, fresh),
            _ => return self.search(log),
        };
        for sequence in fresh {
            self.look_into(&mut newest, BlockId { log, sequence });
        }
        newest
    }

    /// Looks a log through from its end.
    fn search(&self, log: LogId) -> Newest {
        let mut newest = Newest::new();
        let mut seen = BTreeSet::new();
        let mut first: Vec<_> = read(&self.index).newest(&log).collect();
        first.sort_unstable();
        for (_, sequence) in first.into_iter().rev().take(BLOCKS_DECODED_MAX) {
            self.look_into(&mut newest, BlockId { log, sequence });
            seen.insert(sequence);
        }
        for (sequence, place) in self.candidates(&log, &newest, &seen) {
            // What was decoded since may have made it needless.
            if could_be_newer(&read(&self.index), sequence, &place, &newest) {
                self.look_into(&mut newest, BlockId { log, sequence });
            }
        }
        newest
    }

    /// Blocks that were not seen and could hold something newer than what is known, newest first.
    fn candidates(
        &self,
        log: &LogId,
        newest: &Newest,
        seen: &BTreeSet<Sequence>,
    ) -> Vec<(Sequence, Place)> {
        let mut visits = 0;
        let mut found = Vec::new();
        let index = read(&self.index);
        index.visit_back(log, |sequence, place| {
            visits += 1;
            if !seen.contains(&sequence) && could_be_newer(&index, sequence, place, newest) {
                found.push((sequence, *place));
            }
            if found.len() + seen.len() >= BLOCKS_DECODED_MAX || visits >= BLOCKS_VISITED_MAX {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        found
    }

    fn look_into(&self, newest: &mut Newest, id: BlockId) {
        let Some(place) = read(&self.index).get(id) else {
            return;
        };
        let Some((block, readings)) = self.readings(id, place) else {
            return;
        };
        for found in name_readings(&block, readings) {
            let is_newer = match newest.get(&found.reading.series) {
                Some(known) => (known.reading.time, known.at) < (found.reading.time, found.at),
                None => newest.len() < SERIES_MAX,
            };
            if is_newer {
                newest.insert(found.reading.series, found);
            }
        }
    }
}

/// Whether a block may hold a newer reading of one of its series than the one that is known. Of two
/// readings of one time the one in the later block is the newer.
fn could_be_newer(index: &Index, sequence: Sequence, place: &Place, newest: &Newest) -> bool {
    let set: &SeriesSet = index.set(place.set);
    let mut numbers = set.numbers();
    numbers.any(|series| match newest.get(&series) {
        Some(known) => (place.last, sequence) > (known.reading.time, known.at.block.sequence),
        None => true,
    })
}

/// Most blocks of a log that are decoded in one search. Source: guess, 0.1 s of full blocks.
const BLOCKS_DECODED_MAX: usize = 256;
/// Most blocks of a log that are looked at in one search. Source: guess, some milliseconds.
const BLOCKS_VISITED_MAX: usize = 16_384;
/// Most logs that are kept up with. Source: guess; the others are searched each time.
const LOGS_MAX: usize = 16_384;
/// Most series of a log that are kept. Source: guess, far above what a machine has.
const SERIES_MAX: usize = 16_384;
