#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks at the outputs it is about"
)]

use testkit::{Lawful, Probe, Step, check};

use super::tend::IDLE_TIMEOUT;
use super::*;
use crate::links::REPLY_TIMEOUT;

pub(super) const A: MachineId = MachineId::from_bytes([1; 32]);
pub(super) const B: MachineId = MachineId::from_bytes([2; 32]);
pub(super) const C: MachineId = MachineId::from_bytes([3; 32]);
const OWN: MachineId = MachineId::from_bytes([99; 32]);

pub(super) const ACCEPTED: Message = Message::NeighbourReply { accepted: true };
pub(super) const REFUSED: Message = Message::NeighbourReply { accepted: false };

pub(super) fn contact(machine: MachineId) -> Contact {
    let address = Address::new(format!("/memory/{}", machine.as_bytes()[0]));
    Contact {
        machine,
        addresses: vec![address.unwrap()],
    }
}

fn overlay(active_max: usize) -> Overlay {
    let config = Config {
        active_max,
        ..Config::default()
    };
    Overlay::new(OWN, config, Recovered::default(), Rng::from_u64(1))
}

fn probe(active_max: usize) -> Probe<Lawful<Overlay>> {
    Probe::new(Lawful::new(|| overlay(active_max)))
}

pub(super) fn join(machine: MachineId) -> Input {
    let contact = contact(machine);
    Input::Received(machine, Message::Join { contact })
}

/// A node with these neighbours, whose joins are some time ago.
pub(super) fn with_neighbours(active_max: usize, machines: &[MachineId]) -> Probe<Lawful<Overlay>> {
    let mut node = probe(active_max);
    for machine in machines {
        node.input(Input::LinkUp(*machine));
        node.input(join(*machine));
        // Its own question was answered too.
        node.input(Input::Received(*machine, ACCEPTED));
    }
    assert!(
        node.machine()
            .inner()
            .neighbours()
            .eq(machines.iter().copied())
    );
    node.advance(UNSETTLED);
    node.take();
    node
}

pub(super) fn sent(node: &mut Probe<Lawful<Overlay>>) -> Vec<(MachineId, Message)> {
    let outputs = node.take().into_iter();
    outputs
        .filter_map(|output| match output {
            Output::Send(to, message) => Some((to, message)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_link_is_no_neighbour_before_both_agree() {
    let mut node = probe(3);

    node.input(Input::Discovered(contact(A)));
    assert_eq!(node.take(), [Output::Dial(contact(A))]);
    node.input(Input::LinkUp(A));
    assert!(matches!(&sent(&mut node)[..], [(A, Message::Join { .. })]));
    assert_eq!(node.machine().inner().neighbours().count(), 0);
    node.input(Input::Received(A, ACCEPTED));

    assert_eq!(node.take()[0], Output::NeighbourUp(A));
}

#[test]
fn a_join_at_a_full_machine_takes_the_place_of_one_that_is_told_where_to_go() {
    let mut node = with_neighbours(1, &[A, B]);

    node.input(Input::LinkUp(C));
    node.input(join(C));

    let outputs = node.take();
    let went = outputs.iter().find_map(|output| match output {
        Output::NeighbourDown(machine) => Some(*machine),
        _ => None,
    });
    let (went, stayed) = if went == Some(A) { (A, B) } else { (B, A) };
    let forward_join = |ttl| Message::ForwardJoin {
        joiner: contact(C),
        ttl: Hops(ttl),
    };
    let sample = vec![contact(stayed), contact(went)];
    let expected = [
        Output::Learned(contact(C)),
        Output::Send(went, forward_join(0)),
        Output::NeighbourDown(went),
        Output::Send(went, Message::Disconnect),
        Output::Send(C, ACCEPTED),
        Output::NeighbourUp(C),
        Output::Learned(contact(C)),
        Output::Send(C, Message::ShuffleReply { sample }),
        Output::Send(stayed, forward_join(6)),
    ];
    assert_eq!(outputs, expected);
}

#[test]
fn whoever_came_just_now_is_not_dropped() {
    let mut node = with_neighbours(1, &[A, B]);
    node.input(Input::LinkDown(A));
    node.input(Input::LinkDown(B));
    for machine in [A, B, C] {
        node.input(Input::LinkUp(machine));
        node.take();
        node.input(join(machine));
    }

    assert!(sent(&mut node).contains(&(C, REFUSED)));
}

#[test]
fn a_request_that_is_not_urgent_is_refused_by_a_full_machine() {
    let mut node = with_neighbours(1, &[A]);

    node.input(Input::LinkUp(B));
    let contact = contact(B);
    let urgent = false;
    node.input(Input::Received(B, Message::Neighbour { contact, urgent }));

    assert_eq!(sent(&mut node), [(B, REFUSED)]);
}

#[test]
fn a_walk_from_a_machine_that_is_no_neighbour_is_answered_by_disconnect() {
    let mut node = with_neighbours(1, &[A]);
    node.input(Input::LinkUp(B));

    let (origin, ttl) = (contact(B), Hops(3));
    let sample = Vec::new();
    node.input(Input::Received(
        B,
        Message::Shuffle {
            origin,
            sample,
            ttl,
        },
    ));

    assert_eq!(sent(&mut node), [(B, Message::Disconnect)]);
}

#[test]
fn what_breaks_the_protocol_is_told() {
    let mut node = with_neighbours(1, &[A]);
    let joiner = contact(B);
    let ttl = Hops(Hops::MAX.0 + 1);

    node.input(Input::Received(A, Message::ForwardJoin { joiner, ttl }));
    node.input(Input::LinkUp(C));
    node.input(Input::Received(C, ACCEPTED));
    let sample = Vec::new();
    node.input(Input::Received(C, Message::ShuffleReply { sample }));
    let contact = contact(B);
    node.input(Input::Received(C, Message::Join { contact }));

    let faults = [
        Output::Misbehaved(A, Fault::WalkTooLong),
        Output::Misbehaved(C, Fault::ForeignContact),
    ];
    assert_eq!(node.take(), faults);
    assert_eq!(node.machine().inner().stats().answers_unasked, 2);
}

#[test]
fn a_flood_of_requests_is_not_answered_beyond_the_limit() {
    let mut node = with_neighbours(1, &[A]);

    (0..1_000).for_each(|_| node.input(join(A)));

    assert!(sent(&mut node).len() < 600);
    assert!(node.machine().inner().stats().messages_over_limit > 700);
}

#[test]
fn an_idle_link_is_released_once() {
    let mut node = with_neighbours(1, &[A]);
    node.input(Input::LinkUp(B));

    node.advance(IDLE_TIMEOUT * 4);

    let outputs = node.take().into_iter();
    let released = outputs.filter(|output| *output == Output::Release(B));
    assert_eq!(released.count(), 1);
}

#[test]
fn a_neighbour_that_is_silent_is_lost_and_asked_again() {
    let mut node = with_neighbours(1, &[A]);

    node.advance(Config::default().shuffle_interval * 3 + REPLY_TIMEOUT);

    let outputs = node.take();
    let down = outputs
        .iter()
        .position(|output| *output == Output::NeighbourDown(A))
        .unwrap();
    let asks = |output: &Output| {
        matches!(
            output,
            Output::Send(A, Message::Neighbour { urgent: true, .. })
        )
    };
    assert!(outputs[down..].iter().any(asks));
}

#[test]
fn a_lost_neighbour_is_dialled_for_as_long_as_it_takes_and_comes_back_into_a_full_view() {
    let mut node = with_neighbours(1, &[A]);
    node.input(Input::LinkDown(A));
    node.input(Input::LinkUp(B));
    node.input(join(B));
    for _ in 0..3_600 {
        node.advance(Duration::from_secs(1));
        node.input(Input::DialFailed(A));
        node.input(Input::Received(
            B,
            Message::NeighbourReply { accepted: true },
        ));
    }
    node.take();

    node.advance(Duration::from_millis(1_500));
    assert!(node.take().contains(&Output::Dial(contact(A))));
    node.input(Input::LinkUp(A));
    node.input(Input::Received(A, ACCEPTED));

    assert!(node.machine().inner().neighbours().eq([A, B]));
}

#[test]
fn alone_all_contacts_are_tried_in_turn_however_often_they_failed() {
    let mut node = probe(3);
    (1..=12).for_each(|n| {
        node.input(Input::Discovered(contact(MachineId::from_bytes([n; 32]))));
    });

    for _ in 0..600 {
        node.advance(Duration::from_millis(100));
        let dials = node.take().into_iter().filter_map(|output| match output {
            Output::Dial(contact) => Some(contact.machine),
            _ => None,
        });
        dials.for_each(|machine| node.input(Input::DialFailed(machine)));
    }
    node.take();
    let mut tried = std::collections::BTreeSet::new();
    for _ in 0..60 {
        node.advance(Duration::from_millis(100));
        for output in node.take() {
            if let Output::Dial(contact) = output {
                tried.insert(contact.machine);
                node.input(Input::DialFailed(contact.machine));
            }
        }
    }

    assert_eq!(tried.len(), 12);
}

/// Anything that can happen, from few enough machines that it often fits.
fn anything(rng: &mut Rng) -> Step<Input> {
    let mut machine = || MachineId::from_bytes([u8::try_from(rng.below(30)).unwrap(); 32]);
    let (from, other) = (machine(), machine());
    let ttl = Hops(u8::try_from(rng.below(10)).unwrap());
    let accepted = rng.chance(500);
    let sample = || (0..50).map(|n| contact(MachineId::from_bytes([n; 32])));
    let message = match rng.below(8) {
        0 => Message::Join {
            contact: contact(from),
        },
        1 => Message::ForwardJoin {
            joiner: contact(other),
            ttl,
        },
        2 => Message::Neighbour {
            contact: contact(from),
            urgent: accepted,
        },
        3 | 4 => Message::NeighbourReply { accepted },
        5 => Message::Disconnect,
        6 => Message::Shuffle {
            origin: contact(other),
            sample: sample().collect(),
            ttl,
        },
        _ => Message::ShuffleReply {
            sample: sample().collect(),
        },
    };
    match rng.below(10) {
        0 => Step::Input(Input::LinkUp(from)),
        1 => Step::Input(Input::LinkDown(from)),
        2 => Step::Input(Input::DialFailed(from)),
        3 => Step::Input(Input::Discovered(contact(from))),
        4 => Step::Input(Input::Withholds(from, accepted.then(|| contact(other)))),
        5 => Step::Advance(Duration::from_millis(rng.below(3_000))),
        _ => Step::Input(Input::Received(from, message)),
    }
}

#[test]
fn whatever_comes_the_laws_hold_and_views_keep_their_bounds() {
    for seed in 0..50 {
        let mut rng = Rng::from_u64(seed);
        let mut up = std::collections::BTreeSet::new();
        let limit = Config {
            active_max: 4,
            ..Config::default()
        }
        .active_limit();

        for output in check(|| overlay(4), (0..2_000).map(|_| anything(&mut rng))) {
            match output {
                Output::NeighbourUp(machine) => assert!(up.insert(machine)),
                Output::NeighbourDown(machine) => assert!(up.remove(&machine)),
                _ => {}
            }
            assert!(up.len() <= limit && !up.contains(&OWN), "seed {seed}");
        }
    }
}

#[test]
fn a_member_that_is_missing_is_dialled_until_it_answers_and_gets_a_place_in_a_full_view() {
    let mut node = with_neighbours(1, &[A, B]);
    node.input(Input::Missing(contact(C)));

    for _ in 0..2 {
        node.advance(Duration::from_secs(2));
        assert!(node.take().contains(&Output::Dial(contact(C))));
        node.input(Input::DialFailed(C));
        for neighbour in [A, B] {
            node.input(Input::Received(neighbour, ACCEPTED));
        }
    }
    node.advance(Duration::from_secs(2));
    node.input(Input::LinkUp(C));

    let question = |(to, message): &(MachineId, Message)| {
        *to == C && matches!(message, Message::Neighbour { urgent: true, .. })
    };
    assert!(sent(&mut node).iter().any(question));
}

#[test]
fn a_member_that_is_a_neighbour_is_not_missing_and_one_that_is_only_linked_is_asked_at_once() {
    let mut node = with_neighbours(1, &[A, B]);

    node.input(Input::Missing(contact(A)));
    node.advance(Duration::from_secs(2));

    assert!(!node.take().contains(&Output::Dial(contact(A))));
    node.input(Input::LinkUp(C));
    node.take();
    node.input(Input::Missing(contact(C)));
    let question = |(to, message): &(MachineId, Message)| {
        *to == C && matches!(message, Message::Neighbour { urgent: true, .. })
    };
    assert!(sent(&mut node).iter().any(question));
}

#[test]
fn adversarial_28_machines_behind_one_address_are_told_apart_and_fill_no_more_than_the_book() {
    let address = contact(A).addresses;
    let mut node = probe(3);
    let mut dialled = std::collections::BTreeSet::new();

    for n in 0..1_000_u16 {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&n.to_be_bytes());
        let (machine, addresses) = (MachineId::from_bytes(id), address.clone());
        node.input(Input::Discovered(Contact { machine, addresses }));
        for output in node.take() {
            if let Output::Dial(contact) = output {
                node.input(Input::DialFailed(contact.machine));
                dialled.insert(contact.machine);
            }
        }
    }

    let config = Config {
        active_max: 3,
        ..Config::default()
    };
    assert!(
        dialled.len() > 1,
        "one that fails says nothing of the others"
    );
    let known = node.machine().inner().known();
    assert_eq!(known, config.passive_max + config.active_limit());
}
