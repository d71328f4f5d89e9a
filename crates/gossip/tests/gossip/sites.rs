//! Several sites: what reaches whom. Machine 1, of site a, is the one under test; machine 2 is of
//! site a, 3 of b, 4 of c.

use gossip::{
    Config, FrontierEntry, Gossip, Holdings, Input, Interest, Message, Output, Recovered, Sums,
};
use model::{State, StateKind};
use testkit::Probe;

use crate::rules::{self, Node, announce, faults, frontier, hear, persist_all, push, sent};
use crate::site::{self, block, entry, id, log, membership_in, state};

fn interest(site: &str, others: &[&str]) -> Interest {
    let patterns = others.iter().map(|text| text.parse().expect("a pattern"));
    Interest::new(Some(site.parse().expect("a name")), patterns).expect("few and short")
}

fn machine(interest: Interest, states: Vec<State>, frontier: Vec<FrontierEntry>) -> Node {
    let config = Config {
        interest,
        ..Config::default()
    };
    let recovered = Recovered { frontier, states };
    Probe::new(site::gossip_with(1, config, recovered))
}

fn memberships() -> Vec<State> {
    let sites = [(1, "a"), (2, "a"), (3, "b"), (4, "c")];
    sites.map(|(n, site)| membership_in(site, n)).to_vec()
}

/// Has each neighbour come and say its interest.
fn meet(node: &mut Node, neighbours: &[(u8, Interest)]) {
    for (n, interest) in neighbours {
        node.input(Input::NeighbourUp(id(*n)));
        hear(node, *n, Message::Interest(interest.clone()));
    }
    node.take();
}

fn receivers(said: &[(model::MachineId, Message)], is_meant: fn(&Message) -> bool) -> Vec<u8> {
    let meant = said.iter().filter(|(_, message)| is_meant(message));
    meant.map(|(to, _)| site::number(*to)).collect()
}

fn kinds_said_to(n: u8, said: &[(model::MachineId, Message)]) -> Vec<StateKind> {
    let to = said.iter().filter(|(to, _)| *to == id(n));
    let states = to.flat_map(|(_, message)| {
        if let Message::States(states) = message {
            states.clone()
        } else {
            Vec::new()
        }
    });
    states.map(|state| state.key().kind).collect()
}

#[test]
fn a_block_goes_to_those_who_want_its_site_and_nobody_else_hears_of_it() {
    let mut node = machine(interest("a", &[]), memberships(), Vec::new());
    let neighbours = [
        (2, interest("a", &[])),
        (3, interest("b", &["a"])),
        (4, interest("c", &["b"])),
        (5, interest("d", &["*"])),
    ];
    meet(&mut node, &neighbours);

    node.input(Input::Publish(block(1, 1)));
    let outputs = persist_all(&mut node);
    node.advance(Config::default().announce_interval);

    let pushed = outputs.into_iter().filter_map(rules::as_sent);
    let pushed = pushed.collect::<Vec<_>>();
    let is_block = |message: &Message| matches!(message, Message::Block { .. });
    let mut got = receivers(&pushed, is_block);
    got.sort_unstable();
    assert_eq!(got, [2, 3, 5]);
    let is_frontier = |message: &Message| matches!(message, Message::Frontier { .. });
    let mut announced = receivers(&sent(&mut node), is_frontier);
    announced.sort_unstable();
    assert_eq!(announced, [2, 3, 5]);
}

#[test]
fn a_block_that_is_not_wanted_is_dropped_and_counted_and_is_no_fault() {
    let mut node = machine(interest("a", &["b"]), memberships(), Vec::new());
    meet(&mut node, &[(2, interest("a", &["b"]))]);

    push(&mut node, 2, &block(3, 1));
    let taken = node.take().len();
    push(&mut node, 2, &block(4, 1));
    announce(&mut node, 2, entry(log(4, 1), 9, &[]));
    node.advance(2 * Config::default().graft_timeout);

    assert!(taken > 0, "a block of a site that is subscribed to");
    assert_eq!(sent(&mut node), []);
    assert_eq!(faults(&mut node), []);
    assert_eq!(node.machine().stats().blocks_unwanted, 1);
}

#[test]
fn equal_interests_cost_one_message_and_others_compare_what_both_want() {
    let entries = || vec![entry(log(2, 1), 5, &[]), entry(log(3, 1), 7, &[])];
    let mut node = machine(interest("a", &[]), memberships(), entries());
    node.input(Input::NeighbourUp(id(2)));
    let said = sent(&mut node);
    assert_eq!(said.len(), 4, "interest, two sums, its own logs: {said:?}");
    hear(&mut node, 2, Message::Interest(interest("a", &[])));
    assert_eq!(sent(&mut node), []);

    let mut node = machine(interest("a", &["b"]), memberships(), entries());
    node.input(Input::NeighbourUp(id(2)));
    assert_eq!(sent(&mut node).len(), 1, "its interest");
    hear(&mut node, 2, Message::Interest(interest("a", &["b"])));
    let is_over_all =
        |message: &Message| matches!(message, Message::Sums(of, _) if !of.is_shared());
    assert_eq!(receivers(&sent(&mut node), is_over_all), [2, 2]);

    let mut node = machine(interest("a", &["b"]), memberships(), entries());
    node.input(Input::NeighbourUp(id(2)));
    node.take();
    hear(&mut node, 2, Message::Interest(interest("a", &[])));
    let said = sent(&mut node);
    let [
        (_, Message::Sums(Holdings::SharedLogs, _)),
        (_, Message::Sums(Holdings::SharedStates, _)),
        (_, Message::Frontier { .. }),
    ] = &said[..]
    else {
        panic!("{said:?}");
    };
    node.advance(std::time::Duration::from_secs(1));
    hear(&mut node, 2, Message::Interest(interest("a", &[])));
    assert_eq!(sent(&mut node).len(), 4, "it has started anew");
    hear(&mut node, 2, Message::Sums(Holdings::Logs, Sums::default()));
    assert_eq!(sent(&mut node), [], "they were made before it knew");
    let nothing = Message::Sums(Holdings::SharedLogs, Sums::default());
    hear(&mut node, 2, nothing);
    let its_part = frontier(vec![entry(log(2, 1), 5, &[])], true);
    assert_eq!(sent(&mut node), [(id(2), its_part)]);
}

#[test]
fn the_sums_of_two_who_hold_the_same_of_what_both_want_are_equal() {
    let sums_of = |own: Interest, theirs: Interest, entries: Vec<FrontierEntry>| {
        let mut node = machine(own, memberships(), entries);
        node.input(Input::NeighbourUp(id(2)));
        node.take();
        hear(&mut node, 2, Message::Interest(theirs));
        sent(&mut node)
    };
    let [a, b, c] = [2, 3, 4].map(|n| entry(log(n, 1), 5, &[]));
    let (ab, ac) = (interest("a", &["b"]), interest("a", &["c"]));

    let left = sums_of(ab.clone(), ac.clone(), vec![a.clone(), b]);
    let right = sums_of(ac.clone(), ab.clone(), vec![a.clone(), c.clone()]);
    let other = sums_of(ac, ab, vec![c]);

    assert_eq!(left[0], right[0]);
    assert_ne!(left[0], other[0]);
}

#[test]
fn a_log_is_asked_for_when_its_origin_turns_out_to_be_of_a_site_that_is_wanted() {
    for (site, is_wanted) in [("b", true), ("c", false)] {
        let states = vec![membership_in("a", 1)];
        let mut node = machine(interest("a", &["b"]), states, Vec::new());
        meet(&mut node, &[(2, interest("a", &["b"]))]);
        hear(&mut node, 2, frontier(vec![entry(log(3, 1), 5, &[])], true));
        assert_eq!(sent(&mut node), [], "nobody knows whose log it is");

        hear(&mut node, 2, Message::States(vec![membership_in(site, 3)]));

        let is_want = |message: &Message| matches!(message, Message::Want { .. });
        let asked = receivers(&sent(&mut node), is_want);
        assert_eq!(!asked.is_empty(), is_wanted, "site {site}");
    }
}

#[test]
fn a_log_is_told_to_subscribers_when_it_is_known_whose_it_is() {
    let states = vec![membership_in("a", 1)];
    let held = vec![entry(log(2, 1), 5, &[])];
    let mut node = machine(interest("a", &[]), states, held);
    let subscriber = (3, interest("b", &["a"]));
    meet(&mut node, &[(2, interest("a", &[])), subscriber]);

    hear(&mut node, 2, Message::States(vec![membership_in("a", 2)]));
    let said = sent(&mut node);
    node.advance(Config::default().announce_interval);

    assert_eq!(kinds_said_to(3, &said), [StateKind::Membership]);
    let is_frontier = |message: &Message| matches!(message, Message::Frontier { .. });
    assert!(receivers(&sent(&mut node), is_frontier).contains(&3));
}

#[test]
fn a_neighbour_of_another_site_is_told_nothing_of_this_one_before_it_has_said_its_interest() {
    let held = vec![entry(log(2, 1), 5, &[])];
    let mut node = machine(interest("a", &[]), memberships(), held);
    let site = "b".parse().expect("a name");
    node.input(Input::ForeignUp(id(3), site));
    let said = sent(&mut node);
    assert!(matches!(said[..], [(_, Message::Interest(_))]), "{said:?}");

    node.input(Input::Publish(block(1, 1)));
    persist_all(&mut node);
    node.input(Input::PublishState(state(1, StateKind::Series, "x", 1)));
    node.advance(Config::default().announce_interval);
    assert_eq!(sent(&mut node), []);

    hear(&mut node, 3, Message::Interest(interest("b", &["a"])));
    let shared = receivers(
        &sent(&mut node),
        |m| matches!(m, Message::Sums(of, _) if of.is_shared()),
    );
    assert_eq!(shared, [3, 3], "what both want is compared");
}

#[test]
fn each_kind_of_state_goes_as_far_as_it_concerns_somebody() {
    let mut node = machine(interest("a", &[]), memberships(), Vec::new());
    let neighbours = [
        (2, interest("a", &[])),
        (3, interest("b", &["a"])),
        (4, interest("c", &[])),
    ];
    meet(&mut node, &neighbours);

    for kind in [StateKind::Candidacy, StateKind::Series] {
        node.input(Input::PublishState(state(1, kind, "x", 1)));
    }
    node.input(Input::PublishState(state(1, StateKind::Letter, "0", 1)));

    let said = sent(&mut node);
    let all = [StateKind::Candidacy, StateKind::Series, StateKind::Letter];
    assert_eq!(kinds_said_to(2, &said), all);
    let judged = [StateKind::Series, StateKind::Membership, StateKind::Letter];
    assert_eq!(kinds_said_to(3, &said), judged);
    assert_eq!(kinds_said_to(4, &said), &judged[1..], "whose letter it is");
}

#[test]
fn a_state_that_does_not_concern_a_machine_is_dropped_and_counted() {
    let mut node = machine(interest("a", &["b"]), memberships(), Vec::new());
    meet(&mut node, &[(2, interest("a", &["b"]))]);

    let series = |n| state(n, StateKind::Series, "x", 1);
    let candidacy = state(3, StateKind::Candidacy, "x", 2);
    let states = vec![series(3), series(4), candidacy];
    hear(&mut node, 2, Message::States(states));

    assert!(node.machine().state(series(3).key()).is_some());
    assert!(node.machine().state(series(4).key()).is_none());
    assert_eq!(node.machine().stats().states_unwanted, 2);
    let outputs = node.take();
    assert!(!outputs.iter().any(|o| matches!(o, Output::Misbehaved(..))));
}

#[test]
fn a_flood_of_interests_is_answered_now_and_then() {
    let mut node = machine(interest("a", &[]), memberships(), Vec::new());
    meet(&mut node, &[(2, interest("a", &[]))]);

    let mut answers = 0;
    for _ in 0..1_000 {
        hear(&mut node, 2, Message::Interest(interest("b", &["*"])));
        answers += sent(&mut node).len();
        node.advance(std::time::Duration::from_millis(1));
    }

    assert!((2..=33).contains(&answers), "{answers} within a second");
}

#[test]
fn an_interest_has_few_patterns_of_one_level() {
    let made = |patterns: &[String]| {
        let patterns = patterns.iter().map(|text| text.parse().expect("a pattern"));
        Interest::new(None, patterns.collect::<Vec<_>>())
    };
    let names = |count: usize| (0..count).map(|n| format!("hall-{n}")).collect::<Vec<_>>();

    assert!(made(&names(Interest::PATTERNS_MAX)).is_ok());
    assert!(made(&names(Interest::PATTERNS_MAX + 1)).is_err());
    assert!(made(&["hall/1".to_owned()]).is_err() && made(&["press:hall".to_owned()]).is_err());
    assert_eq!(interest("a", &["b", "c", "b"]), interest("a", &["c", "b"]));
}

#[test]
fn without_a_name_of_its_own_site_a_machine_takes_everything() {
    let gossip: Gossip = site::gossip(1, &[1, 2], Vec::new());
    let mut node = Probe::new(gossip);
    meet(&mut node, &[(2, Interest::default())]);

    hear(&mut node, 2, Message::States(vec![membership_in("z", 3)]));
    push(&mut node, 2, &block(3, 1));
    hear(
        &mut node,
        2,
        Message::States(vec![state(3, StateKind::Candidacy, "x", 2)]),
    );

    assert_eq!(node.machine().stats().blocks_first, 1);
    assert_eq!(node.machine().stats().states_unwanted, 0);
}
