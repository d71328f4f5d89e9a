//! What the caller has given to an uplink and its thread has not taken yet.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::MachineId;
use tokio::sync::Notify;

use crate::{Full, Outgoing};

/// A queue between the caller's thread and the uplink's. Withdrawing takes effect at once for what
/// is still here, so that a withdrawn origin can be submitted again in order.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

/// What waits, the withdrawals being older than every record of the same origin.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// Origins whose records are not to be delivered, with how many of them were dropped here.
    /// Bounded by the number of machines.
    pub(crate) withdrawn: BTreeMap<MachineId, u64>,
    /// Records, oldest first. At most [`SUBMITTED_MAX`].
    pub(crate) submitted: VecDeque<Outgoing>,
}

impl Inbox {
    /// Appends as many records as fit.
    pub(crate) fn submit(&self, mut records: Vec<Outgoing>) -> Result<(), Full> {
        let mut waiting = self.lock();
        let room = SUBMITTED_MAX.saturating_sub(waiting.submitted.len());
        let left = records.split_off(room.min(records.len()));
        waiting.submitted.extend(records);
        drop(waiting);
        self.arrived.notify_one();
        if left.is_empty() {
            Ok(())
        } else {
            Err(Full(left))
        }
    }

    /// Drops an origin's records.
    pub(crate) fn withdraw(&self, origin: MachineId) {
        let mut waiting = self.lock();
        let before = waiting.submitted.len();
        waiting
            .submitted
            .retain(|outgoing| outgoing.item.record.machine() != origin);
        let dropped = before - waiting.submitted.len();
        *waiting.withdrawn.entry(origin).or_default() += dropped as u64;
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Waits until there may be something; it can be waited for again and again.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Takes everything.
    pub(crate) fn take(&self) -> Waiting {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Most records that wait to be taken over. Source: guess, about 2 MB.
const SUBMITTED_MAX: usize = 4_096;
