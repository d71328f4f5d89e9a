//! What goes first: alarms, then what is new, then the past within its budget. Machine 1 is the one
//! under test.

use std::collections::BTreeMap;
use std::time::Duration;

use gossip::{Config, FrontierEntry, Holdings, Input, Message, Recovered, Span, Sums};
use model::{LogId, Sequence};

use crate::rules::{
    Node, announce, answer, as_sent, hear, node, node_with, persist_all, push, pushed, sent,
    served, want, want_now,
};
use crate::site::{self, block, entry, id, log, urgent_block};

/// What a neighbour says that it holds, and which of that are alarms.
fn with_alarms(entries: &[FrontierEntry], alarms: &[(LogId, Sequence)], is_news: bool) -> Message {
    let alarms = alarms.iter().map(|(log, sequence)| (*log, span(*sequence)));
    Message::Frontier {
        entries: entries.to_vec(),
        urgent: alarms.collect(),
        ages: BTreeMap::new(),
        is_news,
    }
}

fn span(sequence: Sequence) -> Span {
    let (first, last) = (sequence, sequence);
    Span { first, last }
}

fn with_budget(past_bytes_per_second: u32, held: Vec<FrontierEntry>) -> Node {
    let config = Config {
        past_bytes_per_second: Some(past_bytes_per_second),
        ..Config::default()
    };
    let recovered = Recovered {
        frontier: held,
        states: vec![site::membership(1), site::membership(4)],
    };
    node_with(site::gossip_with(1, config, recovered), &[2], &[])
}

#[test]
fn alarms_of_the_past_are_asked_for_before_everything_else_of_it() {
    let mut node = node(&[2]);
    let entries = [entry(log(4, 1), 400, &[]), entry(log(5, 1), 400, &[])];

    hear(
        &mut node,
        2,
        with_alarms(&entries, &[(log(5, 1), 7), (log(5, 1), 90)], false),
    );

    let asked = sent(&mut node);
    assert_eq!(asked[0], (id(2), want_now(5, &[(90, 90), (7, 7)])));
    assert!(
        matches!(asked[1].1, Message::Want { is_past: true, .. }),
        "{asked:?}"
    );
}

#[test]
fn an_alarm_that_does_not_come_over_the_tree_is_asked_for_sooner_than_other_blocks() {
    let waits = |alarms: &[(LogId, Sequence)]| {
        let mut node = node(&[2]);
        hear(
            &mut node,
            2,
            with_alarms(&[entry(log(4, 1), 1, &[])], alarms, true),
        );
        (1..=1_000)
            .find(|_| {
                node.advance(Duration::from_millis(1));
                sent(&mut node).contains(&(id(2), want_now(4, &[(1, 1)])))
            })
            .expect("it is asked for")
    };

    let (alarm, other) = (waits(&[(log(4, 1), 1)]), waits(&[]));

    assert_eq!((alarm, other), (50, 500));
}

#[test]
fn an_alarm_is_pushed_even_to_who_cannot_keep_up_and_named_in_the_announcement() {
    let mut node = node(&[2]);
    node.input(Input::Congested(id(2)));

    node.input(Input::NeighbourUp(id(3)));
    node.take();
    push(&mut node, 3, &block(4, 1));
    push(&mut node, 3, &urgent_block(4, 2));

    let pushes = persist_all(&mut node).into_iter().filter_map(as_sent);
    let expected = (id(2), pushed(&urgent_block(4, 2)));
    assert_eq!(pushes.collect::<Vec<_>>(), [expected]);
    node.advance(Config::default().announce_interval);
    let said = sent(&mut node).into_iter().map(|(_, message)| message);
    let alarms = said.flat_map(|message| {
        let Message::Frontier { urgent, .. } = message else {
            panic!("{message:?}");
        };
        urgent
    });
    let expected = (log(4, 1), Span { first: 2, last: 2 });
    assert_eq!(
        alarms.collect::<Vec<_>>(),
        [expected; 2],
        "to either neighbour"
    );
}

#[test]
fn a_false_word_about_alarms_costs_no_more_than_the_order() {
    let mut node = node(&[2]);
    let all = Span {
        first: 1,
        last: Sequence::MAX - 1,
    };
    hear(
        &mut node,
        2,
        Message::Frontier {
            entries: vec![entry(log(4, 1), Sequence::MAX - 1, &[])],
            urgent: vec![(log(4, 1), all); Message::URGENT_MAX],
            ages: BTreeMap::new(),
            is_news: false,
        },
    );

    let asked = sent(&mut node).len();

    assert!(asked <= 32, "{asked} wants");
}

#[test]
fn what_is_new_is_served_before_the_past() {
    let mut node = node_with(
        site::gossip(1, &[1, 4], vec![entry(log(4, 1), 9, &[])]),
        &[2],
        &[],
    );
    node.input(Input::Publish(block(1, 1)));
    persist_all(&mut node);
    node.input(Input::Congested(id(2)));
    hear(&mut node, 2, want(4, &[(1, 9)]));
    hear(&mut node, 2, want_now(1, &[(1, 1)]));
    node.take();

    node.input(Input::Drained(id(2)));

    assert_eq!(sent(&mut node), [(id(2), served(&block(1, 1)))]);
}

#[test]
fn the_past_is_asked_for_within_the_budget_and_what_is_new_beside_it() {
    let size = u32::try_from(block(4, 1).as_bytes().len()).expect("small");
    let mut node = with_budget(10 * size, Vec::new());
    hear(
        &mut node,
        2,
        with_alarms(&[entry(log(4, 1), 400, &[])], &[], false),
    );

    let mut asked = 0;
    for _ in 0..100 {
        for (_, message) in sent(&mut node) {
            if let Message::Want { spans, .. } = message {
                for sequence in spans.iter().flat_map(|span| span.first..=span.last) {
                    asked += 1;
                    answer(&mut node, 2, &block(4, sequence));
                }
            }
        }
        node.advance(Duration::from_millis(100));
    }

    assert!(
        (95..=110).contains(&asked),
        "{asked} blocks in 10 s at 10 blocks a second"
    );
    node.take();
    announce(&mut node, 2, entry(log(1, 1), 1, &[]));
    node.advance(Config::default().graft_timeout);
    let wants = sent(&mut node);
    assert!(
        wants.contains(&(id(2), want_now(1, &[(1, 1)]))),
        "{wants:?}"
    );
}

#[test]
fn who_waits_for_the_budget_is_asked_when_another_has_answered() {
    let mut node = with_budget(1, Vec::new());
    hear(
        &mut node,
        2,
        with_alarms(&[entry(log(4, 1), 1, &[])], &[], false),
    );
    assert_eq!(sent(&mut node), [(id(2), want(4, &[(1, 1)]))]);
    node.input(Input::NeighbourUp(id(3)));
    hear(
        &mut node,
        3,
        with_alarms(&[entry(log(1, 1), 1, &[])], &[], false),
    );
    node.take();

    node.input(Input::NeighbourDown(id(2)));
    node.advance(Config::default().announce_interval);

    assert_eq!(sent(&mut node), [(id(3), want(1, &[(1, 1)]))]);
}

#[test]
fn the_past_is_sent_within_the_budget() {
    let size = u32::try_from(block(1, 1).as_bytes().len()).expect("small");
    let mut node = with_budget(10 * size, Vec::new());
    for sequence in 1..=200 {
        node.input(Input::Publish(block(1, sequence)));
    }
    persist_all(&mut node);
    hear(&mut node, 2, want(1, &[(1, 200)]));

    let mut told = 0;
    for _ in 0..10_000 {
        let answers = sent(&mut node).into_iter();
        told += answers
            .filter(|(_, m)| matches!(m, Message::Block { pushed: false, .. }))
            .count();
        node.advance(Duration::from_millis(1));
    }

    assert!(
        (95..=110).contains(&told),
        "{told} blocks in 10 s at 10 blocks a second"
    );
}

#[test]
fn more_alarms_than_one_message_has_room_for_are_told_in_several() {
    let origins = [2, 3, 4, 5, 6];
    let mut node = node_with(site::gossip(1, &origins, Vec::new()), &[2], &[]);
    for origin in origins {
        for sequence in 1..=31 {
            let is_alarm = sequence % 2 == 1;
            let block = if is_alarm { urgent_block } else { block };
            push(&mut node, 2, &block(origin, sequence));
        }
    }
    persist_all(&mut node);
    node.advance(Config::default().announce_interval);
    node.take();

    hear(&mut node, 2, Message::Sums(Holdings::Logs, Sums::default()));

    let mut named = Vec::new();
    for (_, message) in sent(&mut node) {
        if let Message::Frontier { urgent, .. } = message {
            assert!(urgent.len() <= Message::URGENT_MAX, "{}", urgent.len());
            named.extend(urgent);
        }
    }
    let odd = || (1..=31).filter(|sequence| sequence % 2 == 1);
    let alarms = |origin| odd().map(move |at| (log(origin, 1), span(at)));
    assert_eq!(named.len(), origins.len() * odd().count());
    for alarm in origins.into_iter().flat_map(alarms) {
        assert!(named.contains(&alarm), "{alarm:?}");
    }
}
