//! What the sink gets of an origin: windows that late readings change, that go on in later epochs,
//! and only of the series that are chosen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aggregate::RawRecord;
use engine::{Config, Input, Recovered, UplinkConfig};
use identity::Role;
use model::{Position, StateKind, StateVersion, Value};

use crate::desk::{Desk, NOON, OWN, SOON, WINDOW, WINDOW_ENDED, identity, state, uplink};

#[test]
fn a_late_reading_makes_a_greater_record_of_its_window() {
    let mut desk = Desk::serving();
    desk.publish(1, 20.0);
    desk.advance(WINDOW_ENDED);
    desk.publish(2, 40.0);
    desk.advance(SOON * 2);

    let keys: Vec<_> = desk.uploads.iter().map(|(_, record)| &record.key).collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0].window_start, keys[1].window_start);
    assert!(keys[0].last_sequence < keys[1].last_sequence);
    assert_eq!(desk.uploads[1].1.summary.count, 2);
}

#[test]
fn a_reading_that_is_minutes_late_makes_a_record_with_all_that_the_log_has_of_its_window() {
    let mut desk = Desk::serving();
    for second in [1, 3, 200] {
        desk.publish(second, 20.0);
        desk.advance(Duration::from_secs(100));
    }
    let ids: Vec<_> = desk.uploads.drain(..).map(|(id, _)| id).collect();
    desk.acknowledge(&ids);
    let before = desk.progress_told().expect("progress");

    desk.publish(2, 80.0);
    let late = desk.last_position();
    desk.advance(SOON * 2);
    assert!(desk.uploads.is_empty(), "the log has not been read");
    desk.answer_searches();

    let (id, record) = desk.uploads.pop().expect("the window once more");
    assert_eq!(record.key.window_start, NOON);
    assert_eq!((record.summary.count, record.summary.max), (3, Some(80.0)));
    assert_eq!(record.key.last_sequence, late.sequence);
    assert!(desk.uploads.is_empty(), "and no other");
    assert_eq!(
        desk.progress_told(),
        Some(before),
        "the sink has not answered"
    );
    desk.acknowledge(&[id]);
    assert_eq!(
        desk.progress_told().map(|progress| progress.through),
        Some(late)
    );
    assert_eq!(desk.probe.machine().feed_stats().lookbacks, 1);
}

#[test]
fn a_window_goes_on_in_the_next_epoch() {
    let mut desk = Desk::serving();
    desk.publish(1, 20.0);
    let version = StateVersion {
        epoch: 7,
        counter: 1,
    };
    let own = identity(OWN, &[Role::Publish, Role::Relay]);
    let later = state(&own, version, StateKind::Presence, Vec::new());

    desk.neighbour_sends(vec![later]);
    desk.advance(SOON);
    desk.publish(3, 30.0);
    desk.advance(WINDOW_ENDED);
    desk.answer_reads(&desk.blocks.clone());
    desk.advance(SOON);

    assert_eq!(desk.last_position().epoch.counter, 8);
    let complete: Vec<_> = desk.uploads.iter().map(|(_, record)| record).collect();
    assert_eq!(complete.len(), 1);
    assert_eq!(complete[0].summary.count, 2);
    assert_eq!(complete[0].key.log_epoch.counter, 8);
}

#[test]
fn what_a_machine_said_before_and_after_it_lost_its_disk_all_reaches_the_sink_whatever_the_tags() {
    let start =
        |machine, rng, recovered| Desk::start_as(machine, rng, recovered, Desk::uplink_config());
    let mut orders = BTreeSet::new();
    for rng in 0..8 {
        let mut first = start(OWN, 100, Recovered::default());
        first.publish(1, 20.0);
        first.advance(SOON);
        first.publish(12, 21.0);
        let mut second = start(OWN, 101, first.recovered());
        second.advance(Config::default().recovery);
        second.publish(23, 22.0);
        second.advance(WINDOW_ENDED * 3);
        second.publish(31, 23.0);
        // The disk is lost, and so far nothing was uploaded. Nobody is there who knows anything.
        let mut alone = start(OWN, rng, Recovered::default());
        alone.input(Input::UplinkReachable(uplink(), true));
        alone.advance(SOON);
        alone.publish(40, 30.0);
        alone.advance(WINDOW_ENDED * 5);
        let ids: Vec<_> = alone.uploads.iter().map(|(id, _)| *id).collect();
        alone.acknowledge(&ids);
        orders.insert(alone.last_position().epoch < first.last_position().epoch);

        alone.neighbour_brings(&[&first, &second]);
        alone.publish(100, 31.0);
        alone.advance(WINDOW_ENDED * 5);
        let mut relays = [
            (5, [&first, &second, &alone]),
            (6, [&alone, &second, &first]),
        ]
        .map(|(machine, order)| {
            let mut relay = start(machine, rng, Recovered::default());
            relay.input(Input::UplinkReachable(uplink(), true));
            relay.advance(SOON);
            order
                .iter()
                .for_each(|desk| relay.neighbour_brings(&[desk]));
            (machine, relay)
        });

        let counts = |windows: &BTreeMap<u64, (Position, u64)>| {
            let counts = windows.iter().map(|(start, (_, count))| (*start, *count));
            counts.collect::<Vec<_>>()
        };
        let windows = alone.windows_of(&alone);
        let each_once = [0, 10, 20, 30, 40, 100].map(|start| (start, 1));
        assert_eq!(counts(&windows), each_once, "rng {rng}");
        for (machine, relay) in &mut relays {
            assert_eq!(relay.windows_of(&alone), windows, "rng {rng}");
            let ids: Vec<_> = relay.uploads.iter().map(|(id, _)| *id).collect();
            relay.acknowledge(&ids);
            let told = Recovered {
                last_own: None, // All blocks are of another machine.
                ..relay.recovered()
            };
            let mut again = start(*machine, 9, told);
            again.blocks.clone_from(&relay.blocks);
            again.input(Input::UplinkReachable(uplink(), true));
            again.read_on();
            let repeated: Vec<u64> = again.windows_of(&alone).into_keys().collect();
            assert_eq!(repeated, [30], "nobody will complete it, rng {rng}");
        }
    }
    assert_eq!(
        orders.len(),
        2,
        "control: both orders of the tags were tried"
    );
}

#[test]
fn patterns_choose_windows_readings_or_nothing_for_each_series() {
    let patterns = |text: &str| vec![text.parse().expect("a pattern")];
    let config = UplinkConfig {
        patterns: patterns("press/**"),
        raw: patterns("press-2:*/vibration"),
        exclude: patterns("**/secret"),
        ..Desk::uplink_config()
    };
    let mut desk = Desk::start_with(Recovered::default(), config);
    desk.input(Input::UplinkReachable(uplink(), true));
    desk.advance(SOON);

    for name in [
        "drive/current",
        "press/secret",
        "press/vibration",
        "press/oil",
    ] {
        desk.publish_as(name, 1, 20.0);
        desk.publish_as(name, 2, 30.0);
    }
    desk.advance(WINDOW_ENDED);

    let windows = desk.uploads.iter().map(|(_, w)| w.key.series.name.as_str());
    assert_eq!(windows.collect::<Vec<_>>(), ["press/oil"]);
    assert_eq!(desk.uploads[0].1.summary.count, 2);
    let raw = |record: &RawRecord| (record.key.series.name.to_string(), record.value.clone());
    let vibration = |value| ("press/vibration".to_owned(), Value::F64(value));
    let readings: Vec<_> = desk.raw.iter().map(|(_, record)| raw(record)).collect();
    assert_eq!(readings, [vibration(20.0), vibration(30.0)]);

    let window = desk.uploads[0].0;
    let ids: Vec<_> = desk.raw.iter().map(|(id, _)| *id).collect();
    desk.acknowledge(&ids);
    let covered = |desk: &Desk| desk.progress_told().map(|progress| progress.watermark);
    let window_end = Some(NOON.saturating_add(WINDOW));
    assert!(
        covered(&desk) < window_end,
        "the window is not acknowledged"
    );
    desk.acknowledge(&[window]);
    assert!(covered(&desk) >= window_end);
}
