//! Keeping: now and then the store gives up what the settings say it may, and what it has lost is
//! asked for again.

use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, SystemTime};

use engine::Input;
use model::{ClockState, Timestamp};
use store::{Dropped, Retention, WriteError};

use super::Runtime;
use crate::config::RetentionLimits;

/// When the store gives up what, and a pass of it that is under way.
#[derive(Debug)]
pub struct Keeping {
    limits: RetentionLimits,
    due: Timestamp,
    pass: Option<Receiver<Result<Dropped, WriteError>>>,
}

impl Keeping {
    /// Nothing is under way; the first pass begins with the first second.
    #[must_use]
    pub const fn new(limits: RetentionLimits) -> Self {
        Self {
            limits,
            due: Timestamp::MIN,
            pass: None,
        }
    }
}

impl Runtime {
    /// Begins a pass when it is time, and tells the node how one has ended. Never waits.
    pub(super) fn keep_store_in_bounds(&mut self, time: Timestamp, clock: ClockState) {
        match self.keeping.pass.as_ref().map(Receiver::try_recv) {
            Some(Err(TryRecvError::Empty)) => return,
            Some(Ok(Ok(dropped))) => self.on_dropped(dropped),
            Some(Ok(Err(error))) => {
                tracing::warn!(%error, "old readings could not be given up; tried again later");
            }
            Some(Err(TryRecvError::Disconnected)) | None => {}
        }
        self.keeping.pass = None;
        let is_due = time >= self.keeping.due || self.keeping.due > time.saturating_add(INTERVAL);
        let Some(now) = system_time(time).filter(|_| is_due) else {
            return;
        };
        self.keeping.due = time.saturating_add(INTERVAL);
        let RetentionLimits { age_max, bytes_max } = self.keeping.limits;
        self.keeping.pass = self.store.retain(Retention {
            now,
            // How old a file is nobody knows whose clock is not set.
            age_max: age_max.filter(|_| clock != ClockState::Unsynchronised),
            bytes_max,
            uploaded: self.node.needed_by_uplinks(),
        });
    }

    /// Says which stored blocks do not read back, until they are stored again.
    pub(super) fn tell_what_is_lost(&mut self) {
        let lost = self.store.lost();
        if !lost.is_empty() {
            self.handle(Input::Lost(lost));
        }
    }

    fn on_dropped(&mut self, dropped: Dropped) {
        let Dropped {
            floors,
            segments,
            readings,
            readings_waiting,
        } = dropped;
        if readings_waiting > 0 {
            tracing::warn!(
                readings,
                readings_waiting,
                "readings were given up that no uplink had brought out, for want of room; \
                 raise store.retention_mib, or see `fieldmesh uplink` for why they wait"
            );
        } else if segments > 0 {
            tracing::info!(segments, readings, "old readings were given up");
        }
        for (log, floor) in floors {
            self.handle(Input::FloorMoved(log, floor));
        }
    }
}

fn system_time(time: Timestamp) -> Option<SystemTime> {
    let since = Duration::from_nanos(u64::try_from(time.as_nanos()).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(since)
}

/// Time between two passes. Source: guess; a segment fills in a minute at 50,000 readings a second.
const INTERVAL: Duration = Duration::from_secs(60);
