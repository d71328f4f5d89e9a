//! A neighbour that falls silent while its link stands. Machine 1 is the one under test.

use std::time::Duration;

use gossip::{Config, Input, Message};

use crate::rules::{
    announce, hear, node, node_with, persist_all, push, pushed, sent, want, want_now,
};
use crate::site::{self, block, entry, id, log};

const MOMENT: Duration = Duration::from_millis(1);

#[test]
fn what_a_suspect_was_asked_is_asked_from_others_at_once_and_not_after_the_timeout() {
    let asks_another_after = |suspected: bool| {
        let entries = [entry(log(4, 1), 1, &[])];
        let mut node = node_with(site::gossip(1, &[4], Vec::new()), &[2, 3], &entries);
        assert_eq!(sent(&mut node), [(id(2), want(4, &[(1, 1)]))]);
        if suspected {
            node.input(Input::Suspected(id(2)));
        }
        let mut millis = 0;
        while !sent(&mut node).contains(&(id(3), want(4, &[(1, 1)]))) {
            node.advance(MOMENT);
            millis += 1;
        }
        millis
    };

    assert_eq!(asks_another_after(true), 0);
    assert_eq!(asks_another_after(false), 1_000, "control");
}

#[test]
fn what_a_suspect_should_have_pushed_is_asked_from_its_announcer_at_once_and_others_push() {
    let mut node = node(&[2, 3]);
    push(&mut node, 2, &block(4, 1));
    push(&mut node, 3, &block(4, 1));
    persist_all(&mut node);
    node.advance(Duration::from_secs(1));
    announce(&mut node, 3, entry(log(4, 1), 2, &[]));
    node.take();

    node.input(Input::Suspected(id(2)));

    let graft = Message::Graft { origin: id(4) };
    let said = sent(&mut node);
    assert!(said.contains(&(id(3), graft)), "{said:?}");
    assert!(said.contains(&(id(3), want_now(4, &[(2, 2)]))), "{said:?}");
    assert!(said.iter().all(|(to, _)| *to == id(3)), "{said:?}");
}

#[test]
fn a_suspect_is_asked_nothing_until_it_says_something() {
    let mut node = node(&[2]);
    node.input(Input::Suspected(id(2)));
    node.advance(Config::default().want_timeout * 20);
    assert_eq!(sent(&mut node), [], "nothing is missing");

    hear(&mut node, 2, Message::Prune { origin: id(5) });
    node.input(Input::Suspected(id(2)));
    node.input(Input::NeighbourUp(id(3)));
    hear(
        &mut node,
        3,
        crate::rules::frontier(vec![entry(log(4, 1), 1, &[])], true),
    );
    let asked = sent(&mut node);
    assert!(asked.contains(&(id(3), want(4, &[(1, 1)]))));
    node.input(Input::NeighbourDown(id(3)));
    hear(
        &mut node,
        2,
        crate::rules::frontier(vec![entry(log(4, 1), 1, &[])], true),
    );

    assert_eq!(sent(&mut node), [(id(2), want(4, &[(1, 1)]))]);
    node.input(Input::Publish(block(1, 1)));
    assert!(
        sent(&mut node).contains(&(id(2), pushed(&block(1, 1)))),
        "it is pushed to"
    );
}
