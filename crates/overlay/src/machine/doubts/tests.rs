use testkit::{Lawful, Probe};

use super::super::tests::{A, ACCEPTED, B, C, REFUSED, contact, join, sent, with_neighbours};
use super::super::{Input, Output, UNSETTLED};
use super::*;
use crate::links::REPLY_TIMEOUT;

const D: MachineId = MachineId::from_bytes([4; 32]);

type Node = Probe<Lawful<Overlay>>;

fn press(node: &mut Node, machine: MachineId) {
    node.input(Input::LinkUp(machine));
    let (contact, urgent) = (contact(machine), true);
    node.input(Input::Received(
        machine,
        Message::Neighbour { contact, urgent },
    ));
}

/// A neighbour is said twice to withhold something, and answers when it is asked whether it is
/// there.
fn withhold(node: &mut Node, machine: MachineId, instead: Option<Contact>) {
    node.input(Input::Received(machine, ACCEPTED)); // What it was asked before, if anything.
    for _ in 0..2 {
        node.input(Input::Withholds(machine, instead.clone()));
        node.input(Input::Received(machine, ACCEPTED));
    }
}

fn is_neighbour(node: &Node, machine: MachineId) -> bool {
    node.machine().inner().is_neighbour(&machine)
}

#[test]
fn a_doubted_neighbour_keeps_its_place_until_who_has_what_it_withholds_has_come() {
    let mut node = with_neighbours(1, &[A]);

    withhold(&mut node, A, Some(contact(C)));
    assert!(is_neighbour(&node, A), "there is nobody else yet");
    node.advance(Duration::from_millis(1_500));
    assert!(node.take().contains(&Output::Dial(contact(C))));
    node.input(Input::LinkUp(C));
    node.input(Input::Received(C, ACCEPTED));

    assert!(is_neighbour(&node, C) && !is_neighbour(&node, A));
    assert!(sent(&mut node).contains(&(A, Message::Disconnect)));
}

/// Whether a neighbour is doubted that is said twice, with a pause between, to withhold something,
/// and answers after a while.
fn is_doubted_after(answer: Duration, pause: Duration) -> bool {
    let mut node = with_neighbours(2, &[A, B]);
    node.input(Input::Received(A, ACCEPTED)); // What it was asked before, if anything.
    for _ in 0..2 {
        node.input(Input::Withholds(A, None));
        node.advance(answer);
        node.input(Input::Received(A, ACCEPTED));
        for _ in 0..pause.as_secs() {
            node.advance(Duration::from_secs(1));
            for machine in [A, B] {
                node.input(Input::Received(machine, ACCEPTED)); // If it was asked anew.
            }
        }
    }
    assert!(is_neighbour(&node, A), "it is no reason to lose it either");
    node.take().contains(&Output::Doubted(A))
}

#[test]
fn whom_nothing_reaches_in_time_or_only_now_and_then_doubts_nobody() {
    let (soon, late) = (REPLY_TIMEOUT / 2, REPLY_TIMEOUT * 2);

    assert!(is_doubted_after(soon, Duration::ZERO));
    assert!(!is_doubted_after(late, Duration::ZERO));
    assert!(!is_doubted_after(soon, SUSPICION));
}

#[test]
fn if_who_has_it_is_a_neighbour_already_anybody_else_is_looked_for() {
    let mut node = with_neighbours(2, &[A, B]);
    node.input(Input::Missing(contact(C)));
    node.advance(Duration::from_millis(1_500));
    node.input(Input::DialFailed(C));
    node.take();

    withhold(&mut node, A, Some(contact(B)));
    node.advance(Duration::from_secs(60));

    assert!(node.take().contains(&Output::Dial(contact(C))));
}

#[test]
fn a_doubted_machine_takes_nobodys_place_and_another_does() {
    let mut node = with_neighbours(1, &[A]);
    withhold(&mut node, A, None);
    for machine in [B, C] {
        node.input(Input::LinkUp(machine));
        node.input(join(machine));
    }
    assert!(!is_neighbour(&node, A), "others came in its place");
    node.advance(UNSETTLED);
    node.take();

    press(&mut node, A);
    assert!(sent(&mut node).contains(&(A, REFUSED)));
    press(&mut node, D);
    assert!(sent(&mut node).contains(&(D, ACCEPTED)), "control");
}

#[test]
fn a_doubted_machine_gets_a_free_place() {
    let mut node = with_neighbours(2, &[A]);
    withhold(&mut node, A, None);
    node.input(Input::LinkDown(A));
    node.take();

    node.input(Input::LinkUp(A));
    node.input(join(A));

    assert!(sent(&mut node).contains(&(A, ACCEPTED)));
}

#[test]
fn doubt_ends_and_lasts_longer_the_next_time() {
    let mut doubts = Doubts::default();
    let lasts = |doubts: &Doubts, now, after| doubts.contains(now + after, &A);

    doubts.add(Instant::ZERO, A);
    assert!(!lasts(&doubts, Instant::ZERO, DOUBT_MIN));
    let again = Instant::ZERO + DOUBT_MIN;
    doubts.add(again, A);
    assert!(lasts(&doubts, again, DOUBT_MIN));
    assert!(!lasts(&doubts, again, DOUBT_MIN * 2));
}

#[test]
fn as_many_are_doubted_as_there_is_room_for() {
    let mut doubts = Doubts::default();
    for n in 0..=u16::try_from(DOUBTS_MAX).expect("a small limit") {
        let [high, low] = n.to_be_bytes();
        let mut id = [0; 32];
        (id[0], id[1]) = (high, low);
        let now = Instant::ZERO + Duration::from_millis(n.into());
        doubts.add(now, MachineId::from_bytes(id));
    }

    assert_eq!(doubts.machines.len(), DOUBTS_MAX);
    assert!(
        !doubts.contains(Instant::ZERO, &MachineId::from_bytes([0; 32])),
        "the first is trusted"
    );
}

/// Whether a neighbour is one still when strangers have asked for its place for a minute.
fn outlasts_strangers(is_chosen: bool) -> bool {
    let mut node = with_neighbours(2, &[B, C]);
    node.input(Input::LinkDown(B));
    node.take();
    node.input(Input::LinkUp(A));
    if is_chosen {
        node.input(Input::Received(A, ACCEPTED));
    } else {
        node.input(join(A));
        node.input(Input::Received(A, ACCEPTED));
    }
    assert!(is_neighbour(&node, A));
    for second in 0..60_u8 {
        node.advance(Duration::from_secs(1));
        let stranger = MachineId::from_bytes([100 + second; 32]);
        press(&mut node, stranger);
        // The others confirm when they are asked.
        for machine in node.machine().inner().neighbours().collect::<Vec<_>>() {
            node.input(Input::Received(machine, ACCEPTED));
        }
    }
    is_neighbour(&node, A)
}

#[test]
fn a_neighbour_that_was_chosen_outlasts_strangers_that_press_and_one_that_came_does_not() {
    assert!(outlasts_strangers(true));
    assert!(!outlasts_strangers(false), "control");
}
