//! Who counts as a member, on a node whose disk and links the test holds in its hands.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for one kind of output"
)]

mod renewing;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use engine::{
    AdminError, AdminReply, AdminRequest, Config, Event, Input, Node, NodeIdentity, Output,
    Recovered, RequestId,
};
use identity::{
    CredentialError, Delegation, Grant, Issuer, Keypair, Membership, Revocation, Role, Trust,
};
use model::{
    ClockState, MachineId, State, StateDraft, StateKey, StateKind, StateVersion, Timestamp,
};
use overlay::Contact;
use statemachine::Rng;
use testkit::Probe;
use wire::Frame;

const NOON: Timestamp = Timestamp::from_nanos(1_800_000_000_000_000_000);
const HOUR: Duration = Duration::from_secs(3_600);
const GRACE: Duration = Duration::from_secs(600);
const OWN: u8 = 2;

fn key(seed: u8) -> Keypair {
    Keypair::from_seed(&[seed; 32])
}

fn operator() -> Keypair {
    key(1)
}

fn trust() -> Trust {
    Trust::new(operator().machine())
}

fn machine(seed: u8) -> MachineId {
    key(seed).machine()
}

fn grant(seed: u8, roles: &[Role], not_after: Timestamp) -> Grant {
    Grant {
        machine: machine(seed),
        name: format!("press-{seed}"),
        site: "hall-3".to_owned(),
        roles: roles.iter().copied().collect::<BTreeSet<_>>(),
        commands: Vec::new(),
        not_before: Timestamp::MIN,
        not_after,
        delegation: None,
    }
}

fn membership(seed: u8) -> Membership {
    let grant = grant(seed, &[Role::Publish], NOON.saturating_add(HOUR));
    Membership::issue(&operator(), grant).expect("a good grant")
}

/// Lets a machine admit others of its site for an hour.
fn admitters_membership(seed: u8) -> Membership {
    let delegation = Delegation {
        roles: [Role::Publish].into(),
        commands: Vec::new(),
        lifetime: HOUR,
    };
    let grant = Grant {
        delegation: Some(delegation),
        ..grant(seed, &[Role::Publish, Role::Admit], Timestamp::MAX)
    };
    Membership::issue(&operator(), grant).expect("a good grant")
}

/// A membership that the machine under test has signed as an admitter.
fn admitted_here(seed: u8) -> Membership {
    let (key, own) = (key(OWN), admitters_membership(OWN));
    let issuer = Issuer::admitter(&key, &own, trust()).expect("it may admit");
    let grant = Grant {
        not_before: NOON,
        ..grant(seed, &[Role::Publish], NOON.saturating_add(HOUR))
    };
    issuer.admit(grant).expect("within what it may grant")
}

fn revocation(signer: &Keypair, seed: u8) -> State {
    let network = trust().network();
    Revocation::sign(signer, &network, machine(seed), NOON, "stolen").expect("a good reason")
}

/// A node that the wall clock has been told to.
fn node(membership: Membership, recovered: Recovered) -> Probe<Node> {
    let identity = NodeIdentity {
        keypair: key(OWN),
        membership,
        trust: trust(),
    };
    let config = Config {
        grace: GRACE,
        ..Config::default()
    };
    let mut node = Probe::new(Node::new(identity, config, recovered, Rng::from_u64(7)));
    tell_time(&mut node, NOON, ClockState::Synchronised);
    node.take();
    node
}

fn tell_time(node: &mut Probe<Node>, time: Timestamp, state: ClockState) {
    node.input(Input::WallClock(time, state));
}

/// A machine links and becomes a neighbour.
fn link(node: &mut Probe<Node>, membership: Membership) {
    let machine = membership.machine();
    let contact = Contact {
        machine,
        addresses: Vec::new(),
    };
    let message = overlay::Message::Neighbour {
        contact,
        urgent: true,
    };
    node.input(Input::LinkUp(Box::new(membership)));
    node.input(Input::Received(machine, Frame::Overlay(message)));
}

fn is_neighbour(node: &Probe<Node>, seed: u8) -> bool {
    let neighbours = node.machine().neighbours();
    neighbours
        .iter()
        .any(|neighbour| neighbour.machine == machine(seed))
}

fn expelled(node: &mut Probe<Node>) -> Vec<(MachineId, CredentialError)> {
    let outputs = node.take();
    let closed: Vec<MachineId> = (outputs.iter())
        .filter_map(|output| match output {
            Output::Expel(machine) => Some(*machine),
            _ => None,
        })
        .collect();
    let events = outputs.into_iter().filter_map(|output| match output {
        Output::Event(Event::Expelled(machine, error)) => Some((machine, error)),
        _ => None,
    });
    let events: Vec<_> = events.collect();
    assert_eq!(
        closed,
        events
            .iter()
            .map(|(machine, _)| *machine)
            .collect::<Vec<_>>()
    );
    events
}

/// What is answered once all that it wrote is on disk.
fn ask(node: &mut Probe<Node>, asked: AdminRequest) -> Result<AdminReply, AdminError> {
    let before = node.outputs().len();
    node.input(Input::Admin(RequestId(9), Box::new(asked)));
    let writes = node.outputs()[before..].iter();
    let tickets = writes.filter_map(|output| match output {
        Output::Persist(ticket, _) => Some(*ticket),
        _ => None,
    });
    for ticket in tickets.collect::<Vec<_>>() {
        node.input(Input::Persisted(ticket));
    }
    let replies = node.outputs().iter().filter_map(|output| match output {
        Output::AdminReply(RequestId(9), result) => Some(result.as_ref().clone()),
        _ => None,
    });
    replies.last().expect("an answer")
}

#[test]
fn adversarial_32_a_revocation_closes_the_link_at_once_and_nobody_dials_or_hears_it_again() {
    let mut node = node(membership(OWN), Recovered::default());
    link(&mut node, membership(3));
    link(&mut node, membership(4));
    assert!(is_neighbour(&node, 3));
    node.take();

    let request = AdminRequest::Relay(revocation(&operator(), 3));
    let reply = ask(&mut node, request);

    assert_eq!(reply, Ok(AdminReply::Relayed { news: true }));
    let told = node.outputs().iter();
    assert_eq!(
        told.filter(|output| matches!(output, Output::RollChanged))
            .count(),
        1
    );
    assert_eq!(
        expelled(&mut node),
        [(machine(3), CredentialError::Revoked)]
    );
    assert!(!is_neighbour(&node, 3));
    assert!(is_neighbour(&node, 4), "the control");
    let contact = Contact {
        machine: machine(3),
        addresses: vec![
            overlay::Address::new("/ip4/192.0.2.7/tcp/4001".to_owned()).expect("short"),
        ],
    };
    node.input(Input::Discovered(contact));
    node.advance(Duration::from_secs(60));
    let dials = node
        .take()
        .into_iter()
        .filter(|output| matches!(output, Output::Dial(_)));
    assert_eq!(dials.count(), 0);
    link(&mut node, membership(3));
    assert_eq!(
        expelled(&mut node),
        [(machine(3), CredentialError::Revoked)],
        "a late handshake"
    );
    assert!(!is_neighbour(&node, 3));
}

#[test]
fn adversarial_32_a_node_that_starts_again_knows_who_is_out() {
    let recovered = Recovered {
        states: vec![revocation(&operator(), 3)],
        ..Recovered::default()
    };

    let node = node(membership(OWN), recovered);

    let judged = node.machine().roll().judge(&membership(3), None);
    assert_eq!(judged, Err(CredentialError::Revoked));
    assert!(
        node.machine().roll().judge(&membership(4), None).is_ok(),
        "the control"
    );
}

#[test]
fn adversarial_45_links_are_judged_again_as_time_passes_and_when_it_becomes_known() {
    let mut node = node(membership(OWN), Recovered::default());
    tell_time(&mut node, NOON, ClockState::Unsynchronised);
    let expired = grant(3, &[Role::Publish], Timestamp::from_nanos(1));
    let expired = Membership::issue(&operator(), expired).expect("a good grant");
    link(&mut node, expired);
    link(&mut node, membership(4));
    assert_eq!(
        expelled(&mut node),
        [],
        "without a trusted clock nobody is locked out"
    );

    tell_time(&mut node, NOON, ClockState::Coarse);
    assert_eq!(
        expelled(&mut node),
        [(machine(3), CredentialError::Expired)]
    );

    let end = NOON.saturating_add(HOUR);
    tell_time(&mut node, end.saturating_add(GRACE / 2), ClockState::Coarse);
    assert_eq!(expelled(&mut node), [], "still inside the grace");
    assert!(is_neighbour(&node, 4));
    tell_time(&mut node, end.saturating_add(GRACE), ClockState::Coarse);
    assert_eq!(
        expelled(&mut node),
        [(machine(4), CredentialError::Expired)]
    );
}

#[test]
fn an_admitter_throws_out_those_that_it_has_admitted_and_no_others() {
    let own = admitters_membership(OWN);
    let mut node = node(own, Recovered::default());
    for (seed, membership) in [(3, admitted_here(3)), (4, membership(4))] {
        let state = said_by(seed, &membership);
        link(&mut node, membership);
        let message = gossip::Message::States(vec![state]);
        node.input(Input::Received(machine(seed), Frame::Gossip(message)));
    }
    node.take();
    let revoke = |seed| AdminRequest::Revoke {
        machine: machine(seed),
        reason: "broken".to_owned(),
    };

    let refused = ask(&mut node, revoke(4));
    assert_eq!(
        refused,
        Err(AdminError::NotAdmittedHere {
            machine: machine(4)
        })
    );
    assert_eq!(expelled(&mut node), []);

    assert!(ask(&mut node, revoke(3)).is_ok());
    assert_eq!(
        expelled(&mut node),
        [(machine(3), CredentialError::Revoked)]
    );
}

#[test]
fn a_machine_that_may_not_admit_throws_nobody_out() {
    let mut node = node(membership(OWN), Recovered::default());

    let request = AdminRequest::Revoke {
        machine: machine(3),
        reason: String::new(),
    };
    let refused = ask(&mut node, request);

    assert_eq!(refused, Err(CredentialError::NotAdmitter.into()));
}

/// What a machine says of its own membership.
fn said_by(origin: u8, membership: &Membership) -> State {
    signed(
        origin,
        StateKind::Membership,
        1,
        membership.as_bytes().clone(),
    )
}

/// A state of a machine, without a subject.
fn signed(origin: u8, kind: StateKind, counter: u64, payload: Bytes) -> State {
    let draft = StateDraft {
        key: StateKey {
            origin: machine(origin),
            kind,
            subject: String::new(),
        },
        version: StateVersion { epoch: 1, counter },
        payload,
    };
    draft.seal(&trust().network(), |digest| key(origin).sign(digest))
}
