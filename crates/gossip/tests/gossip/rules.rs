//! One machine at a time: blocks and repair. Machine 1 is the one under test.

use std::collections::BTreeMap;
use std::time::Duration;

use gossip::{Config, Fault, FrontierEntry, Gossip, Input, Message, Output, Span, Write};
use model::{Block, MachineId, Sequence};
use statemachine::{StateMachine as _, Ticket};
use testkit::Probe;

use crate::site::{self, block, block_id, entry, id, log};

pub(crate) type Node = Probe<Gossip>;

/// Machine 1 with these neighbours, all of which have said that they hold nothing.
pub(crate) fn node(neighbours: &[u8]) -> Node {
    node_with(
        site::gossip(1, &[1, 2, 3, 4, 5], Vec::new()),
        neighbours,
        &[],
    )
}

/// A machine with these neighbours, each of which has said that it holds `entries`.
pub(crate) fn node_with(gossip: Gossip, neighbours: &[u8], entries: &[FrontierEntry]) -> Node {
    let mut node = Probe::new(gossip);
    for n in neighbours {
        node.input(Input::NeighbourUp(id(*n)));
    }
    node.take();
    for n in neighbours {
        hear(&mut node, *n, frontier(entries.to_vec(), true));
    }
    node
}

pub(crate) fn hear(node: &mut Node, from: u8, message: Message) {
    node.input(Input::Received(id(from), message));
}

pub(crate) fn push(node: &mut Node, from: u8, block: &Block) {
    let block = block.clone();
    let pushed = true;
    hear(node, from, Message::Block { block, pushed });
}

pub(crate) fn answer(node: &mut Node, from: u8, block: &Block) {
    let block = block.clone();
    let pushed = false;
    hear(node, from, Message::Block { block, pushed });
}

pub(crate) fn announce(node: &mut Node, from: u8, entry: FrontierEntry) {
    hear(node, from, frontier(vec![entry], false));
}

/// What a neighbour holds, as it says after connecting (`is_first`) or when it has changed.
pub(crate) fn frontier(entries: Vec<FrontierEntry>, is_first: bool) -> Message {
    Message::Frontier {
        entries,
        urgent: Vec::new(),
        ages: BTreeMap::new(),
        is_news: !is_first,
    }
}

/// A log has changed: its newest block has been there for so long.
pub(crate) fn news(entry: FrontierEntry, age: Duration) -> Message {
    Message::Frontier {
        ages: BTreeMap::from([(entry.log, age)]),
        entries: vec![entry],
        urgent: Vec::new(),
        is_news: true,
    }
}

/// A want of what did not come over the tree.
pub(crate) fn want_now(n: u8, spans: &[(Sequence, Sequence)]) -> Message {
    let Message::Want { log, spans, .. } = want(n, spans) else {
        unreachable!("it is a want");
    };
    let is_past = false;
    Message::Want {
        log,
        spans,
        is_past,
    }
}

/// A want of the past.
pub(crate) fn want(n: u8, spans: &[(Sequence, Sequence)]) -> Message {
    let log = log(n, 1);
    let span = |(first, last): &(Sequence, Sequence)| Span {
        first: *first,
        last: *last,
    };
    let spans = spans.iter().map(span).collect();
    let is_past = true;
    Message::Want {
        log,
        spans,
        is_past,
    }
}

pub(crate) fn pushed(block: &Block) -> Message {
    let block = block.clone();
    let pushed = true;
    Message::Block { block, pushed }
}

pub(crate) fn served(block: &Block) -> Message {
    let block = block.clone();
    let pushed = false;
    Message::Block { block, pushed }
}

/// The messages sent since the last look, in order; everything else said is dropped.
pub(crate) fn sent(node: &mut Node) -> Vec<(MachineId, Message)> {
    let outputs = node.take().into_iter();
    outputs.filter_map(as_sent).collect()
}

pub(crate) fn as_sent(output: Output) -> Option<(MachineId, Message)> {
    if let Output::Send(to, message) = output {
        Some((to, message))
    } else {
        None
    }
}

/// Takes the tickets of what is to be written.
pub(crate) fn tickets(outputs: &[Output]) -> Vec<Ticket> {
    let ticket = |output: &Output| {
        if let Output::Persist(ticket, _) = output {
            Some(*ticket)
        } else {
            None
        }
    };
    outputs.iter().filter_map(ticket).collect()
}

/// Says that everything that was to be written is on disk; returns what the machine said before.
pub(crate) fn persist_all(node: &mut Node) -> Vec<Output> {
    let outputs = node.take();
    for ticket in tickets(&outputs) {
        node.input(Input::Persisted(ticket));
    }
    outputs
}

pub(crate) fn faults(node: &mut Node) -> Vec<(MachineId, Fault)> {
    let fault = |output| {
        if let Output::Misbehaved(who, fault) = output {
            Some((who, fault))
        } else {
            None
        }
    };
    node.take().into_iter().filter_map(fault).collect()
}

pub(crate) fn config() -> Config {
    Config::default()
}

const MOMENT: Duration = Duration::from_millis(1);

#[test]
fn an_own_block_is_pushed_before_it_is_written_and_delivered_after() {
    let mut node = node(&[2]);
    let own = block(1, 1);

    node.input(Input::Publish(own.clone()));

    let outputs = node.take();
    let [
        Output::Send(to, message),
        Output::Persist(ticket, Write::Block(written)),
    ] = &outputs[..]
    else {
        panic!("{outputs:?}");
    };
    assert_eq!((*to, message), (id(2), &pushed(&own)));
    assert_eq!(written, &own);
    assert!(!node.machine().frontier().covers(&own.id()));
    node.input(Input::Persisted(*ticket));
    assert!(matches!(&node.take()[..], [Output::Deliver(block)] if *block == own));
    assert!(node.machine().frontier().covers(&own.id()));
}

#[test]
fn an_own_block_that_cannot_be_written_is_not_acknowledged_and_not_claimed() {
    let mut node = node(&[]);
    node.input(Input::Publish(block(1, 1)));
    let ticket = tickets(&node.take())[0];

    node.input(Input::PersistFailed(ticket));

    assert!(matches!(
        &node.take()[..],
        [Output::NotPersisted(Write::Block(_))]
    ));
    assert!(!node.machine().frontier().covers(&block_id(1, 1)));
}

#[test]
fn a_block_is_announced_once_a_tick_to_all_and_silence_follows() {
    let mut node = node(&[2, 3]);
    for sequence in 1..=3 {
        push(&mut node, 2, &block(4, sequence));
    }
    persist_all(&mut node);
    node.take();

    node.advance(config().announce_interval);

    let news = news(entry(log(4, 1), 3, &[]), config().announce_interval);
    assert_eq!(sent(&mut node), [(id(2), news.clone()), (id(3), news)]);
    assert_eq!(node.machine().next_deadline(), None);
}

#[test]
fn what_a_new_neighbour_holds_is_asked_at_once_newest_first() {
    let entries = [entry(log(4, 1), 40, &[])];

    let mut node = node_with(site::gossip(1, &[4], Vec::new()), &[2], &entries);

    assert_eq!(sent(&mut node), [(id(2), want(4, &[(25, 40)]))]);
}

#[test]
fn an_announced_block_that_does_not_arrive_is_grafted_and_asked_from_its_announcer() {
    let mut node = node(&[2, 3]);

    announce(&mut node, 3, entry(log(4, 1), 1, &[]));
    announce(&mut node, 2, entry(log(4, 1), 1, &[]));
    node.advance(config().graft_timeout - MOMENT);
    assert_eq!(sent(&mut node), []);
    node.advance(MOMENT);

    let graft = Message::Graft { origin: id(4) };
    assert_eq!(
        sent(&mut node),
        [(id(3), graft), (id(3), want_now(4, &[(1, 1)]))]
    );
}

#[test]
fn an_announced_block_that_arrives_in_time_is_not_asked_for() {
    let mut node = node(&[2, 3]);

    announce(&mut node, 3, entry(log(4, 1), 1, &[]));
    push(&mut node, 2, &block(4, 1));
    persist_all(&mut node);
    node.advance(config().graft_timeout * 3);

    assert_eq!(node.machine().stats().wants_sent, 0);
    assert_eq!(node.machine().next_deadline(), None);
}

#[test]
fn a_stream_of_announcements_does_not_postpone_repair_for_ever() {
    let mut node = node(&[2]);

    for sequence in 1..=10 {
        announce(&mut node, 2, entry(log(4, 1), sequence, &[]));
        node.advance(config().graft_timeout / 5);
    }

    let wants = node.take().into_iter().filter_map(as_sent);
    let first = wants.map(|(_, message)| message).nth(1);
    assert_eq!(first, Some(want_now(4, &[(1, 1)])));
}

#[test]
fn a_block_that_does_not_come_is_asked_from_another() {
    let entries = [entry(log(4, 1), 1, &[])];
    let mut node = node_with(site::gossip(1, &[4], Vec::new()), &[2, 3], &entries);
    assert_eq!(sent(&mut node), [(id(2), want(4, &[(1, 1)]))]);

    node.advance(config().want_timeout);

    assert_eq!(sent(&mut node), [(id(3), want(4, &[(1, 1)]))]);
    assert_eq!(node.machine().stats().blocks_unanswered, 1);
}

#[test]
fn a_neighbour_that_never_answers_is_asked_again_now_and_then() {
    let entries = [entry(log(4, 1), 1, &[])];
    let mut node = node_with(site::gossip(1, &[4], Vec::new()), &[2], &entries);

    node.advance(config().want_timeout * 30);

    assert_eq!(node.machine().stats().wants_sent, 4);
    answer(&mut node, 2, &block(4, 1));
    persist_all(&mut node);
    node.advance(config().want_timeout * 30);
    assert_eq!(node.machine().stats().wants_sent, 4);
    assert_eq!(node.machine().next_deadline(), None);
}

#[test]
fn what_a_dead_neighbour_was_asked_is_asked_from_others_at_once() {
    let entries = [entry(log(4, 1), 1, &[])];
    let mut node = node_with(site::gossip(1, &[4], Vec::new()), &[2, 3], &entries);
    sent(&mut node);

    node.input(Input::NeighbourDown(id(2)));

    assert_eq!(sent(&mut node), [(id(3), want(4, &[(1, 1)]))]);
}

#[test]
fn one_that_answers_other_things_cannot_hold_a_block_back_for_ever() {
    let entries = [entry(log(4, 1), 1, &[]), entry(log(4, 2), 200, &[])];
    let mut node = node_with(site::gossip(1, &[4], Vec::new()), &[2], &entries);
    node.input(Input::NeighbourUp(id(3)));
    hear(&mut node, 3, frontier(entries[..1].to_vec(), true));
    let asked = sent(&mut node);
    assert!(asked.contains(&(id(2), want(4, &[(1, 1)]))));
    assert!(!asked.contains(&(id(3), want(4, &[(1, 1)]))));

    let mut asked = Vec::new();
    for sequence in (1..=200).rev() {
        answer(&mut node, 2, &site::seal(site::key(4), log(4, 2), sequence));
        asked.extend(persist_all(&mut node));
        node.advance(config().want_timeout / 10);
    }

    let mut asked = asked.into_iter().filter_map(as_sent);
    assert!(asked.any(|sent| sent == (id(3), want(4, &[(1, 1)]))));
}

#[test]
fn one_block_missing_among_a_thousand_logs_costs_one_want() {
    let entries = |end| {
        let whole = (2..=1_000).map(|epoch| entry(log(4, epoch), 5, &[]));
        let holed = if end == 5 { vec![] } else { vec![(end + 2, 5)] };
        whole.chain([entry(log(4, 1), end, &holed)]).collect()
    };
    let gossip = site::gossip(1, &[4], entries(2));

    let mut node = node_with(gossip, &[2], &Vec::from_iter::<Vec<_>>(entries(5)));

    assert_eq!(sent(&mut node), [(id(2), want(4, &[(3, 3)]))]);
    answer(&mut node, 2, &block(4, 3));
    persist_all(&mut node);
    node.advance(config().want_timeout * 20);
    let held = node.machine().frontier().get(&log(4, 1));
    assert_eq!(held, Some(&entry(log(4, 1), 5, &[])));
    assert_eq!(node.machine().stats().wants_sent, 1);
}

#[test]
fn a_log_with_many_gaps_is_closed_from_its_old_end() {
    let odd = (1..=10).map(|n| (2 * n + 1, 2 * n + 1)).collect::<Vec<_>>();
    let held = vec![entry(log(4, 1), 1, &odd)];
    let theirs = [entry(log(4, 1), 100, &[])];

    let mut node = node_with(site::gossip(1, &[4], held), &[2], &theirs);

    let (_, message) = sent(&mut node).remove(0);
    let Message::Want { spans, .. } = message else {
        panic!("{message:?}");
    };
    assert_eq!(spans[0], Span { first: 2, last: 2 });
    assert_eq!(spans.len(), 11);
}

#[test]
fn a_live_block_is_served_from_memory() {
    let mut node = node(&[2]);
    node.input(Input::Publish(block(1, 1)));
    persist_all(&mut node);
    node.take();

    hear(&mut node, 2, want(1, &[(1, 9)]));

    assert_eq!(sent(&mut node), [(id(2), served(&block(1, 1)))]);
}

#[test]
fn old_blocks_are_read_one_piece_at_a_time_until_all_are_served() {
    let held = vec![entry(log(4, 1), 9, &[])];
    let mut node = node_with(site::gossip(1, &[4], held), &[2], &[]);

    hear(&mut node, 2, want(4, &[(3, 5), (1, 1)]));

    let mut reads = Vec::new();
    let mut answers = Vec::new();
    loop {
        let outputs = node.take();
        let read = outputs.iter().find_map(|output| {
            if let Output::Read { ticket, span, .. } = output {
                Some((*ticket, *span))
            } else {
                None
            }
        });
        answers.extend(outputs.into_iter().filter_map(as_sent));
        let Some((ticket, span)) = read else { break };
        reads.push((span.first, span.last));
        node.input(Input::BlocksRead(ticket, vec![block(4, span.first)]));
    }
    assert_eq!(reads, [(3, 5), (4, 5), (5, 5), (1, 1)]);
    let blocks = [3, 4, 5, 1].map(|sequence| (id(2), served(&block(4, sequence))));
    assert_eq!(answers, blocks);
}

#[test]
fn blocks_that_cannot_be_read_do_not_stop_the_others() {
    let held = vec![entry(log(4, 1), 9, &[])];
    let mut node = node_with(site::gossip(1, &[4], held), &[2], &[]);
    hear(&mut node, 2, want(4, &[(3, 5), (1, 1)]));
    let outputs = node.take();
    let [Output::Read { ticket, .. }] = outputs[..] else {
        panic!("{outputs:?}");
    };

    node.input(Input::BlocksRead(ticket, Vec::new()));

    assert!(matches!(
        &node.take()[..],
        [Output::Read { span, .. }] if *span == Span { first: 1, last: 1 }
    ));
}

#[test]
fn adversarial_49_a_congested_neighbour_gets_announcements_only_and_its_answers_later() {
    let mut node = node(&[2, 3]);
    node.input(Input::Congested(id(2)));

    push(&mut node, 3, &block(4, 1));
    persist_all(&mut node);
    node.take();
    node.advance(config().announce_interval);
    hear(&mut node, 2, want(4, &[(1, 1)]));

    let to_it = |node: &mut Node| {
        let mut sent = sent(node);
        sent.retain(|(to, _)| *to == id(2));
        sent
    };
    let news = news(entry(log(4, 1), 1, &[]), config().announce_interval);
    assert_eq!(to_it(&mut node), [(id(2), news)]);
    node.input(Input::Drained(id(2)));
    assert_eq!(to_it(&mut node), [(id(2), served(&block(4, 1)))]);
}

#[test]
fn a_block_that_could_not_be_written_comes_again_when_the_disk_may_be_better() {
    let entries = [entry(log(4, 1), 1, &[])];
    let mut node = node_with(site::gossip(1, &[4], Vec::new()), &[2], &entries);
    answer(&mut node, 2, &block(4, 1));
    let ticket = tickets(&node.take())[0];

    node.input(Input::PersistFailed(ticket));
    node.advance(config().want_timeout * 7);
    assert_eq!(sent(&mut node), []);
    node.advance(config().want_timeout);

    assert_eq!(sent(&mut node), [(id(2), want(4, &[(1, 1)]))]);
    answer(&mut node, 2, &block(4, 1));
    persist_all(&mut node);
    assert!(matches!(&node.take()[..], [Output::Deliver(_)]));
}

#[test]
fn adversarial_39_a_block_that_is_lost_is_claimed_no_longer_and_comes_back_once() {
    let held = vec![entry(log(4, 1), 7, &[])];
    let mut node = node_with(site::gossip(1, &[4], held.clone()), &[2, 3], &held);
    node.take();
    let claimed = |node: &Node| node.machine().frontier().covers(&block_id(4, 5));
    assert!(claimed(&node));

    node.input(Input::Lost(vec![block_id(4, 5), block_id(4, 9)]));
    let asked = sent(&mut node);
    node.input(Input::Lost(vec![block_id(4, 5)])); // The store says it until it has it again.
    assert!(!claimed(&node));
    assert_eq!(sent(&mut node), [], "asked once");
    let from = node_of(&asked);
    node.advance(Duration::from_millis(50));
    let told = sent(&mut node);
    answer(&mut node, from, &block(4, 5));
    persist_all(&mut node);

    assert_eq!(asked, [(id(from), want(4, &[(5, 5)]))]);
    let entry_now = entry(log(4, 1), 4, &[(6, 7)]);
    assert_eq!(told.len(), 2);
    assert!(
        told.iter()
            .all(|(_, said)| *said == frontier(vec![entry_now.clone()], false))
    );
    assert!(claimed(&node));
    let outputs = node.take();
    let is_restored = |output: &&Output| matches!(output, Output::Restored(_));
    assert_eq!(outputs.iter().filter(is_restored).count(), 1);
    let is_delivered = |output: &&Output| matches!(output, Output::Deliver(_));
    assert_eq!(
        outputs.iter().filter(is_delivered).count(),
        0,
        "it was, once"
    );
    let stats = node.machine().stats();
    assert_eq!((stats.blocks_lost, stats.blocks_restored), (1, 1));
}

#[test]
fn a_lost_block_that_no_neighbour_holds_comes_from_the_next_one_that_does() {
    let held = vec![entry(log(1, 1), 7, &[])];
    let mut node = node_with(site::gossip(1, &[1], held), &[2], &[]);

    node.input(Input::Lost(vec![block_id(1, 7)]));
    assert_eq!(sent(&mut node), []);
    announce(&mut node, 2, entry(log(1, 1), 7, &[]));
    node.advance(config().graft_timeout);

    let asked = sent(&mut node);
    assert!(
        asked.contains(&(id(2), want_now(1, &[(7, 7)]))),
        "{asked:?}"
    );
}

fn node_of(asked: &[(MachineId, Message)]) -> u8 {
    site::number(asked[0].0)
}

#[test]
fn holders_are_the_neighbours_that_said_so() {
    let mut node = node(&[2, 3]);
    node.input(Input::Publish(block(1, 1)));
    persist_all(&mut node);
    assert_eq!(node.machine().holders(&block_id(1, 1)), 0);

    announce(&mut node, 2, entry(log(1, 1), 1, &[]));
    announce(&mut node, 3, entry(log(1, 1), 0, &[(2, 2)]));

    assert_eq!(node.machine().holders(&block_id(1, 1)), 1);
    node.input(Input::NeighbourDown(id(2)));
    assert_eq!(node.machine().holders(&block_id(1, 1)), 0);
}
