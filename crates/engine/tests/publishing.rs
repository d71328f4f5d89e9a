//! What a node does with readings that are published on it: when blocks are sealed, what is
//! acknowledged and when, and how numbers go on after a stop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use engine::{
    AckLevel, CleanStop, Config, Input, Node, NodeIdentity, Output, PublishError, Published,
    Recovered, RequestId,
};
use gossip::Write;
use identity::{Grant, Keypair, Membership, Role, Trust};
use model::{
    Block, ClockState, Epoch, Labels, LogId, NewReading, Position, PublisherMark, Quality,
    SeriesDefinition, SeriesNumber, State, StateDraft, StateKey, StateKind, StateVersion,
    Timestamp, Unit, Value, ValueType,
};
use statemachine::{Rng, Ticket};
use testkit::Probe;
use wire::Frame;

const NOON: Timestamp = Timestamp::from_nanos(1_800_000_000_000_000_000);
const GATHER: Duration = Duration::from_millis(5);

fn identity(roles: &[Role]) -> NodeIdentity {
    identity_of(2, roles)
}

fn identity_of(seed: u8, roles: &[Role]) -> NodeIdentity {
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
struct Desk {
    probe: Probe<Node>,
    unsynced: Vec<(Ticket, Write)>,
    blocks: Vec<Block>,
    states: Vec<State>,
    replies: Vec<(u64, Result<Published, PublishError>)>,
    stopped: Option<CleanStop>,
    dialled: Vec<overlay::Contact>,
    requests: u64,
}

impl Desk {
    fn start(recovered: Recovered) -> Self {
        Self::start_with(&[Role::Publish], recovered, 7)
    }

    fn start_with(roles: &[Role], recovered: Recovered, seed: u64) -> Self {
        Self::configured(roles, Config::default(), recovered, seed)
    }

    fn configured(roles: &[Role], config: Config, recovered: Recovered, seed: u64) -> Self {
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

    fn publish(&mut self, readings: Vec<NewReading>, mark: Option<u64>, level: AckLevel) {
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
    fn neighbour_sends(&mut self, message: gossip::Message) {
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

    fn advance(&mut self, duration: Duration) {
        self.probe.advance(duration);
        self.collect();
    }

    /// The disk syncs everything that was written so far.
    fn sync(&mut self) {
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
    fn collect(&mut self) {
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
    fn recovered(&self) -> Recovered {
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

fn series(name: &str) -> Arc<SeriesDefinition> {
    Arc::new(SeriesDefinition {
        name: name.parse().expect("a name"),
        unit: Unit::default(),
        value_type: ValueType::F64,
        labels: Labels::default(),
    })
}

fn reading(value: f64) -> NewReading {
    NewReading {
        series: series("press/oil/temperature"),
        time: NOON,
        value: Value::F64(value),
        quality: Quality::GOOD,
    }
}

/// The state by which this machine says in an epoch what a series number means.
fn own_series(version: StateVersion, epoch: Epoch, number: SeriesNumber) -> State {
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

#[test]
fn a_quiet_machine_says_nothing_of_itself_before_it_publishes_and_then_its_membership_first() {
    for quiet in [true, false] {
        let config = Config {
            quiet,
            ..Config::default()
        };
        let mut desk = Desk::configured(&[Role::Publish], config, Recovered::default(), 7);

        desk.advance(Duration::from_secs(60));
        desk.sync();
        assert_eq!(desk.states.is_empty(), quiet);
        desk.publish(vec![reading(1.0)], None, AckLevel::Durable);
        desk.sync();

        let kinds: Vec<StateKind> = desk.states.iter().map(|state| state.key().kind).collect();
        assert_eq!(kinds.first(), Some(&StateKind::Membership));
        assert!(kinds.contains(&StateKind::Series));
    }
}

/// What a member says of where it is.
fn presence(version: StateVersion) -> [State; 2] {
    let identity = identity_of(4, &[]);
    let address = overlay::Address::new("/ip4/192.0.2.4/udp/4001/quic/noise".to_owned());
    let presence = engine::Presence {
        addresses: address.into_iter().collect(),
        neighbours: Vec::new(),
    };
    let membership = identity.membership.as_bytes().clone();
    let said = [
        (StateKind::Membership, membership),
        (StateKind::Presence, presence.to_payload().into()),
    ];
    said.map(|(kind, payload)| {
        let origin = identity.keypair.machine();
        let subject = String::new();
        let key = StateKey {
            origin,
            kind,
            subject,
        };
        let draft = StateDraft {
            key,
            version,
            payload,
        };
        draft.seal(&identity.trust.network(), |digest| {
            identity.keypair.sign(digest)
        })
    })
}

#[test]
fn a_member_whose_presence_stays_the_same_is_looked_for_and_one_that_is_heard_is_not() {
    for is_heard in [false, true] {
        let mut desk = Desk::start(Recovered::default());
        let version = |counter| StateVersion { epoch: 1, counter };
        let mut states = presence(version(1));
        for counter in 2..20 {
            desk.neighbour_sends(gossip::Message::States(states.to_vec()));
            desk.advance(Duration::from_secs(10));
            if is_heard {
                states = presence(version(counter));
            }
        }

        let missing = identity_of(4, &[]).keypair.machine();
        let dialled = desk
            .dialled
            .iter()
            .any(|contact| contact.machine == missing);

        assert_eq!(dialled, !is_heard);
    }
}

#[test]
fn a_lone_reading_leaves_at_once_and_a_flood_is_gathered() {
    let mut desk = Desk::start(Recovered::default());

    desk.publish(vec![reading(1.0)], None, AckLevel::Durable);
    assert_eq!(desk.blocks.len(), 1);
    for value in 0..100 {
        desk.publish(vec![reading(f64::from(value))], None, AckLevel::Durable);
    }
    assert_eq!(desk.blocks.len(), 1, "the flood waits");

    desk.advance(GATHER);
    assert_eq!(desk.blocks.len(), 2);
    assert_eq!(desk.blocks[1].header().count, 100);
}

#[test]
fn a_flood_is_sealed_when_a_block_is_full_and_waits_no_longer_than_it_is_gathered() {
    let mut desk = Desk::start(Recovered::default());
    desk.publish(vec![reading(0.0)], None, AckLevel::Accepted);
    let half = || vec![reading(1.0); Block::READINGS_MAX / 2];

    desk.publish(half(), None, AckLevel::Accepted);
    assert_eq!(desk.blocks.len(), 1, "half a block waits");
    desk.publish(half(), None, AckLevel::Accepted);
    assert_eq!(desk.blocks.len(), 2, "a full one does not");
    desk.publish(half(), None, AckLevel::Accepted);
    desk.advance(GATHER - Duration::from_nanos(1));
    assert_eq!(desk.blocks.len(), 2);
    desk.advance(Duration::from_nanos(1));

    let counts = desk.blocks.iter().map(|block| block.header().count);
    assert_eq!(counts.collect::<Vec<_>>(), [1, 4_096, 2_048]);
}

#[test]
fn an_alarm_leaves_at_once_in_a_block_of_its_own_before_what_is_gathered() {
    let mut desk = Desk::start(Recovered::default());
    desk.publish(vec![reading(0.0)], None, AckLevel::Accepted);
    desk.publish(vec![reading(1.0); 10], None, AckLevel::Accepted);
    let alarm = || NewReading {
        series: series("alarm/too-hot"),
        ..reading(1.0)
    };

    desk.publish(vec![alarm()], None, AckLevel::Accepted);

    let marks = |desk: &Desk| {
        let headers = desk.blocks.iter().map(Block::header);
        headers
            .map(|header| (header.sequence, header.count, header.urgent))
            .collect::<Vec<_>>()
    };
    assert_eq!(marks(&desk), [(1, 1, false), (2, 1, true)]);
    desk.advance(GATHER);
    assert_eq!(marks(&desk)[2..], [(3, 10, false)], "control");

    desk.publish(vec![reading(2.0)], Some(1), AckLevel::Accepted);
    desk.advance(GATHER);
    desk.publish(vec![reading(3.0)], Some(2), AckLevel::Accepted);
    desk.publish(vec![alarm()], Some(3), AckLevel::Accepted);
    assert_eq!(
        marks(&desk).last(),
        Some(&(5, 2, true)),
        "a numbered one keeps its turn"
    );
}

#[test]
fn durable_is_acknowledged_after_the_sync_and_accepted_before() {
    let mut desk = Desk::start(Recovered::default());

    desk.publish(vec![reading(1.0)], None, AckLevel::Accepted);
    assert_eq!(desk.replies.len(), 1);
    desk.advance(GATHER);
    desk.publish(vec![reading(2.0)], None, AckLevel::Durable);
    assert_eq!(desk.replies.len(), 1, "nothing is durable before the sync");

    desk.sync();
    assert_eq!(
        desk.replies[1],
        (
            2,
            Ok(Published {
                readings: 1,
                repeated: false
            })
        )
    );
}

#[test]
fn a_block_that_the_disk_refused_is_written_again_and_nothing_is_taken_until_then() {
    let mut desk = Desk::start(Recovered::default());
    desk.publish(vec![reading(1.0)], Some(1), AckLevel::Durable);
    let is_block = |(_, write): &(Ticket, Write)| matches!(write, Write::Block(_));
    let at = desk.unsynced.iter().position(is_block).expect("a block");
    let (ticket, _) = desk.unsynced.remove(at);

    desk.probe.input(Input::PersistFailed(ticket));
    desk.collect();
    desk.publish(vec![reading(2.0)], Some(2), AckLevel::Durable);
    assert_eq!(
        desk.replies,
        [
            (1, Err(PublishError::NotPersisted)),
            (2, Err(PublishError::DiskRefuses))
        ]
    );

    desk.advance(Duration::from_secs(2));
    desk.sync();
    desk.publish(vec![reading(1.0)], Some(1), AckLevel::Durable);
    desk.publish(vec![reading(2.0)], Some(2), AckLevel::Durable);
    desk.sync();
    let sequences: Vec<_> = desk.blocks.iter().map(|b| b.header().sequence).collect();
    assert_eq!(sequences, [1, 1, 2], "the log has no gap");
    assert_eq!(desk.blocks[0], desk.blocks[1], "and one block per number");
    let stored = |readings, repeated| Ok(Published { readings, repeated });
    assert_eq!(
        desk.replies[2..],
        [(3, stored(0, true)), (4, stored(1, false))]
    );
}

#[test]
fn who_waits_is_answered_also_when_the_epoch_changes_meanwhile() {
    let mut desk = Desk::start(Recovered::default());
    let first = desk.probe.machine().epoch();
    desk.publish(vec![reading(1.0)], None, AckLevel::Durable);
    let version = StateVersion {
        epoch: 7,
        counter: 1,
    };
    let number = SeriesNumber(1);
    let epoch = Epoch { counter: 7, tag: 3 };
    let forgotten = own_series(version, epoch, number);

    desk.neighbour_sends(gossip::Message::States(vec![forgotten]));
    desk.sync();
    desk.advance(GATHER);
    desk.publish(vec![reading(2.0)], None, AckLevel::Durable);
    desk.sync();

    assert_eq!(desk.replies.len(), 2);
    let last = desk.blocks.last().expect("a block").header();
    assert_eq!(last.log.epoch.counter, 8);
    let before = Position {
        epoch: first,
        sequence: 1,
    };
    assert_eq!(last.continues, Some(before));
    let machine = desk.probe.machine().machine();
    let catalogue = desk.probe.machine().catalogue();
    let log = LogId { machine, epoch };
    assert!(
        catalogue.definition(&log, number).is_some(),
        "what this machine had defined is known again"
    );
    desk.probe.input(Input::Stop);
    desk.sync();
    assert!(desk.stopped.is_some(), "nothing is waited for in vain");
}

#[test]
fn a_restored_disk_does_not_use_numbers_again_that_neighbours_know() {
    let mut before = Desk::start(Recovered::default());
    before.publish(vec![reading(1.0)], None, AckLevel::Durable);
    before.sync();
    let recovered = before.recovered();
    let copied = CleanStop {
        epoch: before.probe.machine().epoch(),
        last_sequence: 1,
        state_counter: 1_000,
    };
    before.advance(GATHER);
    before.publish(vec![reading(2.0)], None, AckLevel::Durable);
    let later = before.blocks[1].clone();

    let restored = Recovered {
        clean: Some(copied),
        ..recovered
    };
    let mut after = Desk::start_with(&[Role::Publish], restored, 8);
    after.neighbour_sends(gossip::Message::Block {
        block: later.clone(),
        pushed: false,
    });
    after.sync();
    after.publish(vec![reading(3.0)], None, AckLevel::Durable);
    after.sync();

    let first = after.blocks.last().expect("a block").header();
    assert!(first.log.epoch > later.id().log.epoch);
    assert_eq!(after.replies.len(), 1);
    assert!(after.replies[0].1.is_ok());
}

/// A later word of this machine than any that it remembers.
fn forgotten(epoch: u64) -> gossip::Message {
    let version = StateVersion { epoch, counter: 1 };
    let tagged = Epoch {
        counter: epoch,
        tag: 3,
    };
    gossip::Message::States(vec![own_series(version, tagged, SeriesNumber(1))])
}

#[test]
fn adversarial_45_a_wiped_disk_that_wakes_in_1970_uses_no_number_again() {
    let mut before = Desk::start_with(&[Role::Publish], Recovered::default(), 7);
    let mut wiped = Desk::start_with(&[Role::Publish], Recovered::default(), 8);
    let dawn = Input::WallClock(Timestamp::from_nanos(0), ClockState::Unsynchronised);
    wiped.probe.input(dawn);
    for desk in [&mut before, &mut wiped] {
        desk.publish(vec![reading(1.0)], None, AckLevel::Durable);
        desk.sync();
    }
    let log = |desk: &Desk| desk.blocks.last().expect("a block").header().log;
    assert_eq!(
        log(&before).epoch.counter,
        log(&wiped).epoch.counter,
        "both count from one"
    );
    assert_ne!(
        log(&before),
        log(&wiped),
        "out of everyone's reach the tag differs"
    );

    wiped.neighbour_sends(forgotten(7));
    wiped.advance(GATHER);
    wiped.publish(vec![reading(2.0)], None, AckLevel::Durable);

    assert_eq!(
        log(&wiped).epoch.counter,
        8,
        "it goes on after what others know of it"
    );
}

#[test]
fn adversarial_47_two_copies_of_one_identity_do_not_drive_each_other_on() {
    let mut desk = Desk::start(Recovered::default());
    let mut epochs = BTreeSet::new();

    for _ in 0..1_000 {
        let epoch = desk.probe.machine().epoch().counter;
        epochs.insert(epoch);
        desk.neighbour_sends(forgotten(epoch + 1)); // The copy goes on after each of its words.
        desk.advance(Duration::from_millis(10));
    }

    assert!((2..=6).contains(&epochs.len()), "{epochs:?} within 10 s");
    let last = epochs.last().copied().expect("one at least");
    desk.advance(Duration::from_secs(60));
    assert!(
        desk.probe.machine().epoch().counter > last,
        "it catches up all the same"
    );
}

#[test]
fn neighbours_that_are_faster_than_the_own_disk_count() {
    let mut desk = Desk::start(Recovered::default());
    desk.publish(vec![reading(1.0)], None, AckLevel::Replicated(1));
    let id = desk.blocks[0].id();

    desk.neighbour_sends(gossip::Message::Frontier {
        entries: vec![gossip::FrontierEntry {
            log: id.log,
            floor: 1,
            end: 1,
            beyond: Vec::new(),
        }],
        urgent: Vec::new(),
        ages: BTreeMap::new(),
        is_news: true,
    });
    assert!(desk.replies.is_empty(), "not on the own disk yet");
    desk.sync();

    assert_eq!(desk.replies.len(), 1);
}

#[test]
fn a_batch_that_is_sent_again_is_stored_once() {
    let mut desk = Desk::start(Recovered::default());
    desk.publish(vec![reading(1.0)], Some(1), AckLevel::Durable);
    desk.publish(vec![reading(1.0)], Some(1), AckLevel::Durable);
    assert!(desk.replies.is_empty(), "neither is durable yet");

    desk.sync();
    desk.publish(vec![reading(1.0)], Some(1), AckLevel::Durable);

    let repeated = Ok(Published {
        readings: 0,
        repeated: true,
    });
    assert_eq!(desk.replies[1..], [(2, repeated.clone()), (3, repeated)]);
    assert_eq!(desk.blocks.len(), 1);
}

#[test]
fn after_a_kill_a_new_epoch_names_the_last_block_and_remembers_publishers() {
    let mut before = Desk::start(Recovered::default());
    before.publish(vec![reading(1.0)], Some(1), AckLevel::Durable);
    before.sync();
    let last = before.blocks[0].id().position();

    let mut after = Desk::start_with(&[Role::Publish], before.recovered(), 8);
    after.publish(vec![reading(1.0)], Some(1), AckLevel::Durable);
    after.publish(vec![reading(2.0)], Some(2), AckLevel::Durable);
    assert!(
        after.blocks.is_empty(),
        "neighbours may still hold more of the old epoch"
    );
    after.advance(Config::default().recovery);
    after.sync();

    let first = after.blocks[0].header();
    assert!(first.log.epoch > last.epoch);
    assert_eq!((first.sequence, first.continues), (1, Some(last)));
    assert_eq!(
        first.count, 1,
        "the batch that was durable before is not stored again"
    );
    assert_eq!(after.replies.len(), 2);
}

#[test]
fn what_only_neighbours_kept_comes_back_and_is_not_stored_again() {
    let mut before = Desk::start(Recovered::default());
    before.publish(vec![reading(1.0)], Some(1), AckLevel::Durable);
    before.sync();
    let recovered = before.recovered();
    before.advance(GATHER);
    before.publish(vec![reading(2.0)], Some(2), AckLevel::Durable);
    let lost = before.blocks[1].clone();

    let mut after = Desk::start_with(&[Role::Publish], recovered, 8);
    after.publish(vec![reading(2.0)], Some(2), AckLevel::Durable);
    after.neighbour_sends(gossip::Message::Block {
        block: lost.clone(),
        pushed: false,
    });
    after.sync();
    after.advance(Config::default().recovery);
    after.publish(vec![reading(3.0)], Some(3), AckLevel::Durable);
    after.sync();

    let repeated = Ok(Published {
        readings: 0,
        repeated: true,
    });
    assert_eq!(after.replies[0], (1, repeated));
    let first = after.blocks.last().expect("a block").header();
    assert_eq!(
        (first.continues, first.count),
        (Some(lost.id().position()), 1)
    );
}

#[test]
fn after_a_stop_in_order_the_epoch_goes_on() {
    let mut before = Desk::start(Recovered::default());
    before.publish(vec![reading(1.0)], None, AckLevel::Durable);
    before.publish(vec![reading(2.0)], None, AckLevel::Durable);
    before.probe.input(Input::Stop);
    before.collect();
    assert_eq!(before.stopped, None, "the disk has not synced");
    before.sync();
    let clean = before.stopped.expect("stopped");
    assert_eq!(
        before.replies.len(),
        2,
        "what was accepted is acknowledged before the end"
    );

    let recovered = Recovered {
        clean: Some(clean),
        ..before.recovered()
    };
    let mut after = Desk::start_with(&[Role::Publish], recovered, 8);
    after.publish(vec![reading(3.0)], None, AckLevel::Durable);

    let header = after.blocks[0].header();
    assert_eq!((header.log.epoch, header.sequence), (clean.epoch, 3));
    assert_eq!(header.continues, None);
    let defined = |state: &State| state.key().kind == StateKind::Series;
    assert_eq!(
        after
            .unsynced
            .iter()
            .filter(|(_, write)| matches!(write, Write::State(state) if defined(state)))
            .count(),
        0,
        "the series is known"
    );
}

#[test]
fn what_does_not_fit_or_is_not_allowed_is_refused_with_the_reason() {
    let mut desk = Desk::start(Recovered::default());
    let wrong = NewReading {
        value: Value::Bool(true),
        ..reading(1.0)
    };
    desk.publish(vec![wrong], None, AckLevel::Durable);
    desk.publish(
        vec![reading(1.0); Block::READINGS_MAX + 1],
        None,
        AckLevel::Durable,
    );
    desk.publish(vec![reading(1.0)], None, AckLevel::Replicated(60));
    let mut observer = Desk::start_with(&[Role::Observe], Recovered::default(), 7);
    observer.publish(vec![reading(1.0)], None, AckLevel::Durable);

    let refusals: Vec<_> = desk.replies.into_iter().map(|(_, result)| result).collect();
    assert!(matches!(
        refusals[..],
        [
            Err(PublishError::WrongType { .. }),
            Err(PublishError::TooLarge { .. }),
            Err(PublishError::TooManyReplicas { .. })
        ]
    ));
    assert_eq!(observer.replies, [(1, Err(PublishError::NotPermitted))]);
}

#[test]
fn a_disk_that_does_not_keep_up_makes_publishers_wait_and_then_hear_so() {
    let mut desk = Desk::start(Recovered::default());
    for _ in 0..400 {
        desk.publish(
            vec![reading(1.0); Block::READINGS_MAX],
            None,
            AckLevel::Durable,
        );
    }

    let busy = desk
        .replies
        .iter()
        .filter(|(_, result)| *result == Err(PublishError::Busy));
    assert!(busy.count() > 0);
    assert!(
        desk.blocks.len() <= 64,
        "{} blocks wait for the disk",
        desk.blocks.len()
    );
    desk.sync();
    desk.advance(GATHER);
    assert!(
        desk.blocks.len() > 64,
        "a synced block makes room for the next"
    );
}

#[test]
fn thousands_of_lone_readings_wait_for_a_slow_disk_and_share_few_blocks_afterwards() {
    let mut desk = Desk::start(Recovered::default());
    for _ in 0..65 {
        desk.publish(
            vec![reading(1.0); Block::READINGS_MAX],
            None,
            AckLevel::Durable,
        );
    }
    let before = desk.blocks.len();

    for _ in 0..16_000 {
        desk.publish(vec![reading(2.0)], None, AckLevel::Durable);
    }
    for _ in 0..8 {
        desk.sync();
        desk.advance(GATHER);
    }

    assert!(desk.replies.iter().all(|(_, result)| result.is_ok()));
    assert_eq!(desk.replies.len(), 65 + 16_000);
    assert!(
        desk.blocks.len() - before <= 6,
        "{} blocks for 16,000 readings",
        desk.blocks.len() - before
    );
}
