//! Machines that are thrown out: who may say so, and what follows. Machine 1 is the one under test.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for one kind of output"
)]

use gossip::{Config, Fault, Holdings, Input, Message, Output, Recovered, RelayError, Sums, Write};
use identity::{Keypair, Revocation};
use model::{MachineId, State, StateKey, StateKind, StateVersion, Timestamp};
use statemachine::Instant;
use testkit::Probe;

use crate::rules::{Node, hear, node};
use crate::site::{self, OPERATOR, id, key, trust};

/// The word of `signer` that `machine` is thrown out.
fn revocation(signer: u8, machine: u8, time: i64) -> State {
    let (network, time) = (trust().network(), Timestamp::from_nanos(time));
    Revocation::sign(key(signer), &network, id(machine), time, "stolen").expect("a good reason")
}

/// A revocation that names no machine.
fn nobody() -> State {
    site::state(OPERATOR, StateKind::Revocation, "nobody", 1)
}

fn states(node: &Node) -> Vec<StateKey> {
    let states = node.machine().states();
    states.map(|state| state.key().clone()).collect()
}

fn of(node: &Node, origin: u8) -> Vec<StateKind> {
    let keys = states(node).into_iter();
    keys.filter(|key| key.origin == id(origin))
        .map(|key| key.kind)
        .collect()
}

fn is_out(node: &Node, machine: u8) -> bool {
    let operator = trust().operator();
    node.machine().roll().is_out(id(machine), operator)
}

/// A presence of machine `n`, which everyone forgets when it is thrown out.
fn presence(n: u8) -> State {
    site::state(n, StateKind::Presence, "", 7)
}

fn faults(node: &mut Node) -> Vec<(MachineId, Fault)> {
    let outputs = node.take().into_iter();
    outputs
        .filter_map(|output| match output {
            Output::Misbehaved(who, fault) => Some((who, fault)),
            _ => None,
        })
        .collect()
}

#[test]
fn adversarial_32_the_operators_word_reaches_everyone_is_written_and_ends_what_the_machine_says() {
    let mut node = node(&[2, 3]);
    hear(&mut node, 2, Message::States(vec![presence(4)]));
    assert_eq!(of(&node, 4), [StateKind::Membership, StateKind::Presence]);
    node.take();

    let state = revocation(OPERATOR, 4, 100);
    hear(&mut node, 2, Message::States(vec![state.clone()]));

    let outputs = node.take();
    assert!(is_out(&node, 4));
    assert_eq!(of(&node, 4), [StateKind::Membership]);
    let passed_on = |output: &Output| match output {
        Output::Send(to, Message::States(states)) => *to == id(3) && *states == [state.clone()],
        _ => false,
    };
    assert!(outputs.iter().any(passed_on), "{outputs:?}");
    let is_write =
        |output: &Output| matches!(output, Output::Persist(_, Write::State(s)) if *s == state);
    assert!(outputs.iter().any(is_write), "{outputs:?}");
    hear(
        &mut node,
        2,
        Message::States(vec![site::state(4, StateKind::Presence, "", 8)]),
    );
    assert_eq!(
        of(&node, 4),
        [StateKind::Membership],
        "it says nothing any more"
    );
    hear(&mut node, 2, Message::States(vec![presence(5)]));
    assert_eq!(
        of(&node, 5),
        [StateKind::Membership, StateKind::Presence],
        "the control"
    );
}

#[test]
fn adversarial_32_an_older_list_or_an_older_version_brings_nobody_back() {
    let mut node = node(&[2]);
    hear(
        &mut node,
        2,
        Message::States(vec![revocation(OPERATOR, 4, 100)]),
    );

    hear(
        &mut node,
        2,
        Message::States(vec![revocation(OPERATOR, 4, 50)]),
    );
    let nothing = Message::Sums(Holdings::States, Sums::default());
    hear(&mut node, 2, nothing);

    assert!(is_out(&node, 4));
    let outputs = node.take();
    let tells = outputs.iter().any(|output| match output {
        Output::Send(_, Message::States(states)) => states
            .iter()
            .any(|state| state.key().kind == StateKind::Revocation),
        _ => false,
    });
    assert!(tells, "who has an older list is told");
}

#[test]
fn adversarial_32_a_restart_knows_who_is_out_before_anything_else() {
    let stored = vec![presence(4), revocation(OPERATOR, 4, 100)];

    let states = [1, 2, 4].map(site::membership).into_iter();
    let recovered = Recovered {
        frontier: Vec::new(),
        states: stored.into_iter().chain(states).collect(),
    };

    let node = Probe::new(site::gossip_with(1, Config::default(), recovered));

    assert!(is_out(&node, 4));
    assert_eq!(of(&node, 4), [StateKind::Membership]);
}

#[test]
fn adversarial_22_nobody_but_the_operator_and_admitters_throws_anybody_out() {
    let mut node = node(&[2]);
    let mut forged = revocation(2, 4, 100);
    let draft = model::StateDraft {
        key: StateKey {
            origin: trust().operator(),
            ..forged.key().clone()
        },
        version: StateVersion::default(),
        payload: forged.payload().clone(),
    };
    let sign = |digest: &[u8; 32]| Keypair::sign(key(2), digest);
    forged = draft.seal(&trust().network(), sign);

    hear(
        &mut node,
        2,
        Message::States(vec![revocation(2, 4, 100), forged]),
    );

    assert!(!is_out(&node, 4));
    assert_eq!(faults(&mut node), [(id(2), Fault::Signature)]);
}

#[test]
fn a_revocation_that_names_nobody_is_the_peers_fault() {
    let mut node = node(&[2]);

    hear(&mut node, 2, Message::States(vec![nobody()]));

    assert_eq!(faults(&mut node), [(id(2), Fault::Revocation)]);
}

#[test]
fn an_administrator_hands_in_what_a_neighbour_could_have_brought() {
    let mut node = Probe::new(site::gossip(1, &[1, 2, 4], Vec::new()));
    let mut relay = |state| node.with(|gossip| gossip.relay(Instant::ZERO, state));

    assert_eq!(relay(revocation(OPERATOR, 4, 100)), Ok(true));
    assert_eq!(relay(revocation(OPERATOR, 4, 100)), Ok(false));
    assert_eq!(relay(revocation(2, 4, 100)), Err(RelayError::NotPermitted));
    assert_eq!(relay(nobody()), Err(RelayError::Invalid));

    node.input(Input::NeighbourUp(id(2)));
    assert!(is_out(&node, 4));
}
