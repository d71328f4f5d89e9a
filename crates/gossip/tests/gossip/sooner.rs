//! Trees follow the links that have become faster. Machine 1 is the one under test. The blocks of
//! machine 4 come from 2; 3 was told to stop.

use std::collections::BTreeMap;
use std::time::Duration;

use gossip::{Input, Message};
use model::{MachineId, Sequence};

use crate::rules::{Node, hear, news, node, persist_all, push, sent};
use crate::site::{block, entry, id, log};

const MILLISECOND: Duration = Duration::from_millis(1);

fn settled() -> Node {
    let mut node = node(&[2, 3]);
    push(&mut node, 2, &block(4, 1));
    push(&mut node, 3, &block(4, 1));
    persist_all(&mut node);
    node.take();
    node
}

/// Block `newest` of machine 4 comes from `from`, and 20 ms later a neighbour says that it has
/// had it for so long; returns what is sent then.
fn hear_of(
    node: &mut Node,
    newest: Sequence,
    from: u8,
    (neighbour, age): (u8, Duration),
) -> Vec<(MachineId, Message)> {
    push(node, from, &block(4, newest));
    node.take();
    node.advance(20 * MILLISECOND);
    node.take();
    hear(node, neighbour, news(entry(log(4, 1), newest, &[]), age));
    sent(node)
}

/// One neighbour takes the place of another.
fn change(now: u8, before: u8) -> [(MachineId, Message); 2] {
    let origin = id(4);
    [
        (id(now), Message::Graft { origin }),
        (id(before), Message::Prune { origin }),
    ]
}

#[test]
fn who_would_have_brought_a_block_clearly_sooner_brings_the_next() {
    let mut node = settled();

    assert_eq!(hear_of(&mut node, 2, 2, (3, 19 * MILLISECOND)), [], "later");
    assert_eq!(hear_of(&mut node, 3, 2, (3, 20 * MILLISECOND)), [], "equal");
    let sooner = hear_of(&mut node, 4, 2, (3, 21 * MILLISECOND));

    assert_eq!(sooner, change(3, 2));
}

#[test]
fn a_neighbour_gets_the_place_once_until_another_neighbour_comes() {
    let mut node = settled();
    let much = 90 * MILLISECOND;
    assert_eq!(hear_of(&mut node, 2, 2, (3, much)), change(3, 2));
    assert_eq!(hear_of(&mut node, 3, 3, (2, much)), change(2, 3));

    let third = hear_of(&mut node, 4, 2, (3, much));
    node.input(Input::NeighbourUp(id(5)));
    let after = hear_of(&mut node, 5, 2, (3, much));

    assert_eq!(third, []);
    assert_eq!(after, change(3, 2));
}

#[test]
fn who_pushes_already_or_was_asked_does_not_count() {
    let mut pushes_already = node(&[2, 3]);
    let mut asked = settled();
    push(&mut asked, 2, &block(4, 2));

    let age = 90 * MILLISECOND;
    let eager = hear_of(&mut pushes_already, 1, 2, (3, age));
    let itself = hear_of(&mut asked, 3, 2, (2, age));

    assert_eq!(eager, []);
    assert_eq!(itself, []);
}

#[test]
fn an_announcement_tells_how_long_the_newest_block_has_been_here() {
    let mut node = node(&[2, 3]);
    push(&mut node, 2, &block(4, 1));
    persist_all(&mut node);
    node.take();

    let mut ages = Vec::new();
    for _ in 0..100 {
        node.advance(MILLISECOND);
        for (to, message) in sent(&mut node) {
            if let (Message::Frontier { ages: told, .. }, true) = (message, to == id(3)) {
                ages.push(told);
            }
        }
    }

    let interval = gossip::Config::default().announce_interval;
    assert_eq!(ages, [BTreeMap::from([(log(4, 1), interval)])]);
}

#[test]
fn who_would_have_been_the_soonest_takes_the_place_of_one_that_is_gone() {
    let after = |news_of_3: Duration| {
        let mut node = node(&[2, 3, 5]);
        push(&mut node, 2, &block(4, 1));
        node.advance(4 * MILLISECOND);
        push(&mut node, 5, &block(4, 1));
        node.advance(4 * MILLISECOND);
        push(&mut node, 3, &block(4, 1));
        persist_all(&mut node);
        assert_eq!(hear_of(&mut node, 2, 2, (3, news_of_3)), []);

        node.input(Input::NeighbourDown(id(2)));

        sent(&mut node)
    };

    let graft = |to| [(id(to), Message::Graft { origin: id(4) })];
    assert_eq!(after(15 * MILLISECOND), graft(5));
    assert_eq!(after(17 * MILLISECOND), graft(3), "its news were sooner");
}
