//! What neighbours say to each other.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use gossip::{FrontierEntry, Holdings, Interest, Message as Gossip, Span, Sum, Sums};
use model::block::HashPrefix;
use model::{
    Block, BlockHeader, Draft, Epoch, LogId, MachineId, PublisherMark, Quality, Reading,
    SeriesNumber, StateDraft, StateKey, StateKind, StateVersion, Value,
};
use overlay::{Address, Contact, Hops, Message as Overlay};
use wire::{Frame, decode, encode};

use crate::Outcome;
use crate::world::{NOW, WORLD, Who};

/// Reads a frame, and the block or states in it to their last reading.
///
/// # Panics
///
/// If what was read does not read back as it is written, or a block holds more than it says.
pub fn frames(bytes: &[u8]) -> Outcome {
    let decoded = decode(Bytes::copy_from_slice(bytes));
    let Ok(frame) = &decoded else {
        return Outcome::Refused;
    };
    assert_eq!(decode(encode(frame)).as_ref().ok(), Some(frame));
    if let Frame::Gossip(Gossip::Block { block, .. }) = frame
        && let Ok(readings) = block.readings()
    {
        let count = usize::try_from(block.header().count).expect("32 bits");
        assert_eq!(readings.len(), count);
        assert!(count <= Block::READINGS_MAX);
    }
    Outcome::Accepted
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    all().map(|frame| encode(&frame).to_vec()).collect()
}

/// A frame of each kind, as Alice may send it.
pub(crate) fn all() -> impl Iterator<Item = Frame> {
    let origin = Who::Alice.machine();
    let overlay = [
        Overlay::Join { contact: contact() },
        Overlay::ForwardJoin {
            joiner: contact(),
            ttl: Hops(3),
        },
        Overlay::NeighbourReply { accepted: true },
        Overlay::Shuffle {
            origin: contact(),
            sample: vec![contact()],
            ttl: Hops(2),
        },
    ];
    let gossip = [
        Gossip::Frontier {
            entries: vec![entry()],
            urgent: vec![(log(origin), Span { first: 2, last: 4 })],
            ages: BTreeMap::from([(entry().log, Duration::from_millis(7))]),
            is_news: true,
        },
        Gossip::Interest(interest()),
        Gossip::Sums(Holdings::States, sums()),
        Gossip::Sums(Holdings::SharedLogs, sums()),
        Gossip::StateWant(vec![key()]),
        Gossip::Block {
            block: block(),
            pushed: true,
        },
        Gossip::Want {
            log: log(origin),
            spans: vec![Span { first: 2, last: 9 }],
            is_past: true,
        },
        Gossip::Graft { origin },
        Gossip::Prune { origin },
        Gossip::StateSummary(vec![(key(), VERSION)]),
        Gossip::States(vec![state()]),
    ];
    let election = [
        election::Message::Heartbeat { counter: 7 },
        election::Message::Probe {
            target: origin,
            nonce: 8,
        },
        election::Message::Resign,
    ];
    let frames = overlay.into_iter().map(Frame::Overlay);
    let frames = frames.chain(gossip.into_iter().map(Frame::Gossip));
    frames.chain(election.into_iter().map(Frame::Election))
}

const VERSION: StateVersion = StateVersion {
    epoch: 3,
    counter: 4,
};

/// Where Alice is.
pub(crate) fn contact() -> Contact {
    Contact {
        machine: Who::Alice.machine(),
        addresses: vec![Address::new("/ip4/192.0.2.1/tcp/4001".to_owned()).expect("not empty")],
    }
}

fn log(machine: MachineId) -> LogId {
    let epoch = Epoch { counter: 1, tag: 2 };
    LogId { machine, epoch }
}

/// What a machine may hold of Alice's log.
pub(crate) fn entry() -> FrontierEntry {
    FrontierEntry {
        log: log(Who::Alice.machine()),
        floor: 1,
        end: 5,
        beyond: vec![Span { first: 7, last: 8 }],
    }
}

fn interest() -> Interest {
    let site = "hall-1".parse().expect("a name");
    let patterns = ["hall-2", "*"].map(|text| text.parse().expect("a pattern"));
    Interest::new(Some(site), patterns).expect("within the limits")
}

fn sums() -> Sums {
    Sums {
        bits: 2,
        ranges: vec![(0, Sum(5)), (3, Sum(u128::MAX))],
    }
}

fn key() -> StateKey {
    StateKey {
        origin: Who::Alice.machine(),
        kind: StateKind::Series,
        subject: "1-00000002/12".to_owned(),
    }
}

/// A state of Alice.
pub(crate) fn state() -> model::State {
    let draft = StateDraft {
        key: key(),
        version: VERSION,
        payload: Bytes::from_static(b"payload"),
    };
    draft.seal(&WORLD.network, |digest| Who::Alice.keypair().sign(digest))
}

/// A value of every type, and floats in a column long enough to be compressed.
fn block() -> Block {
    let lone = [
        Value::I64(-1),
        Value::Bool(true),
        Value::Text("on".to_owned()),
        Value::Bytes(vec![0, 255]),
        Value::Null,
    ];
    let walk = (0..40_i32).map(|at| (1, Value::F64(f64::from(at * at) / 100.0)));
    let readings = walk.chain((2..).zip(lone)).map(|(series, value)| Reading {
        series: SeriesNumber(series),
        time: NOW,
        value,
        quality: Quality::GOOD,
    });
    let header = BlockHeader {
        log: log(Who::Alice.machine()),
        sequence: 6,
        previous: HashPrefix::NONE,
        continues: None,
        sealed: NOW,
        watermark: NOW,
        count: 0,
        urgent: false,
        publishers: vec![PublisherMark {
            publisher: "historian".to_owned(),
            sequence: 9,
        }],
    };
    let readings = readings.collect();
    let sealed =
        Draft { header, readings }.seal(&WORLD.network, |digest| Who::Alice.keypair().sign(digest));
    sealed.expect("it fits into a block")
}
