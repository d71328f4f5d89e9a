//! Cold windows: those that have left memory and got another reading, and how they are computed
//! from the log again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{BlockHeader, Epoch, Position, Reading, SeriesDefinition, SeriesNumber, Timestamp};

use crate::slot::{Mark, Names, SeriesId, Slot};
use crate::window::Window;
use crate::{AggregateError, SeriesKey};

/// Windows that are to be computed from the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cold {
    /// With the last block that holds a reading which is in no record.
    slots: BTreeMap<Slot, Mark>,
}

impl Cold {
    /// Notes that a block holds a reading of a cold window. Returns how many windows had to be
    /// given up for that: those that end last, which are the least likely ever to be due.
    pub(crate) fn touch(&mut self, slot: Slot, block: Mark) -> u64 {
        self.slots.insert(slot, block);
        if self.slots.len() <= COLD_MAX {
            return 0;
        }
        self.slots.pop_last();
        1
    }

    pub(crate) fn remove(&mut self, slot: &Slot) {
        self.slots.remove(slot);
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Slot, &Mark) -> bool) {
        self.slots.retain(|slot, mark| keep(slot, mark));
    }

    pub(crate) fn count(&self) -> u64 {
        self.slots.len().try_into().unwrap_or(u64::MAX)
    }

    pub(crate) fn marks(&self) -> impl Iterator<Item = Mark> {
        self.slots.values().copied()
    }

    /// Whether the end of a cold window has come.
    pub(crate) fn is_due(&self, watermark: Timestamp) -> bool {
        self.slots
            .keys()
            .next()
            .is_some_and(|slot| slot.end <= watermark)
    }

    /// A scan for the oldest windows whose end has come, and for those near them.
    pub(crate) fn scan(&self, watermark: Timestamp, names: &Names) -> Option<Scan> {
        let (oldest, _) = self.slots.first_key_value()?;
        let reach = oldest.end.saturating_add(SCAN_SPAN);
        let due = self.slots.keys();
        let due = due.take_while(|slot| slot.end <= watermark.min(reach));
        let windows: BTreeMap<Slot, Option<Window>> = due
            .take(SCAN_WINDOWS_MAX)
            .map(|slot| (*slot, None))
            .collect();
        let start = windows.keys().map(Slot::start).min()?;
        let end = windows.keys().map(|slot| slot.end).max()?;
        let series = windows.keys().map(|slot| slot.series);
        let mut lengths: Vec<_> = windows.keys().map(|slot| slot.length).collect();
        lengths.sort_unstable();
        lengths.dedup();
        Some(Scan {
            series: series.map(|id| (Arc::clone(names.key(id)), id)).collect(),
            times: (start, end),
            epoch: None,
            known: BTreeMap::new(),
            lengths,
            windows,
        })
    }
}

/// A computation of some windows from the log, see [`crate::Windows::scan`].
#[derive(Clone, Debug)]
pub struct Scan {
    windows: BTreeMap<Slot, Option<Window>>,
    lengths: Vec<Duration>,
    times: (Timestamp, Timestamp),
    series: BTreeMap<Arc<SeriesKey>, SeriesId>,
    epoch: Option<Epoch>,
    /// What the numbers of the running epoch mean; `None` for a series that is not looked for.
    known: BTreeMap<SeriesNumber, Option<SeriesId>>,
}

impl Scan {
    /// The times of readings that are looked for: from the first on, up to but not including the
    /// second.
    #[must_use]
    pub const fn times(&self) -> (Timestamp, Timestamp) {
        self.times
    }

    /// Adds a block; blocks come in the order of the log.
    ///
    /// # Errors
    ///
    /// [`AggregateError::Undefined`]; nothing has changed then.
    pub fn apply<'a>(
        &mut self,
        header: &BlockHeader,
        readings: &[Reading],
        define: impl Fn(SeriesNumber) -> Option<&'a SeriesDefinition>,
    ) -> Result<(), AggregateError> {
        let position = header.id().position();
        self.resolve(position, readings, define)?;
        let block = Mark {
            position,
            newest: Timestamp::MIN,
        };
        for run in readings.chunk_by(|a, b| a.series == b.series) {
            let Some(series) = self.known.get(&run[0].series).copied().flatten() else {
                continue;
            };
            for length in &self.lengths {
                add_run(
                    &mut self.windows,
                    block,
                    header.sealed,
                    series,
                    *length,
                    run,
                );
            }
        }
        Ok(())
    }

    fn resolve<'a>(
        &mut self,
        position: Position,
        readings: &[Reading],
        define: impl Fn(SeriesNumber) -> Option<&'a SeriesDefinition>,
    ) -> Result<(), AggregateError> {
        if self.epoch != Some(position.epoch) {
            self.known.clear();
            self.epoch = Some(position.epoch);
        }
        for run in readings.chunk_by(|a, b| a.series == b.series) {
            let number = run[0].series;
            if !self.known.contains_key(&number) {
                let definition = define(number).ok_or(AggregateError::Undefined(number))?;
                let id = self.series.get(&SeriesKey::from(definition)).copied();
                self.known.insert(number, id);
            }
        }
        Ok(())
    }

    pub(crate) fn into_windows(self) -> BTreeMap<Slot, Option<Window>> {
        self.windows
    }
}

fn add_run(
    windows: &mut BTreeMap<Slot, Option<Window>>,
    block: Mark,
    sealed: Timestamp,
    series: SeriesId,
    length: Duration,
    run: &[Reading],
) {
    for (slot, stretch) in Slot::stretches(series, length, run) {
        if let Some(window) = slot.and_then(|slot| windows.get_mut(&slot)) {
            window
                .get_or_insert_with(|| Window::new(None, block))
                .add(block, sealed, stretch);
        }
    }
}

/// Most cold windows of one origin. Unit: windows, of some 50 bytes. Source: guess.
const COLD_MAX: usize = 16_384;
/// Most windows of one scan. Unit: windows, of up to 40 kB and mostly far below. Source: guess.
const SCAN_WINDOWS_MAX: usize = 1_024;
/// How far apart the windows of one scan may end. Source: guess, some megabytes of a busy log.
const SCAN_SPAN: Duration = Duration::from_secs(3_600);
