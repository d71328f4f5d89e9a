//! Rules against readings that the test makes up.

mod circles;

use model::{Epoch, Labels, Quality, QualityLevel, QualityReason, SeriesName, Value, ValueType};
use testkit::{Probe, Step, check};

use super::*;
use crate::{Draft, DraftAction, Limit};

const OWN: MachineId = MachineId::from_bytes([1; 32]);
const BOILER: MachineId = MachineId::from_bytes([2; 32]);
const WATER: SeriesKey = (log(BOILER), SeriesNumber(1));
const BAD: Quality = Quality::new(QualityLevel::Bad, QualityReason::DeviceFault);
const SECOND: Duration = Duration::from_secs(1);

const fn log(machine: MachineId) -> LogId {
    let epoch = Epoch { counter: 1, tag: 7 };
    LogId { machine, epoch }
}

fn start() -> Timestamp {
    Timestamp::from_nanos(1_700_000_000_000_000_000)
}

fn command(when: &str) -> Draft {
    Draft {
        name: "too-hot".to_owned(),
        when: Some(when.to_owned()),
        until: None,
        hold: Duration::ZERO,
        cooldown: Duration::ZERO,
        stale_after: Duration::from_secs(60),
        limit: Limit {
            count: 10,
            per: Duration::from_secs(60),
        },
        dry_run: false,
        action: DraftAction::Command {
            machine: "boiler".to_owned(),
            name: "heating/set".to_owned(),
            arguments: r#"{"celsius": last("boiler:water") / 2.0}"#.to_owned(),
            safe: Some(r#"{"celsius": 5.0}"#.to_owned()),
            deadline: Duration::from_secs(5),
        },
    }
}

fn with_action(action: DraftAction) -> Draft {
    Draft {
        action,
        ..command(HOT)
    }
}

const HOT: &str = r#"last("boiler:water") > 60.0"#;

fn rule(draft: Draft) -> Rule {
    Rule::check(draft).expect("a rule")
}

fn definition(name: &str, labels: Labels) -> Arc<SeriesDefinition> {
    Arc::new(SeriesDefinition {
        name: name.parse::<SeriesName>().expect("a name"),
        unit: "Cel".parse().expect("a unit"),
        value_type: ValueType::F64,
        labels,
    })
}

fn series() -> Input {
    let names = ["boiler".to_owned()].into();
    Input::Series(WATER, definition("water", Labels::default()), names)
}

fn reading(after: Duration, value: Value, quality: Quality) -> Input {
    let reading = Reading {
        series: WATER.1,
        time: start().saturating_add(after),
        value,
        quality,
    };
    Input::Readings {
        log: WATER.0,
        readings: vec![reading],
        is_past: false,
    }
}

/// Rules that hear of a boiler whose water has these values, a second apart.
struct Boiler(Probe<Rules>);

impl Boiler {
    fn new(draft: Draft) -> Self {
        Self::recovered(draft, Recovered::default())
    }

    fn recovered(draft: Draft, recovered: Recovered) -> Self {
        let mut probe = Probe::new(Rules::new(OWN, recovered));
        probe.input(Input::WallClock(start()));
        probe.input(Input::Rules(vec![rule(draft)]));
        probe.input(series());
        Self(probe)
    }

    fn is(&mut self, value: Value, quality: Quality) {
        let after = self.0.now().since(Instant::ZERO);
        self.0.input(reading(after, value, quality));
    }

    fn says(&mut self, values: &[f64]) -> Vec<String> {
        for &value in values {
            self.is(Value::F64(value), Quality::GOOD);
            self.0.advance(SECOND);
        }
        self.told()
    }

    /// What was said since the last time, in short; what is to be kept left out.
    fn told(&mut self) -> Vec<String> {
        let outputs = self.0.take().into_iter();
        let told = outputs.filter_map(|output| match output {
            Output::Command { argument, .. } => match argument.get("celsius") {
                Some(Argument::F64(celsius)) => Some(format!("set {celsius}")),
                _ => Some(format!("{argument:?}")),
            },
            Output::Publish(reading) => {
                let name = &reading.series.name;
                Some(format!(
                    "{name} {:?} {}",
                    reading.value,
                    reading.quality.level.name()
                ))
            }
            Output::Keep(_) => None,
            Output::Event(_, event) => Some(format!("{event:?}")),
        });
        told.collect()
    }
}

#[test]
fn a_rule_acts_when_its_condition_becomes_true_and_not_while_it_stays_so() {
    let mut boiler = Boiler::new(command(HOT));

    assert_eq!(boiler.says(&[50.0, 59.0]), Vec::<String>::new());
    assert_eq!(boiler.says(&[70.0, 80.0]), ["Acted", "set 35"]);
    assert_eq!(boiler.says(&[50.0]), ["Ended"]);
    assert_eq!(boiler.says(&[64.0]), ["Acted", "set 32"]);
}

#[test]
fn hold_time_runs_out_without_another_reading() {
    let mut boiler = Boiler::new(Draft {
        hold: 10 * SECOND,
        ..command(HOT)
    });
    boiler.says(&[70.0]);

    boiler.0.advance(8 * SECOND);
    assert!(boiler.told().is_empty());
    boiler.0.advance(SECOND);

    assert_eq!(boiler.told(), ["Acted", "set 35"]);
}

#[test]
fn a_hysteresis_keeps_a_rule_from_flapping() {
    let mut boiler = Boiler::new(Draft {
        until: Some(r#"last("boiler:water") < 50.0"#.to_owned()),
        ..command(HOT)
    });

    let told = boiler.says(&[61.0, 59.0, 61.0, 59.0, 49.0, 61.0]);

    assert_eq!(told, ["Acted", "set 30.5", "Ended", "Acted", "set 30.5"]);
}

#[test]
fn a_stale_input_is_no_value_and_the_safe_value_is_used_once() {
    let mut boiler = Boiler::new(command(HOT));
    boiler.says(&[50.0]);

    boiler.0.advance(60 * SECOND);
    let told = boiler.told();
    boiler.0.advance(600 * SECOND);

    let blind = r#"Blind("no good and fresh reading of boiler:water")"#;
    assert_eq!(told, [blind, "ActedSafely", "set 5"]);
    assert!(boiler.told().is_empty());
    assert_eq!(boiler.says(&[70.0]), ["Acted", "set 35"]);
}

#[test]
fn a_bad_reading_is_no_value_even_if_its_number_looks_fine() {
    let mut boiler = Boiler::new(command(HOT));
    boiler.says(&[50.0]);

    boiler.is(Value::F64(70.0), BAD);
    let told = boiler.told();
    boiler.is(Value::Null, BAD);
    boiler.is(Value::F64(f64::NAN), Quality::GOOD);

    assert_eq!(told[1..], ["ActedSafely", "set 5"]);
    assert!(boiler.told().is_empty());
}

#[test]
fn a_series_that_was_never_there_is_waited_for_before_it_counts_as_stale() {
    let mut boiler = Boiler::new(command(HOT));

    boiler.0.advance(59 * SECOND);
    assert!(boiler.told().is_empty());
    boiler.0.advance(SECOND);

    assert_eq!(boiler.told()[1..], ["ActedSafely", "set 5"]);
}

#[test]
fn a_reading_from_the_future_is_not_fresh_for_ever() {
    let mut boiler = Boiler::new(command(HOT));

    boiler
        .0
        .input(reading(3_600 * SECOND, Value::F64(70.0), Quality::GOOD));

    assert!(boiler.told().is_empty());
}

#[test]
fn an_old_reading_that_arrives_late_is_not_taken_for_the_present() {
    let mut boiler = Boiler::new(command(HOT));
    boiler.says(&[50.0, 50.0, 50.0]);

    boiler
        .0
        .input(reading(SECOND, Value::F64(70.0), Quality::GOOD));

    assert!(boiler.told().is_empty());
}

#[test]
fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let mut boiler = Boiler::new(Draft {
        dry_run: true,
        ..command(HOT)
    });

    assert_eq!(boiler.says(&[70.0]), ["WouldAct"]);
}

#[test]
fn windows_move_on_without_readings() {
    let mut boiler = Boiler::new(command(r#"count("boiler:water", "5s") == 0.0"#));
    boiler.says(&[50.0]);
    boiler.told();

    boiler.0.advance(5 * SECOND);

    assert_eq!(boiler.told(), ["Acted", "set 25"]);
}

#[test]
fn past_readings_fill_windows_and_set_nothing_off() {
    let mut boiler = Boiler::new(command(r#"avg("boiler:water", "1m") > 60.0"#));
    let Input::Readings { log, readings, .. } =
        reading(Duration::ZERO, Value::F64(90.0), Quality::GOOD)
    else {
        panic!("readings");
    };

    boiler.0.input(Input::Readings {
        log,
        readings,
        is_past: true,
    });
    assert!(boiler.told().is_empty());

    assert_eq!(boiler.says(&[50.0]), ["Acted", "set 25"]);
}

#[test]
fn a_derived_reading_follows_its_inputs_and_is_null_when_they_are_stale() {
    let mut boiler = Boiler::new(Draft {
        when: None,
        ..with_action(DraftAction::Derive {
            series: "heating/setpoint".to_owned(),
            unit: "Cel".to_owned(),
            value: r#"last("boiler:water") - 10.0"#.to_owned(),
            safe: None,
        })
    });

    let told = boiler.says(&[50.0, 51.0]);
    assert_eq!(
        told,
        [
            "heating/setpoint F64(40.0) good",
            "heating/setpoint F64(41.0) good"
        ]
    );
    boiler.0.advance(120 * SECOND);

    let blind = r#"Blind("no good and fresh reading of boiler:water")"#;
    assert_eq!(boiler.told(), [blind, "heating/setpoint Null stale"]);
}

#[test]
fn derived_readings_are_bounded_and_the_last_one_comes_in_the_end() {
    let mut boiler = Boiler::new(Draft {
        when: None,
        limit: Limit {
            count: 2,
            per: SECOND,
        },
        ..with_action(DraftAction::Derive {
            series: "twice".to_owned(),
            unit: String::new(),
            value: r#"last("boiler:water") * 2.0"#.to_owned(),
            safe: None,
        })
    });

    for value in 1..=100_u8 {
        boiler.is(Value::F64(value.into()), Quality::GOOD);
    }
    let at_once = boiler.told();
    boiler.0.advance(SECOND);

    assert_eq!(at_once, ["twice F64(2.0) good", "twice F64(4.0) good"]);
    assert_eq!(
        boiler.told().last().map(String::as_str),
        Some("twice F64(200.0) good")
    );
}

/// A derived reading, once in ten seconds at most, while the water is warm.
fn seldom() -> Boiler {
    Boiler::new(Draft {
        when: Some(r#"last("boiler:water") > 20.0"#.to_owned()),
        limit: Limit {
            count: 1,
            per: 10 * SECOND,
        },
        ..with_action(DraftAction::Derive {
            series: "copy".to_owned(),
            unit: String::new(),
            value: r#"last("boiler:water")"#.to_owned(),
            safe: Some("5.0".to_owned()),
        })
    })
}

#[test]
fn what_could_not_be_derived_is_not_looked_at_again_once_the_condition_is_false() {
    let mut boiler = seldom();

    assert_eq!(boiler.says(&[30.0, 31.0, 10.0]), ["copy F64(30.0) good"]);
    let deadline = boiler.0.with(|rules| rules.next_deadline());
    let wait = deadline.expect("it gets stale").at - boiler.0.now();

    assert!(wait > 30 * SECOND, "{wait:?}");
}

#[test]
fn a_safe_value_beyond_the_limit_comes_as_soon_as_it_may() {
    let mut boiler = seldom();
    boiler.says(&[30.0]);

    boiler.is(Value::F64(31.0), BAD);
    let at_once = boiler.told();
    boiler.0.advance(10 * SECOND);

    assert!(at_once.iter().all(|told| told.starts_with("Blind")));
    assert_eq!(boiler.told(), ["copy F64(5.0) uncertain"]);
}

#[test]
fn an_alarm_that_never_became_null_says_nothing_when_it_can_be_judged_again() {
    let mut boiler = Boiler::new(Draft {
        limit: Limit {
            count: 1,
            per: 60 * SECOND,
        },
        ..with_action(DraftAction::Alarm {
            priority: "high".to_owned(),
            text: "the water is too hot".to_owned(),
        })
    });
    boiler.says(&[70.0]);

    boiler.is(Value::F64(70.0), BAD);
    let limited = boiler.told();
    assert_eq!(limited.last().map(String::as_str), Some("Limited"));

    assert!(boiler.says(&[70.0]).is_empty());
}

#[test]
fn an_alarm_is_raised_cleared_and_null_when_nobody_can_say() {
    let alarm = DraftAction::Alarm {
        priority: "high".to_owned(),
        text: "the water is too hot".to_owned(),
    };
    let mut boiler = Boiler::new(with_action(alarm));

    let told = boiler.says(&[70.0, 50.0]);
    assert_eq!(
        told,
        [
            "Acted",
            "alarm/too-hot Bool(true) good",
            "Ended",
            "alarm/too-hot Bool(false) good"
        ]
    );
    boiler.0.advance(60 * SECOND);
    assert_eq!(boiler.told()[1..], ["alarm/too-hot Null stale"]);

    assert_eq!(boiler.says(&[50.0]), ["alarm/too-hot Bool(false) good"]);
}

#[test]
fn after_a_restart_a_rule_that_has_acted_does_not_act_again() {
    let mut boiler = Boiler::new(Draft {
        cooldown: 60 * SECOND,
        ..command(HOT)
    });
    boiler
        .0
        .input(reading(Duration::ZERO, Value::F64(70.0), Quality::GOOD));
    let kept = boiler.0.take().into_iter().find_map(|output| match output {
        Output::Keep(kept) => Some(kept),
        Output::Command { .. } | Output::Publish(_) | Output::Event(..) => None,
    });
    let recovered = Recovered {
        kept: kept.expect("something is kept"),
    };
    let draft = Draft {
        cooldown: 60 * SECOND,
        ..command(HOT)
    };

    let mut again = Boiler::recovered(draft, recovered);

    assert_eq!(again.says(&[70.0, 50.0, 70.0]), ["Ended"]); // It is active, then cools down.
}

#[test]
fn loading_the_same_rules_again_changes_nothing_and_others_begin_anew() {
    let mut boiler = Boiler::new(command(HOT));
    boiler.says(&[70.0]);

    boiler.0.input(Input::Rules(vec![rule(command(HOT))]));
    boiler.0.input(series());
    assert!(boiler.says(&[71.0]).is_empty());
    let other = command(r#"last("boiler:water") > 65.0"#);
    boiler.0.input(Input::Rules(vec![rule(Draft {
        name: "other".to_owned(),
        ..other
    })]));
    boiler.0.input(series());

    assert_eq!(boiler.says(&[72.0]), ["Acted", "set 36"]);
}

#[test]
fn a_rule_that_can_do_nothing_is_refused_with_the_reason() {
    let refused = |draft: Draft| Rule::check(draft).expect_err("no rule").to_string();
    let never = Limit {
        count: 0,
        per: SECOND,
    };

    assert_eq!(
        refused(command("last(\"boiler:water\")\n > hot")),
        "rule `too-hot`, when, line 2, column 4: `hot` is not known here; a series is \
         last(\"hot\"), a text is in quotes"
    );
    assert!(
        refused(Draft {
            when: None,
            ..command(HOT)
        })
        .contains("needs a condition")
    );
    assert!(
        refused(Draft {
            limit: never,
            ..command(HOT)
        })
        .contains("never act")
    );
    assert!(
        refused(Draft {
            name: "a/b".to_owned(),
            ..command(HOT)
        })
        .contains("no `/`")
    );
    let mut unsafe_safe = command(HOT);
    if let DraftAction::Command { safe, .. } = &mut unsafe_safe.action {
        *safe = Some(r#"{"celsius": last("boiler:water")}"#.to_owned());
    }
    assert!(refused(unsafe_safe).contains("a safe value looks at no series"));
}

#[test]
fn rules_keep_the_laws() {
    let script = [
        Step::Input(Input::WallClock(start())),
        Step::Input(Input::Rules(vec![rule(Draft {
            hold: SECOND,
            ..command(HOT)
        })])),
        Step::Input(series()),
        Step::Input(reading(Duration::ZERO, Value::F64(70.0), Quality::GOOD)),
        Step::Advance(200 * SECOND),
        Step::Input(reading(200 * SECOND, Value::F64(20.0), Quality::GOOD)),
        Step::Advance(200 * SECOND),
    ];

    let said = check(|| Rules::new(OWN, Recovered::default()), script);

    let commands = said
        .iter()
        .filter(|output| matches!(output, Output::Command { .. }));
    assert_eq!(commands.count(), 3); // It acted, was blind, ended, and was blind again.
}
