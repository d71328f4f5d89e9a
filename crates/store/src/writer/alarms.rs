//! What retention leaves of logs for its alarms: their blocks are copied to where is written now
//! before the segments with them go, and again when that segment goes, until they are too old.

use model::BlockId;

use super::retain::Victims;
use super::{BATCH_BYTES_MAX, Batch, What, Writer};
use crate::WriteError;
use crate::index::Place;
use crate::notes::GivenUp;
use crate::record::{Extent, Spot};
use crate::retention::Alarms;
use crate::store::read;

/// A block with alarms that no log will hold any more.
struct Relic {
    id: BlockId,
    place: Place,
    extent: Extent,
    /// It must be copied: it is not yet kept, or its copy goes too.
    must_move: bool,
}

impl Writer {
    /// Copies what has alarms of what will be below its floor. Returns how many readings have
    /// become relics by that.
    pub(super) fn keep_alarms(
        &mut self,
        victims: &Victims,
        given_up: &GivenUp,
        alarms: &Alarms,
    ) -> Result<u64, WriteError> {
        let relics = self.relics(victims, given_up, alarms);
        let (mut readings, mut bytes) = (0, 0);
        let mut batch = Batch::default();
        for relic in relics.into_iter().filter(|relic| relic.must_move) {
            let Relic {
                id, place, extent, ..
            } = relic;
            let spot = Spot {
                segment: place.segment,
                offset: place.offset.into(),
            };
            let Some(block) = self.shared.reader.block(id, spot, place.length) else {
                tracing::warn!(block = %id, "a block with alarms is damaged, and lost");
                continue;
            };
            if read(&self.shared.index).kept(id).is_none() {
                readings += u64::from(place.readings);
            }
            let body = block.as_bytes().clone();
            bytes += body.len();
            batch.push(What::Kept(id, extent), body);
            if bytes > BATCH_BYTES_MAX {
                self.append(std::mem::take(&mut batch))?;
                bytes = 0;
            }
        }
        self.append(batch)?;
        Ok(readings)
    }

    /// The newest of what has alarms below the floors, as far as there is room for it.
    fn relics(&self, victims: &Victims, given_up: &GivenUp, alarms: &Alarms) -> Vec<Relic> {
        let mut relics = Vec::new();
        let index = read(&self.shared.index);
        for (log, series) in &alarms.series {
            let Some(floor) = given_up.floors.get(log) else {
                continue;
            };
            index.visit_with_kept(log, 1, floor.sequence - 1, |sequence, place| {
                if place.last >= alarms.since && index.set(place.set).meets(series) {
                    let id = BlockId {
                        log: *log,
                        sequence,
                    };
                    let extent = Extent {
                        first: place.first,
                        last: place.last,
                        readings: place.readings,
                        series: index.set(place.set).clone(),
                    };
                    let is_kept = index.kept(id) == Some(*place);
                    relics.push(Relic {
                        id,
                        place: *place,
                        extent,
                        must_move: !is_kept || victims.contains_key(&place.segment),
                    });
                }
                std::ops::ControlFlow::Continue(())
            });
        }
        drop(index);
        relics.sort_by_key(|relic| std::cmp::Reverse((relic.place.last, relic.id)));
        let mut room = alarms.bytes_max;
        relics.retain(|relic| {
            let left = room.checked_sub(relic.place.length.into());
            room = left.unwrap_or(0);
            left.is_some()
        });
        relics
    }
}
