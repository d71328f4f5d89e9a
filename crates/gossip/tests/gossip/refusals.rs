//! What one machine refuses, and what it keeps only in part. Machine 1 is the one under test.

use std::collections::BTreeMap;

use gossip::{Config, Fault, FrontierEntry, Input, Message, Recovered, SEQUENCE_MAX, Span};
use identity::Role;
use model::Sequence;

use crate::rules::{
    answer, config, faults, frontier, hear, node, node_with, persist_all, push, pushed, sent,
    tickets, want,
};
use crate::site::{self, block, block_id, entry, id, log};

#[test]
fn a_block_that_would_open_one_gap_too_many_is_not_taken() {
    let odd = (1..=15).map(|n| (2 * n + 1, 2 * n + 1)).collect::<Vec<_>>();
    let held = vec![entry(log(4, 1), 1, &odd)];
    let mut node = node_with(site::gossip(1, &[4], held), &[2], &[]);

    push(&mut node, 2, &block(4, 33));
    push(&mut node, 2, &block(4, 35));
    push(&mut node, 2, &block(4, 2));
    persist_all(&mut node);

    let entry = node.machine().frontier().get(&log(4, 1)).expect("known");
    assert_eq!((entry.end, entry.top(), entry.beyond.len()), (3, 33, 15));
    assert_eq!(node.machine().stats().refused_no_room, 1);
}

#[test]
fn a_block_of_an_unknown_origin_is_refused_and_asked_for_once_it_is_admitted() {
    let mut node = node_with(
        site::gossip(1, &[1, 2], Vec::new()),
        &[2],
        &[entry(log(4, 1), 1, &[])],
    );
    push(&mut node, 2, &block(4, 1));
    assert_eq!(node.machine().stats().refused_unadmitted, 1);
    assert_eq!(sent(&mut node), []);

    hear(&mut node, 2, Message::States(vec![site::membership(4)]));

    assert_eq!(sent(&mut node), [(id(2), want(4, &[(1, 1)]))]);
}

#[test]
fn a_member_that_may_not_publish_is_no_origin() {
    let mut node = node_with(site::gossip(1, &[1, 2], Vec::new()), &[2], &[]);
    let observer = site::membership_of(4, 4, Role::Observe);

    hear(&mut node, 2, Message::States(vec![observer]));
    push(&mut node, 2, &block(4, 1));

    assert_eq!(node.machine().stats().refused_unadmitted, 1);
    assert!(node.machine().state(site::membership(4).key()).is_some());
}

#[test]
fn adversarial_22_a_forged_block_is_the_fault_of_its_sender_and_goes_nowhere() {
    let mut node = node(&[2, 3]);
    let forged = site::seal(site::key(2), log(4, 1), 1);

    push(&mut node, 2, &forged);

    assert_eq!(faults(&mut node), [(id(2), Fault::Signature)]);
    push(&mut node, 3, &block(4, 1));
    assert_eq!(tickets(&node.take()).len(), 1);
}

#[test]
fn a_block_whose_columns_do_not_decode_is_the_fault_of_its_sender() {
    let mut node = node(&[2, 3]);

    push(&mut node, 2, &site::block_with_bad_columns(4, 1));

    assert_eq!(faults(&mut node), [(id(2), Fault::Columns)]);
}

#[test]
fn contradictions_are_faults() {
    let mut node = node_with(
        site::gossip(1, &[1, 4], vec![entry(log(4, 1), 9, &[])]),
        &[2],
        &[],
    );
    let floor_above_end = FrontierEntry {
        floor: 9,
        end: 7,
        ..entry(log(4, 1), 0, &[])
    };
    let urgent_backwards = Message::Frontier {
        entries: Vec::new(),
        urgent: vec![(log(4, 1), Span { first: 4, last: 3 })],
        ages: BTreeMap::new(),
        is_news: true,
    };
    let messages = [
        frontier(vec![floor_above_end], false),
        frontier(vec![entry(log(4, 1), Sequence::MAX, &[])], false),
        frontier(vec![entry(log(4, 1), 5, &[(6, 9)])], false),
        want(4, &[(0, 3)]),
        want(4, &[(4, 3)]),
        want(4, &[(1, Sequence::MAX)]),
        pushed(&site::seal(site::key(4), log(4, 1), Sequence::MAX)),
        urgent_backwards,
    ];

    for message in messages {
        let shown = format!("{message:?}");
        hear(&mut node, 2, message);
        assert_eq!(faults(&mut node), [(id(2), Fault::Frontier)], "{shown}");
    }
}

#[test]
fn adversarial_24_the_last_sequences_are_asked_and_taken_like_any_other() {
    let entries = [entry(log(4, 1), SEQUENCE_MAX, &[])];
    let mut node = node_with(site::gossip(1, &[4], Vec::new()), &[2], &entries);

    assert_eq!(
        sent(&mut node),
        [(id(2), want(4, &[(SEQUENCE_MAX - 15, SEQUENCE_MAX)]))]
    );
    answer(&mut node, 2, &block(4, SEQUENCE_MAX));
    persist_all(&mut node);

    assert!(node.machine().frontier().covers(&block_id(4, SEQUENCE_MAX)));
}

#[test]
fn adversarial_27_a_want_of_more_than_anyone_asks_is_not_served() {
    let held = vec![entry(log(4, 1), 10_000, &[])];
    let mut node = node_with(site::gossip(1, &[4], held), &[2], &[]);

    hear(&mut node, 2, want(4, &[(1, 9_000)]));

    assert!(node.take().is_empty());
    assert_eq!(node.machine().stats().wants_over_limit, 1);
}

#[test]
fn adversarial_26_blocks_below_the_floor_are_given_up_for_good() {
    let held = vec![entry(log(4, 1), 3, &[])];
    let theirs = [entry(log(4, 1), 7, &[])];
    let mut node = node_with(site::gossip(1, &[4], held), &[], &[]);

    node.input(Input::FloorMoved(log(4, 1), 6));
    node.input(Input::NeighbourUp(id(2)));
    node.take();
    hear(&mut node, 2, frontier(theirs.to_vec(), true));

    assert_eq!(sent(&mut node), [(id(2), want(4, &[(6, 7)]))]);
    push(&mut node, 2, &block(4, 5));
    assert_eq!(node.machine().stats().blocks_duplicate, 1);
    let kept = node.machine().frontier().get(&log(4, 1));
    assert_eq!(kept.map(|entry| (entry.floor, entry.end)), Some((6, 5)));
}

#[test]
fn one_origin_cannot_take_every_log() {
    let config = Config {
        logs_max: 16,
        ..config()
    };
    let states = vec![site::membership(4), site::membership(5)];
    let recovered = Recovered {
        states,
        ..Recovered::default()
    };
    let mut node = node_with(site::gossip_with(1, config, recovered), &[2], &[]);

    for epoch in 1..=5 {
        push(&mut node, 2, &site::seal(site::key(4), log(4, epoch), 1));
        persist_all(&mut node);
    }
    push(&mut node, 2, &block(5, 1));
    persist_all(&mut node);

    assert_eq!(node.machine().frontier().len(), 3);
    assert_eq!(node.machine().stats().refused_no_room, 3);
}

#[test]
fn adversarial_27_a_frontier_of_too_many_logs_is_kept_in_part() {
    let config = Config {
        logs_max: 16,
        ..config()
    };
    let mut node = node_with(
        site::gossip_with(1, config, Recovered::default()),
        &[2],
        &[],
    );

    let entries = (1..=20).map(|epoch| entry(log(4, epoch), 1, &[]));
    hear(&mut node, 2, frontier(entries.collect(), false));

    assert_eq!(node.machine().stats().logs_over_limit, 4);
}
