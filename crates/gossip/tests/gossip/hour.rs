//! What an hour does: to what was said at its beginning, and to memory. Machine 1 is the one under
//! test.

use std::time::Duration;

use gossip::{Input, Output, Write};
use model::StateKind;

use crate::rules::{Node, announce, hear, node, persist_all, push, want};
use crate::site::{block, entry, id, log, state};

/// An hour passes in which neighbour 3 brings blocks of machine 4; `each_second` does what else
/// happens. Returns how much the node remembers at the end of each tenth of an hour.
fn an_hour(node: &mut Node, each_second: impl Fn(&mut Node, u64)) -> Vec<usize> {
    let mut remembered = Vec::new();
    for second in 1..=SECONDS {
        for sequence in (second - 1) * BLOCKS_A_SECOND + 1..=second * BLOCKS_A_SECOND {
            push(node, 3, &block(4, sequence));
        }
        announce(node, 3, entry(log(4, 1), second * BLOCKS_A_SECOND, &[]));
        each_second(node, second);
        persist_all(node);
        node.advance(Duration::from_secs(1));
        node.take();
        if second % (SECONDS / 10) == 0 {
            remembered.push(memory(node));
        }
    }
    remembered
}

/// How much a node remembers: the length of it in words, in which everything that it keeps occurs.
fn memory(node: &Node) -> usize {
    format!("{:?}", node.machine()).len()
}

#[test]
fn adversarial_26_blocks_replayed_after_an_hour_are_taken_for_what_they_are() {
    let mut node = node(&[2, 3]);
    let given_up = 100;
    an_hour(&mut node, |_, _| {});
    node.input(Input::FloorMoved(log(4, 1), given_up + 1));
    node.take();
    let known = *node.machine().stats();

    for sequence in 1..=2 * given_up {
        push(&mut node, 2, &block(4, sequence));
    }
    let last = SECONDS * BLOCKS_A_SECOND;
    push(&mut node, 2, &block(4, last + 1));

    let writes = node.take().into_iter().filter_map(|output| match output {
        Output::Persist(_, Write::Block(block)) => Some(block.header().sequence),
        Output::Deliver(block) | Output::Restored(block) => Some(block.header().sequence),
        Output::Persist(..)
        | Output::Send(..)
        | Output::Read { .. }
        | Output::DeliverState(_)
        | Output::NotPersisted(_)
        | Output::Withholds(..)
        | Output::Misbehaved(..) => None,
    });
    assert_eq!(
        writes.collect::<Vec<_>>(),
        [last + 1],
        "what is new is taken"
    );
    let stats = node.machine().stats();
    assert_eq!(
        stats.blocks_duplicate - known.blocks_duplicate,
        2 * given_up
    );
    assert_eq!(
        stats.blocks_pushed - known.blocks_pushed,
        1,
        "and nothing else handed on"
    );
}

#[test]
fn adversarial_49_a_neighbour_that_stops_reading_for_an_hour_costs_no_memory() {
    let mut node = node(&[2, 3]);
    node.input(Input::Congested(id(2)));

    let remembered = an_hour(&mut node, |node, second| {
        // It wants everything again and again, and states change that it should be told.
        hear(node, 2, want(4, &[(1, second)]));
        node.input(Input::PublishState(state(
            1,
            StateKind::Presence,
            "",
            second,
        )));
    });

    // Half an hour fills what is kept of the newest blocks.
    let (half, whole) = (remembered[5], remembered[9]);
    assert!(whole * 100 <= half * 101, "{remembered:?}");
}

const SECONDS: u64 = 3_600;
const BLOCKS_A_SECOND: u64 = 2;
