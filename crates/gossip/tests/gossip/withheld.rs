//! A neighbour that does not give what it says it holds. Machine 1 is the one under test.

use std::time::Duration;

use gossip::{Input, Message, Output};
use model::BlockId;

use crate::rules::{Node, announce, answer, as_sent, node};
use crate::site::{block, entry, id, log};

/// What the neighbour does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It announces a block of machine 4 each second, and gives none.
    Withholds,
    /// The same with its own blocks.
    WithholdsItsOwn,
    /// It gives one of those that it was asked for every five seconds, long after.
    IsSlow,
    /// It announced many blocks, and has said nothing since.
    IsSilent,
    /// What is sent to it does not get there.
    IsCongested,
}

/// Who was said to withhold what first, within two minutes, and after how many seconds.
fn told(way: Way) -> Option<(Output, u64)> {
    let mut node = node(&[2, 3]);
    let origin = if way == Way::WithholdsItsOwn { 2 } else { 4 };
    if way == Way::IsCongested {
        node.input(Input::Congested(id(2)));
    }
    if way == Way::IsSilent {
        announce(&mut node, 2, entry(log(origin, 1), 60, &[]));
    }
    let mut asked = Vec::new();
    for second in 1..=120 {
        if way != Way::IsSilent {
            announce(&mut node, 2, entry(log(origin, 1), second, &[]));
        }
        if way == Way::IsSlow && second % 5 == 0 {
            give_oldest(&mut node, &mut asked);
        }
        node.advance(Duration::from_secs(1));
        for output in node.take() {
            if matches!(output, Output::Withholds(..)) {
                return Some((output, second));
            }
            if let Some((_, Message::Want { spans, .. })) = as_sent(output) {
                asked.extend(spans.into_iter().flat_map(|span| span.first..=span.last));
            }
        }
    }
    assert!(
        !asked.is_empty(),
        "{way:?}: it was never asked for anything"
    );
    None
}

fn give_oldest(node: &mut Node, asked: &mut Vec<u64>) {
    asked.sort_unstable();
    asked.dedup();
    let held = |sequence: &u64| {
        let log = log(4, 1);
        let sequence = *sequence;
        node.machine()
            .frontier()
            .is_settled(&BlockId { log, sequence })
    };
    asked.retain(|sequence| !held(sequence));
    if !asked.is_empty() {
        let sequence = asked.remove(0);
        answer(node, 2, &block(4, sequence));
        crate::rules::persist_all(node);
    }
}

#[test]
fn a_neighbour_that_gives_nothing_of_what_it_says_it_holds_is_told_of_soon() {
    let (output, seconds) = told(Way::Withholds).expect("it is told of");

    let Output::Withholds(neighbour, origin) = output else {
        unreachable!("told gives nothing else");
    };
    assert_eq!((neighbour, origin), (id(2), id(4)));
    assert!((8..=20).contains(&seconds), "after {seconds} s");
}

#[test]
fn a_neighbour_that_is_slow_or_silent_or_congested_or_gives_nothing_of_its_own_is_not_told_of() {
    for way in [
        Way::WithholdsItsOwn,
        Way::IsSlow,
        Way::IsSilent,
        Way::IsCongested,
    ] {
        assert!(told(way).is_none(), "{way:?}");
    }
}
