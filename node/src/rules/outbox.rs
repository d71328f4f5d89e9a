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
        let batch = self.waiting.len().min(BATCH_MAX);
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
                let readings = readings.into_iter().rev();
                readings.for_each(|reading| self.waiting.push_front(reading));
            }
            Err(error) => tracing::warn!(%error, "what rules derived was not published"),
        }
        true
    }

    /// Some time has passed: what was refused may be asked again.
    pub fn retry(&mut self) {
        self.is_refused = false;
    }
}

const fn comes_again(error: &PublishError) -> bool {
    matches!(error, PublishError::Busy | PublishError::DiskRefuses)
}

/// Readings that wait. Source: guess; a rule gives 60 a minute unless it says otherwise.
const WAITING_MAX: usize = 4_096;
/// Readings that are given at once. Source: guess; a tenth of what fits into a block.
const BATCH_MAX: usize = 400;
/// Batches that the node has not answered. Source: guess.
const ASKED_MAX: usize = 16;
