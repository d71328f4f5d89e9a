//! Blocks give back every bit of what was sealed, and whatever bytes arrive, decoding stays within
//! its limits.

use model::block::{HashPrefix, decoded_bytes};
use model::{
    Block, BlockError, BlockHeader, Draft, Epoch, LogId, MachineId, NetworkId, Position,
    PublisherMark, Quality, QualityLevel, QualityReason, Reading, SeriesNumber, Timestamp, Value,
    ValueType,
};
use proptest::prelude::*;

use crate::common::{NETWORK, header_of, seal, sign, walk};

fn header() -> impl Strategy<Value = BlockHeader> {
    let epoch = || (any::<u64>(), any::<u32>()).prop_map(|(counter, tag)| Epoch { counter, tag });
    let position = (epoch(), any::<u64>());
    let position = position.prop_map(|(epoch, sequence)| Position { epoch, sequence });
    let mark = (".{0,16}", any::<u64>()).prop_map(|(publisher, sequence)| PublisherMark {
        publisher,
        sequence,
    });
    (
        (any::<[u8; 32]>(), epoch(), 1..=u64::MAX),
        (any::<[u8; 16]>(), prop::option::of(position)),
        (any::<i64>(), any::<i64>(), any::<bool>()),
        prop::collection::vec(mark, 0..4),
    )
        .prop_map(|(log, before, times, publishers)| BlockHeader {
            log: LogId {
                machine: MachineId::from_bytes(log.0),
                epoch: log.1,
            },
            sequence: log.2,
            previous: HashPrefix(before.0),
            continues: before.1,
            sealed: Timestamp::from_nanos(times.0),
            watermark: Timestamp::from_nanos(times.1),
            count: 0,
            urgent: times.2,
            publishers,
        })
}

fn double() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        (-1_000_000_i32..1_000_000, 0_i32..4).prop_map(|(n, k)| f64::from(n) / 10_f64.powi(k)),
        prop::sample::select(vec![
            -0.0,
            0.0,
            f64::NAN,
            f64::from_bits(0x7ff4_0000_0000_0001),
            f64::from_bits(0xfff8_dead_beef_0001),
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MIN_POSITIVE,
            f64::from_bits(1),
            f64::MAX,
        ]),
    ]
}

fn value(value_type: ValueType) -> BoxedStrategy<Value> {
    let value = match value_type {
        ValueType::F64 => double().prop_map(Value::F64).boxed(),
        ValueType::I64 => prop_oneof![any::<i64>(), -9_i64..9, Just(i64::MIN), Just(i64::MAX)]
            .prop_map(Value::I64)
            .boxed(),
        ValueType::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        ValueType::Text => ".{0,9}".prop_map(Value::Text).boxed(),
        ValueType::Bytes => prop::collection::vec(any::<u8>(), 0..9)
            .prop_map(Value::Bytes)
            .boxed(),
    };
    prop_oneof![1 => Just(Value::Null), 9 => value].boxed()
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        any::<i64>(),
        (0_i64..1_000_000).prop_map(|n| n * 1_000_000),
        Just(i64::MIN),
        Just(i64::MAX),
    ]
    .prop_map(Timestamp::from_nanos)
}

fn quality() -> impl Strategy<Value = Quality> {
    let any = (
        prop::sample::select(QualityLevel::ALL.to_vec()),
        prop::sample::select(QualityReason::ALL.to_vec()),
    );
    prop_oneof![
        4 => Just(Quality::GOOD),
        1 => any.prop_map(|(level, reason)| Quality::new(level, reason)),
    ]
}

/// Readings of up to five series, one of each type, with numbers of any size.
fn readings() -> impl Strategy<Value = Vec<Reading>> {
    let types = [
        ValueType::F64,
        ValueType::I64,
        ValueType::Bool,
        ValueType::Text,
        ValueType::Bytes,
    ];
    let numbers = prop::collection::btree_set(any::<u32>(), types.len());
    let rows = prop::collection::vec(
        prop::sample::select((0..types.len()).collect::<Vec<_>>())
            .prop_flat_map(move |at| (Just(at), time(), value(types[at]), quality())),
        0..300,
    );
    (numbers, rows).prop_map(|(numbers, rows)| {
        let numbers = numbers.into_iter().collect::<Vec<_>>();
        rows.into_iter()
            .map(|(at, time, value, quality)| Reading {
                series: SeriesNumber(numbers[at]),
                time,
                value,
                quality,
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn a_block_gives_back_every_bit_in_the_order_of_the_indices(
        header in header(),
        mut readings in readings(),
    ) {
        let draft = Draft { header: header.clone(), readings: readings.clone() };

        let sealed = draft.seal(&NETWORK, sign).expect("it fits");
        let parsed = Block::parse(sealed.as_bytes().clone()).expect("it parses");

        readings.sort_by_key(|reading| reading.series);
        let count = u32::try_from(readings.len()).expect("few readings");
        prop_assert_eq!(&parsed, &sealed);
        prop_assert_eq!(parsed.header(), &BlockHeader { count, ..header });
        prop_assert_eq!(parsed.readings().expect("it decodes"), readings);
        prop_assert_eq!(parsed.signature(), sign(&parsed.hash(&NETWORK).0));
    }

    #[test]
    fn a_changed_block_is_refused_or_decodes_within_the_limits(
        header in header(),
        readings in readings(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let block = Draft { header, readings }.seal(&NETWORK, sign).expect("it fits");
        let mut bytes = block.as_bytes().to_vec();

        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }

        assert_decodes_within_the_limits(bytes);
    }
}

/// Whatever the bytes are, they are refused or decode to no more than a block may hold.
fn assert_decodes_within_the_limits(bytes: Vec<u8>) {
    let Ok(readings) = Block::parse(bytes.into()).and_then(|block| block.readings()) else {
        return;
    };
    let decoded = readings.iter().map(decoded_bytes).sum::<usize>();
    assert!(readings.len() <= Block::READINGS_MAX);
    assert!(decoded <= Block::DECODED_BYTES_MAX);
}

/// One reading of `value` in each of `count` series.
fn lone(count: u32, value: &Value) -> Vec<Reading> {
    (0..count)
        .map(|number| Reading {
            series: SeriesNumber(number),
            time: Timestamp::from_nanos(1_700_000_000_000_000_000),
            value: value.clone(),
            quality: Quality::GOOD,
        })
        .collect()
}

#[test]
fn every_cut_of_a_block_is_refused() {
    let bytes = seal(walk(200)).as_bytes().clone();

    for length in 0..bytes.len() {
        let cut = Block::parse(bytes.slice(..length)).and_then(|block| block.readings());
        assert!(cut.is_err(), "cut to {length} bytes");
    }
}

#[test]
fn adversarial_36_every_change_of_one_byte_is_refused_or_decodes_within_the_limits() {
    let bytes = seal(walk(300)).as_bytes().to_vec();

    for index in 0..bytes.len() {
        for change in [0x01, 0x10, 0x80, 0xff, bytes[index]] {
            let mut changed = bytes.clone();
            changed[index] ^= change;
            assert_decodes_within_the_limits(changed);
        }
    }
}

#[test]
fn the_most_readings_fit_and_one_more_does_not() {
    let most = u32::try_from(Block::READINGS_MAX).expect("a small number");
    let full = seal(lone(most, &Value::F64(f64::NAN)));

    let refused = Draft {
        header: header_of(1),
        readings: lone(most + 1, &Value::Null),
    }
    .seal(&NETWORK, sign);

    assert_eq!(full.readings().map(|r| r.len()), Ok(Block::READINGS_MAX));
    assert!(matches!(refused, Err(BlockError::OverLimit { .. })));
}

/// Readings that compress not at all, until they reach the fill limit.
fn incompressible(readings_of_a_series: u32, content: usize) -> Vec<Reading> {
    let mut random = 1_u64;
    let mut next = || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        random ^ random >> 29
    };
    let mut fill = 0;
    (0..)
        .map(|index| Reading {
            series: SeriesNumber(u32::MAX - 1_000_000 * (index / readings_of_a_series)),
            time: Timestamp::from_nanos(next().cast_signed()),
            value: match content {
                0 => Value::F64(f64::from_bits(next())),
                length => Value::Bytes((0..length).map(|_| next().to_le_bytes()[0]).collect()),
            },
            quality: Quality::new(
                QualityLevel::ALL[next().count_ones() as usize % 4],
                QualityReason::None,
            ),
        })
        .take(Block::READINGS_MAX)
        .take_while(|reading| {
            fill += decoded_bytes(reading);
            fill <= Block::FILL_BYTES_MAX
        })
        .collect()
}

#[test]
fn readings_within_the_fill_limit_always_fit() {
    let mark = PublisherMark {
        publisher: "p".repeat(PublisherMark::NAME_BYTES_MAX),
        sequence: u64::MAX,
    };
    let header = BlockHeader {
        publishers: vec![mark; Block::PUBLISHERS_MAX],
        ..header_of(u64::MAX)
    };
    for readings_of_a_series in [1, 2, 3, 4, 40, 5_000] {
        for content in [0, 1, 6, 7, 8, 300, 60_000] {
            let header = header.clone();
            let readings = incompressible(readings_of_a_series, content);

            let sealed = Draft { header, readings }.seal(&NETWORK, sign);

            assert!(
                sealed.is_ok(),
                "{readings_of_a_series} of {content}: {sealed:?}"
            );
        }
    }
}

#[test]
fn adversarial_36_a_block_larger_than_the_limit_is_refused_before_it_is_read() {
    let bytes = vec![0; Block::ENCODED_BYTES_MAX + 1];

    assert!(matches!(
        Block::parse(bytes.into()),
        Err(BlockError::OverLimit { .. })
    ));
}

#[test]
fn adversarial_36_readings_that_would_decode_to_too_much_are_refused_at_both_ends() {
    let text = Value::Text("a".repeat(Value::BYTES_MAX));
    let most = Block::DECODED_BYTES_MAX / Value::BYTES_MAX - 1;
    let repeated = |count: usize| {
        let readings = lone(u32::try_from(count).expect("a small number"), &text);
        let one_series = readings.into_iter().map(|reading| Reading {
            series: SeriesNumber(1),
            ..reading
        });
        Draft {
            header: header_of(1),
            readings: one_series.collect(),
        }
        .seal(&NETWORK, sign)
    };

    let full = repeated(most).expect("it fits");
    let refused = repeated(most + 1);

    assert_eq!(full.readings().map(|r| r.len()), Ok(most));
    assert!(matches!(refused, Err(BlockError::OverLimit { .. })));
    // The same block, but with two more readings in its counts, repeats of the text.
    let honest = full.as_bytes();
    let count = u8::try_from(most).expect("a small number");
    let changed = honest
        .iter()
        .map(|b| if *b == count { count + 2 } else { *b });
    let mut changed = changed.collect::<Vec<_>>();
    changed.splice(honest.len() - 64..honest.len() - 64, [0, 0]);
    let block = Block::parse(changed.into()).expect("the header is within its limits");
    assert!(matches!(
        block.readings(),
        Err(BlockError::OverLimit {
            what: "decoded block",
            ..
        })
    ));
}

#[test]
fn a_value_longer_than_the_limit_is_refused() {
    let refused = |value: Value| {
        let readings = lone(1, &value);
        let header = header_of(1);
        Draft { header, readings }.seal(&NETWORK, sign).is_err()
    };

    assert!(!refused(Value::Bytes(vec![0; Value::BYTES_MAX])));
    assert!(refused(Value::Bytes(vec![0; Value::BYTES_MAX + 1])));
}

#[test]
fn more_or_longer_publishers_than_the_limit_are_refused() {
    let refused = |count: usize, length: usize| {
        let mark = PublisherMark {
            publisher: "p".repeat(length),
            sequence: u64::MAX,
        };
        let header = BlockHeader {
            publishers: vec![mark; count],
            ..header_of(1)
        };
        let readings = Vec::new();
        Draft { header, readings }.seal(&NETWORK, sign).is_err()
    };
    let (most, longest) = (Block::PUBLISHERS_MAX, PublisherMark::NAME_BYTES_MAX);

    assert!(!refused(most, longest));
    assert!(refused(most + 1, 1));
    assert!(refused(1, longest + 1));
}

#[test]
fn values_of_two_types_in_one_series_are_refused() {
    let mut readings = lone(2, &Value::I64(1));
    readings[1].series = readings[0].series;
    readings[1].value = Value::Bool(true);
    let header = header_of(1);

    assert!(Draft { header, readings }.seal(&NETWORK, sign).is_err());
}

#[test]
fn another_version_is_named_in_the_error() {
    let mut bytes = seal(walk(1)).as_bytes().to_vec();
    bytes[0] = 3;

    assert_eq!(Block::parse(bytes.into()), Err(BlockError::Version(3)));
}

#[test]
fn the_hash_covers_the_network_and_every_byte_but_the_signature() {
    let block = seal(walk(3));
    let other = NetworkId::from_bytes([4; 32]);
    let mut bytes = block.as_bytes().to_vec();
    let signature = bytes.len() - 64;

    bytes[signature] ^= 1;
    let resigned = Block::parse(bytes.clone().into()).expect("it parses");
    bytes[signature - 1] ^= 1;
    let changed = Block::parse(bytes.into()).expect("the header is as before");

    assert_ne!(block.hash(&NETWORK), block.hash(&other));
    assert_eq!(block.hash(&NETWORK), resigned.hash(&NETWORK));
    assert_ne!(block.hash(&NETWORK), changed.hash(&NETWORK));
}

#[test]
fn a_lone_reading_of_64_bytes_costs_at_most_160_bytes_more() {
    let block = seal(lone(1, &Value::Bytes(vec![0xa5; 64])));

    assert!(
        block.as_bytes().len() <= 64 + 160,
        "{}",
        block.as_bytes().len()
    );
}
