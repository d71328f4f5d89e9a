//! Keeping: now and then the store gives up what the settings say it may, and what it has lost is
//! asked for again.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, SystemTime};

use engine::Input;
use model::{
    ClockState, Labels, NewReading, Quality, SeriesDefinition, Timestamp, Value, ValueType,
};
use store::{Alarms, Dropped, Retention, Selection, WriteError};

use super::Runtime;
use crate::config::RetentionLimits;
use crate::rules::AlarmBook;

/// When the store gives up what, and a pass of it that is under way.
#[derive(Debug)]
pub struct Keeping {
    limits: RetentionLimits,
    due: Timestamp,
    pass: Option<Receiver<Result<Dropped, WriteError>>>,
    /// The alarm is raised that readings are dropped which no uplink has.
    is_alarmed: bool,
}

impl Keeping {
    /// Nothing is under way; the first pass begins with the first second.
    #[must_use]
    pub const fn new(limits: RetentionLimits) -> Self {
        Self {
            limits,
            due: Timestamp::MIN,
            pass: None,
            is_alarmed: false,
        }
    }
}

impl Runtime {
    /// Begins a pass when it is time, and tells the node how one has ended. Never waits.
    pub(super) fn keep_store_in_bounds(&mut self, time: Timestamp, clock: ClockState) {
        match self.keeping.pass.as_ref().map(Receiver::try_recv) {
            Some(Err(TryRecvError::Empty)) => return,
            Some(Ok(Ok(dropped))) => self.on_dropped(time, dropped),
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
        let RetentionLimits {
            age_max, bytes_max, ..
        } = self.keeping.limits;
        self.keeping.pass = self.store.retain(Retention {
            now,
            // How old a file is nobody knows whose clock is not set.
            age_max: age_max.filter(|_| clock != ClockState::Unsynchronised),
            bytes_max,
            uploaded: self.node.needed_by_uplinks(),
            alarms: self.alarms_to_keep(time, clock),
        });
    }

    /// The series of all alarms and acknowledgements, and how long they are kept.
    fn alarms_to_keep(&self, time: Timestamp, clock: ClockState) -> Alarms {
        let RetentionLimits {
            alarms_age,
            bytes_max,
            ..
        } = self.keeping.limits;
        let mut series = Selection::new();
        for (log, number, definition) in self.node.catalogue().series() {
            if AlarmBook::follows(&definition.name) {
                series.entry(*log).or_default().insert(number);
            }
        }
        Alarms {
            series,
            since: match clock {
                ClockState::Unsynchronised => Timestamp::MIN,
                ClockState::Coarse | ClockState::Synchronised => time.saturating_sub(alarms_age),
            },
            bytes_max: bytes_max.map_or(ALARM_BYTES_MAX, |bytes| bytes / ALARM_SHARE),
        }
    }

    /// Says which stored blocks do not read back, until they are stored again.
    pub(super) fn tell_what_is_lost(&mut self) {
        let lost = self.store.lost();
        if !lost.is_empty() {
            self.handle(Input::Lost(lost));
        }
    }

    fn on_dropped(&mut self, time: Timestamp, dropped: Dropped) {
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
        let is_alarmed = readings_waiting > 0;
        if std::mem::replace(&mut self.keeping.is_alarmed, is_alarmed) != is_alarmed {
            (self.rules.outbox).put(alarm(time, is_alarmed));
        }
        for (log, floor) in floors {
            self.handle(Input::FloorMoved(log, floor));
        }
    }
}

/// The alarm that readings are dropped which no uplink has, raised or over.
fn alarm(time: Timestamp, is_raised: bool) -> NewReading {
    let text = "readings were given up that no uplink had brought out, for want of room";
    let labels = [("priority", "high"), ("text", text)];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let series = SeriesDefinition {
        name: ALARM.parse().expect("a name of a series"),
        unit: "".parse().expect("no unit"),
        value_type: ValueType::Bool,
        labels: Labels::new(labels.into()).expect("two labels"),
    };
    NewReading {
        series: Arc::new(series),
        time,
        value: Value::Bool(is_raised),
        quality: Quality::GOOD,
    }
}

fn system_time(time: Timestamp) -> Option<SystemTime> {
    let since = Duration::from_nanos(u64::try_from(time.as_nanos()).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(since)
}

/// The series of the alarm.
const ALARM: &str = "alarm/store/readings-dropped";
/// Time between two passes. Source: guess; a segment fills in a minute at 50,000 readings a second.
const INTERVAL: Duration = Duration::from_secs(60);
/// Most bytes of blocks that are kept for their alarms, where the store has no limit. Unit: bytes.
/// Source: guess; a lone alarm is a block of some 200.
const ALARM_BYTES_MAX: u64 = 64 << 20;
/// Which part of a limited store they may take. Source: guess.
const ALARM_SHARE: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarm_of_dropped_readings_is_one_that_everyone_follows() {
        let raised = alarm(Timestamp::from_nanos(1), true);

        assert!(AlarmBook::follows(&raised.series.name));
        assert_eq!(raised.value, Value::Bool(true));
        assert_eq!(alarm(Timestamp::from_nanos(2), false).series, raised.series);
    }
}
