//! A recording of a node, as somebody may hand it to whoever is asked to replay it.
//!
//! The first byte says what the others are: a file, or the entries of one, which get the lengths
//! and sums that a recorder gives them. Accepted is what reads to its end, also where a node would
//! do something else today: the bytes that were found outlive changes of the engine, until the next
//! version of the program, when `fuzz seed` writes new ones.

use std::mem;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use command::{
    Argument, Call, CallId, Code, CommandId, HandlerId, Lineage, Offer, Policy, RunId, Status,
};
use engine::{
    AckLevel, AdminRequest, CommandInput, Config, Input, Node, NodeIdentity, Output, Recovered,
    RequestId, Rights, UplinkConfig,
};
use identity::{InvitationId, Role};
use model::{
    ClockState, Labels, NewReading, PublisherMark, Quality, SeriesDefinition, Value, ValueType,
};
use recording::{Recorded, Replay, ReplayError, Sink, Unrecordable};
use statemachine::{Instant, StateMachine as _};

use crate::Outcome;
use crate::frames;
use crate::world::{NOW, WORLD, Who};

/// Replays a recording.
///
/// # Panics
///
/// If a step gives more than a step may, or the node in it panics.
pub fn recordings(bytes: &[u8]) -> Outcome {
    let Some((place, bytes)) = bytes.split_first() else {
        return Outcome::Refused;
    };
    let file = match place % 2 {
        0 => bytes.to_vec(),
        _ => file_of(bytes),
    };
    let Ok(mut replay) = Replay::open(&file[..]) else {
        return Outcome::Refused;
    };
    for _ in 0..STEPS_MAX {
        let before = replay.summary().outputs;
        let step = replay.step();
        let outputs = replay.summary().outputs - before;
        assert!(outputs <= u64::try_from(Node::OUTPUTS_PER_CALL_MAX).expect("64 bits"));
        match step {
            Ok(Some(_)) | Err(ReplayError::Differs(_)) => {}
            Ok(None) => break,
            Err(_) => return Outcome::Refused,
        }
    }
    Outcome::Accepted
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let lives: [fn(&mut Life); 4] = [publishes, has_a_neighbour, uploads, obeys];
    let file = record(publishes).concat();
    let mut seeds = vec![[vec![0], file].concat()];
    seeds.extend(lives.map(|live| {
        let entries = record(live).into_iter().skip(1).map(|entry| {
            let entry = &entry[BEFORE_BYTES..];
            let length = u16::try_from(entry.len()).expect("a small entry");
            [&length.to_le_bytes(), entry].concat()
        });
        std::iter::once(vec![1]).chain(entries).flatten().collect()
    }));
    seeds
}

/// A file with these entries, each of which begins with its length in two bytes.
fn file_of(mut entries: &[u8]) -> Vec<u8> {
    let mut file = HEADER.clone();
    while let Some((length, rest)) = entries.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (entry, rest) = rest.split_at(length);
        let length = u32::try_from(length).expect("16 bits");
        file.extend(length.to_le_bytes());
        file.extend(crc32c::crc32c(entry).to_le_bytes());
        file.extend(entry);
        entries = rest;
    }
    file
}

/// What a recorder gives: the header, then entries.
#[derive(Clone, Debug, Default)]
struct Tape(Arc<Mutex<Vec<Vec<u8>>>>);

impl Sink for Tape {
    fn begin(&mut self, bytes: Vec<u8>) -> bool {
        self.put(bytes)
    }

    fn put(&mut self, bytes: Vec<u8>) -> bool {
        self.0.lock().expect("one thread").push(bytes);
        true
    }

    fn give_up(&mut self, why: Unrecordable) {
        panic!("{why}");
    }
}

/// Bob, on a disk that is at once done with everything.
struct Life {
    node: Recorded,
    now: Instant,
}

/// Bob's life, as a recorder writes it down.
fn record(live: impl FnOnce(&mut Life)) -> Vec<Vec<u8>> {
    let identity = NodeIdentity {
        keypair: Who::Bob.keypair(),
        membership: Who::Bob.membership(),
        trust: WORLD.trust,
    };
    let recovered = Recovered {
        states: vec![frames::state()],
        contacts: vec![frames::contact()],
        frontier: vec![frames::entry()],
        epoch_counter_highest: 3,
        ..Recovered::default()
    };
    let tape = Tape::default();
    let sink = Box::new(tape.clone());
    let mut life = Life {
        node: Recorded::start(identity, settings(), recovered, [7; 32], sink),
        now: Instant::ZERO,
    };
    live(&mut life);
    mem::take(&mut tape.0.lock().expect("one thread"))
}

impl Life {
    fn begin(&mut self) {
        self.give(Input::WallClock(NOW, ClockState::Synchronised));
        self.give(Input::OwnAddresses(frames::contact().addresses));
    }

    /// A millisecond later the node is told something.
    fn give(&mut self, input: Input) {
        self.now = self.now + Duration::from_millis(1);
        self.node.handle(self.now, input);
        self.settle();
    }

    /// So many timers come due, one after the other.
    fn timers(&mut self, count: usize) {
        for _ in 0..count {
            let due = self.node.next_deadline().expect("a node has timers");
            self.now = self.now.max(due.at);
            self.node.handle_timeout(self.now);
            self.settle();
        }
    }

    fn settle(&mut self) {
        while let Some(output) = self.node.poll_output() {
            if let Output::Persist(ticket, _) = output {
                self.node.handle(self.now, Input::Persisted(ticket));
            }
        }
    }
}

fn settings() -> Config {
    let uplink = UplinkConfig {
        id: "cloud".parse().expect("an id"),
        windows: aggregate::Config {
            lengths: vec![Duration::from_millis(100)],
            allowed_lateness: Duration::from_millis(100),
            windows_max: 16,
        },
        patterns: Vec::new(),
        raw: vec!["press-3:alarm/*".parse().expect("a pattern")],
        exclude: Vec::new(),
        priority: 1,
        cost_class: 0,
        partial_after: Duration::from_secs(1),
    };
    Config {
        uplinks: vec![uplink],
        ..Config::default()
    }
}

fn publishes(life: &mut Life) {
    life.begin();
    life.give(publish(1, 21.5));
    life.give(publish(2, f64::NAN));
    life.timers(5);
    life.give(Input::Stop);
}

fn has_a_neighbour(life: &mut Life) {
    life.begin();
    let alice = Who::Alice.machine();
    life.give(Input::LinkUp(Box::new(Who::Alice.membership())));
    life.give(Input::RoundTrip(alice, Duration::from_millis(3)));
    for frame in frames::all() {
        life.give(Input::Received(alice, frame));
    }
    life.give(Input::Congested(alice));
    life.give(Input::Drained(alice));
    life.timers(3);
    life.give(Input::LinkDown(alice));
}

fn uploads(life: &mut Life) {
    life.begin();
    let uplink = || "cloud".parse().expect("an id");
    life.give(Input::UplinkReachable(uplink(), true));
    life.give(Input::Load(30));
    for request in 1..4 {
        life.give(publish(request, 1.5));
        life.timers(3);
    }
    let ids = [0, 1].map(engine::UploadId);
    life.give(Input::Uploaded(uplink(), ids.to_vec()));
    life.give(Input::UploadLost(uplink(), ids.to_vec()));
}

fn obeys(life: &mut Life) {
    life.begin();
    let own = Who::Bob.machine();
    let name = || "press/stop".parse().expect("a name");
    let offer = Offer {
        commands: vec![(name(), true)],
        concurrent: 2,
    };
    let call = Call {
        target: own,
        id: CommandId::from_bytes([9; 16]),
        is_repeat: false,
        name: name(),
        argument: Argument::Map([("speed".to_owned(), Argument::F64(0.5))].into()),
        lineage: Lineage::new(vec![1]).expect("short"),
        deadline: Duration::from_secs(5),
    };
    let rights = Rights {
        roles: [Role::Publish].into(),
        commands: Vec::new(),
        lifetime: Duration::from_secs(60),
    };
    let status = Status::new(Code::OutOfRange, "too fast");
    let commands = [
        CommandInput::Policy(Policy::default()),
        CommandInput::HandlerUp(HandlerId(1), offer),
        CommandInput::Call(CallId(1), call.clone()),
        CommandInput::Item(RunId(0), Argument::Bool(true)),
        CommandInput::Ended(RunId(0), status),
        CommandInput::Post(CallId(2), call),
        CommandInput::Abandon(CallId(2)),
        CommandInput::HandlerDown(HandlerId(1)),
    ];
    for command in commands {
        life.give(Input::Command(command));
    }
    let asked = [
        AdminRequest::Relay(frames::state()),
        AdminRequest::Revoke {
            machine: Who::Mallory.machine(),
            reason: "stolen".to_owned(),
        },
        AdminRequest::Invite {
            id: InvitationId([3; 32]),
            rights,
            open_for: Duration::from_secs(9),
        },
    ];
    for asked in asked {
        life.give(Input::Admin(RequestId(4), Box::new(asked)));
    }
}

fn publish(request: u64, value: f64) -> Input {
    let labels = Labels::new([("room".to_owned(), "3".to_owned())].into());
    let series = Arc::new(SeriesDefinition {
        name: "press/oil/temperature".parse().expect("a name"),
        unit: "Cel".parse().expect("a unit"),
        value_type: ValueType::F64,
        labels: labels.expect("labels"),
    });
    let reading = |value| NewReading {
        series: Arc::clone(&series),
        time: NOW,
        value,
        quality: Quality::GOOD,
    };
    Input::Publish {
        request: RequestId(request),
        readings: vec![reading(Value::F64(value)), reading(Value::Null)],
        publisher: Some(PublisherMark {
            publisher: "plc".to_owned(),
            sequence: request,
        }),
        level: AckLevel::Durable,
    }
}

/// What every recording begins with.
static HEADER: LazyLock<Vec<u8>> = LazyLock::new(|| record(|_| {}).swap_remove(0));

/// The length and the sum before an entry. Unit: bytes.
const BEFORE_BYTES: usize = 8;
/// Most steps that are taken: bytes that are many small steps find nothing new.
const STEPS_MAX: usize = 256;
