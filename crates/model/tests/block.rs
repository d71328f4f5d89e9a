//! Blocks give back every bit of what was sealed, and whatever bytes arrive, decoding stays within
//! its limits.

use bytes::Bytes;
use model::block::{HashPrefix, decoded_bytes};
use model::{
    Block, BlockHeader, Draft, Epoch, LogId, MachineId, NetworkId, Position, PublisherMark,
    Quality, QualityLevel, QualityReason, Reading, SeriesNumber, Signature, Timestamp, Value,
    ValueType,
};
use proptest::prelude::*;

const NETWORK: NetworkId = NetworkId::from_bytes([3; 32]);

fn sign(digest: &[u8; 32]) -> Signature {
    let mut signature = [9; 64];
    signature[..32].copy_from_slice(digest);
    Signature(signature)
}

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
        (any::<i64>(), any::<i64>()),
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

        if let Ok(readings) = Block::parse(Bytes::from(bytes)).and_then(|block| block.readings()) {
            prop_assert!(readings.len() <= Block::READINGS_MAX);
            let decoded = readings.iter().map(decoded_bytes).sum::<usize>();
            prop_assert!(decoded <= Block::DECODED_BYTES_MAX);
        }
    }
}
