//! A machine, what it lives through, and its recording.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::{AckLevel, Input, NodeIdentity, Output, Recovered, RequestId};
use handshake::deliver_key;
use identity::{EpochKey, Grant, Keypair, Membership, NetworkKey, NetworkKeyEpoch, Role, Trust};
use model::{
    ClockState, Labels, MachineId, NewReading, PublisherMark, Quality, SeriesDefinition, State,
    Timestamp, Unit, Value, ValueType,
};
use overlay::{Address, Contact};
use statemachine::{Instant, StateMachine as _};

use super::samples::settings;
use crate::file::{Entry, header};
use crate::{Recorded, Replay, ReplayError, Sink, Summary, Unrecordable};

pub(crate) const NOON: Timestamp = Timestamp::from_nanos(1_800_000_000_000_000_000);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const OWN_SEED: [u8; 32] = *b"the secret of this very machine.";
pub(crate) const NETWORK_KEY: [u8; 32] = *b"the secret that a network shares";

pub(crate) fn operator() -> Keypair {
    Keypair::from_seed(&[1; 32])
}

pub(crate) fn trust() -> Trust {
    Trust::new(operator().machine())
}

pub(crate) fn other() -> MachineId {
    Keypair::from_seed(&[3; 32]).machine()
}

pub(crate) fn membership(machine: MachineId, name: &str) -> Membership {
    let grant = Grant {
        machine,
        name: name.to_owned(),
        site: "hall-3".to_owned(),
        roles: [Role::Publish, Role::Relay].into(),
        commands: Vec::new(),
        not_before: Timestamp::MIN,
        not_after: Timestamp::MAX,
        delegation: None,
    };
    Membership::issue(&operator(), grant).expect("a membership")
}

pub(crate) fn identity() -> NodeIdentity {
    let keypair = Keypair::from_seed(&OWN_SEED);
    NodeIdentity {
        membership: membership(keypair.machine(), "press-1"),
        keypair,
        trust: trust(),
    }
}

pub(crate) fn network_key() -> State {
    let key = EpochKey {
        epoch: NetworkKeyEpoch(2),
        key: NetworkKey::from_bytes(&NETWORK_KEY),
    };
    deliver_key(&operator(), identity().keypair.machine(), &key, [5; 32]).expect("sealed")
}

/// Takes everything, up to a number of bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) bytes: Arc<Mutex<Vec<u8>>>,
    pub(crate) limit: Option<usize>,
}

impl Memory {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().expect("not poisoned").clone()
    }
}

impl Sink for Memory {
    fn begin(&mut self, bytes: Vec<u8>) -> bool {
        self.put(bytes)
    }

    fn put(&mut self, bytes: Vec<u8>) -> bool {
        let mut all = self.bytes.lock().expect("not poisoned");
        let has_room = self
            .limit
            .is_none_or(|limit| all.len() + bytes.len() <= limit);
        if has_room {
            all.extend(bytes);
        }
        has_room
    }

    fn give_up(&mut self, why: Unrecordable) {
        panic!("{why}");
    }
}

pub(crate) fn series(name: &str) -> Arc<SeriesDefinition> {
    Arc::new(SeriesDefinition {
        name: name.parse().expect("a name"),
        unit: "Cel".parse::<Unit>().expect("a unit"),
        value_type: ValueType::F64,
        labels: Labels::new([("room".to_owned(), "3".to_owned())].into()).expect("labels"),
    })
}

pub(crate) fn reading(name: &str, value: Value) -> NewReading {
    NewReading {
        series: series(name),
        time: NOON,
        value,
        quality: Quality::GOOD,
    }
}

pub(crate) fn publish(request: u64, value: f64) -> Input {
    Input::Publish {
        request: RequestId(request),
        readings: vec![
            reading("press/oil/temperature", Value::F64(value)),
            reading("press/oil/pressure", Value::Null),
            reading("press/oil/temperature", Value::F64(f64::NAN)),
        ],
        publisher: Some(PublisherMark {
            publisher: "plc".to_owned(),
            sequence: request,
        }),
        level: AckLevel::Durable,
    }
}

/// Lets a node live for some seconds, on a disk that is at once done with everything.
pub(crate) fn live(node: &mut Recorded, seconds: u64) -> Vec<Output> {
    let mut given = Vec::new();
    node.handle(
        Instant::ZERO,
        Input::WallClock(NOON, ClockState::Synchronised),
    );
    for second in 1..=seconds {
        let now = Instant::ZERO + SECOND * u32::try_from(second).expect("few");
        while let Some(due) = node.next_deadline().filter(|due| due.at < now) {
            node.handle_timeout(due.at);
            settle(node, due.at, &mut given);
        }
        let value = f64::from(u32::try_from(second).expect("few"));
        node.handle(now, publish(second, value));
        settle(node, now, &mut given);
    }
    given
}

pub(crate) fn settle(node: &mut Recorded, now: Instant, given: &mut Vec<Output>) {
    while let Some(output) = node.poll_output() {
        if let Output::Persist(ticket, _) = &output {
            node.handle(now, Input::Persisted(*ticket));
        }
        given.push(output);
    }
}

/// What the disk of a node knew that was given a newer network key before.
pub(crate) fn recovered() -> Recovered {
    Recovered {
        states: vec![network_key()],
        contacts: vec![contact()],
        epoch_counter_highest: 3,
        ..Recovered::default()
    }
}

pub(crate) fn recording(seconds: u64) -> Vec<u8> {
    let memory = Memory::default();
    let sink = Box::new(memory.clone());
    let mut node = Recorded::start(identity(), settings(), recovered(), [7; 32], sink);
    live(&mut node, seconds);
    assert!(node.is_recording());
    memory.bytes()
}

pub(crate) fn replay(bytes: &[u8]) -> Result<Summary, ReplayError> {
    let mut replay = Replay::open(bytes)?;
    while replay.step()?.is_some() {}
    Ok(replay.summary())
}

/// Takes a recording apart.
pub(crate) fn entries(recording: &[u8]) -> Vec<Entry> {
    let mut entries = crate::file::Entries::open(recording).expect("a header");
    let next = || entries.next().ok().expect("whole");
    std::iter::from_fn(next).collect()
}

pub(crate) fn join(entries: &[Entry]) -> Vec<u8> {
    let encoded = entries.iter().flat_map(|e| e.encode().expect("small"));
    header().into_iter().chain(encoded).collect()
}

pub(crate) fn contact() -> Contact {
    Contact {
        machine: other(),
        addresses: vec![Address::new("/ip4/10.0.0.7/udp/7700".to_owned()).expect("an address")],
    }
}

pub(crate) fn encoded(entry: &Entry) -> Vec<u8> {
    entry.encode().expect("small")
}
