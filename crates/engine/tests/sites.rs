//! What a node does with another site that it subscribes to: it holds its readings, and leaves its
//! relays, its uploads and its places among the neighbours alone.

use std::collections::BTreeSet;
use std::time::Duration;

use aggregate::Config as Windows;
use election::{Candidacy, UplinkId};
use engine::{Config, Input, Node, NodeIdentity, Output, Recovered, UplinkConfig};
use gossip::{Interest, Message};
use identity::{Grant, Keypair, Membership, Role, Trust};
use model::{
    Block, BlockHeader, ClockState, Draft, Epoch, HashPrefix, LogId, MachineId, Quality, Reading,
    SeriesNumber, State, StateDraft, StateKey, StateKind, StateVersion, Timestamp, Value,
};
use statemachine::Rng;
use testkit::Probe;
use wire::Frame;

const MINUTE: Duration = Duration::from_secs(60);
const NOON: Timestamp = Timestamp::from_nanos(1_800_000_000_000_000_000);

fn uplink() -> UplinkId {
    "cloud".parse().expect("an uplink")
}

fn identity(seed: u8, site: &str) -> NodeIdentity {
    let operator = Keypair::from_seed(&[1; 32]);
    let keypair = Keypair::from_seed(&[seed; 32]);
    let grant = Grant {
        machine: keypair.machine(),
        name: format!("press-{seed}"),
        site: site.to_owned(),
        roles: BTreeSet::from([Role::Publish, Role::Relay]),
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

/// Machine 2 of hall-1, which subscribes to hall-2 and has an uplink, with machine 3 beside it.
fn node_beside(site: &str) -> Probe<Node> {
    let mut config = Config::default();
    let patterns = ["hall-2".parse().expect("a pattern")];
    config.gossip.interest = Interest::new(None, patterns).expect("one pattern");
    config.uplinks = vec![UplinkConfig {
        id: uplink(),
        windows: Windows {
            lengths: vec![MINUTE],
            allowed_lateness: MINUTE,
            windows_max: 100,
        },
        patterns: Vec::new(),
        raw: Vec::new(),
        exclude: Vec::new(),
        priority: 1,
        cost_class: 0,
        partial_after: MINUTE,
    }];
    let rng = Rng::from_u64(7);
    let mut node = Probe::new(Node::new(
        identity(2, "hall-1"),
        config,
        Recovered::default(),
        rng,
    ));
    node.input(Input::WallClock(NOON, ClockState::Synchronised));
    let other = identity(3, site);
    let machine = other.keypair.machine();
    node.input(Input::LinkUp(Box::new(other.membership.clone())));
    let contact = overlay::Contact {
        machine,
        addresses: Vec::new(),
    };
    let urgent = true;
    let asks = overlay::Message::Neighbour { contact, urgent };
    node.input(Input::Received(machine, Frame::Overlay(asks)));
    let interest = Interest::new(Some(site.parse().expect("a name")), []);
    let says = [
        Message::Interest(interest.expect("no pattern")),
        Message::States(vec![
            state(
                &other,
                1,
                StateKind::Membership,
                "",
                other.membership.as_bytes().to_vec(),
            ),
            state(&other, 2, StateKind::Candidacy, "cloud", candidacy()),
        ]),
        Message::Block {
            block: block(&other),
            pushed: true,
        },
    ];
    for message in says {
        node.input(Input::Received(machine, Frame::Gossip(message)));
    }
    node
}

fn candidacy() -> Vec<u8> {
    let standing = Candidacy {
        standing: true,
        cost_class: 0,
        priority: 255,
        load: 0,
        health: 100,
        serving: false,
        settled: false,
    };
    standing.to_payload()
}

fn state(
    of: &NodeIdentity,
    counter: u64,
    kind: StateKind,
    subject: &str,
    payload: Vec<u8>,
) -> State {
    let draft = StateDraft {
        key: StateKey {
            origin: of.keypair.machine(),
            kind,
            subject: subject.to_owned(),
        },
        version: StateVersion { epoch: 1, counter },
        payload: payload.into(),
    };
    draft.seal(&of.trust.network(), |digest| of.keypair.sign(digest))
}

fn block(of: &NodeIdentity) -> Block {
    let reading = Reading {
        series: SeriesNumber(1),
        time: NOON,
        value: Value::F64(20.5),
        quality: Quality::GOOD,
    };
    let header = BlockHeader {
        log: LogId {
            machine: of.keypair.machine(),
            epoch: Epoch { counter: 1, tag: 7 },
        },
        sequence: 1,
        previous: HashPrefix::NONE,
        continues: None,
        sealed: NOON,
        watermark: NOON,
        count: 1,
        urgent: false,
        publishers: Vec::new(),
    };
    let readings = vec![reading];
    let draft = Draft { header, readings };
    let sealed = draft.seal(&of.trust.network(), |hash| of.keypair.sign(hash));
    sealed.expect("one reading fits")
}

/// Whose blocks the node hands on once its disk has synced.
fn delivered(node: &mut Probe<Node>) -> Vec<MachineId> {
    let mut origins = Vec::new();
    loop {
        let outputs = node.take();
        if outputs.is_empty() {
            return origins;
        }
        for output in outputs {
            if let Output::Persist(ticket, _) = output {
                node.input(Input::Persisted(ticket));
            } else if let Output::Deliver(block) = output {
                origins.push(block.id().log.machine);
            }
        }
    }
}

#[test]
fn what_another_site_publishes_is_held_and_not_served_and_its_candidates_do_not_count() {
    let other = identity(3, "hall-2").keypair.machine();
    let seen = |site| {
        let mut node = node_beside(site);
        let delivered = delivered(&mut node);
        let origins = node.machine().origins().collect::<Vec<_>>();
        let relays = node.machine().relays(&uplink());
        (delivered, origins, relays)
    };

    let of_site = seen("hall-1");
    let subscribed = seen("hall-2");
    let foreign = seen("hall-3");

    assert_eq!(of_site, (vec![other], vec![other], vec![other]));
    assert_eq!(subscribed, (vec![other], vec![], vec![]));
    assert_eq!(foreign, (vec![], vec![], vec![]));
}
