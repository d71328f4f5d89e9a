//! Alarms of every machine, as this node has heard of them, and who has acknowledged them.
//!
//! An alarm is a series `alarm/NAME`: true while it is raised, false when it is over, null when
//! nobody can say. It is acknowledged by a reading of `alarm-ack/MACHINE/NAME` in the log of
//! whichever machine acknowledges it, whose value is the time of the raise that is meant. Both are
//! readings like any others: signed, stored, and brought to every machine.
//!
//! What came last is told by its place in its origin's log, not by its time: a clock that was wrong
//! once does not hide what is said after it.
//!
//! # Not here
//!
//! What raises an alarm: a rule (`rule`), or any program that publishes such a series.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{
    BlockId, Labels, MachineId, NewReading, Position, Quality, Reading, SeriesDefinition,
    SeriesName, Timestamp, Unit, Value, ValueType,
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
    /// The newest acknowledgement, be it of this raise or of another.
    given: Option<Acknowledgement>,
    heard: Place,
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

/// Where a reading stands in its origin's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    block: Position,
    index: u32,
}

/// The alarms that are known.
#[derive(Debug, Default)]
pub struct AlarmBook {
    alarms: BTreeMap<AlarmId, Alarm>,
    /// Acknowledgements that came before their alarms.
    early: BTreeMap<AlarmId, Acknowledgement>,
}

impl Place {
    /// The place of the reading with this index in a block.
    #[must_use]
    pub const fn new(block: &BlockId, index: u32) -> Self {
        let block = block.position();
        Self { block, index }
    }
}

impl Alarm {
    /// Who has acknowledged that it was raised last.
    #[must_use]
    pub fn acknowledgement(&self) -> Option<&Acknowledgement> {
        self.given
            .as_ref()
            .filter(|given| self.raised == Some(given.raised))
    }

    /// Takes what was said last.
    fn hear(&mut self, place: Place, state: AlarmState, reading: &Reading) {
        let (time, is_raise) = (reading.time, state == AlarmState::Raised);
        if place <= self.heard {
            // History comes after the present; it may still tell of an earlier raise.
            if is_raise && self.raised.is_none() {
                self.raised = Some(time);
            }
            return;
        }
        self.heard = place;
        // After a time in which nobody could say it is still the same raise.
        let goes_on = self.state != AlarmState::Cleared && self.raised.is_some();
        if is_raise && !goes_on {
            self.raised = Some(time);
        }
        if self.state != state {
            self.changed = time;
        }
        self.state = state;
    }

    /// Takes an acknowledgement, unless it knows one that says more.
    fn acknowledge(&mut self, given: Acknowledgement) {
        let is_news = |known: &Acknowledgement| {
            let is_of_this_raise = |given: &Acknowledgement| self.raised == Some(given.raised);
            !is_of_this_raise(known) && (is_of_this_raise(&given) || known.raised < given.raised)
        };
        if self.given.as_ref().is_none_or(is_news) {
            self.given = Some(given);
        }
    }
}

impl AlarmBook {
    /// Whether a series is one that it takes in.
    #[must_use]
    pub fn follows(series: &SeriesName) -> bool {
        rule::is_alarm(series) || series.as_str().starts_with(ACKNOWLEDGEMENT_PREFIX)
    }

    /// Takes in a reading of a machine.
    pub fn hear(
        &mut self,
        origin: MachineId,
        place: Place,
        series: &Arc<SeriesDefinition>,
        reading: &Reading,
    ) {
        if let Some(name) = series.name.as_str().strip_prefix(ALARM_PREFIX) {
            self.on_alarm((origin, name.to_owned()), place, series, reading);
        } else if let Some(id) = acknowledged_by(&series.name) {
            self.on_acknowledgement(id, origin, reading);
        }
    }

    /// Every alarm that matters to somebody: those that are not over, and those that nobody has
    /// acknowledged since they were raised. With `all`, every one that is known.
    pub fn alarms(&self, all: bool) -> impl Iterator<Item = (&AlarmId, &Alarm)> {
        let alarms = self.alarms.iter();
        alarms.filter(move |(_, alarm)| {
            let is_open = alarm.raised.is_some() && alarm.acknowledgement().is_none();
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

    fn on_alarm(
        &mut self,
        id: AlarmId,
        place: Place,
        series: &Arc<SeriesDefinition>,
        reading: &Reading,
    ) {
        let state = match reading.value {
            Value::Bool(true) => AlarmState::Raised,
            Value::Bool(false) => AlarmState::Cleared,
            Value::Null => AlarmState::Unknown,
            Value::F64(_) | Value::I64(_) | Value::Text(_) | Value::Bytes(_) => return,
        };
        if let Some(alarm) = self.alarms.get_mut(&id) {
            if place > alarm.heard {
                alarm.series = Arc::clone(series);
            }
            alarm.hear(place, state, reading);
            return;
        }
        self.make_room(&id.0);
        let alarm = Alarm {
            state,
            raised: (state == AlarmState::Raised).then_some(reading.time),
            changed: reading.time,
            series: Arc::clone(series),
            given: self.early.remove(&id),
            heard: place,
        };
        self.alarms.insert(id, alarm);
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
        if let Some(alarm) = self.alarms.get_mut(&id) {
            alarm.acknowledge(given);
            return;
        }
        let is_newer = (self.early.get(&id)).is_none_or(|known| known.raised < given.raised);
        if is_newer {
            self.early.insert(id, given);
        }
        while self.early.len() > EARLY_MAX {
            self.early.pop_first();
        }
    }

    /// Makes room for an alarm of a machine. When that has its share, one of its own goes, and
    /// when all have theirs, one of all: the one that changed longest ago, those that are over
    /// first.
    fn make_room(&mut self, origin: &MachineId) {
        let of_origin = || {
            let from = self.alarms.range((*origin, String::new())..);
            from.take_while(|((machine, _), _)| machine == origin)
        };
        let victim = if of_origin().count() >= ALARMS_OF_ORIGIN_MAX {
            longest_settled(of_origin())
        } else if self.alarms.len() >= ALARMS_MAX {
            longest_settled(self.alarms.iter())
        } else {
            None
        };
        if let Some(id) = victim {
            self.alarms.remove(&id);
        }
    }
}

/// The alarm that changed longest ago, of those that are over if there are any.
fn longest_settled<'a>(alarms: impl Iterator<Item = (&'a AlarmId, &'a Alarm)>) -> Option<AlarmId> {
    let order = |alarm: &Alarm| (alarm.state != AlarmState::Cleared, alarm.changed);
    let oldest = alarms.min_by_key(|(_, alarm)| order(alarm));
    oldest.map(|(id, _)| id.clone())
}

/// Which alarm a series acknowledges.
fn acknowledged_by(series: &SeriesName) -> Option<AlarmId> {
    let rest = series.as_str().strip_prefix(ACKNOWLEDGEMENT_PREFIX)?;
    let (machine, name) = rest.split_once('/')?;
    Some((machine.parse().ok()?, name.to_owned()))
}

/// Where acknowledgements stand among the series of a machine.
pub(super) const ACKNOWLEDGEMENT_PREFIX: &str = "alarm-ack/";
/// Most alarms that are known at once. Source: guess; some 4 MiB.
const ALARMS_MAX: usize = 10_000;
/// Most of them of one machine, so that no machine crowds the others' out. Source: guess.
const ALARMS_OF_ORIGIN_MAX: usize = ALARMS_MAX / 8;
/// Most acknowledgements that wait for their alarms; more than that is a flood, of which any may
/// go. Source: guess.
const EARLY_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Epoch, SeriesNumber};

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

    /// The place of a reading that was published in its order.
    fn place(sequence: u64) -> Place {
        let epoch = Epoch { counter: 1, tag: 0 };
        let block = Position { epoch, sequence };
        Place { block, index: 0 }
    }

    fn hear_at(book: &mut AlarmBook, sequence: u64, seconds: i64, value: Value) {
        let reading = Reading {
            series: SeriesNumber(1),
            time: at(seconds),
            value,
            quality: Quality::GOOD,
        };
        book.hear(PRESS, place(sequence), &series("alarm/too-hot"), &reading);
    }

    fn hear(book: &mut AlarmBook, seconds: u32, value: Value) {
        hear_at(book, seconds.into(), seconds.into(), value);
    }

    fn acknowledge(book: &mut AlarmBook, seconds: i64) {
        let given = book.acknowledge(&id(), at(seconds)).expect("it was raised");
        deliver(book, &given);
    }

    fn deliver(book: &mut AlarmBook, given: &NewReading) {
        let reading = Reading {
            series: SeriesNumber(2),
            time: given.time,
            value: given.value.clone(),
            quality: given.quality,
        };
        book.hear(PHONE, place(1), &given.series, &reading);
    }

    /// How the alarm stands, when it was raised, and whether somebody has acknowledged that.
    fn stands(book: &AlarmBook) -> Option<(AlarmState, Option<Timestamp>, bool)> {
        let (_, alarm) = book.alarms(false).next()?;
        let is_acknowledged = alarm.acknowledgement().is_some();
        Some((alarm.state, alarm.raised, is_acknowledged))
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
    fn history_between_two_raises_that_are_known_does_not_end_the_last_one() {
        let mut book = AlarmBook::default();
        hear(&mut book, 10, Value::Bool(true));
        hear(&mut book, 30, Value::Bool(true));

        hear(&mut book, 20, Value::Bool(false));

        assert_eq!(
            stands(&book).map(|(state, ..)| state),
            Some(AlarmState::Raised)
        );
    }

    #[test]
    fn adversarial_25_a_reading_from_the_far_future_does_not_hide_what_is_said_after_it() {
        let mut book = AlarmBook::default();
        hear_at(&mut book, 1, 1_000_000, Value::Bool(false));

        hear_at(&mut book, 2, 20, Value::Bool(true));

        assert_eq!(
            stands(&book),
            Some((AlarmState::Raised, Some(at(20)), false))
        );
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_raised_hides_nothing() {
        let (mut honest, mut book) = (AlarmBook::default(), AlarmBook::default());
        hear(&mut honest, 10, Value::Bool(true));
        let mut given = honest.acknowledge(&id(), at(11)).expect("it was raised");
        given.value = Value::I64(i64::MAX);
        deliver(&mut book, &given);

        hear(&mut book, 10, Value::Bool(true));
        let before = stands(&book);
        acknowledge(&mut book, 12);

        assert_eq!(before, Some((AlarmState::Raised, Some(at(10)), false)));
        assert_eq!(
            stands(&book),
            Some((AlarmState::Raised, Some(at(10)), true))
        );
    }

    #[test]
    fn an_acknowledgement_that_comes_before_its_alarm_counts_and_a_flood_of_them_is_bounded() {
        let (mut honest, mut book) = (AlarmBook::default(), AlarmBook::default());
        hear(&mut honest, 10, Value::Bool(true));
        let given = honest.acknowledge(&id(), at(11)).expect("it was raised");
        for n in 0..2 * EARLY_MAX {
            let mut foreign = given.clone();
            let name = format!("{ACKNOWLEDGEMENT_PREFIX}{PHONE}/{n}");
            foreign.series = series(&name);
            deliver(&mut book, &foreign);
        }
        assert_eq!(book.early.len(), EARLY_MAX);

        let mut book = AlarmBook::default();
        deliver(&mut book, &given);
        hear(&mut book, 10, Value::Bool(true));

        assert_eq!(
            stands(&book),
            Some((AlarmState::Raised, Some(at(10)), true))
        );
    }

    #[test]
    fn a_flood_of_alarms_is_bounded_and_costs_only_the_machine_that_it_comes_from() {
        let mut book = AlarmBook::default();
        hear(&mut book, 1, Value::Bool(true));
        let raised = Reading {
            series: SeriesNumber(1),
            time: at(5),
            value: Value::Bool(true),
            quality: Quality::GOOD,
        };
        for n in 0..2 * ALARMS_OF_ORIGIN_MAX {
            book.hear(PHONE, place(1), &series(&format!("alarm/{n}")), &raised);
        }

        assert_eq!(book.alarms(true).count(), ALARMS_OF_ORIGIN_MAX + 1);
        assert!(book.alarms(false).any(|(id, _)| id.0 == PRESS));
    }

    #[test]
    fn when_all_machines_flood_those_that_are_over_go_first() {
        let mut book = AlarmBook::default();
        hear(&mut book, 1, Value::Bool(true));
        let over = Reading {
            series: SeriesNumber(1),
            time: at(5),
            value: Value::Bool(false),
            quality: Quality::GOOD,
        };
        for n in 0..2 * ALARMS_MAX {
            let machine = MachineId::from_bytes([u8::try_from(n % 20).expect("small") + 2; 32]);
            let name = series(&format!("alarm/{}", n / 20));
            book.hear(machine, place(1), &name, &over);
        }

        assert_eq!(book.alarms(true).count(), ALARMS_MAX);
        assert!(book.alarms(false).any(|(id, _)| id.0 == PRESS));
    }
}
