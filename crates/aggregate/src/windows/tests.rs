use std::collections::BTreeMap;

use model::{HashPrefix, Labels, LogId, Quality, QualityLevel, Value, ValueType};
use proptest::prelude::*;

use super::*;

mod exact;

const NETWORK: NetworkId = NetworkId::from_bytes([1; 32]);
const MACHINE: MachineId = MachineId::from_bytes([2; 32]);
const SECOND: i64 = 1_000_000_000;

/// A block before it has a signature.
#[derive(Clone, Debug)]
struct TestBlock {
    header: BlockHeader,
    readings: Vec<Reading>,
}

fn config() -> Config {
    Config {
        lengths: vec![Duration::from_secs(1), Duration::from_secs(3)],
        allowed_lateness: Duration::from_secs(2),
        windows_max: 10_000,
    }
}

fn seconds(seconds: i64) -> Timestamp {
    Timestamp::from_nanos(seconds * SECOND)
}

fn position(epoch: u64, sequence: Sequence) -> Position {
    let epoch = Epoch {
        counter: epoch,
        tag: 7,
    };
    Position { epoch, sequence }
}

fn reading(series: u32, time: Timestamp, value: f64) -> Reading {
    Reading {
        series: SeriesNumber(series),
        time,
        value: Value::F64(value),
        quality: Quality::GOOD,
    }
}

fn block(at: Position, watermark: Timestamp, readings: Vec<Reading>) -> TestBlock {
    let log = LogId {
        machine: MACHINE,
        epoch: at.epoch,
    };
    TestBlock {
        header: BlockHeader {
            log,
            sequence: at.sequence,
            previous: HashPrefix::NONE,
            continues: None,
            sealed: Timestamp::default(),
            watermark,
            count: u32::try_from(readings.len()).expect("small"),
            publishers: Vec::new(),
        },
        readings,
    }
}

/// Series 0 to 9 are numbers, the others text.
fn definitions() -> BTreeMap<SeriesNumber, SeriesDefinition> {
    let definition = |number: u32| SeriesDefinition {
        name: format!("series/{number}").parse().expect("a name"),
        unit: "Cel".parse().expect("a unit"),
        value_type: if number < 10 {
            ValueType::F64
        } else {
            ValueType::Text
        },
        labels: Labels::default(),
    };
    (0..12)
        .map(|number| (SeriesNumber(number), definition(number)))
        .collect()
}

fn apply(windows: &mut Windows, block: &TestBlock) -> Result<Applied, AggregateError> {
    let definitions = definitions();
    windows.apply(&block.header, &block.readings, |number| {
        definitions.get(&number)
    })
}

fn windows() -> Windows {
    Windows::new(NETWORK, MACHINE, config())
}

/// (start in seconds, length in seconds, sequence, complete) of records.
fn names(applied: &Applied) -> Vec<(i64, u64, Sequence, bool)> {
    let name = |record: &WindowRecord| {
        let key = &record.key;
        let start = key.window_start.as_nanos() / SECOND;
        (
            start,
            key.window_length.as_secs(),
            key.last_sequence,
            key.complete,
        )
    };
    applied.records.iter().map(name).collect()
}

#[test]
fn a_window_is_complete_when_the_watermark_reaches_its_end() {
    let mut windows = windows();

    let before = apply(
        &mut windows,
        &block(
            position(1, 1),
            seconds(0),
            vec![reading(0, seconds(0), 5.0)],
        ),
    );
    let at_end = apply(&mut windows, &block(position(1, 2), seconds(1), vec![]));

    assert_eq!(names(&before.expect("applied")), []);
    let at_end = at_end.expect("applied");
    assert_eq!(names(&at_end), [(0, 1, 1, true)]);
    let summary = &at_end.records[0].summary;
    assert_eq!(
        (summary.count, summary.mean, summary.sum),
        (1, Some(5.0), 5.0)
    );
    assert_eq!(summary.quantiles, [(0.5, 5.0), (0.95, 5.0), (0.99, 5.0)]);
}

#[test]
fn a_late_reading_makes_a_record_with_a_later_contributor_until_the_window_is_closed() {
    let mut windows = windows();
    let late = |sequence, watermark| {
        block(
            position(1, sequence),
            watermark,
            vec![reading(0, seconds(0), 1.0)],
        )
    };

    let first = apply(&mut windows, &late(1, seconds(1))).expect("applied");
    let revised = apply(&mut windows, &late(2, seconds(5))).expect("applied");
    let dropped = apply(&mut windows, &late(3, seconds(5))).expect("applied");

    assert_eq!(names(&first), [(0, 1, 1, true)]);
    assert_eq!(names(&revised), [(0, 1, 2, true), (0, 3, 2, true)]);
    assert_eq!((names(&dropped), dropped.late_dropped), (vec![], 2));
}

#[test]
fn a_reading_far_ahead_moves_no_watermark_and_one_that_is_flagged_is_in_no_window() {
    let mut windows = windows();
    let mut flagged = reading(0, seconds(1_000_000), 1.0);
    flagged.quality = Quality::new(QualityLevel::Bad, QualityReason::TimeAhead);
    let readings = vec![reading(0, seconds(2_000_000), 1.0), flagged];

    let applied =
        apply(&mut windows, &block(position(1, 1), seconds(0), readings)).expect("applied");

    assert_eq!((names(&applied), applied.ahead_dropped), (vec![], 2));
    assert_eq!(windows.watermark(), seconds(0));
}

#[test]
fn the_ends_of_time_have_no_windows_and_no_overflow() {
    let mut windows = windows();
    let readings = vec![
        reading(0, Timestamp::MIN, 1.0),
        reading(0, Timestamp::MAX, 1.0),
    ];

    let applied = apply(
        &mut windows,
        &block(position(1, 1), Timestamp::MAX, readings),
    );

    assert_eq!(applied.expect("applied").late_dropped, 4);
}

#[test]
fn a_silent_origin_gives_partial_records_once_and_complete_ones_later() {
    let mut windows = windows();
    apply(
        &mut windows,
        &block(
            position(1, 1),
            seconds(0),
            vec![reading(0, seconds(0), 1.0)],
        ),
    )
    .expect("applied");

    assert!(windows.has_unfinished());
    assert_eq!(
        names(&windows.give_up()),
        [(0, 1, 1, false), (0, 3, 1, false)]
    );
    assert!(!windows.has_unfinished());
    assert_eq!(names(&windows.give_up()), []);
    assert_eq!(names(&windows.pass(position(1, 2), seconds(9))), []);
    assert_eq!(
        names(&windows.pass(position(1, 1), seconds(9))),
        [(0, 1, 1, true), (0, 3, 1, true)]
    );
}

#[test]
fn beyond_the_limit_the_oldest_windows_are_closed_as_they_are() {
    let mut windows = Windows::new(
        NETWORK,
        MACHINE,
        Config {
            windows_max: 2,
            lengths: vec![Duration::from_secs(1)],
            ..config()
        },
    );
    let readings = (0..4)
        .map(|second| reading(0, seconds(second), 1.0))
        .collect();

    let applied = apply(&mut windows, &block(position(1, 1), seconds(0), readings));
    let reopened = apply(
        &mut windows,
        &block(
            position(1, 2),
            seconds(0),
            vec![reading(0, seconds(1), 1.0)],
        ),
    );

    assert_eq!(
        names(&applied.expect("applied")),
        [(0, 1, 1, false), (1, 1, 1, false)]
    );
    assert_eq!(reopened.expect("applied").late_dropped, 1);
}

#[test]
fn blocks_are_taken_in_order_and_a_refused_one_changes_nothing() {
    let mut windows = windows();
    let mut undefined = block(
        position(1, 2),
        seconds(9),
        vec![reading(0, seconds(0), 1.0)],
    );
    undefined.readings.push(reading(99, seconds(0), 1.0));
    apply(&mut windows, &block(position(1, 1), seconds(0), vec![])).expect("applied");

    let skipped = apply(&mut windows, &block(position(1, 3), seconds(0), vec![]));
    let refused = apply(&mut windows, &undefined);

    assert!(matches!(skipped, Err(AggregateError::OutOfOrder { .. })));
    assert_eq!(refused, Err(AggregateError::Undefined(SeriesNumber(99))));
    assert_eq!(windows.last(), Some(position(1, 1)));
    assert!(!windows.has_unfinished());
}

#[test]
fn an_epoch_follows_the_block_that_it_continues_and_stragglers_are_noticed() {
    let first = |continues| {
        let mut block = block(position(2, 1), seconds(0), vec![]);
        block.header.continues = continues;
        block
    };
    let mut windows = windows();
    for sequence in 1..=3 {
        apply(
            &mut windows,
            &block(position(1, sequence), seconds(0), vec![]),
        )
        .expect("applied");
    }

    let gap = apply(&mut windows.clone(), &first(Some(position(1, 4))));
    let cut = apply(&mut windows.clone(), &first(Some(position(1, 2))));
    let wiped = apply(&mut windows.clone(), &first(None));
    let next = apply(&mut windows, &first(Some(position(1, 3))));

    assert!(matches!(gap, Err(AggregateError::OutOfOrder { .. })));
    assert_eq!(cut, Err(AggregateError::Rewind { to: position(1, 2) }));
    assert!(wiped.is_ok());
    assert!(next.is_ok());
    assert_eq!(windows.last(), Some(position(2, 1)));
}

#[test]
fn a_progress_beyond_the_cut_is_not_relied_on() {
    let progress = Progress {
        through: position(1, 5),
        watermark: seconds(50),
        closed: seconds(48),
        resume: position(1, 2),
    };
    let mut windows = Windows::resume_from(NETWORK, MACHINE, config(), progress);
    let mut next = block(position(2, 1), seconds(0), vec![]);
    next.header.continues = Some(position(1, 2));

    apply(&mut windows, &block(position(1, 2), seconds(0), vec![])).expect("applied");

    let to = position(1, 2);
    assert_eq!(
        apply(&mut windows, &next),
        Err(AggregateError::Rewind { to })
    );
}

fn any_reading() -> impl Strategy<Value = (u32, i64, Value, Quality)> {
    let value = prop_oneof![
        8 => (-100.0..100.0f64).prop_map(Value::F64),
        1 => Just(Value::F64(f64::NAN)),
        1 => Just(Value::F64(-0.0)),
        1 => Just(Value::Null),
        1 => any::<i32>().prop_map(|value| Value::I64(value.into())),
        1 => any::<bool>().prop_map(Value::Bool),
    ];
    let quality = prop_oneof![
        6 => Just(Quality::GOOD),
        1 => Just(Quality::new(QualityLevel::Uncertain, QualityReason::None)),
        1 => Just(Quality::new(QualityLevel::Bad, QualityReason::TimeAhead)),
    ];
    // Offsets against the block's own time, mostly late and a little ahead. Unit: milliseconds.
    let offset = prop_oneof![6 => -1_500..500i64, 1 => -9_000..9_000i64];
    (
        prop_oneof![Just(0), Just(1), Just(10)],
        offset,
        value,
        quality,
    )
}

/// Logs of up to two epochs, in which time goes on by about half a second a block.
fn any_log() -> impl Strategy<Value = Vec<TestBlock>> {
    let readings = prop::collection::vec(any_reading(), 0..8);
    let blocks = prop::collection::vec((readings, 0..1_000i64, -2_500..200i64), 1..40);
    (blocks, 0..40usize).prop_map(|(blocks, second_epoch)| {
        let mut log: Vec<TestBlock> = Vec::new();
        let mut now = 0;
        for (index, (readings, step, behind)) in blocks.into_iter().enumerate() {
            now += step;
            let mut at = log.last().map_or(position(1, 1), |block| {
                let at = block.header.id().position();
                position(at.epoch.counter, at.sequence + 1)
            });
            let starts_epoch = index > 0 && index == second_epoch;
            if starts_epoch {
                at = position(2, 1);
            }
            let mut readings: Vec<Reading> = readings
                .into_iter()
                .map(|(series, offset, value, quality)| Reading {
                    series: SeriesNumber(series),
                    time: Timestamp::from_nanos((now + offset) * 1_000_000),
                    value: if series == 10 {
                        Value::Text(format!("{value:?}"))
                    } else {
                        value
                    },
                    quality,
                })
                .collect();
            readings.sort_by_key(|reading| reading.series);
            let watermark = Timestamp::from_nanos((now + behind) * 1_000_000);
            let mut next = block(at, watermark, readings);
            next.header.continues = log
                .last()
                .map(|block| block.header.id().position())
                .filter(|_| starts_epoch);
            log.push(next);
        }
        log
    })
}

/// What a fold gives block by block, to the bit.
fn fold(windows: &mut Windows, log: &[TestBlock]) -> Vec<String> {
    let applied = log
        .iter()
        .map(|block| apply(windows, block).expect("in order"));
    applied.map(|applied| format!("{applied:?}")).collect()
}

proptest! {
    #[test]
    fn two_folds_give_the_same_bytes_and_the_resumed_one_too(log in any_log(), cut in 0..40usize) {
        let cut = cut.min(log.len() - 1);
        let mut whole = windows();
        let mut expected = fold(&mut whole, &log[..=cut]);
        let progress = whole.progress().expect("blocks were applied");
        expected.extend(fold(&mut whole, &log[cut + 1..]));

        let position = |block: &TestBlock| block.header.id().position();
        let start = log.iter().position(|block| position(block) == progress.resume);
        let mut resumed = Windows::resume_from(NETWORK, MACHINE, config(), progress);
        let again = fold(&mut resumed, &log[start.expect("a block of the log")..]);

        let skipped = cut + 1 - start.expect("a block of the log");
        let nothing = format!("{:?}", Applied::default());
        prop_assert!(again[..skipped].iter().all(|applied| *applied == nothing));
        prop_assert_eq!(&again[skipped..], &expected[cut + 1..]);
        prop_assert_eq!(resumed.progress(), whole.progress());
        prop_assert_eq!(fold(&mut windows(), &log), expected);
    }

    #[test]
    fn records_are_those_of_the_exact_computation(log in any_log()) {
        let mut windows = windows();

        for (index, block) in log.iter().enumerate() {
            let applied = apply(&mut windows, block).expect("in order");
            exact::check(&config(), &log[..=index], &applied)?;
        }
    }
}
