//! Two different blocks of one number: the first stays, the proof goes to everyone.

use gossip::{Config, Fault, Input, Message, Output, Recovered, Write};
use identity::Equivocation;
use model::{Block, State, StateKind};

use crate::rules::{Node, answer, faults, hear, node, persist_all, push, sent, served, want};
use crate::site::{self, another_block, block, id, key, log, seal, state_key};

fn proof(one: &Block, other: &Block) -> State {
    Equivocation::between(one, other)
        .expect("two blocks of one number")
        .to_state()
}

/// The proofs that were sent since the last look, with to whom.
fn told(node: &mut Node) -> Vec<(u8, State)> {
    let is_proof = |state: &State| state.key().kind == StateKind::Equivocation;
    (sent(node).into_iter())
        .filter_map(|(to, message)| {
            if let Message::States(states) = message {
                Some((site::number(to), states))
            } else {
                None
            }
        })
        .flat_map(|(to, states)| states.into_iter().map(move |state| (to, state)))
        .filter(|(_, state)| is_proof(state))
        .collect()
}

#[test]
fn adversarial_23_a_second_block_of_one_number_is_kept_as_a_proof_written_and_told_to_all() {
    let mut node = node(&[2, 3]);
    push(&mut node, 2, &block(4, 1));
    node.take();

    push(&mut node, 3, &another_block(4, 1));

    let proof = proof(&block(4, 1), &another_block(4, 1));
    let outputs = node.take();
    let written = Write::State(proof.clone());
    let is_written = |output: &Output| matches!(output, Output::Persist(_, w) if *w == written);
    let is_said = |output: &Output| matches!(output, Output::DeliverState(s) if *s == proof);
    assert!(outputs.iter().any(is_written) && outputs.iter().any(is_said));
    let states = Message::States(vec![proof]);
    for neighbour in [2, 3] {
        let is_told =
            |o: &Output| matches!(o, Output::Send(to, m) if *to == id(neighbour) && *m == states);
        assert!(outputs.iter().any(is_told), "neighbour {neighbour}");
    }
    assert_eq!(node.machine().stats().equivocations, 1);
}

#[test]
fn adversarial_23_the_first_block_stays_and_the_same_bytes_again_prove_nothing() {
    let mut node = node(&[2, 3]);
    push(&mut node, 2, &block(4, 1));
    push(&mut node, 3, &block(4, 1));
    assert_eq!(node.machine().stats().equivocations, 0, "the same bytes");
    persist_all(&mut node);

    push(&mut node, 3, &another_block(4, 1));

    assert_eq!(node.machine().stats().equivocations, 1, "others");
    let is_block = |o: &Output| matches!(o, Output::Persist(_, Write::Block(_)));
    assert!(!node.take().iter().any(is_block), "the second is not kept");
    hear(&mut node, 2, want(4, &[(1, 1)]));
    assert_eq!(sent(&mut node), [(id(2), served(&block(4, 1)))]);
}

#[test]
fn adversarial_23_one_proof_of_an_origin_is_enough() {
    let mut node = node(&[2, 3]);
    for sequence in 1..=3 {
        push(&mut node, 2, &block(4, sequence));
        answer(&mut node, 3, &another_block(4, sequence));
    }

    assert_eq!(node.machine().stats().equivocations, 1);
    assert_eq!(told(&mut node).len(), 2, "one for each neighbour");
}

#[test]
fn adversarial_23_a_proof_is_taken_from_anyone_and_handed_on_once() {
    let mut node = node(&[2, 3]);
    let proof = proof(&block(4, 1), &another_block(4, 1));

    hear(&mut node, 2, Message::States(vec![proof.clone()]));
    hear(&mut node, 3, Message::States(vec![proof.clone()]));

    assert_eq!(told(&mut node), [(3, proof.clone())]);
    assert_eq!(node.machine().state(proof.key()), Some(&proof));
}

#[test]
fn adversarial_23_a_proof_outlives_a_restart() {
    let proof = proof(&block(4, 1), &another_block(4, 1));
    let mut states = vec![proof.clone()];
    states.extend((1..=5).map(site::membership));
    let frontier = Vec::new();
    let recovered = Recovered { frontier, states };

    let gossip = site::gossip_with(1, Config::default(), recovered);

    assert_eq!(gossip.state(proof.key()), Some(&proof));
}

#[test]
fn adversarial_23_what_proves_nothing_is_its_senders_fault() {
    let mut node = node(&[2, 3]);
    push(&mut node, 2, &block(4, 1));
    node.take();

    push(&mut node, 3, &seal(key(5), log(4, 1), 1));
    let unsigned = site::state(4, StateKind::Equivocation, "", 1);
    hear(&mut node, 3, Message::States(vec![unsigned]));

    let expected = [(id(3), Fault::Signature), (id(3), Fault::Signature)];
    assert_eq!(faults(&mut node), expected);
    let key = state_key(4, StateKind::Equivocation, "");
    assert_eq!(node.machine().state(&key), None);
}

#[test]
fn adversarial_23_a_machine_that_floods_states_does_not_keep_the_proof_against_it_out() {
    let config = Config {
        states_max: 16,
        ..Config::default()
    };
    let states = (1..=5).map(site::membership).collect();
    let frontier = Vec::new();
    let gossip = site::gossip_with(1, config, Recovered { frontier, states });
    let mut node = crate::rules::node_with(gossip, &[2], &[]);
    for n in 1..=9 {
        let flood = site::state(4, StateKind::Series, &format!("1-0/{n}"), n);
        hear(&mut node, 2, Message::States(vec![flood]));
    }
    assert!(node.machine().stats().states_over_limit > 0, "no flood");
    let proof = proof(&block(4, 1), &another_block(4, 1));

    hear(&mut node, 2, Message::States(vec![proof.clone()]));

    assert_eq!(node.machine().state(proof.key()), Some(&proof));
}

#[test]
fn adversarial_47_a_clone_is_found_by_the_first_block_of_both_and_by_its_twin_itself() {
    let mut twin = node(&[2, 3]);
    twin.input(Input::Publish(block(1, 1)));
    twin.take();

    push(&mut twin, 2, &another_block(1, 1));

    let proof = proof(&block(1, 1), &another_block(1, 1));
    assert_eq!(told(&mut twin), [(2, proof.clone()), (3, proof)]);
}
