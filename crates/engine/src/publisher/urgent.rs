//! Alarms on their way into blocks: they have a queue and blocks of their own, which leave before
//! what is gathered.
//!
//! A batch of a publisher that numbers its batches stays behind those before it, or these would
//! count as repeated; the block that it gets into is urgent all the same, and leaves at once.

use identity::Signer;
use model::NewReading;
use statemachine::Instant;

use super::{Batch, Publisher, Wall};

/// Whether an alarm is among some readings.
pub(super) fn is_urgent(readings: &[NewReading]) -> bool {
    let mut of_each_series = readings.chunk_by(|a, b| std::sync::Arc::ptr_eq(&a.series, &b.series));
    of_each_series.any(|run| run.first().is_some_and(|r| r.series.name.is_alarm()))
}

impl Publisher {
    /// Whether a batch goes before those that came earlier.
    pub(super) fn goes_first(batch: &Batch) -> bool {
        batch.publisher.is_none() && is_urgent(&batch.readings)
    }

    /// Seals the alarms that wait, without what is gathered.
    pub(super) fn pump_urgent(&mut self, key: &dyn Signer, now: Instant, wall: Wall) {
        if self.urgent.is_empty() {
            return;
        }
        let gathered = std::mem::take(&mut self.gathered);
        let sealed_at = self.sealed_at;
        while !self.urgent.is_empty() && self.may_seal() {
            while self.urgent.first().is_some_and(|batch| self.fits(batch)) {
                if let Some(batch) = self.urgent.pop() {
                    self.gather(batch, wall);
                }
            }
            if !self.gathered.is_empty() {
                self.seal(key, now, wall);
            }
        }
        self.gathered = gathered;
        self.sealed_at = sealed_at;
    }
}
