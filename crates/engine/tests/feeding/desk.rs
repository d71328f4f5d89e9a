//! A node with an uplink, on a simulated disk.

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
    Block, BlockId, ClockState, Labels, LogId, MachineId, NewReading, Position, Quality, Reading,
    SeriesDefinition, State, StateDraft, StateKey, StateKind, StateVersion, Timestamp, Unit, Value,
    ValueType,
};
use statemachine::{Rng, Ticket};
use testkit::Probe;
use wire::Frame;

pub(crate) const NOON: Timestamp = Timestamp::from_nanos(1_800_000_000_000_000_000);
pub(crate) const WINDOW: Duration = Duration::from_secs(10);

/// How late a reading may come.
pub(crate) const LATENESS: Duration = Duration::from_secs(60);

/// Until a window has ended, and its origin has said so.
pub(crate) const WINDOW_ENDED: Duration = Duration::from_secs(12);

/// Until a machine that stands alone serves, and progress has been told.
pub(crate) const SOON: Duration = Duration::from_secs(1);

/// Until who is silent is given up, in a test that waits for it.
pub(crate) const SILENT: Duration = Duration::from_secs(20);
pub(crate) const OWN: u8 = 2;
pub(crate) const NEIGHBOUR: u8 = 3;

pub(crate) fn uplink() -> UplinkId {
    "cloud".parse().expect("an uplink")
}

pub(crate) fn identity(seed: u8, roles: &[Role]) -> NodeIdentity {
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

pub(crate) fn state(
    of: &NodeIdentity,
    version: StateVersion,
    kind: StateKind,
    payload: Vec<u8>,
) -> State {
    state_about(of, version, kind, String::new(), payload)
}

pub(crate) fn state_about(
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

pub(crate) fn is_own_candidacy(state: &State) -> bool {
    let own = identity(OWN, &[]).keypair.machine();
    state.key().kind == StateKind::Candidacy && state.key().origin == own
}

pub(crate) type Search = (Ticket, LogId, Span, Option<(Timestamp, Timestamp)>);

/// A node with an uplink, on a disk that syncs at once and keeps its blocks over a restart.
pub(crate) struct Desk {
    pub(crate) probe: Probe<Node>,
    pub(crate) blocks: BTreeMap<BlockId, Block>,
    pub(crate) states: BTreeMap<StateKey, State>,
    /// Reads that the test has not answered.
    pub(crate) reads: Vec<(Ticket, LogId, Span)>,
    pub(crate) searches: Vec<Search>,
    /// Windows that were to be uploaded.
    pub(crate) uploads: Vec<(UploadId, WindowRecord)>,
    /// Readings that were to be uploaded as they are.
    pub(crate) raw: Vec<(UploadId, RawRecord)>,
    pub(crate) withdrawn: Vec<MachineId>,
    pub(crate) dialled: Vec<MachineId>,
    /// What this machine told everyone about its way to the uplink.
    pub(crate) candidacies: Vec<Candidacy>,
    pub(crate) requests: u64,
}

impl Desk {
    pub(crate) fn start(recovered: Recovered) -> Self {
        Self::start_with(recovered, Self::uplink_config())
    }

    pub(crate) fn uplink_config() -> UplinkConfig {
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

    pub(crate) fn start_with(recovered: Recovered, uplink: UplinkConfig) -> Self {
        Self::start_as(OWN, 7, recovered, uplink)
    }

    pub(crate) fn start_as(
        machine: u8,
        rng: u64,
        recovered: Recovered,
        uplink: UplinkConfig,
    ) -> Self {
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
    pub(crate) fn serving() -> Self {
        let mut desk = Self::start(Recovered::default());
        desk.input(Input::UplinkReachable(uplink(), true));
        desk.advance(SOON);
        desk
    }

    pub(crate) fn input(&mut self, input: Input) {
        self.probe.input(input);
        self.perform();
    }

    pub(crate) fn advance(&mut self, duration: Duration) {
        self.probe.advance(duration);
        self.perform();
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the rest is not about uploads"
    )]
    pub(crate) fn perform(&mut self) {
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
    pub(crate) fn answer_reads(&mut self, blocks: &BTreeMap<BlockId, Block>) {
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
    pub(crate) fn answer_searches(&mut self) {
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
    pub(crate) fn publish(&mut self, seconds: u64, value: f64) {
        self.publish_as("press/oil/temperature", seconds, value);
    }

    pub(crate) fn publish_as(&mut self, name: &str, seconds: u64, value: f64) {
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

    pub(crate) fn acknowledge(&mut self, ids: &[UploadId]) {
        self.input(Input::Uploaded(uplink(), ids.to_vec()));
        self.advance(SOON);
    }

    pub(crate) fn neighbour_sends(&mut self, states: Vec<State>) {
        self.machine_sends(identity(NEIGHBOUR, &[]).membership, states);
    }

    pub(crate) fn machine_sends(&mut self, membership: Membership, states: Vec<State>) {
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
    pub(crate) fn neighbour_brings(&mut self, desks: &[&Desk]) {
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
    pub(crate) fn read_on(&mut self) {
        for _ in 0..3 {
            while !self.reads.is_empty() {
                self.answer_reads(&self.blocks.clone());
            }
            self.advance(SILENT);
        }
    }

    /// Which windows the sink has: by start in seconds after noon the name of the record that
    /// counts and how many readings it has.
    pub(crate) fn windows_of(&self, origin: &Desk) -> BTreeMap<u64, (Position, u64)> {
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

    pub(crate) fn progress_told(&self) -> Option<Progress> {
        let state = (self.states.values()).find(|s| s.key().kind == StateKind::Progress)?;
        Progress::from_payload(state.payload()).ok()
    }

    /// Where what some uplink still needs of the own log begins.
    pub(crate) fn needed(&mut self) -> Position {
        let own = identity(OWN, &[]).keypair.machine();
        let needed = self.probe.with(|node| node.needed_by_uplinks());
        needed.expect("there is an uplink")[&own]
    }

    pub(crate) fn last_position(&self) -> Position {
        let (id, _) = self.blocks.last_key_value().expect("a block");
        id.position()
    }

    /// What the disk knows now, as if the node had just been killed.
    pub(crate) fn recovered(&self) -> Recovered {
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
