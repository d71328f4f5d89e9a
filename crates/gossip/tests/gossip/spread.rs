//! One machine at a time: trees and states. Machine 1 is the one under test.

use gossip::{Config, Fault, Holdings, Input, Message, Output, Recovered, Sums, Write};
use model::{State, StateKind};
use testkit::Probe;

use crate::rules::{
    Node, announce, answer, faults, hear, node, persist_all, push, pushed, sent, tickets,
};
use crate::site::{self, block, entry, id, log, state};

fn prune(origin: u8) -> Message {
    Message::Prune { origin: id(origin) }
}

fn states(node: &mut Node) -> Vec<(u8, Vec<State>)> {
    (sent(node).into_iter())
        .filter_map(|(to, message)| {
            if let Message::States(states) = message {
                Some((site::number(to), states))
            } else {
                None
            }
        })
        .collect()
}

#[test]
fn a_pushed_block_goes_on_to_all_but_its_sender_its_origin_and_its_holders() {
    let mut node = node(&[2, 3, 4, 5]);
    announce(&mut node, 5, entry(log(4, 1), 1, &[]));

    push(&mut node, 2, &block(4, 1));

    assert_eq!(sent(&mut node), [(id(3), pushed(&block(4, 1)))]);
}

#[test]
fn the_later_of_two_pushers_is_pruned() {
    let mut node = node(&[2, 3]);
    push(&mut node, 2, &block(4, 1));
    node.take();

    push(&mut node, 3, &block(4, 1));

    assert_eq!(sent(&mut node), [(id(3), prune(4))]);
    assert_eq!(node.machine().stats().blocks_duplicate, 1);
}

#[test]
fn an_own_block_that_comes_back_prunes_its_pusher() {
    let mut node = node(&[2]);
    node.input(Input::Publish(block(1, 1)));
    node.take();

    push(&mut node, 2, &block(1, 1));

    assert_eq!(sent(&mut node), [(id(2), prune(1))]);
}

#[test]
fn a_push_that_crossed_its_prune_does_not_cost_the_last_pusher_its_place() {
    let mut node = node(&[2, 3]);
    push(&mut node, 2, &block(4, 1));
    push(&mut node, 3, &block(4, 1));
    node.take();

    push(&mut node, 3, &block(4, 2));
    push(&mut node, 2, &block(4, 2));

    let mut sent = sent(&mut node);
    sent.retain(|(_, message)| *message == prune(4));
    assert_eq!(sent, [(id(3), prune(4))]);
}

#[test]
fn a_push_after_an_answer_prunes_nobody() {
    let entries = [entry(log(4, 1), 1, &[])];
    let gossip = site::gossip(1, &[4], Vec::new());
    let mut node = crate::rules::node_with(gossip, &[2, 3], &entries);
    answer(&mut node, 2, &block(4, 1));
    node.take();

    push(&mut node, 3, &block(4, 1));

    assert_eq!(sent(&mut node), []);
}

#[test]
fn the_pusher_that_is_left_is_not_pruned_after_the_first_one_died() {
    let mut node = node(&[2, 3]);
    push(&mut node, 2, &block(4, 1));
    node.input(Input::NeighbourDown(id(2)));
    node.take();

    push(&mut node, 3, &block(4, 1));

    assert_eq!(sent(&mut node), []);
}

#[test]
fn when_a_pusher_is_gone_one_that_was_pruned_is_grafted_at_once() {
    let mut node = node(&[2, 3, 5]);
    push(&mut node, 2, &block(4, 1));
    push(&mut node, 3, &block(4, 1)); // Pruned; 5 hears of the block from here.
    node.take();

    node.input(Input::NeighbourDown(id(2)));

    assert_eq!(sent(&mut node), [(id(3), Message::Graft { origin: id(4) })]);
}

#[test]
fn when_one_is_gone_that_pushed_nothing_nobody_is_grafted() {
    let mut node = node(&[2, 3, 5]);
    push(&mut node, 2, &block(4, 1));
    push(&mut node, 3, &block(4, 1));
    node.take();

    node.input(Input::NeighbourDown(id(5)));

    assert_eq!(sent(&mut node), []);
}

#[test]
fn a_pruned_link_is_not_pushed_to_until_it_is_grafted() {
    let mut node = node(&[2]);
    hear(&mut node, 2, prune(1));
    node.input(Input::Publish(block(1, 1)));
    assert_eq!(sent(&mut node), []);

    hear(&mut node, 2, Message::Graft { origin: id(1) });
    node.input(Input::Publish(block(1, 2)));

    assert_eq!(sent(&mut node), [(id(2), pushed(&block(1, 2)))]);
}

#[test]
fn adversarial_27_prunes_of_strangers_are_not_remembered() {
    let mut node = node(&[2]);
    hear(&mut node, 2, prune(9));

    hear(&mut node, 2, Message::States(vec![site::membership(9)]));
    node.input(Input::NeighbourUp(id(3)));
    push(&mut node, 3, &block(9, 1));

    assert!(sent(&mut node).contains(&(id(2), pushed(&block(9, 1)))));
}

#[test]
fn a_state_goes_to_all_but_its_sender_at_once() {
    let mut node = node(&[2, 3, 4]);
    let candidacy = state(4, StateKind::Candidacy, "a", 1);

    hear(&mut node, 2, Message::States(vec![candidacy.clone()]));

    let mut told = states(&mut node);
    told.sort_by_key(|(to, _)| *to);
    let expected = vec![candidacy.clone()];
    assert_eq!(told, [(3, expected.clone()), (4, expected)]);
    assert_eq!(node.machine().state(candidacy.key()), Some(&candidacy));
}

#[test]
fn the_newer_state_wins_and_its_older_one_is_answered() {
    let mut node = node(&[2, 3]);
    let [old, new] = [1, 2].map(|counter| state(4, StateKind::Candidacy, "a", counter));
    hear(&mut node, 2, Message::States(vec![new.clone()]));
    node.take();

    hear(&mut node, 3, Message::States(vec![old]));

    assert_eq!(states(&mut node), [(3, vec![new.clone()])]);
    hear(&mut node, 3, Message::States(vec![new]));
    assert!(node.take().is_empty());
    assert_eq!(node.machine().stats().states_old, 2);
}

#[test]
fn an_own_state_from_before_the_disk_was_wiped_is_delivered() {
    let mut node = node(&[2]);
    node.input(Input::PublishState(state(1, StateKind::Presence, "", 1)));
    node.take();
    let from_before = state(1, StateKind::Presence, "", 9);

    hear(&mut node, 2, Message::States(vec![from_before.clone()]));

    let outputs = node.take();
    assert!(
        matches!(&outputs[..], [Output::DeliverState(state)] if *state == from_before),
        "{outputs:?}"
    );
}

#[test]
fn a_state_of_a_stranger_waits_for_its_membership() {
    let mut node = node(&[2]);
    let presence = state(9, StateKind::Presence, "", 1);

    hear(&mut node, 2, Message::States(vec![presence.clone()]));
    assert!(node.take().is_empty());
    let both = vec![site::membership(9), presence.clone()];
    hear(&mut node, 2, Message::States(both));

    assert!(node.machine().state(presence.key()).is_some());
    assert_eq!(node.machine().stats().states_unadmitted, 1);
}

#[test]
fn forged_states_and_memberships_are_faults() {
    let mut node = node(&[2]);
    let of_another = site::membership_of(9, 8, identity::Role::Publish);
    let by_another = site::membership_by(30, 9, 9, identity::Role::Publish);
    let [good, other] = [1, 2].map(|counter| state(4, StateKind::Presence, "", counter));
    let mut bytes = good.as_bytes().to_vec();
    let at = bytes.len() - 64;
    bytes[at..].copy_from_slice(&other.as_bytes()[other.as_bytes().len() - 64..]);
    let unsigned = State::decode(bytes.into()).expect("a state with another's signature");

    for (state, fault) in [
        (of_another, Fault::Membership),
        (by_another, Fault::Membership),
        (unsigned, Fault::Signature),
    ] {
        hear(&mut node, 2, Message::States(vec![state]));
        assert_eq!(faults(&mut node), [(id(2), fault)]);
    }
}

#[test]
fn states_that_a_congested_neighbour_missed_reach_it_later_in_their_latest_version() {
    let mut node = node(&[2, 3]);
    node.input(Input::Congested(id(3)));
    for counter in 1..=5 {
        let candidacy = state(4, StateKind::Candidacy, "a", counter);
        hear(&mut node, 2, Message::States(vec![candidacy]));
    }
    assert_eq!(states(&mut node), []);

    node.input(Input::Drained(id(3)));

    let latest = state(4, StateKind::Candidacy, "a", 5);
    assert_eq!(states(&mut node), [(3, vec![latest])]);
}

#[test]
fn very_many_states_are_sent_some_at_a_time_until_all_are_sent() {
    let series = |n: u32| state(4, StateKind::Series, &format!("{n:04}"), 1);
    let states = (0..1_200).map(series).chain([site::membership(4)]);
    let recovered = Recovered {
        states: states.collect(),
        ..Recovered::default()
    };
    let mut node = Probe::new(site::gossip_with(1, Config::default(), recovered));
    node.input(Input::NeighbourUp(id(2)));
    node.take();
    let nothing = Message::Sums(Holdings::States, Sums::default());

    hear(&mut node, 2, nothing);
    assert_eq!(node.machine().stats().states_sent, 512);
    node.advance(Config::default().announce_interval * 4);

    assert_eq!(node.machine().stats().states_sent, 1_201);
}

#[test]
fn states_that_last_are_written_one_version_at_a_time() {
    let mut node = node(&[]);
    let progress = |counter| state(1, StateKind::Progress, "a", counter);
    let presence = state(1, StateKind::Presence, "", 1);
    node.input(Input::PublishState(presence));
    for counter in 1..=3 {
        node.input(Input::PublishState(progress(counter)));
    }

    let outputs = node.take();
    let [first] = tickets(&outputs)[..] else {
        panic!("{outputs:?}");
    };
    node.input(Input::Persisted(first));

    let outputs = node.take();
    assert!(
        matches!(&outputs[..], [Output::Persist(_, Write::State(state))] if *state == progress(3)),
        "{outputs:?}"
    );
}

#[test]
fn a_state_that_could_not_be_written_is_reported_and_stays_known() {
    let mut node = node(&[]);
    let progress = state(1, StateKind::Progress, "a", 1);
    node.input(Input::PublishState(progress.clone()));
    let ticket = tickets(&node.take())[0];

    node.input(Input::PersistFailed(ticket));

    assert!(
        matches!(&node.take()[..], [Output::NotPersisted(Write::State(state))] if *state == progress)
    );
    assert_eq!(node.machine().state(progress.key()), Some(&progress));
}

#[test]
fn one_origin_cannot_take_every_state() {
    let config = Config {
        states_max: 32,
        ..Config::default()
    };
    let recovered = Recovered {
        states: vec![site::membership(4)],
        ..Recovered::default()
    };
    let gossip = site::gossip_with(1, config, recovered);
    let mut node = crate::rules::node_with(gossip, &[2], &[]);

    let flood = (0..9).map(|n| state(4, StateKind::Series, &n.to_string(), 1));
    hear(&mut node, 2, Message::States(flood.collect()));
    hear(&mut node, 2, Message::States(vec![site::membership(5)]));

    assert_eq!(node.machine().stats().states_over_limit, 6);
    assert_eq!(node.machine().states().count(), 5);
    assert!(persist_all(&mut node).len() >= 4);
}

#[test]
fn what_machines_that_are_gone_have_said_makes_room_for_those_that_come() {
    let config = Config {
        states_max: 32,
        ..Config::default()
    };
    let gossip = site::gossip_with(1, config, Recovered::default());
    let mut node = crate::rules::node_with(gossip, &[2], &[]);
    let come = |node: &mut Node, n: u8| {
        let presence = state(n, StateKind::Presence, "", 1);
        hear(
            node,
            2,
            Message::States(vec![site::membership(n), presence]),
        );
    };
    (1..=16).for_each(|n| come(&mut node, n));
    assert_eq!(node.machine().states().count(), 32, "full");

    (17..=24).for_each(|n| come(&mut node, n));

    let count = |kind| {
        node.machine()
            .states()
            .filter(|s| s.key().kind == kind)
            .count()
    };
    assert_eq!(
        count(StateKind::Membership),
        24,
        "what is kept is not forgotten"
    );
    assert_eq!(
        count(StateKind::Presence),
        8,
        "the others' presences made room"
    );
    let newest = site::state_key(24, StateKind::Presence, "");
    assert!(node.machine().state(&newest).is_some());
    assert_eq!(node.machine().stats().states_over_limit, 0);
}
