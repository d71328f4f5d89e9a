//! Bytes that were written once decode to the same for ever.
//!
//! A file in `tests/golden` is never changed: it stands for what lies on machines' disks. A new
//! format version gets new files beside these. Only if a new `pco` writes other bytes for the same
//! readings may `walk.hex` be kept for decoding alone, with a newer one beside it.

use bytes::Bytes;
use model::block::HashPrefix;
use model::{
    Block, BlockHeader, Draft, Epoch, MachineId, Position, PublisherMark, Quality, QualityLevel,
    QualityReason, Reading, SeriesNumber, Signature, State, StateDraft, StateKey, StateKind,
    StateVersion, Timestamp, Value,
};

use crate::common::{NETWORK, header_of, sign, walk};

/// A lone text in the first block of an origin.
fn lone() -> Draft {
    let header = BlockHeader {
        previous: HashPrefix::NONE,
        ..header_of(1)
    };
    let reading = Reading {
        series: SeriesNumber(300),
        time: header.sealed,
        value: Value::Text("Grüße von der Presse".to_owned()),
        quality: Quality::GOOD,
    };
    Draft {
        header,
        readings: vec![reading],
    }
}

/// Every type, the values that are easily lost, every flag of header and columns.
fn mixed() -> Draft {
    let header = BlockHeader {
        continues: Some(Position {
            epoch: Epoch {
                counter: 2,
                tag: 0xdead_beef,
            },
            sequence: 77,
        }),
        urgent: true,
        publishers: vec![PublisherMark {
            publisher: "historian".to_owned(),
            sequence: 1_000_001,
        }],
        ..header_of(1)
    };
    let stale = Quality::new(QualityLevel::Stale, QualityReason::DeviceUnreachable);
    let columns: [(u32, [Value; 3]); 6] = [
        (
            1,
            [-0.0, f64::from_bits(0x7ff4_0000_0000_0001), 0.1].map(Value::F64),
        ),
        (2, [6.87, -0.5, 1e6].map(Value::F64)),
        (3, [i64::MIN, i64::MAX, -1].map(Value::I64)),
        (4, [Value::Bool(true), Value::Null, Value::Bool(false)]),
        (5, ["on", "on", ""].map(|text| Value::Text(text.to_owned()))),
        (
            4_000_000_000,
            [Value::Null, Value::Bytes(vec![0, 255]), Value::Null],
        ),
    ];
    let readings = columns.into_iter().flat_map(|(number, values)| {
        let times = [i64::MIN, 1_700_000_000_000_000_000, i64::MAX];
        values
            .into_iter()
            .zip(times)
            .map(move |(value, nanos)| Reading {
                series: SeriesNumber(number),
                time: Timestamp::from_nanos(nanos),
                quality: if value == Value::Null {
                    stale
                } else {
                    Quality::GOOD
                },
                value,
            })
    });
    Draft {
        header,
        readings: readings.collect(),
    }
}

fn walked() -> Draft {
    Draft {
        header: header_of(1_234),
        readings: walk(300),
    }
}

#[test]
fn a_lone_reading_is_written_and_read_as_ever() {
    check(lone(), include_str!("../golden/lone.hex"));
}

#[test]
fn every_type_of_value_is_written_and_read_as_ever() {
    check(mixed(), include_str!("../golden/mixed.hex"));
}

#[test]
fn long_columns_are_written_and_read_as_ever() {
    check(walked(), include_str!("../golden/walk.hex"));
}

#[test]
fn a_state_is_written_and_read_as_ever() {
    let draft = StateDraft {
        key: StateKey {
            origin: MachineId::from_bytes([7; 32]),
            kind: StateKind::Series,
            subject: "3-9f2c11aa/12".to_owned(),
        },
        version: StateVersion {
            epoch: 3,
            counter: 41,
        },
        payload: Bytes::from_static(b"payload"),
    };
    let golden = bytes_of(include_str!("../golden/state.hex"));

    let sealed = draft.seal(&NETWORK, sign);

    assert_eq!(hex(sealed.as_bytes()), hex(&golden));
    assert_eq!(State::decode(golden.into()), Ok(sealed));
}

/// Checks that the draft is sealed to the golden bytes, readings and signature included, and that
/// they read back as the draft.
fn check(mut draft: Draft, golden: &str) {
    let sealed = draft.clone().seal(&NETWORK, sign).expect("it fits");
    draft.readings.sort_by_key(|reading| reading.series);
    draft.header.count = u32::try_from(draft.readings.len()).expect("few readings");

    assert_eq!(hex(sealed.as_bytes()), hex(&bytes_of(golden)));
    let block = Block::parse(bytes_of(golden).into()).expect("it parses");
    assert_eq!(block.header(), &draft.header);
    assert_eq!(block.readings(), Ok(draft.readings));
    assert_eq!(
        block.signature(),
        Signature(sign(&block.hash(&NETWORK).0).0)
    );
}

/// The bytes of a golden file: hexadecimal digits in lines.
fn bytes_of(golden: &str) -> Vec<u8> {
    let digits = golden.split_whitespace().collect::<String>();
    (0..digits.len() / 2)
        .map(|index| {
            let byte = digits.get(2 * index..2 * index + 2).expect("ASCII");
            u8::from_str_radix(byte, 16).expect("hexadecimal digits")
        })
        .collect()
}

/// What a golden file holds for these bytes.
fn hex(bytes: &[u8]) -> String {
    bytes
        .chunks(48)
        .map(|line| line.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n")
        .collect()
}
