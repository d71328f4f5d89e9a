use std::time::Duration;

use model::MachineId;
use testkit::{Lawful, Probe};

use crate::machine::tests::{A, ACCEPTED, B, C, REFUSED, contact, sent, with_neighbours};
use crate::{Input, Message, Output, Overlay};

const D: MachineId = MachineId::from_bytes([4; 32]);

/// Three neighbours at 100, 50 and 40 ms; the farthest one is not given up.
fn with_far_neighbours() -> Probe<Lawful<Overlay>> {
    let mut node = with_neighbours(3, &[A, B, C]);
    for (machine, millis) in [(A, 100), (B, 50), (C, 40)] {
        node.input(Input::RoundTrip(machine, Duration::from_millis(millis)));
    }
    node
}

/// The same, linked with a fourth machine that is so far.
fn linked_at(millis: u64) -> Probe<Lawful<Overlay>> {
    let mut node = with_far_neighbours();
    node.input(Input::Discovered(contact(D)));
    let mut outputs = Vec::new();
    for _ in 0..6 {
        node.advance(Duration::from_millis(500));
        for machine in [A, B, C] {
            node.input(Input::Received(machine, ACCEPTED)); // Whoever was asked is still there.
        }
        outputs.extend(node.take());
    }
    assert!(outputs.contains(&Output::Dial(contact(D))));
    node.input(Input::LinkUp(D));
    node.take();
    node.input(Input::RoundTrip(D, Duration::from_millis(millis)));
    node
}

fn asks_d(node: &mut Probe<Lawful<Overlay>>) -> bool {
    let is_question = |(to, message): &(MachineId, Message)| {
        *to == D && matches!(message, Message::Neighbour { urgent: false, .. })
    };
    sent(node).iter().any(is_question)
}

#[test]
fn a_much_nearer_machine_takes_the_place_of_a_far_neighbour_but_not_of_the_farthest() {
    let mut node = linked_at(5);
    assert!(asks_d(&mut node));

    node.input(Input::Received(D, ACCEPTED));

    let outputs = node.take();
    assert!(outputs.contains(&Output::NeighbourUp(D)));
    assert!(outputs.contains(&Output::NeighbourDown(B)));
    assert!(outputs.contains(&Output::Send(B, Message::Disconnect)));
    let view: Vec<MachineId> = node.machine().inner().neighbours().collect();
    assert_eq!(view, [A, C, D]);
}

#[test]
fn a_machine_that_is_hardly_nearer_is_not_asked() {
    assert!(!asks_d(&mut linked_at(45)));
}

#[test]
fn a_nearer_machine_that_has_no_place_costs_no_neighbour_its_own() {
    let mut node = linked_at(5);

    node.input(Input::Received(D, REFUSED));

    let view: Vec<MachineId> = node.machine().inner().neighbours().collect();
    assert_eq!(view, [A, B, C]);
}

#[test]
fn a_full_view_takes_a_machine_that_asks_if_it_is_much_nearer_and_not_otherwise() {
    for (millis, accepted) in [(5, true), (45, false)] {
        let mut node = with_far_neighbours();
        node.input(Input::LinkUp(D));
        node.input(Input::RoundTrip(D, Duration::from_millis(millis)));
        node.take();

        let contact = contact(D);
        let urgent = false;
        node.input(Input::Received(D, Message::Neighbour { contact, urgent }));

        assert!(sent(&mut node).contains(&(D, Message::NeighbourReply { accepted })));
        assert_eq!(node.machine().inner().is_neighbour(&B), !accepted);
    }
}

#[test]
fn in_a_lan_nobody_is_dialled_for_being_nearer() {
    let mut node = with_neighbours(3, &[A, B, C]);
    for (machine, micros) in [(A, 1_900), (B, 900), (C, 700)] {
        node.input(Input::RoundTrip(machine, Duration::from_micros(micros)));
    }
    node.input(Input::Discovered(contact(D)));

    node.advance(Duration::from_secs(2));

    assert!(!node.take().contains(&Output::Dial(contact(D))));
}
