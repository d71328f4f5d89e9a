//! What a node that relays does with the logs of origins, its own among them: which records it
//! uploads, when it tells progress, and where it starts after a stop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use aggregate::{Progress, RawRecord, Record, WindowRecord};
use election::{Candidacy, UplinkId};
use engine::{
    AckLevel, Config, Input, Node, NodeIdentity, Output, Recovered, RequestId, UplinkConfig,
    UploadId,
};
use gossip::{Span, Write};
use identity::{Grant, Keypair, Membership, Role, Trust};
use model::{
    Block, BlockId, ClockState, Epoch, Labels, LogId, MachineId, NewReading, Position, Quality,
    Reading, SeriesDefinition, State, StateDraft, StateKey, StateKind, StateVersion, Timestamp,
    Unit, Value, ValueType,
};
use overlay::{Address, Contact};
use statemachine::{Rng, Ticket};
use testkit::Probe;
use wire::Frame;

const NOON: Timestamp = Timestamp::from_nanos(1_800_000_000_000_000_000);
const WINDOW: Duration = Duration::from_secs(10);
/// How late a reading may come.
const LATENESS: Duration = Duration::from_secs(60);
/// Until a window has ended, and its origin has said so.
const WINDOW_ENDED: Duration = Duration::from_secs(12);
/// Until a machine that stands alone serves, and progress has been told.
const SOON: Duration = Duration::from_secs(1);
/// Until who is silent is given up, in a test that waits for it.
const SILENT: Duration = Duration::from_secs(20);
const OWN: u8 = 2;
const NEIGHBOUR: u8 = 3;

fn uplink() -> UplinkId {
    "cloud".parse().expect("an uplink")
}

fn identity(seed: u8, roles: &[Role]) -> NodeIdentity {
    let operator = Keypair::from_seed(&[1; 32]);
    let keypair = Keypair::from_seed(&[seed; 32]);
    let grant = Grant {
        machine: keypair.machine(),
        name: format!("press-{seed}"),
        site: "hall-3".to_owned(),
        roles: roles.iter().copied().collect::<BTreeSet<_>>(),
        commands: Vec::new(),
        not_before: Timestamp::MIN,
        not_after: Timestamp::MAX,
        delegation: None,
    };
    NodeIdentity {
        membership: Membership::issue(&operator, grant).expect("a membership"),
        keypair,
        trust: Trust::new(operator.machine()),
    }
}

fn state(of: &NodeIdentity, version: StateVersion, kind: StateKind, payload: Vec<u8>) -> State {
    state_about(of, version, kind, String::new(), payload)
}

fn state_about(
    of: &NodeIdentity,
    version: StateVersion,
    kind: StateKind,
    subject: String,
    payload: Vec<u8>,
) -> State {
    let draft = StateDraft {
        key: StateKey {
            origin: of.keypair.machine(),
            kind,
            subject,
        },
        version,
        payload: payload.into(),
    };
    draft.seal(&of.trust.network(), |digest| of.keypair.sign(digest))
}

fn is_own_candidacy(state: &State) -> bool {
    let own = identity(OWN, &[]).keypair.machine();
    state.key().kind == StateKind::Candidacy && state.key().origin == own
}

type Search = (Ticket, LogId, Span, Option<(Timestamp, Timestamp)>);

/// A node with an uplink, on a disk that syncs at once and keeps its blocks over a restart.
struct Desk {
    probe: Probe<Node>,
    blocks: BTreeMap<BlockId, Block>,
    states: BTreeMap<StateKey, State>,
    /// Reads that the test has not answered.
    reads: Vec<(Ticket, LogId, Span)>,
    searches: Vec<Search>,
    /// Windows that were to be uploaded.
    uploads: Vec<(UploadId, WindowRecord)>,
    /// Readings that were to be uploaded as they are.
    raw: Vec<(UploadId, RawRecord)>,
    withdrawn: Vec<MachineId>,
    dialled: Vec<MachineId>,
    /// What this machine told everyone about its way to the uplink.
    candidacies: Vec<Candidacy>,
    requests: u64,
}

impl Desk {
    fn start(recovered: Recovered) -> Self {
        Self::start_with(recovered, Self::uplink_config())
    }

    fn uplink_config() -> UplinkConfig {
        UplinkConfig {
            id: uplink(),
            windows: aggregate::Config {
                lengths: vec![WINDOW],
                allowed_lateness: LATENESS,
                windows_max: 1_000,
            },
            patterns: Vec::new(),
            raw: Vec::new(),
            exclude: Vec::new(),
            priority: 1,
            cost_class: 0,
            partial_after: Duration::from_secs(60),
        }
    }

    fn start_with(recovered: Recovered, uplink: UplinkConfig) -> Self {
        Self::start_as(OWN, 7, recovered, uplink)
    }

    fn start_as(machine: u8, rng: u64, recovered: Recovered, uplink: UplinkConfig) -> Self {
        let config = Config {
            uplinks: vec![uplink],
            ..Config::default()
        };
        let identity = identity(machine, &[Role::Publish, Role::Relay]);
        let node = Node::new(identity, config, recovered, Rng::from_u64(rng));
        let mut desk = Self {
            probe: Probe::new(node),
            blocks: BTreeMap::new(),
            states: BTreeMap::new(),
            reads: Vec::new(),
            searches: Vec::new(),
            uploads: Vec::new(),
            raw: Vec::new(),
            withdrawn: Vec::new(),
            dialled: Vec::new(),
            candidacies: Vec::new(),
            requests: 0,
        };
        desk.input(Input::WallClock(NOON, ClockState::Synchronised));
        desk
    }

    /// A node that serves its own log.
    fn serving() -> Self {
        let mut desk = Self::start(Recovered::default());
        desk.input(Input::UplinkReachable(uplink(), true));
        desk.advance(SOON);
        desk
    }

    fn input(&mut self, input: Input) {
        self.probe.input(input);
        self.perform();
    }

    fn advance(&mut self, duration: Duration) {
        self.probe.advance(duration);
        self.perform();
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the rest is not about uploads"
    )]
    fn perform(&mut self) {
        loop {
            let outputs = self.probe.take();
            if outputs.is_empty() {
                return;
            }
            for output in outputs {
                match output {
                    Output::Persist(ticket, write) => {
                        match write {
                            Write::Block(block) => _ = self.blocks.insert(block.id(), block),
                            Write::State(state) => {
                                self.states.insert(state.key().clone(), state);
                            }
                        }
                        self.probe.input(Input::Persisted(ticket));
                    }
                    Output::Read {
                        ticket, log, span, ..
                    } => self.reads.push((ticket, log, span)),
                    Output::Search {
                        ticket,
                        log,
                        span,
                        times,
                        ..
                    } => self.searches.push((ticket, log, span, times)),
                    Output::Upload { id, record, .. } => match *record {
                        Record::Window(record) => self.uploads.push((id, record)),
                        Record::Raw(record) => self.raw.push((id, record)),
                    },
                    Output::Withdraw(_, origin) => self.withdrawn.push(origin),
                    Output::Dial(contact) => self.dialled.push(contact.machine),
                    Output::StateChanged(state) if is_own_candidacy(&state) => {
                        let candidacy = Candidacy::from_payload(state.payload());
                        self.candidacies.push(candidacy.expect("it decodes"));
                    }
                    _ => {}
                }
            }
        }
    }

    /// Answers every read from `blocks`.
    fn answer_reads(&mut self, blocks: &BTreeMap<BlockId, Block>) {
        while let Some((ticket, log, span)) = self.reads.pop() {
            let first = BlockId {
                log,
                sequence: span.first,
            };
            let last = BlockId {
                log,
                sequence: span.last,
            };
            let found = blocks.range(first..=last).map(|(_, block)| block.clone());
            self.input(Input::BlocksRead(ticket, found.collect()));
        }
    }

    /// Answers every search from what was written.
    fn answer_searches(&mut self) {
        while let Some((ticket, log, span, times)) = self.searches.pop() {
            let in_span = |block: &&Block| {
                block.id().log == log && (span.first..=span.last).contains(&block.id().sequence)
            };
            let is_wanted = |reading: &Reading| {
                times.is_none_or(|(from, to)| from <= reading.time && reading.time < to)
            };
            let holds = |block: &&Block| block.readings().expect("columns").iter().any(is_wanted);
            let found = self.blocks.values().filter(in_span).filter(holds).cloned();
            let found = found.collect();
            self.input(Input::BlocksFound(ticket, found, span.last));
        }
    }

    /// Publishes a reading of this many seconds after noon.
    fn publish(&mut self, seconds: u64, value: f64) {
        self.publish_as("press/oil/temperature", seconds, value);
    }

    fn publish_as(&mut self, name: &str, seconds: u64, value: f64) {
        self.requests += 1;
        let series = SeriesDefinition {
            name: name.parse().expect("a name"),
            unit: Unit::default(),
            value_type: ValueType::F64,
            labels: Labels::default(),
        };
        let reading = NewReading {
            series: Arc::new(series),
            time: NOON.saturating_add(Duration::from_secs(seconds)),
            value: Value::F64(value),
            quality: Quality::GOOD,
        };
        self.input(Input::Publish {
            request: RequestId(self.requests),
            readings: vec![reading],
            publisher: None,
            level: AckLevel::Durable,
        });
    }

    fn acknowledge(&mut self, ids: &[UploadId]) {
        self.input(Input::Uploaded(uplink(), ids.to_vec()));
        self.advance(SOON);
    }

    fn neighbour_sends(&mut self, states: Vec<State>) {
        self.machine_sends(identity(NEIGHBOUR, &[]).membership, states);
    }

    fn machine_sends(&mut self, membership: Membership, states: Vec<State>) {
        let machine = membership.machine();
        let contact = overlay::Contact {
            machine,
            addresses: Vec::new(),
        };
        let neighbour = overlay::Message::Neighbour {
            contact,
            urgent: true,
        };
        self.input(Input::LinkUp(Box::new(membership)));
        self.input(Input::Received(machine, Frame::Overlay(neighbour)));
        let message = gossip::Message::States(states);
        self.input(Input::Received(machine, Frame::Gossip(message)));
    }

    /// A neighbour brings what other desks said of their logs, and this one reads what it wants to
    /// fold.
    fn neighbour_brings(&mut self, desks: &[&Desk]) {
        for desk in desks {
            let is_relays = |state: &&State| {
                matches!(state.key().kind, StateKind::Candidacy | StateKind::Progress)
            };
            let states = desk.states.values().filter(|state| !is_relays(state));
            let states: Vec<State> = states.cloned().collect();
            for states in states.chunks(gossip::Message::STATES_MAX) {
                self.neighbour_sends(states.to_vec());
            }
            for block in desk.blocks.values().cloned() {
                let (neighbour, pushed) = (identity(NEIGHBOUR, &[]).keypair.machine(), false);
                let message = gossip::Message::Block { block, pushed };
                self.input(Input::Received(neighbour, Frame::Gossip(message)));
            }
        }
        self.read_on();
    }

    /// Goes on until there is nothing to read, and who is silent has been given up.
    fn read_on(&mut self) {
        for _ in 0..3 {
            while !self.reads.is_empty() {
                self.answer_reads(&self.blocks.clone());
            }
            self.advance(SILENT);
        }
    }

    /// Which windows the sink has: by start in seconds after noon the name of the record that
    /// counts and how many readings it has.
    fn windows_of(&self, origin: &Desk) -> BTreeMap<u64, (Position, u64)> {
        let mut windows = BTreeMap::new();
        let origin = origin.probe.machine().machine();
        let records = self.uploads.iter().map(|(_, record)| record);
        for record in records.filter(|record| record.key.machine == origin) {
            let since = record.key.window_start.as_nanos() - NOON.as_nanos();
            let seconds = u64::try_from(since / 1_000_000_000).expect("after noon");
            let entry = (record.key.position(), record.summary.count);
            let best = windows.entry(seconds).or_insert(entry);
            *best = entry.max(*best);
        }
        windows
    }

    fn progress_told(&self) -> Option<Progress> {
        let state = (self.states.values()).find(|s| s.key().kind == StateKind::Progress)?;
        Progress::from_payload(state.payload()).ok()
    }

    /// Where what some uplink still needs of the own log begins.
    fn needed(&mut self) -> Position {
        let own = identity(OWN, &[]).keypair.machine();
        let needed = self.probe.with(|node| node.needed_by_uplinks());
        needed.expect("there is an uplink")[&own]
    }

    fn last_position(&self) -> Position {
        let (id, _) = self.blocks.last_key_value().expect("a block");
        id.position()
    }

    /// What the disk knows now, as if the node had just been killed.
    fn recovered(&self) -> Recovered {
        let mut ends = BTreeMap::new();
        for id in self.blocks.keys() {
            ends.insert(id.log, id.sequence);
        }
        let entry = |(log, end)| gossip::FrontierEntry {
            log,
            floor: 1,
            end,
            beyond: Vec::new(),
        };
        let last = self.blocks.values().next_back().map(|block| {
            let network = identity(OWN, &[]).trust.network();
            (block.id().position(), block.hash(&network))
        });
        Recovered {
            frontier: ends.into_iter().map(entry).collect(),
            states: self.states.values().cloned().collect(),
            epoch_counter_highest: self.probe.machine().epoch().counter,
            last_own: last,
            ..Recovered::default()
        }
    }
}

#[test]
fn a_window_is_uploaded_once_it_ended_and_progress_waits_for_the_sink() {
    let mut desk = Desk::serving();
    desk.publish(1, 20.0);
    desk.publish(2, 30.0);
    assert!(desk.uploads.is_empty(), "the window is open");

    desk.advance(WINDOW_ENDED);
    let (id, record) = desk.uploads.pop().expect("a record");
    assert_eq!(record.key.window_start, NOON);
    assert!(record.key.complete);
    assert_eq!(record.summary.count, 2);
    assert!(desk.uploads.is_empty(), "once");
    assert_eq!(desk.progress_told(), None, "the sink has not answered");

    desk.acknowledge(&[id]);
    let progress = desk.progress_told().expect("progress");
    assert_eq!(progress.through, desk.last_position());
}

#[test]
fn an_uplink_needs_a_log_from_the_first_block_on_that_is_not_all_acknowledged() {
    let mut desk = Desk::serving();
    desk.publish(1, 20.0);
    desk.advance(WINDOW_ENDED);
    let nothing_told = desk.probe.with(|node| node.needed_by_uplinks());
    assert_eq!(nothing_told, Some(BTreeMap::new()), "all of every log");
    let (id, _) = desk.uploads.pop().expect("the window");
    desk.acknowledge(&[id]);
    assert_eq!(desk.needed().sequence, 1, "late readings may still come");

    desk.advance(LATENESS);
    desk.publish(74, 30.0);
    desk.advance(WINDOW_ENDED);
    let (id, _) = desk.uploads.pop().expect("the next window");
    desk.acknowledge(&[id]);
    assert_eq!(
        desk.needed(),
        desk.last_position(),
        "the first is too old for that"
    );
}

#[test]
fn progress_does_not_pass_a_record_that_the_sink_lacks() {
    let mut desk = Desk::serving();
    desk.publish(1, 20.0);
    desk.advance(WINDOW_ENDED);
    desk.publish(12, 30.0);
    desk.advance(WINDOW);
    let ids: Vec<_> = desk.uploads.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids.len(), 2);

    desk.acknowledge(&ids[1..]);
    assert_eq!(desk.progress_told(), None);

    desk.input(Input::UploadLost(uplink(), vec![ids[0]]));
    let (again, record) = desk.uploads.last().cloned().expect("the first once more");
    assert_eq!(record.key.window_start, NOON);
    desk.acknowledge(&[again]);
    assert!(desk.progress_told().is_some());
}

#[test]
fn progress_that_waits_for_a_record_does_not_speak_for_what_the_next_block_completes() {
    let mut desk = Desk::serving();
    desk.publish(1, 20.0);
    desk.advance(WINDOW_ENDED);
    desk.publish(12, 30.0);
    desk.advance(Duration::from_secs(7));
    assert_eq!(desk.uploads.len(), 1, "the second window is open");
    desk.publish(20, 40.0);
    desk.advance(Duration::from_millis(300));
    desk.publish(20, 50.0);
    let (first, second) = match &desk.uploads[..] {
        [(first, _), (_, second)] => (*first, second.clone()),
        others => panic!("the block completes the second window: {others:?}"),
    };

    desk.acknowledge(&[first]);

    let told = desk.progress_told().expect("the first is acknowledged");
    let end = (second.key.window_start).saturating_add(second.key.window_length);
    assert!(told.watermark < end, "{told:?} speaks for {second:?}");
}

#[test]
fn who_follows_a_killed_relay_reads_the_log_and_starts_at_its_progress() {
    let mut before = Desk::serving();
    before.publish(1, 20.0);
    before.advance(WINDOW_ENDED);
    let untold = before.recovered();
    let (id, record) = before.uploads[0].clone();
    before.acknowledge(&[id]);
    let told = before.recovered();

    let mut repeats = Desk::start(untold);
    repeats.input(Input::UplinkReachable(uplink(), true));
    repeats.answer_reads(&before.blocks);
    repeats.advance(WINDOW_ENDED);
    let mut goes_on = Desk::start(told);
    goes_on.input(Input::UplinkReachable(uplink(), true));
    goes_on.answer_reads(&before.blocks);
    goes_on.publish(2, 30.0);
    goes_on.advance(WINDOW_ENDED);

    assert_eq!(repeats.uploads.len(), 1);
    let again = &repeats.uploads[0].1;
    assert_eq!(again.summary, record.summary, "the same readings");
    let fresh: Vec<_> = goes_on.uploads.iter().map(|(_, record)| record).collect();
    assert_eq!(fresh.len(), 1, "only what came after the progress");
    assert_eq!(fresh[0].summary.count, 2, "with what the window had before");
}

#[test]
fn what_cannot_be_read_is_tried_again_a_second_later_and_not_at_once() {
    let mut before = Desk::serving();
    before.publish(1, 20.0);
    before.advance(SOON);
    before.publish(2, 30.0);
    let mut after = Desk::start(before.recovered());
    assert_eq!(after.reads.len(), 1);

    let mut damaged = before.blocks.clone();
    damaged.pop_first();
    after.answer_reads(&damaged);
    assert!(after.reads.is_empty(), "the first block is still missing");

    after.advance(SOON);
    assert_eq!(after.reads.len(), 1);
    after.answer_reads(&before.blocks);
    assert!(after.reads.is_empty(), "everything has been read");
}

#[test]
fn who_serves_no_longer_withdraws_and_uploads_again_when_it_does() {
    let mut desk = Desk::serving();
    desk.publish(1, 20.0);
    desk.advance(WINDOW_ENDED);
    let (old, record) = desk.uploads.pop().expect("a record");

    desk.input(Input::UplinkReachable(uplink(), false));
    desk.advance(SOON);
    assert_eq!(desk.withdrawn, [desk.probe.machine().machine()]);
    desk.acknowledge(&[old]);
    assert_eq!(desk.progress_told(), None, "nobody serves it here");

    desk.input(Input::UplinkReachable(uplink(), true));
    desk.advance(SOON);
    let (_, again) = desk.uploads.pop().expect("the record once more");
    assert_eq!(again, record);
}

#[test]
fn a_late_reading_makes_a_greater_record_of_its_window() {
    let mut desk = Desk::serving();
    desk.publish(1, 20.0);
    desk.advance(WINDOW_ENDED);
    desk.publish(2, 40.0);
    desk.advance(SOON * 2);

    let keys: Vec<_> = desk.uploads.iter().map(|(_, record)| &record.key).collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0].window_start, keys[1].window_start);
    assert!(keys[0].last_sequence < keys[1].last_sequence);
    assert_eq!(desk.uploads[1].1.summary.count, 2);
}

#[test]
fn a_reading_that_is_minutes_late_makes_a_record_with_all_that_the_log_has_of_its_window() {
    let mut desk = Desk::serving();
    for second in [1, 3, 200] {
        desk.publish(second, 20.0);
        desk.advance(Duration::from_secs(100));
    }
    let ids: Vec<_> = desk.uploads.drain(..).map(|(id, _)| id).collect();
    desk.acknowledge(&ids);
    let before = desk.progress_told().expect("progress");

    desk.publish(2, 80.0);
    let late = desk.last_position();
    desk.advance(SOON * 2);
    assert!(desk.uploads.is_empty(), "the log has not been read");
    desk.answer_searches();

    let (id, record) = desk.uploads.pop().expect("the window once more");
    assert_eq!(record.key.window_start, NOON);
    assert_eq!((record.summary.count, record.summary.max), (3, Some(80.0)));
    assert_eq!(record.key.last_sequence, late.sequence);
    assert!(desk.uploads.is_empty(), "and no other");
    assert_eq!(
        desk.progress_told(),
        Some(before),
        "the sink has not answered"
    );
    desk.acknowledge(&[id]);
    assert_eq!(
        desk.progress_told().map(|progress| progress.through),
        Some(late)
    );
    assert_eq!(desk.probe.machine().feed_stats().lookbacks, 1);
}

#[test]
fn a_window_goes_on_in_the_next_epoch() {
    let mut desk = Desk::serving();
    desk.publish(1, 20.0);
    let version = StateVersion {
        epoch: 7,
        counter: 1,
    };
    let own = identity(OWN, &[Role::Publish, Role::Relay]);
    let later = state(&own, version, StateKind::Presence, Vec::new());

    desk.neighbour_sends(vec![later]);
    desk.advance(SOON);
    desk.publish(3, 30.0);
    desk.advance(WINDOW_ENDED);
    desk.answer_reads(&desk.blocks.clone());
    desk.advance(SOON);

    assert_eq!(desk.last_position().epoch.counter, 8);
    let complete: Vec<_> = desk.uploads.iter().map(|(_, record)| record).collect();
    assert_eq!(complete.len(), 1);
    assert_eq!(complete[0].summary.count, 2);
    assert_eq!(complete[0].key.log_epoch.counter, 8);
}

#[test]
fn what_a_machine_said_before_and_after_it_lost_its_disk_all_reaches_the_sink_whatever_the_tags() {
    let start =
        |machine, rng, recovered| Desk::start_as(machine, rng, recovered, Desk::uplink_config());
    let mut orders = BTreeSet::new();
    for rng in 0..8 {
        let mut first = start(OWN, 100, Recovered::default());
        first.publish(1, 20.0);
        first.advance(SOON);
        first.publish(12, 21.0);
        let mut second = start(OWN, 101, first.recovered());
        second.advance(Config::default().recovery);
        second.publish(23, 22.0);
        second.advance(WINDOW_ENDED * 3);
        second.publish(31, 23.0);
        // The disk is lost, and so far nothing was uploaded. Nobody is there who knows anything.
        let mut alone = start(OWN, rng, Recovered::default());
        alone.input(Input::UplinkReachable(uplink(), true));
        alone.advance(SOON);
        alone.publish(40, 30.0);
        alone.advance(WINDOW_ENDED * 5);
        let ids: Vec<_> = alone.uploads.iter().map(|(id, _)| *id).collect();
        alone.acknowledge(&ids);
        orders.insert(alone.last_position().epoch < first.last_position().epoch);

        alone.neighbour_brings(&[&first, &second]);
        alone.publish(100, 31.0);
        alone.advance(WINDOW_ENDED * 5);
        let mut relays = [
            (5, [&first, &second, &alone]),
            (6, [&alone, &second, &first]),
        ]
        .map(|(machine, order)| {
            let mut relay = start(machine, rng, Recovered::default());
            relay.input(Input::UplinkReachable(uplink(), true));
            relay.advance(SOON);
            order
                .iter()
                .for_each(|desk| relay.neighbour_brings(&[desk]));
            (machine, relay)
        });

        let counts = |windows: &BTreeMap<u64, (Position, u64)>| {
            let counts = windows.iter().map(|(start, (_, count))| (*start, *count));
            counts.collect::<Vec<_>>()
        };
        let windows = alone.windows_of(&alone);
        let each_once = [0, 10, 20, 30, 40, 100].map(|start| (start, 1));
        assert_eq!(counts(&windows), each_once, "rng {rng}");
        for (machine, relay) in &mut relays {
            assert_eq!(relay.windows_of(&alone), windows, "rng {rng}");
            let ids: Vec<_> = relay.uploads.iter().map(|(id, _)| *id).collect();
            relay.acknowledge(&ids);
            let told = Recovered {
                last_own: None, // All blocks are of another machine.
                ..relay.recovered()
            };
            let mut again = start(*machine, 9, told);
            again.blocks.clone_from(&relay.blocks);
            again.input(Input::UplinkReachable(uplink(), true));
            again.read_on();
            let repeated: Vec<u64> = again.windows_of(&alone).into_keys().collect();
            assert_eq!(repeated, [30], "nobody will complete it, rng {rng}");
        }
    }
    assert_eq!(
        orders.len(),
        2,
        "control: both orders of the tags were tried"
    );
}

#[test]
fn patterns_choose_windows_readings_or_nothing_for_each_series() {
    let patterns = |text: &str| vec![text.parse().expect("a pattern")];
    let config = UplinkConfig {
        patterns: patterns("press/**"),
        raw: patterns("press-2:*/vibration"),
        exclude: patterns("**/secret"),
        ..Desk::uplink_config()
    };
    let mut desk = Desk::start_with(Recovered::default(), config);
    desk.input(Input::UplinkReachable(uplink(), true));
    desk.advance(SOON);

    for name in [
        "drive/current",
        "press/secret",
        "press/vibration",
        "press/oil",
    ] {
        desk.publish_as(name, 1, 20.0);
        desk.publish_as(name, 2, 30.0);
    }
    desk.advance(WINDOW_ENDED);

    let windows = desk.uploads.iter().map(|(_, w)| w.key.series.name.as_str());
    assert_eq!(windows.collect::<Vec<_>>(), ["press/oil"]);
    assert_eq!(desk.uploads[0].1.summary.count, 2);
    let raw = |record: &RawRecord| (record.key.series.name.to_string(), record.value.clone());
    let vibration = |value| ("press/vibration".to_owned(), Value::F64(value));
    let readings: Vec<_> = desk.raw.iter().map(|(_, record)| raw(record)).collect();
    assert_eq!(readings, [vibration(20.0), vibration(30.0)]);

    let window = desk.uploads[0].0;
    let ids: Vec<_> = desk.raw.iter().map(|(id, _)| *id).collect();
    desk.acknowledge(&ids);
    let covered = |desk: &Desk| desk.progress_told().map(|progress| progress.watermark);
    let window_end = Some(NOON.saturating_add(WINDOW));
    assert!(
        covered(&desk) < window_end,
        "the window is not acknowledged"
    );
    desk.acknowledge(&[window]);
    assert!(covered(&desk) >= window_end);
}

/// How many windows are uploaded here although another machine says that it has uploaded
/// everything.
fn uploads_despite_the_word_of(role: Role) -> usize {
    let mut desk = Desk::serving();
    desk.publish(1, 20.0);
    let liar = identity(NEIGHBOUR, &[role]);
    let version = |counter| StateVersion { epoch: 1, counter };
    let membership = liar.membership.as_bytes().to_vec();
    let far = Position {
        epoch: Epoch { counter: 9, tag: 0 },
        sequence: 9,
    };
    let progress = Progress {
        through: far,
        watermark: Timestamp::MAX,
        late: None,
        horizon: Timestamp::MAX,
        resume: far,
    };
    let subject = format!("{}/{}", uplink(), desk.probe.machine().machine());
    let payload = progress.to_payload();

    desk.neighbour_sends(vec![
        state(&liar, version(1), StateKind::Membership, membership),
        state_about(&liar, version(2), StateKind::Progress, subject, payload),
    ]);
    desk.advance(WINDOW_ENDED);
    desk.uploads.len()
}

#[test]
fn adversarial_31_only_the_word_of_a_machine_that_the_operator_lets_relay_stops_an_upload() {
    assert_eq!(uploads_despite_the_word_of(Role::Publish), 1);
    // What follows of such a machine's lie stands in the manual, on uplinks.
    assert_eq!(uploads_despite_the_word_of(Role::Relay), 0, "control");
}

#[test]
fn a_candidacy_says_how_busy_the_machine_is_and_how_well_its_uplink_works() {
    let mut desk = Desk::serving();
    let first = desk.candidacies.pop().expect("a candidacy");

    desk.input(Input::Load(40));
    for reachable in [false, true] {
        desk.input(Input::UplinkReachable(uplink(), reachable));
    }
    desk.advance(SOON);
    let second = desk.candidacies.pop().expect("another one");

    assert_eq!((first.load, first.health), (0, 100));
    assert_eq!((second.load, second.health), (40, 80));
    assert!(first.standing && second.standing);
}

#[test]
fn a_candidate_whose_presence_is_not_known_is_dialled_from_the_address_book() {
    let (candidate, via) = (identity(NEIGHBOUR, &[Role::Relay]), identity(4, &[]));
    let address = Address::new("/ip4/192.0.2.7/tcp/4001".to_owned()).expect("short");
    let contact = Contact {
        machine: candidate.keypair.machine(),
        addresses: vec![address],
    };
    let mut desk = Desk::start(Recovered {
        contacts: vec![contact],
        ..Recovered::default()
    });
    desk.input(Input::UplinkReachable(uplink(), true));
    desk.advance(SOON);
    desk.input(Input::DialFailed(candidate.keypair.machine()));
    desk.dialled.clear();

    let version = StateVersion {
        epoch: 1,
        counter: 1,
    };
    let membership = candidate.membership.as_bytes().to_vec();
    let stands = Candidacy {
        standing: true,
        ..Candidacy::default()
    };
    let subject = uplink().as_str().to_owned();
    let states = vec![
        state(&candidate, version, StateKind::Membership, membership),
        state_about(
            &candidate,
            version,
            StateKind::Candidacy,
            subject,
            stands.to_payload(),
        ),
    ];
    desk.machine_sends(via.membership.clone(), states);

    assert!(desk.dialled.contains(&candidate.keypair.machine()));
}
