//! Batches on their way into a block.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{
    Block, ClockState, NewReading, Position, PublisherMark, Quality, QualityLevel, QualityReason,
    Timestamp, Value,
};

use super::{Effect, Wall};
use crate::{AckLevel, PublishError, Published, RequestId};

/// One call of a publisher.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) request: RequestId,
    pub(crate) readings: Vec<NewReading>,
    pub(crate) publisher: Option<PublisherMark>,
    pub(crate) level: AckLevel,
}

/// A request that waits for its block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) request: RequestId,
    pub(super) readings: usize,
    pub(super) repeated: bool,
    pub(super) level: AckLevel,
}

impl Waiting {
    pub(super) fn reply(self, result: Result<(), PublishError>) -> Effect {
        let readings = if self.repeated { 0 } else { self.readings };
        let published = Published {
            readings,
            repeated: self.repeated,
        };
        Effect::Reply(self.request, result.map(|()| published))
    }
}

/// What is gathered for the next block. Series get their numbers when it is sealed, so that an
/// epoch that starts in between costs nothing.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) readings: Vec<NewReading>,
    pub(super) bytes: usize,
    /// An alarm is among them.
    pub(super) urgent: bool,
    pub(super) marks: BTreeMap<String, u64>,
    pub(super) waiting: Vec<Waiting>,
}

impl Gathered {
    /// Whether there is nothing to seal; who waited may have been answered already.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.readings.is_empty()
    }
}

/// Where a publisher's last batch is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) sequence: u64,
    /// `None` while it is gathered.
    pub(super) block: Option<Position>,
}

/// Size of a batch towards [`BATCH_BYTES_MAX`]. Unit: bytes.
pub(super) fn batch_bytes(readings: &[NewReading]) -> usize {
    let content = |value: &Value| match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Null | Value::F64(_) | Value::I64(_) | Value::Bool(_) => 0,
    };
    readings
        .iter()
        .map(|reading| READING_BYTES + content(&reading.value))
        .sum()
}

/// The quality of a reading, less if this machine's clock or the reading's time is in doubt.
pub(super) fn judge(quality: Quality, time: Timestamp, wall: Wall) -> Quality {
    if quality.level != QualityLevel::Good {
        quality
    } else if wall.state == ClockState::Unsynchronised {
        Quality::new(QualityLevel::Uncertain, QualityReason::ClockUnsynchronised)
    } else if time > wall.time.saturating_add(AHEAD_MAX) {
        Quality::new(QualityLevel::Uncertain, QualityReason::TimeAhead)
    } else {
        quality
    }
}

/// Most bytes of one batch and of one block's readings, which then always fit into the block.
pub(super) const BATCH_BYTES_MAX: usize = Block::FILL_BYTES_MAX;
/// What a reading counts besides its text or bytes, as [`model::block::decoded_bytes`] has it.
pub(super) const READING_BYTES: usize = 56;
/// How far ahead of this machine's clock a reading may be. Source: guess.
const AHEAD_MAX: Duration = Duration::from_secs(300);
