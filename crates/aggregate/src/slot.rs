//! Slots: how the fold tells windows apart, and where it stood when it met them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{Epoch, Position, QualityReason, Reading, SeriesDefinition, SeriesNumber, Timestamp};

use crate::{AggregateError, SeriesKey};

/// A series, numbered in the order in which one fold met them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeriesId(usize);

/// A window of one series. Ordered by its end, so that those that are due come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot {
    pub(crate) end: Timestamp,
    pub(crate) length: Duration,
    pub(crate) series: SeriesId,
}

impl Slot {
    /// The window of a reading: from its start up to, but not including, its end. `None` if there
    /// is none: the time is not to be trusted, or the window does not fit into what can be written.
    fn of(series: SeriesId, reading: &Reading, length: Duration) -> Option<Self> {
        if is_ahead(reading) {
            return None;
        }
        let nanos = reading.time.as_nanos();
        let span = i64::try_from(length.as_nanos()).ok()?;
        let start = nanos.checked_sub(nanos.rem_euclid(span))?;
        let end = Timestamp::from_nanos(start.checked_add(span)?);
        Some(Self {
            end,
            length,
            series,
        })
    }

    /// Splits consecutive readings of one series into stretches that lie in one window; a reading
    /// without a window is a stretch of its own.
    pub(crate) fn stretches(
        series: SeriesId,
        length: Duration,
        run: &[Reading],
    ) -> impl Iterator<Item = (Option<Self>, &[Reading])> {
        let mut rest = run;
        std::iter::from_fn(move || {
            let slot = Self::of(series, rest.first()?, length);
            let of_one_window = |slot: Self| rest.iter().take_while(|r| slot.holds(r)).count();
            let (stretch, after) = rest.split_at(slot.map_or(1, of_one_window));
            rest = after;
            Some((slot, stretch))
        })
    }

    /// The window's start.
    pub(crate) fn start(&self) -> Timestamp {
        self.end.saturating_sub(self.length)
    }

    /// Whether a reading of the slot's series lies in it.
    fn holds(&self, reading: &Reading) -> bool {
        self.start() <= reading.time && reading.time < self.end && !is_ahead(reading)
    }
}

/// Whether the origin itself says that a reading's time lies too far ahead to be true.
pub(crate) fn is_ahead(reading: &Reading) -> bool {
    reading.quality.reason == QualityReason::TimeAhead
}

/// A block, and the latest time of any reading in those before it: whoever reads the log from this
/// block on knows that no window that starts later has readings before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    pub(crate) position: Position,
    pub(crate) newest: Timestamp,
}

/// Consecutive readings of one series.
pub(crate) type Run<'a> = (SeriesId, &'a [Reading]);

/// The series that a fold has met, and what the numbers of the running epoch mean.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    epoch: Option<Epoch>,
    known: BTreeMap<SeriesNumber, SeriesId>,
    ids: BTreeMap<Arc<SeriesKey>, SeriesId>,
    keys: Vec<Arc<SeriesKey>>,
}

impl Names {
    /// Splits a block's readings into runs of one series, with what the series is.
    pub(crate) fn resolve<'a, 'r>(
        &mut self,
        epoch: Epoch,
        readings: &'r [Reading],
        define: impl Fn(SeriesNumber) -> Option<&'a SeriesDefinition>,
    ) -> Result<Vec<Run<'r>>, AggregateError> {
        if self.epoch != Some(epoch) {
            self.known.clear();
            self.epoch = Some(epoch);
        }
        let runs = readings.chunk_by(|a, b| a.series == b.series);
        let named = runs.map(|run| {
            let number = run[0].series;
            if let Some(series) = self.known.get(&number) {
                return Ok((*series, run));
            }
            let definition = define(number).ok_or(AggregateError::Undefined(number))?;
            let series = self.id_of(definition);
            self.known.insert(number, series);
            Ok((series, run))
        });
        named.collect()
    }

    /// What a series is.
    pub(crate) fn key(&self, series: SeriesId) -> &Arc<SeriesKey> {
        &self.keys[series.0]
    }

    fn id_of(&mut self, definition: &SeriesDefinition) -> SeriesId {
        let key = SeriesKey::from(definition);
        if let Some(id) = self.ids.get(&key) {
            return *id;
        }
        let (key, id) = (Arc::new(key), SeriesId(self.keys.len()));
        self.keys.push(Arc::clone(&key));
        self.ids.insert(key, id);
        id
    }
}
