//! The laws of state machines, under input that no honest caller would make.

use std::collections::BTreeMap;
use std::time::Duration;

use gossip::{Config, Holdings, Input, Message, Output, Recovered, Span, Sums};
use identity::Role;
use model::{MachineId, StateKind};
use statemachine::{Rng, Ticket};
use testkit::{Step, check};

use crate::site;

/// Draws a step: any input about machines 2 to 5, told to machine 1.
fn step(rng: &mut Rng) -> Step<Input> {
    let n = |rng: &mut Rng| u8::try_from(2 + rng.below(4)).expect("small");
    let machine = n(rng);
    let sequence = 1 + rng.below(40);
    let peer = site::id(machine);
    let ticket = (0..=rng.below(60)).fold(Ticket::default(), |ticket, _| ticket.next());
    let input = match rng.below(15) {
        0 => Input::NeighbourUp(peer),
        1 if rng.chance(300) => Input::NeighbourDown(peer),
        2 => Input::Congested(peer),
        3 if rng.chance(300) => Input::Suspected(peer),
        3 => Input::Drained(peer),
        4 => Input::Publish(site::block(1, sequence)),
        5 => Input::PublishState(site::state(1, StateKind::Progress, "a", sequence)),
        6 | 7 => Input::Persisted(ticket),
        8 => Input::PersistFailed(ticket),
        9 => Input::BlocksRead(ticket, vec![site::block(3, sequence)]),
        10 => Input::FloorMoved(site::log(machine, 1), rng.below(12)),
        11 => Input::Lost(vec![site::block_id(machine, sequence)]),
        12 => return Step::Advance(Duration::from_millis(rng.below(2_000))),
        _ => Input::Received(peer, message(rng, n)),
    };
    Step::Input(input)
}

fn message(rng: &mut Rng, n: impl Fn(&mut Rng) -> u8) -> Message {
    let origin = n(rng);
    let sequence = rng.below(40);
    let mut span = || {
        let first = rng.below(40);
        let last = first + rng.below(9);
        Span { first, last }
    };
    let spans = vec![span(), span()];
    match rng.below(10) {
        0 | 1 => Message::Frontier {
            entries: vec![site::entry(
                site::log(origin, 1),
                sequence,
                &[(sequence + 1 + rng.below(3), u64::MAX - 1 - rng.below(3))],
            )],
            urgent: vec![(site::log(origin, 1), spans[0])],
            ages: BTreeMap::from([(site::log(origin, 1), Duration::from_millis(rng.below(40)))]),
            is_news: rng.chance(500),
        },
        2 | 3 => Message::Block {
            block: site::block(origin, sequence + 1),
            pushed: rng.chance(700),
        },
        4 => Message::Want {
            log: site::log(n(rng), 1),
            spans,
            is_past: rng.chance(500),
        },
        5 => Message::Graft {
            origin: site::id(origin),
        },
        6 => Message::StateSummary(vec![(
            site::state_key(origin, StateKind::Presence, "x"),
            site::state(origin, StateKind::Presence, "x", sequence).version(),
        )]),
        7 => Message::StateWant(vec![site::state_key(origin, StateKind::Series, "a")]),
        8 => Message::Sums(
            [Holdings::Logs, Holdings::States][usize::from(rng.chance(500))],
            Sums::default(),
        ),
        _ => Message::States(vec![
            site::membership_of(origin, origin, Role::Publish),
            site::state(origin, StateKind::Series, "a", sequence),
        ]),
    }
}

#[test]
fn the_laws_hold_under_random_input() {
    for seed in 0..10 {
        let mut rng = Rng::from_u64(seed);
        let script = (0..300).map(|_| step(&mut rng)).collect::<Vec<_>>();

        let outputs = check(
            || {
                let states = (1..=4).map(site::membership).collect();
                let frontier = vec![site::entry(site::log(3, 1), 12, &[])];
                let recovered = Recovered { frontier, states };
                let config = Config {
                    want_timeout: Duration::ZERO,
                    ..Config::default()
                };
                site::gossip_with(1, config, recovered)
            },
            script,
        );

        assert!(outputs.len() > 100, "seed {seed} exercised nothing");
    }
}

#[test]
fn adversarial_27_a_call_says_no_more_than_it_may_however_much_falls_due() {
    let neighbours = (100..=200).map(|n| MachineId::from_bytes([n; 32]));
    let mut script = Vec::new();
    for neighbour in neighbours {
        script.push(Step::Input(Input::NeighbourUp(neighbour)));
        let complete = Message::Frontier {
            entries: Vec::new(),
            urgent: Vec::new(),
            ages: BTreeMap::new(),
            is_news: false,
        };
        script.push(Step::Input(Input::Received(neighbour, complete)));
        for part in 0..2 {
            let epochs = 1 + part * 500..=500 + part * 500;
            let entries = epochs.map(|epoch| site::entry(site::log(4, epoch), 1, &[]));
            let news = Message::Frontier {
                entries: entries.collect(),
                urgent: Vec::new(),
                ages: BTreeMap::new(),
                is_news: true,
            };
            script.push(Step::Input(Input::Received(neighbour, news)));
        }
    }
    script.push(Step::Advance(Duration::from_secs(20)));

    let outputs = check(|| site::gossip(1, &[4], Vec::new()), script);

    let is_graft = |output: &&Output| matches!(output, Output::Send(_, Message::Graft { .. }));
    assert_eq!(outputs.iter().filter(is_graft).count(), 1_000);
}
