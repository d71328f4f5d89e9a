use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use command::{
    Allowance, Argument, Call, CallId, Code, CommandId, HandlerId, Lineage, Offer, Policy, Range,
    RunId, Status,
};
use engine::{
    AckLevel, AdminRequest, CommandInput, Config, Input, NodeIdentity, Output, Recovered,
    RequestId, Rights, UplinkConfig, UploadId,
};
use handshake::deliver_key;
use identity::{
    Claim, EpochKey, Grant, InvitationId, Issuer, Keypair, Membership, NetworkKey, NetworkKeyEpoch,
    Revocation, Role, Terms, Trust,
};
use model::{
    Block, BlockHash, BlockId, ClockState, Epoch, Labels, LogId, MachineId, NewReading, Position,
    PublisherMark, Quality, SeriesDefinition, State, Timestamp, Unit, Value, ValueType,
};
use overlay::{Address, Contact};
use proptest::prelude::*;
use statemachine::{Instant, StateMachine as _, Ticket};
use wire::Frame;

use crate::event::Event;
use crate::file::{Entry, header};
use crate::held::{Held, Start};
use crate::{Recorded, Replay, ReplayError, Sink, Summary, Unrecordable};

const NOON: Timestamp = Timestamp::from_nanos(1_800_000_000_000_000_000);
const SECOND: Duration = Duration::from_secs(1);
const OWN_SEED: [u8; 32] = *b"the secret of this very machine.";
const NETWORK_KEY: [u8; 32] = *b"the secret that a network shares";

fn operator() -> Keypair {
    Keypair::from_seed(&[1; 32])
}

fn trust() -> Trust {
    Trust::new(operator().machine())
}

fn other() -> MachineId {
    Keypair::from_seed(&[3; 32]).machine()
}

fn membership(machine: MachineId, name: &str) -> Membership {
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

fn identity() -> NodeIdentity {
    let keypair = Keypair::from_seed(&OWN_SEED);
    NodeIdentity {
        membership: membership(keypair.machine(), "press-1"),
        keypair,
        trust: trust(),
    }
}

fn network_key() -> State {
    let key = EpochKey {
        epoch: NetworkKeyEpoch(2),
        key: NetworkKey::from_bytes(&NETWORK_KEY),
    };
    deliver_key(&operator(), identity().keypair.machine(), &key, [5; 32]).expect("sealed")
}

/// Takes everything, up to a number of bytes.
#[derive(Clone, Debug, Default)]
struct Memory {
    bytes: Arc<Mutex<Vec<u8>>>,
    limit: Option<usize>,
}

impl Memory {
    fn bytes(&self) -> Vec<u8> {
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

fn series(name: &str) -> Arc<SeriesDefinition> {
    Arc::new(SeriesDefinition {
        name: name.parse().expect("a name"),
        unit: "Cel".parse::<Unit>().expect("a unit"),
        value_type: ValueType::F64,
        labels: Labels::new([("room".to_owned(), "3".to_owned())].into()).expect("labels"),
    })
}

fn reading(name: &str, value: Value) -> NewReading {
    NewReading {
        series: series(name),
        time: NOON,
        value,
        quality: Quality::GOOD,
    }
}

fn publish(request: u64, value: f64) -> Input {
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
fn live(node: &mut Recorded, seconds: u64) -> Vec<Output> {
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

fn settle(node: &mut Recorded, now: Instant, given: &mut Vec<Output>) {
    while let Some(output) = node.poll_output() {
        if let Output::Persist(ticket, _) = &output {
            node.handle(now, Input::Persisted(*ticket));
        }
        given.push(output);
    }
}

/// What the disk of a node knew that was given a newer network key before.
fn recovered() -> Recovered {
    Recovered {
        states: vec![network_key()],
        contacts: vec![contact()],
        epoch_counter_highest: 3,
        ..Recovered::default()
    }
}

fn recording(seconds: u64) -> Vec<u8> {
    let memory = Memory::default();
    let sink = Box::new(memory.clone());
    let mut node = Recorded::start(identity(), settings(), recovered(), [7; 32], sink);
    live(&mut node, seconds);
    assert!(node.is_recording());
    memory.bytes()
}

fn replay(bytes: &[u8]) -> Result<Summary, ReplayError> {
    let mut replay = Replay::open(bytes)?;
    while replay.step()?.is_some() {}
    Ok(replay.summary())
}

/// Takes a recording apart.
fn entries(recording: &[u8]) -> Vec<Entry> {
    let mut entries = crate::file::Entries::open(recording).expect("a header");
    let next = || entries.next().ok().expect("whole");
    std::iter::from_fn(next).collect()
}

fn join(entries: &[Entry]) -> Vec<u8> {
    let encoded = entries.iter().flat_map(|e| e.encode().expect("small"));
    header().into_iter().chain(encoded).collect()
}

fn contact() -> Contact {
    Contact {
        machine: other(),
        addresses: vec![Address::new("/ip4/10.0.0.7/udp/7700".to_owned()).expect("an address")],
    }
}

/// Settings of which none is what it is by default.
fn settings() -> Config {
    let pattern = |text: &str| text.parse::<model::Pattern>().expect("a pattern");
    let words = ["fast".to_owned(), "slow".to_owned()].into();
    let number = Range::new(Some(0.5), None, [].into()).expect("a range");
    let words = Range::new(None, None, words).expect("a range");
    let mut settings = Config {
        quiet: true,
        gather: Duration::from_millis(3),
        watermark_delay: Duration::from_millis(301),
        recovery: Duration::from_millis(40),
        policy: Policy {
            maintenance: true,
            allow: vec![Allowance {
                pattern: pattern("press-2:heating/**"),
                callers: vec!["press-3".to_owned()],
                arguments: BTreeMap::from([
                    ("speed".to_owned(), words),
                    ("power".to_owned(), number),
                ]),
            }],
        },
        uplinks: vec![UplinkConfig {
            id: "cloud".parse().expect("an id"),
            windows: aggregate::Config {
                lengths: vec![SECOND, SECOND * 60],
                allowed_lateness: SECOND * 2,
                windows_max: 77,
            },
            patterns: vec![pattern("press/**")],
            raw: vec![pattern("press-1:alarm/*")],
            exclude: vec![pattern("**/debug")],
            priority: 9,
            cost_class: 2,
            partial_after: SECOND * 3,
        }],
        ..Config::default()
    };
    settings.overlay.active_max = 3;
    settings.gossip.past_bytes_per_second = Some(1_000);
    settings.gossip.interest =
        gossip::Interest::new(None, [pattern("hall-4")]).expect("an interest");
    settings.election.hysteresis = 51;
    settings.commands.dials_max = 4;
    settings
}

fn block() -> Block {
    let memory = Memory::default();
    let sink = Box::new(memory);
    let mut node = Recorded::start(identity(), settings(), Recovered::default(), [7; 32], sink);
    let given = live(&mut node, 3);
    let mut blocks = given.into_iter().filter_map(|output| {
        let Output::Deliver(block) = output else {
            return None;
        };
        Some(block)
    });
    blocks.next().expect("a block")
}

fn call() -> Call {
    let argument = [
        ("speed".to_owned(), Argument::I64(-3)),
        (
            "list".to_owned(),
            Argument::List(vec![Argument::Bool(true)]),
        ),
    ];
    Call {
        target: other(),
        id: CommandId::from_bytes([9; 16]),
        is_repeat: true,
        name: "conveyor/stop".parse().expect("a name"),
        argument: Argument::Map(argument.into()),
        lineage: Lineage::new(vec![1, 2]).expect("short"),
        deadline: SECOND * 5,
    }
}

fn command_inputs() -> Vec<CommandInput> {
    let offer = Offer {
        commands: vec![("conveyor/stop".parse().expect("a name"), true)],
        concurrent: 3,
    };
    vec![
        CommandInput::Call(CallId(1), call()),
        CommandInput::Post(CallId(2), call()),
        CommandInput::Abandon(CallId(3)),
        CommandInput::HandlerUp(HandlerId(4), offer),
        CommandInput::HandlerDown(HandlerId(4)),
        CommandInput::Item(RunId(5), Argument::F64(-0.0)),
        CommandInput::Ended(RunId(5), Status::new(Code::OutOfRange, "too fast")),
        CommandInput::Policy(settings().policy),
    ]
}

fn admin_inputs() -> Vec<AdminRequest> {
    let secret = Keypair::from_seed(&[8; 32]);
    let terms = Terms {
        site: "hall-3".to_owned(),
        roles: [Role::Publish].into(),
        commands: Vec::new(),
        lifetime: SECOND * 60,
        not_after: Timestamp::MAX,
    };
    let (operator, id) = (operator(), InvitationId::of(&secret));
    let invitation = Issuer::operator(&operator).invite(id, terms);
    let invitation = invitation.expect("an invitation");
    let claim = Claim::sign(trust(), invitation, &secret, other(), "press-9").expect("a claim");
    let network = trust().network();
    let revocation = Revocation::sign(&operator, &network, other(), NOON, "stolen");
    let rights = Rights {
        roles: [Role::Publish, Role::Observe].into(),
        commands: vec!["heating/*".to_owned()],
        lifetime: SECOND * 9,
    };
    vec![
        AdminRequest::Relay(revocation.expect("a revocation")),
        AdminRequest::Revoke {
            machine: other(),
            reason: "sold".to_owned(),
        },
        AdminRequest::Admit {
            machine: other(),
            name: "press-9".to_owned(),
            rights: rights.clone(),
        },
        AdminRequest::Invite {
            id,
            rights,
            open_for: SECOND,
        },
        AdminRequest::Redeem(Box::new(claim)),
    ]
}

/// One input of each kind.
fn inputs() -> Vec<Input> {
    let membership = || Box::new(membership(other(), "press-2"));
    let (block, ticket, uplink) = (
        block(),
        Ticket::from_number(7),
        settings().uplinks.remove(0).id,
    );
    let id = block.header().id();
    let frame = Frame::Gossip(gossip::Message::Block {
        block: block.clone(),
        pushed: true,
    });
    let mut inputs = vec![
        Input::WallClock(NOON, ClockState::Coarse),
        Input::OwnAddresses(contact().addresses),
        Input::Discovered(contact()),
        Input::LinkUp(membership()),
        Input::LinkMoved(membership()),
        Input::LinkDown(other()),
        Input::DialFailed(other()),
        Input::RoundTrip(other(), Duration::from_micros(1_234)),
        Input::Received(other(), frame),
        Input::Congested(other()),
        Input::Drained(other()),
        publish(3, -0.0),
        Input::Persisted(ticket),
        Input::PersistFailed(ticket),
        Input::BlocksRead(ticket, vec![block.clone(), block.clone()]),
        Input::BlocksFound(ticket, vec![block], 9),
        Input::UplinkReachable(uplink.clone(), true),
        Input::Load(99),
        Input::Uploaded(uplink.clone(), vec![UploadId(1), UploadId(2)]),
        Input::UploadLost(uplink, vec![UploadId(3)]),
        Input::FloorMoved(id.log, 4),
        Input::Lost(vec![id]),
        Input::Stop,
    ];
    inputs.extend(command_inputs().into_iter().map(Input::Command));
    let request = |asked| Input::Admin(RequestId(6), Box::new(asked));
    inputs.extend(admin_inputs().into_iter().map(request));
    inputs
}

fn encoded(entry: &Entry) -> Vec<u8> {
    entry.encode().expect("small")
}

#[test]
fn every_input_is_read_as_it_was_written() {
    for input in inputs() {
        let event = Event::of(&input).expect("it has a place");
        let bytes = join(&[Entry::Step(5, event)]);

        let read = entries(&bytes).pop().expect("an entry");

        let Entry::Step(5, event) = read else {
            panic!("another entry");
        };
        let read = event.into_input(&trust()).expect("undamaged");
        assert_eq!(format!("{read:?}"), format!("{:?}", Some(input)));
    }
}

#[test]
fn a_start_is_read_as_it_was_written() {
    let block = block();
    let id: BlockId = block.header().id();
    let log: LogId = id.log;
    let (first, epoch): (Position, Epoch) = (id.position(), log.epoch);
    let hash: BlockHash = block.hash(&trust().network());
    let recovered = Recovered {
        frontier: vec![gossip::FrontierEntry {
            log,
            floor: 2,
            end: 5,
            beyond: vec![gossip::Span { first: 7, last: 9 }],
        }],
        clean: Some(engine::CleanStop {
            epoch,
            last_sequence: 9,
            state_counter: 11,
        }),
        last_own: Some((first, hash)),
        own_runs: vec![(first, first, hash)],
        publishers: vec![PublisherMark {
            publisher: "plc".to_owned(),
            sequence: 4,
        }],
        notes: vec![command::Note {
            key: command::CallKey {
                caller: other(),
                id: CommandId::from_bytes([4; 16]),
            },
            digest: [6; 32],
            keep: SECOND,
            answer: None,
        }],
        ..self::recovered()
    };
    let start = Start::of(&identity(), &settings(), &recovered, [7; 32]);
    let mut all = vec![Entry::Start(Box::new(start))];
    all.extend(Held::parts(&recovered).map(Entry::Held));

    let mut read = entries(&join(&all)).into_iter();

    let Some(Entry::Start(start)) = read.next() else {
        panic!("no start");
    };
    let mut held = start.recovered();
    for entry in read {
        let Entry::Held(part) = entry else {
            panic!("another entry");
        };
        part.add_to(&mut held).expect("undamaged");
    }
    let expected = (identity().membership, settings(), recovered, [7; 32]);
    let found = (
        start.membership().expect("signed"),
        start.settings,
        held,
        start.seed,
    );
    assert_eq!(format!("{found:?}"), format!("{expected:?}"));
}

#[test]
fn a_recorded_run_is_the_same_again() {
    let bytes = recording(20);

    let summary = replay(&bytes).expect("the same");

    assert_eq!((summary.checked, summary.cut), (summary.steps, 0));
    assert!(summary.steps > 100, "{summary:?}");
    assert_eq!(summary.last, Instant::ZERO + SECOND * 20);
}

#[test]
fn no_key_stands_in_a_recording() {
    let holds = |bytes: &[u8], secret: &[u8]| bytes.windows(32).any(|window| window == secret);
    let memory = Memory::default();
    let sink = Box::new(memory.clone());
    let mut node = Recorded::start(identity(), settings(), recovered(), [7; 32], sink);

    let given = live(&mut node, 3);

    let is_key = |output: &Output| {
        let Output::NetworkKey(given) = output else {
            return false;
        };
        given.key.as_bytes() == &NETWORK_KEY
    };
    let opened = given.iter().any(is_key);
    assert!(opened, "the node has opened the network key");
    assert!(
        holds(&memory.bytes(), &[7; 32]),
        "what stands there is found"
    );
    for secret in [OWN_SEED, NETWORK_KEY] {
        assert!(!holds(&memory.bytes(), &secret));
    }
    let sealing = identity().keypair.sealing_key();
    assert!(!holds(&memory.bytes(), &*sealing));
}

#[test]
fn an_input_that_was_changed_is_found_at_its_step() {
    let bytes = recording(20);
    let mut changed = entries(&bytes);
    let steps = (changed.iter_mut()).filter_map(|entry| match entry {
        Entry::Step(_, event) => Some(event),
        Entry::Start(_) | Entry::Held(_) | Entry::Outcome(_) => None,
    });
    let publishes = steps.enumerate();
    let mut publishes = publishes.filter(|(_, event)| matches!(event, Event::Publish(_)));
    let (step, event) = publishes.nth(9).expect("ten were published");
    // Refused at once, while the recorded one was stored.
    let wrong = Input::Publish {
        request: RequestId(10),
        readings: vec![reading("press/oil/temperature", Value::Bool(true))],
        publisher: None,
        level: AckLevel::Durable,
    };
    *event = Event::of(&wrong).expect("it has a place");
    drop(publishes);

    let found = replay(&join(&changed));

    let Err(ReplayError::Differs(difference)) = found else {
        panic!("{found:?}");
    };
    assert_eq!(difference.step, u64::try_from(step + 1).expect("a step"));
    assert_eq!(difference.at, Instant::ZERO + SECOND * 10);
    assert!(difference.input.contains("Publish"), "{difference}");
}

#[test]
fn a_recording_that_is_full_ends_and_its_node_goes_on() {
    let whole = recording(20);
    let memory = Memory {
        limit: Some(whole.len() / 2),
        ..Memory::default()
    };
    let sink = Box::new(memory.clone());
    let mut node = Recorded::start(identity(), settings(), recovered(), [7; 32], sink);
    let mut unrecorded = Recorded::not(engine::Node::new(
        identity(),
        settings(),
        recovered(),
        statemachine::Rng::from_seed([7; 32]),
    ));

    let given = live(&mut node, 20);

    assert!(!node.is_recording());
    assert_eq!(
        format!("{given:?}"),
        format!("{:?}", live(&mut unrecorded, 20))
    );
    let bytes = memory.bytes();
    assert!(whole.starts_with(&bytes), "the first half of it");
    assert_eq!(replay(&bytes).expect("the same").cut, 0);
}

#[test]
fn what_another_version_has_written_is_refused_in_words() {
    let mut other_format = recording(1);
    other_format[crate::HEADER_BYTES - 4] += 1;
    let mut all = entries(&recording(1));
    if let Some(Entry::Start(start)) = all.first_mut() {
        start.program = "99.1.2".to_owned();
    }
    let cases = [
        (Vec::new(), "no recording"),
        (b"fieldmesh publishes readings".to_vec(), "no recording"),
        (other_format, "format 2"),
        (join(&all), "version \"99.1.2\""),
        (header(), "ends before its node has started"),
        (join(&all[1..]), "no start"),
    ];
    for (bytes, words) in cases {
        let refused = replay(&bytes).expect_err(words).to_string();

        assert!(refused.contains(words), "{refused}");
    }
}

#[test]
fn a_recording_that_was_cut_anywhere_is_the_same_as_far_as_it_goes() {
    let bytes = recording(2);
    let all = entries(&bytes);
    let start = all.iter().position(|e| matches!(e, Entry::Outcome(_)));
    let start = join(&all[..=start.expect("a start")]).len();

    for end in start..bytes.len() {
        let summary = replay(&bytes[..end]).expect("the same");

        let whole = join(&all[..whole_entries(&all, end)]).len();
        assert_eq!(summary.cut, u64::try_from(end - whole).expect("few"));
        assert!(summary.steps - summary.checked <= 1);
    }
    for end in 0..start {
        let refused = replay(&bytes[..end]);
        assert!(
            matches!(
                refused,
                Err(ReplayError::TooShort | ReplayError::NoRecording)
            ),
            "{refused:?}"
        );
    }
}

/// How many entries lie before the end.
fn whole_entries(entries: &[Entry], end: usize) -> usize {
    let mut length = header().len();
    let lengths = entries.iter().map(|entry| {
        length += encoded(entry).len();
        length
    });
    lengths.take_while(|length| *length <= end).count()
}

proptest! {
    #[test]
    fn a_byte_that_was_changed_is_an_error_and_never_a_panic(
        at in any::<prop::sample::Index>(),
        by in 1..=255_u8,
    ) {
        let mut bytes = recording(1);
        let at = at.index(bytes.len());
        bytes[at] ^= by;

        prop_assert!(replay(&bytes).is_err() || replay(&bytes).expect("cut").cut > 0);
    }

    #[test]
    fn no_bytes_make_a_panic_as_an_entry(
        mut body in proptest::collection::vec(any::<u8>(), 0..300),
        (kind, event) in (0..5_u8, 0..27_u8),
    ) {
        body.splice(0..0, [kind]);
        if kind == 2 {
            body.splice(1..1, [5, event]);
        }
        decode(&body);
    }

    #[test]
    fn no_change_of_an_input_makes_a_panic_as_it_is_read(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        by in 1..=255_u8,
    ) {
        let inputs = inputs();
        let event = Event::of(which.get(&inputs)).expect("it has a place");
        let mut body = encoded(&Entry::Step(5, event)).split_off(8);
        let at = at.index(body.len());
        body[at] ^= by;

        decode(&body);
    }
}

/// Reads bytes as the body of an entry, as far as they go.
fn decode(body: &[u8]) {
    let sum = crc32c::crc32c(body).to_le_bytes();
    let length = u32::try_from(body.len()).expect("short").to_le_bytes();
    let bytes: Bytes = [header(), length.to_vec(), sum.to_vec(), body.to_vec()]
        .concat()
        .into();
    let mut entries = crate::file::Entries::open(&bytes[..]).expect("a header");
    match entries.next() {
        Ok(Some(Entry::Step(_, event))) => _ = event.into_input(&trust()),
        Ok(Some(Entry::Start(start))) => _ = (start.membership(), start.recovered()),
        Ok(Some(Entry::Held(part))) => _ = part.add_to(&mut Recovered::default()),
        Ok(Some(Entry::Outcome(_)) | None) | Err(_) => {}
    }
}
