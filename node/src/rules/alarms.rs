//! Alarms of every machine, as this node has heard of them, and who has acknowledged them.
//!
//! An alarm is a series `alarm/NAME`: true while it is raised, false when it is over, null when
//! nobody can say. It is acknowledged by a reading of `alarm-ack/MACHINE/NAME` in the log of
//! whichever machine acknowledges it, whose value says which raise is meant. Both are readings like
//! any others: signed, stored, and brought to every machine.
//!
//! # Not here
//!
//! What raises an alarm: a rule (`rule`), or any program that publishes such a series.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{
    Labels, MachineId, NewReading, Quality, Reading, SeriesDefinition, SeriesName, Timestamp, Unit,
    Value, ValueType,
};
use rule::ALARM_PREFIX;

/// Names an alarm: whose it is, and its series without the prefix.
pub type AlarmId = (MachineId, String);

/// How an alarm stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlarmState {
    /// What it warns of is so.
    Raised,
    /// It was so.
    Cleared,
    /// Its machine cannot say, because an input is stale or bad.
    Unknown,
}

/// An alarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// How it stands.
    pub state: AlarmState,
    /// When it was raised last; `None` if it never was, as far as is known.
    pub raised: Option<Timestamp>,
    /// When it came to stand like that.
    pub changed: Timestamp,
    /// What it says of itself: how urgent, what it means, which rule.
    pub series: Arc<SeriesDefinition>,
}

/// Who has acknowledged an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// By which machine.
    pub by: MachineId,
    /// When.
    pub time: Timestamp,
    /// Which raise.
    raised: Timestamp,
}

/// The alarms that are known.
#[derive(Debug, Default)]
pub struct AlarmBook {
    alarms: BTreeMap<AlarmId, Alarm>,
    acknowledgements: BTreeMap<AlarmId, Acknowledgement>,
}

impl AlarmBook {
    /// Whether a series is one that it takes in.
    #[must_use]
    pub fn follows(series: &SeriesName) -> bool {
        rule::is_alarm(series) || series.as_str().starts_with(ACKNOWLEDGEMENT_PREFIX)
    }

    /// Takes in a reading of a machine.
    pub fn hear(&mut self, origin: MachineId, series: &Arc<SeriesDefinition>, reading: &Reading) {
        if let Some(name) = series.name.as_str().strip_prefix(ALARM_PREFIX) {
            self.on_alarm((origin, name.to_owned()), series, reading);
        } else if let Some(id) = acknowledged_by(&series.name) {
            self.on_acknowledgement(id, origin, reading);
        }
    }

    /// Every alarm that matters to somebody: those that are not over, and those that nobody has
    /// acknowledged since they were raised. With `all`, every one that is known.
    pub fn alarms(
        &self,
        all: bool,
    ) -> impl Iterator<Item = (&AlarmId, &Alarm, Option<&Acknowledgement>)> {
        let alarms = self.alarms.iter();
        let alarms = alarms.map(|(id, alarm)| (id, alarm, self.acknowledgement(id, alarm)));
        alarms.filter(move |(_, alarm, acknowledgement)| {
            let is_open = alarm.raised.is_some() && acknowledgement.is_none();
            all || alarm.state != AlarmState::Cleared || is_open
        })
    }

    /// The reading that acknowledges an alarm; `None` if there is no such alarm, or it never was
    /// raised.
    #[must_use]
    pub fn acknowledge(&self, id: &AlarmId, now: Timestamp) -> Option<NewReading> {
        let raised = self.alarms.get(id)?.raised?;
        let name = format!("{ACKNOWLEDGEMENT_PREFIX}{}/{}", id.0, id.1);
        Some(NewReading {
            series: Arc::new(SeriesDefinition {
                name: name.parse().ok()?,
                unit: Unit::default(),
                value_type: ValueType::I64,
                labels: Labels::default(),
            }),
            time: now,
            value: Value::I64(raised.as_nanos()),
            quality: Quality::GOOD,
        })
    }

    fn acknowledgement(&self, id: &AlarmId, alarm: &Alarm) -> Option<&Acknowledgement> {
        let acknowledgement = self.acknowledgements.get(id);
        acknowledgement.filter(|given| alarm.raised.is_some_and(|raised| given.raised >= raised))
    }

    fn on_alarm(&mut self, id: AlarmId, series: &Arc<SeriesDefinition>, reading: &Reading) {
        let state = match reading.value {
            Value::Bool(true) => AlarmState::Raised,
            Value::Bool(false) => AlarmState::Cleared,
            Value::Null => AlarmState::Unknown,
            Value::F64(_) | Value::I64(_) | Value::Text(_) | Value::Bytes(_) => return,
        };
        let is_raise = state == AlarmState::Raised;
        let time = reading.time;
        let Some(alarm) = self.alarms.get_mut(&id) else {
            self.make_room();
            let alarm = Alarm {
                state,
                raised: is_raise.then_some(time),
                changed: time,
                series: Arc::clone(series),
            };
            self.alarms.insert(id, alarm);
            return;
        };
        if time < alarm.changed {
            // History comes after the present; it may still tell of an earlier raise.
            if is_raise && alarm.raised.is_none_or(|raised| raised < time) {
                alarm.raised = Some(time);
            }
            return;
        }
        // After a time in which nobody could say it is still the same raise.
        let goes_on = alarm.state != AlarmState::Cleared && alarm.raised.is_some();
        if is_raise && !goes_on {
            alarm.raised = Some(time);
        }
        if alarm.state != state {
            alarm.changed = time;
        }
        alarm.state = state;
        alarm.series = Arc::clone(series);
    }

    fn on_acknowledgement(&mut self, id: AlarmId, by: MachineId, reading: &Reading) {
        let Value::I64(raised) = reading.value else {
            return;
        };
        let given = Acknowledgement {
            by,
            time: reading.time,
            raised: Timestamp::from_nanos(raised),
        };
        let is_room = self.acknowledgements.len() < ALARMS_MAX;
        let known = self.acknowledgements.get(&id);
        if known.map_or(is_room, |known| known.raised < given.raised) {
            self.acknowledgements.insert(id, given);
        }
    }

    /// When full, the one that changed longest ago goes, those that are over first.
    fn make_room(&mut self) {
        if self.alarms.len() < ALARMS_MAX {
            return;
        }
        let order = |alarm: &Alarm| (alarm.state != AlarmState::Cleared, alarm.changed);
        let oldest = self.alarms.iter().min_by_key(|(_, alarm)| order(alarm));
        if let Some(id) = oldest.map(|(id, _)| id.clone()) {
            self.acknowledgements.remove(&id);
            self.alarms.remove(&id);
        }
    }
}

/// Which alarm a series acknowledges.
fn acknowledged_by(series: &SeriesName) -> Option<AlarmId> {
    let rest = series.as_str().strip_prefix(ACKNOWLEDGEMENT_PREFIX)?;
    let (machine, name) = rest.split_once('/')?;
    Some((machine.parse().ok()?, name.to_owned()))
}

/// Where acknowledgements stand among the series of a machine.
pub const ACKNOWLEDGEMENT_PREFIX: &str = "alarm-ack/";
/// Most alarms, and most acknowledgements, that are known at once. Source: guess; some 4 MiB.
const ALARMS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use model::SeriesNumber;

    const PRESS: MachineId = MachineId::from_bytes([1; 32]);
    const PHONE: MachineId = MachineId::from_bytes([2; 32]);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    fn series(name: &str) -> Arc<SeriesDefinition> {
        Arc::new(SeriesDefinition {
            name: name.parse().expect("a name"),
            unit: Unit::default(),
            value_type: ValueType::Bool,
            labels: Labels::default(),
        })
    }

    fn id() -> AlarmId {
        (PRESS, "too-hot".to_owned())
    }

    fn hear(book: &mut AlarmBook, seconds: i64, value: Value) {
        let reading = Reading {
            series: SeriesNumber(1),
            time: at(seconds),
            value,
            quality: Quality::GOOD,
        };
        book.hear(PRESS, &series("alarm/too-hot"), &reading);
    }

    fn acknowledge(book: &mut AlarmBook, seconds: i64) {
        let given = book.acknowledge(&id(), at(seconds)).expect("it was raised");
        let reading = Reading {
            series: SeriesNumber(2),
            time: given.time,
            value: given.value,
            quality: given.quality,
        };
        book.hear(PHONE, &given.series, &reading);
    }

    /// How the alarm stands, when it was raised, and whether somebody has acknowledged that.
    fn stands(book: &AlarmBook) -> Option<(AlarmState, Option<Timestamp>, bool)> {
        let (_, alarm, given) = book.alarms(false).next()?;
        Some((alarm.state, alarm.raised, given.is_some()))
    }

    #[test]
    fn an_alarm_stays_until_it_is_over_and_somebody_has_acknowledged_it() {
        let mut book = AlarmBook::default();

        hear(&mut book, 10, Value::Bool(true));
        assert_eq!(
            stands(&book),
            Some((AlarmState::Raised, Some(at(10)), false))
        );
        hear(&mut book, 20, Value::Bool(false));
        assert_eq!(
            stands(&book),
            Some((AlarmState::Cleared, Some(at(10)), false))
        );
        acknowledge(&mut book, 30);

        assert_eq!(stands(&book), None);
        assert_eq!(book.alarms(true).count(), 1);
    }

    #[test]
    fn an_acknowledgement_is_for_one_raise_and_lasts_while_nobody_can_say() {
        let mut book = AlarmBook::default();
        hear(&mut book, 10, Value::Bool(true));
        acknowledge(&mut book, 11);

        hear(&mut book, 20, Value::Null);
        hear(&mut book, 30, Value::Bool(true));
        assert_eq!(
            stands(&book),
            Some((AlarmState::Raised, Some(at(10)), true))
        );
        hear(&mut book, 40, Value::Bool(false));
        hear(&mut book, 50, Value::Bool(true));

        assert_eq!(
            stands(&book),
            Some((AlarmState::Raised, Some(at(50)), false))
        );
    }

    #[test]
    fn history_that_comes_after_the_present_does_not_change_how_an_alarm_stands() {
        let mut book = AlarmBook::default();
        hear(&mut book, 20, Value::Bool(false));

        hear(&mut book, 10, Value::Bool(true));

        assert_eq!(
            stands(&book),
            Some((AlarmState::Cleared, Some(at(10)), false))
        );
    }

    #[test]
    fn a_flood_of_alarms_is_bounded_and_those_that_are_over_go_first() {
        let mut book = AlarmBook::default();
        hear(&mut book, 1, Value::Bool(true));
        let over = Reading {
            series: SeriesNumber(1),
            time: at(5),
            value: Value::Bool(false),
            quality: Quality::GOOD,
        };
        for n in 0..2 * ALARMS_MAX {
            book.hear(PHONE, &series(&format!("alarm/{n}")), &over);
        }

        assert_eq!(book.alarms(true).count(), ALARMS_MAX);
        assert_eq!(
            stands(&book).map(|(state, ..)| state),
            Some(AlarmState::Raised)
        );
    }
}
