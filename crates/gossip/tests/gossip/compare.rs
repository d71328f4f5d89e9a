//! What two machines say when they have become neighbours. Machine 1 is the one under test.

use std::time::Duration;

use gossip::{Config, Fault, Gossip, Holdings, Input, Message, Recovered, Span, Sum, Sums};
use model::{BlockId, State, StateKind};
use testkit::Probe;

use crate::rules::{Node, faults, frontier, hear, sent};
use crate::site::{self, entry, id, log, state};

/// The sums that a machine says to a new neighbour.
fn sums_of(gossip: Gossip, holdings: Holdings) -> Sums {
    let mut node = Probe::new(gossip);
    node.input(Input::NeighbourUp(id(7)));
    (sent(&mut node).into_iter())
        .find_map(|(_, message)| {
            if let Message::Sums(of, sums) = message {
                (of == holdings).then_some(sums)
            } else {
                None
            }
        })
        .expect("sums are said first")
}

fn holding(logs: u64, end: u64) -> Gossip {
    let entries = (1..=logs).map(|epoch| entry(log(4, epoch), end, &[]));
    site::gossip(1, &[4], entries.collect())
}

fn knowing(states: &[State]) -> Gossip {
    let states = states.to_vec();
    let recovered = Recovered {
        states,
        ..Recovered::default()
    };
    site::gossip_with(1, Config::default(), recovered)
}

/// The machine with one neighbour that has just come up, and nothing said yet.
fn linked(gossip: Gossip) -> Node {
    let mut node = Probe::new(gossip);
    node.input(Input::NeighbourUp(id(2)));
    node.take();
    node
}

#[test]
fn equal_logs_are_not_listed_and_those_that_differ_are_in_parts() {
    let theirs = sums_of(holding(600, 3), Holdings::Logs);
    let mut equal = linked(holding(600, 3));
    let mut differing = linked(holding(600, 4));

    hear(&mut equal, 2, Message::Sums(Holdings::Logs, theirs.clone()));
    hear(&mut differing, 2, Message::Sums(Holdings::Logs, theirs));

    assert_eq!(sent(&mut equal), []);
    let listed = (sent(&mut differing).into_iter())
        .map(|(_, message)| {
            let Message::Frontier {
                entries, is_news, ..
            } = message
            else {
                panic!("{message:?}");
            };
            (entries.len(), is_news)
        })
        .collect::<Vec<_>>();
    assert_eq!(listed, [(512, false), (88, false)]);
}

#[test]
fn what_the_neighbour_holds_of_its_own_logs_is_told_though_all_is_equal() {
    let mut node = Probe::new(site::gossip(
        1,
        &[2, 4],
        vec![entry(log(2, 1), 3, &[]), entry(log(4, 1), 5, &[])],
    ));

    node.input(Input::NeighbourUp(id(2)));

    let mut said = sent(&mut node);
    said.retain(|(_, message)| !matches!(message, Message::Interest(_) | Message::Sums(..)));
    let its_own = frontier(vec![entry(log(2, 1), 3, &[])], true);
    assert_eq!(said, [(id(2), its_own)]);
}

#[test]
fn a_listed_log_is_asked_for_at_once() {
    let mut node = linked(holding(600, 3));

    hear(&mut node, 2, frontier(vec![entry(log(4, 9), 5, &[])], true));

    let message = sent(&mut node).remove(0).1;
    assert!(matches!(message, Message::Want { log: l, is_past: true, .. } if l == log(4, 9)));
}

#[test]
fn equal_states_are_not_listed_and_of_others_only_what_is_news_is_asked_for() {
    let membership = site::membership(4);
    let series =
        |counter| (0..600).map(move |n| state(4, StateKind::Series, &format!("{n:04}"), counter));
    let old = std::iter::once(membership.clone())
        .chain(series(1))
        .collect::<Vec<_>>();
    let newer = state(4, StateKind::Series, "0300", 2);
    let theirs = sums_of(knowing(&old), Holdings::States);
    let mut equal = linked(knowing(&old));
    let mut ahead = linked(knowing(&[&old[..], std::slice::from_ref(&newer)].concat()));

    hear(
        &mut equal,
        2,
        Message::Sums(Holdings::States, theirs.clone()),
    );
    hear(&mut ahead, 2, Message::Sums(Holdings::States, theirs));

    assert_eq!(sent(&mut equal), []);
    let (_, listing) = sent(&mut ahead).remove(0);
    let Message::StateSummary(listed) = &listing else {
        panic!("{listing:?}");
    };
    assert!(listed.len() <= 60, "{} states listed", listed.len());
    hear(&mut equal, 2, listing);
    let want = Message::StateWant(vec![newer.key().clone()]);
    assert_eq!(sent(&mut equal), [(id(2), want.clone())]);
    hear(&mut ahead, 2, want);
    assert_eq!(sent(&mut ahead), [(id(2), Message::States(vec![newer]))]);
}

#[test]
fn who_knows_nothing_gets_the_states_without_having_to_ask() {
    let membership = site::membership(4);
    let mut node = linked(knowing(std::slice::from_ref(&membership)));

    hear(
        &mut node,
        2,
        Message::Sums(Holdings::States, Sums::default()),
    );

    assert_eq!(
        sent(&mut node),
        [(id(2), Message::States(vec![membership]))]
    );
}

#[test]
fn a_lost_block_is_asked_of_who_has_listed_nothing_because_all_was_equal() {
    let mut node = linked(holding(3, 5));
    let equal = sums_of(holding(3, 5), Holdings::Logs);
    hear(&mut node, 2, Message::Sums(Holdings::Logs, equal.clone()));
    let sequence = 3;
    let lost = BlockId {
        log: log(4, 2),
        sequence,
    };

    node.input(Input::Lost(vec![lost]));

    let message = sent(&mut node).remove(0).1;
    let span = Span { first: 3, last: 3 };
    let is_asked = matches!(&message, Message::Want { log, spans, .. } if *log == lost.log && *spans == [span]);
    assert!(is_asked, "{message:?}");
    node.input(Input::NeighbourUp(id(3)));
    node.take();
    hear(&mut node, 3, Message::Sums(Holdings::Logs, equal));
    let listed = sent(&mut node);
    assert!(!listed.is_empty(), "its sums are not those of who holds it");
}

#[test]
fn a_neighbour_that_starts_anew_over_a_link_that_stands_is_compared_with_anew() {
    let mut node = linked(holding(600, 3));
    let sums = || Message::Sums(Holdings::Logs, Sums::default());
    hear(&mut node, 2, sums());
    assert_eq!(sent(&mut node).len(), 2, "all is listed in two parts");
    node.advance(Duration::from_secs(1));

    hear(&mut node, 2, sums());

    let said = sent(&mut node);
    let own = said.iter().filter(|(_, m)| matches!(m, Message::Sums(..)));
    assert_eq!(
        (own.count(), said.len()),
        (2, 5),
        "own interest and sums, then all that differs"
    );
}

#[test]
fn adversarial_27_a_flood_of_comparisons_is_answered_now_and_then() {
    let mut node = linked(holding(600, 3));

    let mut lists = 0;
    for _ in 0..1_000 {
        hear(&mut node, 2, Message::Sums(Holdings::Logs, Sums::default()));
        lists += sent(&mut node).len();
        node.advance(Duration::from_millis(1));
    }

    assert!(lists <= 55, "{lists} messages within a second");
    assert!(node.machine().stats().comparisons_over_limit >= 980);
    let wrong = Sums {
        bits: 1,
        ranges: vec![(2, Sum(1))],
    };
    hear(&mut node, 2, Message::Sums(Holdings::Logs, wrong));
    assert_eq!(faults(&mut node), [(id(2), Fault::Sums)]);
}

#[test]
fn nothing_that_a_machine_says_overtakes_its_membership_that_may_have_to_be_asked_for() {
    let membership = |counter| state(4, StateKind::Membership, "", counter);
    let theirs = sums_of(knowing(&[membership(1)]), Holdings::States);
    let series = (0..40).map(|n| state(4, StateKind::Series, &n.to_string(), 1));
    let mut node = linked(knowing(&[vec![membership(2)], series.collect()].concat()));

    hear(&mut node, 2, Message::Sums(Holdings::States, theirs));

    let said = sent(&mut node);
    let [(_, Message::StateSummary(listed))] = &said[..] else {
        panic!("{said:?}");
    };
    assert_eq!(
        listed.len(),
        41,
        "the neighbour asks for all of it together"
    );
}
