//! A node on a simulated disk, and what is published on it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use engine::{
    AckLevel, CleanStop, Config, Input, Node, NodeIdentity, Output, PublishError, Published,
    Recovered, RequestId,
};
use gossip::Write;
use identity::{Grant, Keypair, Membership, Role, Trust};
use model::{
    Block, ClockState, Epoch, Labels, NewReading, PublisherMark, Quality, SeriesDefinition,
    SeriesNumber, State, StateDraft, StateKey, StateKind, StateVersion, Timestamp, Unit, Value,
    ValueType,
};
use statemachine::{Rng, Ticket};
use testkit::Probe;
use wire::Frame;

pub(crate) const NOON: Timestamp = Timestamp::from_nanos(1_800_000_000_000_000_000);
pub(crate) const GATHER: Duration = Duration::from_millis(5);

pub(crate) fn identity(roles: &[Role]) -> NodeIdentity {
    identity_of(2, roles)
}

pub(crate) fn identity_of(seed: u8, roles: &[Role]) -> NodeIdentity {
    let operator = Keypair::from_seed(&[1; 32]);
    let keypair = Keypair::from_seed(&[seed; 32]);
    let grant = Grant {
        machine: keypair.machine(),
        name: "press-1".to_owned(),
        site: "hall-3".to_owned(),
        roles: roles.iter().copied().collect::<BTreeSet<_>>(),
        commands: Vec::new(),
        not_before: Timestamp::MIN,
        not_after: Timestamp::MAX,
        delegation: None,
    };
    let membership = Membership::issue(&operator, grant).expect("a membership");
    NodeIdentity {
        keypair,
        membership,
        trust: Trust::new(operator.machine()),
    }
}

/// A node on a simulated disk, which syncs when the test says so.
pub(crate) struct Desk {
    pub(crate) probe: Probe<Node>,
    pub(crate) unsynced: Vec<(Ticket, Write)>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) states: Vec<State>,
    pub(crate) replies: Vec<(u64, Result<Published, PublishError>)>,
    pub(crate) stopped: Option<CleanStop>,
    pub(crate) dialled: Vec<overlay::Contact>,
    pub(crate) requests: u64,
}

impl Desk {
    pub(crate) fn start(recovered: Recovered) -> Self {
        Self::start_with(&[Role::Publish], recovered, 7)
    }

    pub(crate) fn start_with(roles: &[Role], recovered: Recovered, seed: u64) -> Self {
        Self::configured(roles, Config::default(), recovered, seed)
    }

    pub(crate) fn configured(
        roles: &[Role],
        config: Config,
        recovered: Recovered,
        seed: u64,
    ) -> Self {
        let node = Node::new(identity(roles), config, recovered, Rng::from_u64(seed));
        let mut desk = Self {
            probe: Probe::new(node),
            unsynced: Vec::new(),
            blocks: Vec::new(),
            states: Vec::new(),
            replies: Vec::new(),
            stopped: None,
            dialled: Vec::new(),
            requests: 0,
        };
        desk.probe
            .input(Input::WallClock(NOON, ClockState::Synchronised));
        desk.collect();
        desk
    }

    pub(crate) fn publish(
        &mut self,
        readings: Vec<NewReading>,
        mark: Option<u64>,
        level: AckLevel,
    ) {
        self.requests += 1;
        let publisher = mark.map(|sequence| PublisherMark {
            publisher: "plc".to_owned(),
            sequence,
        });
        let request = RequestId(self.requests);
        self.probe.input(Input::Publish {
            request,
            readings,
            publisher,
            level,
        });
        self.collect();
    }

    /// A neighbour that is there from now on says something.
    pub(crate) fn neighbour_sends(&mut self, message: gossip::Message) {
        let membership = identity_of(3, &[]).membership;
        let machine = membership.machine();
        let contact = overlay::Contact {
            machine,
            addresses: Vec::new(),
        };
        let neighbour = overlay::Message::Neighbour {
            contact,
            urgent: true,
        };
        self.probe.input(Input::LinkUp(Box::new(membership)));
        self.probe
            .input(Input::Received(machine, Frame::Overlay(neighbour)));
        self.probe
            .input(Input::Received(machine, Frame::Gossip(message)));
        self.collect();
    }

    pub(crate) fn advance(&mut self, duration: Duration) {
        self.probe.advance(duration);
        self.collect();
    }

    /// The disk syncs everything that was written so far.
    pub(crate) fn sync(&mut self) {
        for (ticket, write) in std::mem::take(&mut self.unsynced) {
            if let Write::State(state) = write {
                self.states.push(state);
            }
            self.probe.input(Input::Persisted(ticket));
        }
        self.collect();
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the rest is not about publishing"
    )]
    pub(crate) fn collect(&mut self) {
        for output in self.probe.take() {
            match output {
                Output::Persist(ticket, write) => {
                    if let Write::Block(block) = &write {
                        self.blocks.push(block.clone());
                    }
                    self.unsynced.push((ticket, write));
                }
                Output::Reply(request, result) => self.replies.push((request.0, result)),
                Output::Stopped(clean) => self.stopped = Some(clean),
                Output::Dial(contact) => self.dialled.push(contact),
                _ => {}
            }
        }
    }

    /// What the disk knows of this node now, as if it had just been killed.
    pub(crate) fn recovered(&self) -> Recovered {
        let last = self.blocks.last().map(|block| {
            let network = identity(&[]).trust.network();
            (block.id().position(), block.hash(&network))
        });
        let logs: BTreeSet<_> = self.blocks.iter().map(|block| block.id().log).collect();
        let frontier = logs.into_iter().map(|log| gossip::FrontierEntry {
            log,
            floor: 1,
            end: self
                .blocks
                .iter()
                .filter(|block| block.id().log == log)
                .count() as u64,
            beyond: Vec::new(),
        });
        let marks = self
            .blocks
            .iter()
            .flat_map(|block| block.header().publishers.clone());
        Recovered {
            frontier: frontier.collect(),
            states: self.states.clone(),
            epoch_counter_highest: self.probe.machine().epoch().counter,
            last_own: last,
            publishers: marks.collect(),
            ..Recovered::default()
        }
    }
}

pub(crate) fn series(name: &str) -> Arc<SeriesDefinition> {
    Arc::new(SeriesDefinition {
        name: name.parse().expect("a name"),
        unit: Unit::default(),
        value_type: ValueType::F64,
        labels: Labels::default(),
    })
}

pub(crate) fn reading(value: f64) -> NewReading {
    NewReading {
        series: series("press/oil/temperature"),
        time: NOON,
        value: Value::F64(value),
        quality: Quality::GOOD,
    }
}

/// The state by which this machine says in an epoch what a series number means.
pub(crate) fn own_series(version: StateVersion, epoch: Epoch, number: SeriesNumber) -> State {
    let identity = identity(&[Role::Publish]);
    let key = StateKey {
        origin: identity.keypair.machine(),
        kind: StateKind::Series,
        subject: format!("{epoch}/{}", number.0),
    };
    let draft = StateDraft {
        key,
        version,
        payload: SeriesDefinition::to_payload(&series("press/oil/level")).into(),
    };
    let sign = |digest: &[u8; 32]| identity.keypair.sign(digest);
    draft.seal(&identity.trust.network(), sign)
}
