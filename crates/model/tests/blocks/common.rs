//! What the tests of blocks share: a network, a signature that needs no key, made-up readings.

use model::block::HashPrefix;
use model::{
    Block, BlockHeader, Draft, Epoch, LogId, MachineId, NetworkId, Quality, Reading, SeriesNumber,
    Signature, Timestamp, Value,
};

/// The network that every block is for.
pub(crate) const NETWORK: NetworkId = NetworkId::from_bytes([3; 32]);

/// Stands in for a signature, such that it depends on the digest.
pub(crate) fn sign(digest: &[u8; 32]) -> Signature {
    let mut signature = [9; 64];
    signature[..32].copy_from_slice(digest);
    Signature(signature)
}

/// The header of a block in the middle of a log.
pub(crate) fn header_of(sequence: u64) -> BlockHeader {
    let sealed = Timestamp::from_nanos(1_700_000_000_123_456_789);
    BlockHeader {
        log: LogId {
            machine: MachineId::from_bytes([7; 32]),
            epoch: Epoch {
                counter: 3,
                tag: 0x9f2c_11aa,
            },
        },
        sequence,
        previous: HashPrefix([5; 16]),
        continues: None,
        sealed,
        watermark: Timestamp::from_nanos(1_700_000_000_000_000_000),
        count: 0,
        urgent: false,
        publishers: Vec::new(),
    }
}

/// Seals readings under [`header_of`] block 1,234.
pub(crate) fn seal(readings: Vec<Reading>) -> Block {
    let header = header_of(1_234);
    Draft { header, readings }
        .seal(&NETWORK, sign)
        .expect("it fits")
}

/// Readings of two series once a second: a random walk in hundredths, and a count of it.
pub(crate) fn walk(rows: i32) -> Vec<Reading> {
    let (mut random, mut hundredths) = (1_u32, 650_i32);
    (0..rows)
        .flat_map(|row| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let coin_tosses = (random >> 8).count_ones() * 2;
            hundredths += i32::try_from(coin_tosses).expect("a small number") - 24;
            let time = 1_700_000_000_000_000_000 + i64::from(row) * 1_000_000_000;
            let reading = |number, value| Reading {
                series: SeriesNumber(number),
                time: Timestamp::from_nanos(time),
                value,
                quality: Quality::GOOD,
            };
            [
                reading(4, Value::F64(f64::from(hundredths) / 100.0)),
                reading(9, Value::I64(i64::from(row) * 17)),
            ]
        })
        .collect()
}
