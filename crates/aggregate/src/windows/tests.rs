use std::collections::BTreeMap;

use model::{Epoch, HashPrefix, Labels, LogId, Quality, QualityLevel, QualityReason, SeriesNumber};
use model::{Value, ValueType};
use proptest::prelude::*;

use super::*;

mod exact;
mod relays;

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

/// A block that was sealed when its watermark says, as from an origin without disorder.
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
            sealed: watermark,
            watermark,
            count: u32::try_from(readings.len()).expect("small"),
            urgent: false,
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
fn a_late_reading_makes_a_record_with_a_later_contributor_once_time_has_gone_on() {
    let mut windows = windows();
    let late = |sequence, watermark| {
        let reading = reading(0, seconds(0), 1.0);
        block(position(1, sequence), watermark, vec![reading])
    };
    let nothing = |sequence, watermark| block(position(1, sequence), watermark, vec![]);

    let first = apply(&mut windows, &late(1, seconds(1))).expect("applied");
    let revised = apply(&mut windows, &late(2, seconds(1))).expect("applied");
    let given = apply(&mut windows, &nothing(3, seconds(2))).expect("applied");

    assert_eq!(names(&first), [(0, 1, 1, true)]);
    assert_eq!(names(&revised), []);
    assert_eq!(names(&given), [(0, 1, 2, true)]);
    assert_eq!(given.records[0].summary.count, 2);
}

#[test]
fn a_reading_for_a_window_that_has_left_memory_is_in_a_record_after_a_scan_of_the_log() {
    let mut windows = windows();
    let with = |sequence, watermark, at| {
        let reading = reading(0, seconds(at), 1.0);
        block(position(1, sequence), watermark, vec![reading])
    };
    let log = [
        with(1, seconds(1), 0),
        with(2, seconds(9), 8),
        with(3, seconds(9), 0),
    ];
    fold(&mut windows, &log);
    let before = windows.progress().expect("blocks were applied");

    assert!(windows.wants_scan());
    let scanned = scan_all(&mut windows, &log);

    assert_eq!(names(&scanned), [(0, 1, 3, true), (0, 3, 3, true)]);
    assert_eq!(scanned.records[0].summary.count, 2);
    assert!(!windows.wants_scan());
    assert!(
        !before.covers(position(1, 3), seconds(1)),
        "it was not in a record"
    );
    let after = windows.progress().expect("blocks were applied");
    assert!(after.covers(position(1, 3), seconds(1)));
}

#[test]
fn what_the_log_does_not_hold_any_more_is_given_up_and_not_guessed() {
    let mut windows = windows();
    let with = |sequence, at| {
        let reading = reading(0, seconds(at), 1.0);
        block(position(1, sequence), seconds(10_000), vec![reading])
    };
    let log = [with(7, 9_000), with(8, 10_400)];

    fold(&mut windows, &log);
    let lacking = horizon_before(&log[0].header);
    let mut lost = 0;
    while let Some(scan) = windows.scan() {
        lost += windows
            .end_scan(scan_log(scan, &log), Some(lacking))
            .windows_lost;
    }
    let rest = windows.pass(position(1, 8), seconds(20_000));

    assert_eq!(lost, 2, "the windows of 9,000 s may lack readings");
    assert_eq!(names(&rest), [(10_400, 1, 8, true), (10_398, 3, 8, true)]);
}

#[test]
fn a_reading_far_ahead_moves_no_watermark_and_one_that_is_flagged_is_in_no_window() {
    let mut windows = windows();
    let mut flagged = reading(0, seconds(1_000_000), 1.0);
    flagged.quality = Quality::new(QualityLevel::Bad, QualityReason::TimeAhead);
    let readings = vec![reading(0, seconds(2_000_000), 1.0), flagged];

    let applied =
        apply(&mut windows, &block(position(1, 1), seconds(0), readings)).expect("applied");

    assert_eq!((names(&applied), applied.misdated), (vec![], 2));
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

    assert_eq!(applied.expect("applied").misdated, 4);
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
fn of_a_silent_origin_a_window_with_a_late_reading_is_given_again_and_once() {
    let mut windows = windows();
    for (sequence, value) in [(1, 1.0), (2, 2.0)] {
        let late = vec![reading(0, seconds(0), value)];
        apply(
            &mut windows,
            &block(position(1, sequence), seconds(9), late),
        )
        .expect("applied");
    }
    assert!(windows.has_unfinished());

    assert_eq!(
        names(&windows.give_up()),
        [(0, 1, 2, true), (0, 3, 2, true)]
    );

    assert!(!windows.has_unfinished());
    assert_eq!(names(&windows.give_up()), []);
}

#[test]
fn windows_for_which_there_is_no_memory_are_computed_from_the_log_when_they_are_due() {
    let config = Config {
        windows_max: 2,
        lengths: vec![Duration::from_secs(1)],
        ..config()
    };
    let mut windows = Windows::new(NETWORK, MACHINE, config);
    let readings = (0..4)
        .map(|second| reading(0, seconds(second), 1.0))
        .collect();
    let log = [
        block(position(1, 1), seconds(0), readings),
        block(position(1, 2), seconds(9), vec![]),
    ];

    let kept = fold(&mut windows, &log);
    let scanned = scan_all(&mut windows, &log);

    assert_eq!(names(&kept), [(0, 1, 1, true), (1, 1, 1, true)]);
    assert_eq!(names(&scanned), [(2, 1, 1, true), (3, 1, 1, true)]);
}

#[test]
fn a_clock_that_was_ahead_for_a_while_takes_no_window_from_the_time_after_it() {
    let mut windows = windows();
    let day = 86_400;
    let mut log = Vec::new();
    // Ten blocks right, ten a day ahead, thirty right; the watermark never goes back.
    for n in 1..=50 {
        let now = i64::try_from(n).expect("small") + if (11..=20).contains(&n) { day } else { 0 };
        let watermark = seconds(if n <= 10 {
            now
        } else {
            now.max(day + n.min(20) as i64)
        });
        let mut block = block(
            position(1, n),
            watermark,
            vec![reading(0, seconds(now), 1.0)],
        );
        block.header.sealed = seconds(now);
        log.push(block);
    }

    let mut records = Vec::new();
    for (index, block) in log.iter().enumerate() {
        records.extend(apply(&mut windows, block).expect("in order").records);
        if index % 7 == 0 {
            records.extend(scan_all(&mut windows, &log[..=index]).records);
        }
    }
    records.extend(windows.pass(position(1, 50), seconds(2 * day)).records);
    records.extend(scan_all(&mut windows, &log).records);

    exact::check_all(&config(), &log, &records).expect("every window is there");
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
    assert!(matches!(wiped, Err(AggregateError::OutOfOrder { .. })));
    assert!(next.is_ok());
    assert_eq!(windows.last(), Some(position(2, 1)));
}

#[test]
fn what_is_given_after_a_cut_outranks_what_was_given_of_stragglers() {
    let at = |sequence, end| {
        block(
            position(1, sequence),
            end,
            vec![reading(1, seconds(1), 2.0)],
        )
    };
    let (kept, straggler) = (at(1, seconds(1)), at(2, seconds(20)));
    let mut cut = block(position(2, 1), seconds(20), vec![]);
    cut.header.continues = Some(position(1, 1));

    let astray = fold(&mut windows(), &[kept.clone(), straggler]);
    let right = fold(&mut windows(), &[kept, cut]);

    assert_eq!(names(&astray), [(1, 1, 2, true), (0, 3, 2, true)]);
    for (astray, right) in astray.records.into_iter().zip(right.records) {
        assert_eq!((astray.summary.count, right.summary.count), (2, 1));
        assert_eq!(astray.key.window_start, right.key.window_start);
        assert!(right.key.position() > astray.key.position());
    }
}

#[test]
fn a_progress_beyond_the_cut_is_not_relied_on() {
    let progress = Progress {
        through: position(1, 5),
        watermark: seconds(50),
        late: None,
        resume: position(1, 2),
        horizon: Timestamp::MIN,
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

/// What a fold gives.
fn fold(windows: &mut Windows, log: &[TestBlock]) -> Applied {
    let mut all = Applied::default();
    for block in log {
        let applied = apply(windows, block).expect("in order");
        all.records.extend(applied.records);
        all.misdated += applied.misdated;
        all.windows_lost += applied.windows_lost;
    }
    all
}

fn scan_log(mut scan: Scan, log: &[TestBlock]) -> Scan {
    let (from, to) = scan.times();
    let definitions = definitions();
    for block in log {
        if block.readings.iter().any(|r| from <= r.time && r.time < to) {
            let define = |number| definitions.get(&number);
            let added = scan.apply(&block.header, &block.readings, define);
            added.expect("every series is defined");
        }
    }
    scan
}

/// Runs all scans that are due; the log ends with the last block that was applied.
fn scan_all(windows: &mut Windows, log: &[TestBlock]) -> Applied {
    let mut all = Applied::default();
    while let Some(scan) = windows.scan() {
        let applied = windows.end_scan(scan_log(scan, log), None);
        all.records.extend(applied.records);
        all.windows_lost += applied.windows_lost;
    }
    all
}
