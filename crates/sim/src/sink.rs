//! A simulated sink and the outboxes before it: at least once, with outages and lost answers.

use std::collections::BTreeMap;
use std::time::Duration;

use aggregate::Record;
use engine::UploadId;
use model::MachineId;
use statemachine::Rng;

/// What an attempt to deliver a record came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// The sink has it; the answer arrives after this time.
    Committed(Duration),
    /// Nothing was heard; try again after this time.
    Failed(Duration),
    /// The record was taken back meanwhile.
    Gone,
}

/// The one sink that all relays upload to. It keeps what it was given by name, once, as a stream
/// does that compares names, and counts how often it was given, as a sink does that cannot.
#[derive(Debug)]
pub(crate) struct Sink {
    rng: Rng,
    records: BTreeMap<String, Record>,
    copies: u64,
    up: bool,
    /// Answers that get lost. Unit: per mille.
    lost_answers_permille: u32,
}

impl Sink {
    /// An empty sink.
    #[must_use]
    pub(crate) fn new(lost_answers_permille: u32, rng: Rng) -> Self {
        Self {
            rng,
            records: BTreeMap::new(),
            copies: 0,
            up: true,
            lost_answers_permille,
        }
    }

    /// Whether it answers at all.
    #[must_use]
    pub(crate) const fn is_up(&self) -> bool {
        self.up
    }

    /// An outage begins or ends.
    pub(crate) const fn set_up(&mut self, up: bool) {
        self.up = up;
    }

    /// No answer gets lost any more.
    pub(crate) const fn calm(&mut self) {
        self.lost_answers_permille = 0;
    }

    /// What it was given, by name.
    #[must_use]
    pub(crate) const fn records(&self) -> &BTreeMap<String, Record> {
        &self.records
    }

    /// How many records it was given that it had already: a sink that cannot compare names holds
    /// them, too.
    #[must_use]
    pub(crate) const fn copies(&self) -> u64 {
        self.copies
    }

    /// How long it takes until something sent to it arrives.
    pub(crate) fn way(&mut self) -> Duration {
        self.rng.jitter(WAY)
    }

    /// A record arrives.
    ///
    /// # Errors
    ///
    /// If it was given other bytes under the same key before.
    fn take(&mut self, record: &Record) -> Result<bool, String> {
        if !self.up {
            return Ok(false);
        }
        let name = record.name();
        match self.records.get(&name) {
            // As text, because that tells apart what equality does not: -0.0 from 0.0.
            Some(known) if format!("{known:?}") != format!("{record:?}") => {
                return Err(format!(
                    "one key with two contents: {known:?} and {record:?}"
                ));
            }
            Some(_) => self.copies += 1,
            None => {
                self.records.insert(name, record.clone());
            }
        }
        Ok(!self.rng.chance(self.lost_answers_permille))
    }
}

/// The records of one life of one machine that the sink has not acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    records: BTreeMap<UploadId, Record>,
}

impl Outbox {
    /// A record to be uploaded.
    pub(crate) fn push(&mut self, id: UploadId, record: Record) {
        self.records.insert(id, record);
    }

    /// Drops the records of an origin that another relay serves now.
    pub(crate) fn withdraw(&mut self, origin: MachineId) {
        self.records.retain(|_, record| record.machine() != origin);
    }

    /// Tries to deliver a record, if the machine reaches the sink.
    ///
    /// # Errors
    ///
    /// If the sink was given other bytes under the same key before.
    pub(crate) fn deliver(
        &mut self,
        id: UploadId,
        sink: &mut Sink,
        reaches: bool,
    ) -> Result<Attempt, String> {
        let Some(record) = self.records.get(&id) else {
            return Ok(Attempt::Gone);
        };
        if reaches && sink.take(record)? {
            return Ok(Attempt::Committed(sink.way()));
        }
        Ok(Attempt::Failed(sink.rng.jitter(RETRY)))
    }

    /// The sink's answer has arrived; returns whether the record still waited for it.
    pub(crate) fn acknowledge(&mut self, id: UploadId) -> bool {
        self.records.remove(&id).is_some()
    }
}

/// Mean time to the sink, one way. Source: guess, a broker across the internet.
const WAY: Duration = Duration::from_millis(20);
/// Mean time between attempts. Source: guess.
const RETRY: Duration = Duration::from_millis(500);
