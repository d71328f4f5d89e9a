//! Batches that wait for room in a block: bounded in number for small ones, in bytes for large
//! ones.

use statemachine::{BoundedQueue, Full};

use super::Batch;
use super::batch::batch_bytes;

/// Batches in the order in which they came.
#[derive(Debug)]
pub(super) struct Queue {
    batches: BoundedQueue<Batch>,
    /// What their readings count. Unit: bytes.
    bytes: usize,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            batches: BoundedQueue::new(BATCHES_MAX),
            bytes: 0,
        }
    }

    /// Appends a batch.
    ///
    /// # Errors
    ///
    /// [`Full`] if there is no room; the batch is dropped.
    pub(super) fn push(&mut self, batch: Batch) -> Result<(), Full> {
        let bytes = self.bytes + batch_bytes(&batch.readings);
        if bytes > BYTES_MAX {
            return Err(Full);
        }
        self.batches.push(batch)?;
        self.bytes = bytes;
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Option<Batch> {
        let batch = self.batches.pop()?;
        self.bytes -= batch_bytes(&batch.readings);
        Some(batch)
    }

    pub(super) fn first(&self) -> Option<&Batch> {
        self.batches.first()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }
}

/// Most batches that wait. Source: four clients that each have as many requests of one reading on
/// their way as they may (`api`).
const BATCHES_MAX: usize = 16_384;
/// Most that waits. Unit: bytes. Source: guess, the readings of 256 full blocks and some more.
const BYTES_MAX: usize = 64 * 1024 * 1024;
