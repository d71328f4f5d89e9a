//! What the machines measure: every reading has a value that no other reading of its machine has,
//! so that each can be told apart wherever it turns up.

use std::sync::Arc;
use std::time::Duration;

use engine::AckLevel;
use model::ValueType;
use model::{Labels, NewReading, PublisherMark, Quality, SeriesDefinition, Timestamp, Unit, Value};
use statemachine::Rng;

/// A reading's value, as bits.
pub(crate) type ValueBits = u64;

/// One call of the publisher of a machine.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    /// The readings.
    pub(crate) readings: Vec<NewReading>,
    /// Their number, if the publisher numbers them.
    pub(crate) mark: Option<PublisherMark>,
    /// When it wants to hear that they are safe.
    pub(crate) level: AckLevel,
}

impl Batch {
    /// What tells its readings apart.
    #[must_use]
    pub(crate) fn values(&self) -> Vec<ValueBits> {
        self.readings
            .iter()
            .filter_map(|reading| bits(&reading.value))
            .collect()
    }
}

/// What tells a reading apart from the others of its machine.
#[must_use]
pub(crate) fn bits(value: &Value) -> Option<ValueBits> {
    value.as_f64().map(f64::to_bits)
}

/// The publisher of one machine. It outlives the node.
#[derive(Debug)]
pub(crate) struct Publisher {
    rng: Rng,
    /// Mean time between batches.
    every: Duration,
    /// Numbers its batches, publishes one at a time, and repeats it until it is answered.
    numbers: bool,
    series: Vec<Arc<SeriesDefinition>>,
    values: u32,
    sequence: u64,
    waiting: Option<Batch>,
}

impl Publisher {
    /// The publisher of a machine; every other one numbers its batches.
    ///
    /// # Panics
    ///
    /// Never: the names are good.
    #[must_use]
    pub(crate) fn new(machine: usize, every: Duration, rng: Rng) -> Self {
        let names = [
            "press/oil/temperature",
            "press/oil/pressure",
            "drive/current",
        ];
        let definition = |name: &str| {
            Arc::new(SeriesDefinition {
                name: name.parse().expect("a name"),
                unit: Unit::default(),
                value_type: ValueType::F64,
                labels: Labels::default(),
            })
        };
        Self {
            rng,
            every,
            numbers: machine % 2 == 1,
            series: names.into_iter().map(definition).collect(),
            values: 0,
            sequence: 0,
            waiting: None,
        }
    }

    /// When it publishes again.
    pub(crate) fn pause(&mut self) -> Duration {
        self.rng.jitter(self.every)
    }

    /// What it publishes now: the batch that was not answered, if it numbers them, or a new one.
    pub(crate) fn batch(&mut self, now: Timestamp) -> Batch {
        if let Some(waiting) = &self.waiting {
            return waiting.clone();
        }
        let count = 1 + self.rng.below(8);
        let readings = (0..count).map(|_| self.reading(now)).collect();
        let mark = self.numbers.then(|| {
            self.sequence += 1;
            PublisherMark {
                publisher: "plc".to_owned(),
                sequence: self.sequence,
            }
        });
        let level = match self.rng.below(10) {
            _ if self.numbers => AckLevel::Durable,
            0 | 1 => AckLevel::Accepted,
            2 | 3 => AckLevel::Replicated(1),
            _ => AckLevel::Durable,
        };
        let batch = Batch {
            readings,
            mark,
            level,
        };
        self.waiting = self.numbers.then(|| batch.clone());
        batch
    }

    /// A batch was stored.
    pub(crate) fn stored(&mut self, mark: Option<&PublisherMark>) {
        let of = |batch: &Batch| batch.mark.as_ref() == mark && mark.is_some();
        self.waiting = self.waiting.take().filter(|waiting| !of(waiting));
    }

    /// Whether a batch is to be repeated.
    #[must_use]
    pub(crate) const fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    fn reading(&mut self, now: Timestamp) -> NewReading {
        self.values += 1;
        let late = self.rng.chance(LATE_PERMILLE);
        let age = Duration::from_micros(self.rng.below(if late { 15_000_000 } else { 100_000 }));
        let series = self.rng.choose(&self.series).unwrap_or(&self.series[0]);
        NewReading {
            series: Arc::clone(series),
            time: now.saturating_sub(age),
            value: Value::F64(f64::from(self.values) * 0.1), // Sums depend on the order.
            quality: Quality::GOOD,
        }
    }
}

/// Readings that are late. Unit: per mille.
const LATE_PERMILLE: u32 = 20;
