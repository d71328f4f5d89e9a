//! Newer memberships and newer network keys for a running node.

use handshake::deliver_key;
use identity::{EpochKey, NetworkKey, NetworkKeyEpoch, Renewal};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A membership by the operator from a time on, with these roles.
fn later(seed: u8, not_before: Timestamp, roles: &[Role]) -> Membership {
    let grant = Grant {
        not_before,
        ..grant(seed, roles, not_before.saturating_add(90 * DAY))
    };
    Membership::issue(&operator(), grant).expect("a good grant")
}

fn renewal(membership: &Membership) -> State {
    Renewal::sign(&operator(), trust(), membership, NOON)
}

/// A node with a membership of 90 days from noon on.
fn renewable() -> Probe<Node> {
    node(later(OWN, NOON, &[Role::Publish]), Recovered::default())
}

fn renewed(node: &mut Probe<Node>) -> Vec<Membership> {
    let outputs = node.take().into_iter();
    outputs
        .filter_map(|output| match output {
            Output::Renewed(membership) => Some(*membership),
            _ => None,
        })
        .collect()
}

/// What the node says of its own membership.
fn said(node: &Probe<Node>) -> Membership {
    let catalogue = node.machine().catalogue();
    let member = catalogue.member(&machine(OWN)).expect("it knows itself");
    Membership::clone(&member.membership)
}

#[test]
fn a_machine_takes_a_newer_membership_into_use_and_tells_everyone() {
    let mut node = renewable();
    let newer = later(OWN, NOON.saturating_add(DAY), &[Role::Publish, Role::Relay]);

    let reply = ask(&mut node, AdminRequest::Relay(renewal(&newer)));

    assert_eq!(reply, Ok(AdminReply::Relayed { news: true }));
    assert_eq!(said(&node), newer);
    assert_eq!(renewed(&mut node), [newer]);
}

#[test]
fn a_machine_does_not_go_back_to_an_older_membership_nor_takes_anothers() {
    let mut node = renewable();
    let older = later(OWN, NOON.saturating_sub(DAY), &[Role::Publish, Role::Relay]);
    let others = later(3, NOON.saturating_add(DAY), &[Role::Publish]);

    for membership in [&older, &others] {
        let reply = ask(&mut node, AdminRequest::Relay(renewal(membership)));
        assert_eq!(reply, Ok(AdminReply::Relayed { news: true }), "passed on");
    }

    assert_eq!(renewed(&mut node), []);
    assert_eq!(said(&node), later(OWN, NOON, &[Role::Publish]));
}

#[test]
fn a_renewed_membership_and_a_newer_network_key_outlive_a_restart_without_their_files() {
    let newer = later(OWN, NOON.saturating_add(DAY), &[Role::Publish]);
    let recovered = Recovered {
        states: vec![renewal(&newer), delivered(OWN)],
        ..Recovered::default()
    };
    let identity = NodeIdentity {
        keypair: key(OWN),
        membership: later(OWN, NOON, &[Role::Publish]),
        trust: trust(),
    };
    let (config, rng) = (Config::default(), Rng::from_u64(7));
    let mut node = Probe::new(Node::new(identity, config, recovered, rng));

    tell_time(&mut node, NOON, ClockState::Synchronised);

    assert_eq!(said(&node), newer);
    assert_eq!(network_keys(&node), [NetworkKeyEpoch(2)]);
    assert_eq!(renewed(&mut node), [newer]);
}

#[test]
fn a_linked_machine_stays_linked_when_its_newer_membership_is_heard_of() {
    let mut node = node(later(OWN, NOON, &[Role::Publish]), Recovered::default());
    for seed in [3, 4] {
        link(&mut node, membership(seed)); // They end after an hour.
    }
    let newer = later(3, NOON.saturating_add(HOUR / 2), &[Role::Publish]);
    let message = gossip::Message::States(vec![said_by(3, &newer)]);
    node.input(Input::Received(machine(3), Frame::Gossip(message)));
    node.take();

    tell_time(
        &mut node,
        NOON.saturating_add(2 * HOUR),
        ClockState::Synchronised,
    );

    assert_eq!(
        expelled(&mut node),
        [(machine(4), CredentialError::Expired)]
    );
}

#[test]
fn an_admitter_renews_what_it_has_signed_in_its_last_third_once() {
    let mut node = node(admitters_membership(OWN), Recovered::default());
    let ends_soon = admitted_here(3);
    link(&mut node, ends_soon.clone());
    let presence = engine::Presence {
        addresses: Vec::new(),
        neighbours: Vec::new(),
    };
    let states = vec![
        said_by(3, &ends_soon),
        signed(3, StateKind::Presence, 2, presence.to_payload().into()),
    ];
    node.input(Input::Received(
        machine(3),
        Frame::Gossip(gossip::Message::States(states)),
    ));
    node.take();
    assert_eq!(renewals(&node), [], "it has just begun");

    node.advance(HOUR);
    let first = renewals(&node);
    node.advance(HOUR);

    assert_eq!(first.len(), 1);
    assert_eq!(renewals(&node), first, "it is under way");
    let renewed = Renewal::from_state(&trust(), &first[0]).expect("a renewal");
    let grant = renewed.membership.grant();
    assert_eq!(grant.machine, machine(3));
    assert_eq!(grant.not_after.since(grant.not_before), HOUR);
}

#[test]
fn a_network_key_is_opened_by_its_addressee_and_passed_on_by_everyone() {
    let mut node = renewable();

    for seed in [OWN, 3] {
        let reply = ask(&mut node, AdminRequest::Relay(delivered(seed)));
        assert_eq!(reply, Ok(AdminReply::Relayed { news: true }));
    }

    assert_eq!(network_keys(&node), [NetworkKeyEpoch(2)]);
}

#[test]
fn a_network_key_that_is_not_the_operators_word_is_not_passed_on() {
    let mut node = node(admitters_membership(OWN), Recovered::default());
    let newer = EpochKey {
        epoch: NetworkKeyEpoch(2),
        key: NetworkKey::from_bytes(&[42; 32]),
    };
    let forged = deliver_key(&key(OWN), machine(3), &newer, [9; 32]).expect("sealed");

    let reply = ask(&mut node, AdminRequest::Relay(forged));

    assert!(matches!(reply, Err(AdminError::Relay(_))), "{reply:?}");
}

fn delivered(seed: u8) -> State {
    let newer = EpochKey {
        epoch: NetworkKeyEpoch(2),
        key: NetworkKey::from_bytes(&[42; 32]),
    };
    deliver_key(&operator(), machine(seed), &newer, [9; 32]).expect("sealed")
}

fn network_keys(node: &Probe<Node>) -> Vec<NetworkKeyEpoch> {
    let outputs = node.outputs().iter();
    outputs
        .filter_map(|output| match output {
            Output::NetworkKey(key) => Some(key.epoch),
            _ => None,
        })
        .collect()
}

/// The renewals that the node has passed on, newest first by what it has told its caller.
fn renewals(node: &Probe<Node>) -> Vec<State> {
    let outputs = node.outputs().iter();
    outputs
        .filter_map(|output| match output {
            Output::StateChanged(state) if state.key().kind == StateKind::Renewal => {
                Some(state.clone())
            }
            _ => None,
        })
        .collect()
}
