//! What the services see of a running node without asking its loop.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::{HeldReading, Origin, SeriesEntry};
use engine::Catalogue;
use identity::Roll;
use model::{Block, LogId, MachineId, Pattern, SeriesDefinition, SeriesNumber, State};
use store::Found;

/// Definitions of the series that a question is about, by log and number.
pub type Definitions = BTreeMap<LogId, BTreeMap<SeriesNumber, Arc<SeriesDefinition>>>;

/// Machines and series by their states, shared between the loop, which applies states, and the
/// services, which resolve names.
#[derive(Debug)]
pub struct View {
    catalogue: Mutex<Catalogue>,
}

impl View {
    /// A view that starts with the states that the disk knew.
    #[must_use]
    pub fn new(roll: Roll, states: &[State]) -> Self {
        let mut catalogue = Catalogue::new(roll);
        for state in states.iter().chain(states) {
            catalogue.apply(state); // Twice, because presence needs its membership first.
        }
        Self {
            catalogue: Mutex::new(catalogue),
        }
    }

    /// Takes in a state that has changed.
    pub fn apply(&self, state: &State) {
        self.catalogue().apply(state);
    }

    /// The series that fit a pattern.
    #[must_use]
    pub fn definitions(&self, pattern: &Pattern) -> Definitions {
        let catalogue = self.catalogue();
        let mut origins = Origins::new(&catalogue);
        let mut definitions = Definitions::new();
        for (log, number, definition) in catalogue.series() {
            if origins.of(log.machine).fits(pattern, definition) {
                definitions
                    .entry(*log)
                    .or_default()
                    .insert(number, Arc::clone(definition));
            }
        }
        definitions
    }

    /// Every series, or those that fit a pattern, in the newest epoch that defines them.
    #[must_use]
    pub fn series(&self, pattern: Option<&Pattern>) -> Vec<SeriesEntry> {
        let catalogue = self.catalogue();
        let mut origins = Origins::new(&catalogue);
        let mut newest = BTreeMap::new();
        for (log, _, definition) in catalogue.series() {
            let origin = origins.of(log.machine);
            if pattern.is_none_or(|pattern| origin.fits(pattern, definition)) {
                // Logs come with rising epochs, so the newest stays.
                newest.insert((log.machine, Arc::clone(definition)), (origin, log.epoch));
            }
        }
        let entry = |((_, series), (origin, epoch))| SeriesEntry {
            origin,
            series,
            epoch,
        };
        newest.into_iter().map(entry).collect()
    }

    /// Names what the store found; readings of series that are not known any more are left out.
    #[must_use]
    pub fn name(&self, found: Vec<Found>, definitions: &Definitions) -> Vec<HeldReading> {
        let catalogue = self.catalogue();
        let mut origins = Origins::new(&catalogue);
        let name = |found: Found| {
            let log = found.at.block.log;
            let series = definitions.get(&log)?.get(&found.reading.series)?;
            Some(HeldReading {
                origin: origins.of(log.machine),
                series: Arc::clone(series),
                time: found.reading.time,
                received: found.received,
                value: found.reading.value,
                quality: found.reading.quality,
                epoch: log.epoch,
                sequence: found.at.block.sequence,
                index: found.at.index,
            })
        };
        found.into_iter().filter_map(name).collect()
    }

    /// The readings of a block, named.
    #[must_use]
    pub fn readings_of(&self, block: &Block) -> Vec<HeldReading> {
        let header = block.header();
        let Ok(readings) = block.readings() else {
            return Vec::new();
        };
        let catalogue = self.catalogue();
        let origin = Origins::new(&catalogue).of(header.origin());
        let name = |(reading, index): (model::Reading, u32)| {
            let series = catalogue.definition(&header.log, reading.series)?;
            Some(HeldReading {
                origin: Arc::clone(&origin),
                series: Arc::clone(series),
                time: reading.time,
                received: header.sealed,
                value: reading.value,
                quality: reading.quality,
                epoch: header.log.epoch,
                sequence: header.sequence,
                index,
            })
        };
        readings.into_iter().zip(0..).filter_map(name).collect()
    }

    fn catalogue(&self) -> MutexGuard<'_, Catalogue> {
        self.catalogue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shared names of machines, made once for each answer.
struct Origins<'a> {
    catalogue: &'a Catalogue,
    made: BTreeMap<MachineId, Arc<Origin>>,
}

impl<'a> Origins<'a> {
    fn new(catalogue: &'a Catalogue) -> Self {
        Self {
            catalogue,
            made: BTreeMap::new(),
        }
    }

    fn of(&mut self, machine: MachineId) -> Arc<Origin> {
        let member = self.catalogue.member(&machine);
        let make = || {
            let name = member.map(|member| member.membership.grant().name.clone());
            Arc::new(Origin::new(machine, name.unwrap_or_default()))
        };
        Arc::clone(self.made.entry(machine).or_insert_with(make))
    }
}
