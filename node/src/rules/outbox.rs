//! What rules want to publish, until the node has taken it: a busy publisher loses no alarm.

use std::collections::{BTreeMap, VecDeque};

use engine::{AckLevel, Input, PublishError, Published, RequestId};
use model::NewReading;

/// Readings of rules on their way into the node's log.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: VecDeque<NewReading>,
    asked: BTreeMap<RequestId, Vec<NewReading>>,
    is_refused: bool,
    /// So many of the first ones are asked one at a time: the node refuses one of them for good.
    singly: usize,
}

impl Outbox {
    /// Takes a reading in. When full, the oldest that is no alarm goes, else the oldest.
    pub fn put(&mut self, reading: NewReading) {
        if self.waiting.len() >= WAITING_MAX {
            tracing::warn!("the node takes no readings of rules; the oldest is dropped");
            let is_alarm = |reading: &NewReading| rule::is_alarm(&reading.series.name);
            let victim = self.waiting.iter().position(|reading| !is_alarm(reading));
            self.waiting.remove(victim.unwrap_or_default());
        }
        self.waiting.push_back(reading);
    }

    /// What to ask of the node now; `None` if nothing waits, or the node refused the last.
    pub fn ask(&mut self, request: RequestId) -> Option<Input> {
        if self.waiting.is_empty() || self.is_refused || self.asked.len() >= ASKED_MAX {
            return None;
        }
        let batch = if self.singly > 0 { 1 } else { BATCH_MAX };
        let batch = self.waiting.len().min(batch);
        self.singly = self.singly.saturating_sub(1);
        let readings: Vec<NewReading> = self.waiting.drain(..batch).collect();
        self.asked.insert(request, readings.clone());
        Some(Input::Publish {
            request,
            readings,
            publisher: None,
            level: AckLevel::Accepted,
        })
    }

    /// The node answered. `false` if it was not the rules that had asked.
    pub fn on_reply(
        &mut self,
        request: RequestId,
        result: &Result<Published, PublishError>,
    ) -> bool {
        let Some(readings) = self.asked.remove(&request) else {
            return false;
        };
        match result {
            Ok(_) => {}
            Err(error) if comes_again(error) => {
                self.is_refused = true;
                self.take_back(readings);
            }
            Err(error) if readings.len() > 1 && is_for_one(error) => {
                self.singly += readings.len();
                self.take_back(readings);
            }
            Err(error) => tracing::warn!(%error, "what rules derived was not published"),
        }
        true
    }

    fn take_back(&mut self, readings: Vec<NewReading>) {
        let readings = readings.into_iter().rev();
        readings.for_each(|reading| self.waiting.push_front(reading));
    }

    /// Some time has passed: what was refused may be asked again.
    pub fn retry(&mut self) {
        self.is_refused = false;
    }
}

const fn comes_again(error: &PublishError) -> bool {
    matches!(error, PublishError::Busy | PublishError::DiskRefuses)
}

/// Whether some of a batch may be taken without the others.
const fn is_for_one(error: &PublishError) -> bool {
    matches!(
        error,
        PublishError::TooLarge { .. }
            | PublishError::WrongType { .. }
            | PublishError::TooManySeries { .. }
    )
}

/// Readings that wait. Source: guess; a rule gives 60 a minute unless it says otherwise.
const WAITING_MAX: usize = 4_096;
/// Readings that are given at once. Source: guess; a tenth of what fits into a block.
const BATCH_MAX: usize = 400;
/// Batches that the node has not answered. Source: guess.
const ASKED_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{Labels, Quality, SeriesDefinition, Timestamp, Unit, Value, ValueType};

    use super::*;

    fn reading(name: &str) -> NewReading {
        NewReading {
            series: Arc::new(SeriesDefinition {
                name: name.parse().expect("a name"),
                unit: Unit::default(),
                value_type: ValueType::Bool,
                labels: Labels::default(),
            }),
            time: Timestamp::MIN,
            value: Value::Bool(true),
            quality: Quality::GOOD,
        }
    }

    /// The names that are asked for.
    fn asked(outbox: &mut Outbox, request: u64) -> Vec<String> {
        match outbox.ask(RequestId(request)) {
            Some(Input::Publish { readings, .. }) => {
                let names = readings
                    .iter()
                    .map(|reading| reading.series.name.to_string());
                names.collect()
            }
            _ => Vec::new(),
        }
    }

    #[test]
    fn one_reading_that_the_node_can_never_take_costs_itself_alone() {
        let mut outbox = Outbox::default();
        for name in ["a", "bad", "alarm/c"] {
            outbox.put(reading(name));
        }

        let all = asked(&mut outbox, 1);
        let refused = Err(PublishError::TooManySeries { max: 1 });
        outbox.on_reply(RequestId(1), &refused);
        let each: Vec<_> = (2..=5).map(|request| asked(&mut outbox, request)).collect();
        outbox.on_reply(RequestId(3), &refused);

        assert_eq!(all, ["a", "bad", "alarm/c"]);
        assert_eq!(each.concat(), all);
        assert_eq!(each[0].len(), 1);
        assert!(asked(&mut outbox, 6).is_empty(), "it is not asked again");
    }
}
