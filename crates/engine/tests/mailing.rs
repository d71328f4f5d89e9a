//! Letters between two nodes whose disks and links the test holds in its hands.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for one kind of output"
)]

use std::time::Duration;

use command::{Argument, Call, CallId, Code, CommandId, HandlerId, Lineage, Offer, RunId, Status};
use engine::{CommandInput, CommandOutput, Config, Input, Node, NodeIdentity, Output, Recovered};
use gossip::Write;
use identity::{Grant, Keypair, Membership, Role, Trust};
use model::{ClockState, MachineId, State, StateKind, Timestamp};
use overlay::Contact;
use statemachine::Rng;
use testkit::Probe;
use wire::Frame;

const NOON: Timestamp = Timestamp::from_nanos(1_800_000_000_000_000_000);
const OPERATOR: u8 = 1;
const CALLER: u8 = 2;
const TARGET: u8 = 3;
const HANDLER: HandlerId = HandlerId(1);

fn key(seed: u8) -> Keypair {
    Keypair::from_seed(&[seed; 32])
}

fn machine(seed: u8) -> MachineId {
    key(seed).machine()
}

fn membership(seed: u8) -> Membership {
    let grant = Grant {
        machine: machine(seed),
        name: format!("press-{seed}"),
        site: "hall-3".to_owned(),
        roles: [Role::Publish, Role::Command].into(),
        commands: vec!["**".parse().expect("a pattern")],
        not_before: Timestamp::MIN,
        not_after: Timestamp::MAX,
        delegation: None,
    };
    Membership::issue(&key(OPERATOR), grant).expect("a good grant")
}

/// A node that the time has been told to.
fn node(seed: u8, states: Vec<State>) -> Probe<Node> {
    let identity = NodeIdentity {
        keypair: key(seed),
        membership: membership(seed),
        trust: Trust::new(machine(OPERATOR)),
    };
    let mut config = Config::default();
    config.policy.allow = vec![command::Allowance::everyone(
        "**".parse().expect("a pattern"),
    )];
    let recovered = Recovered {
        states,
        ..Recovered::default()
    };
    let mut node = Probe::new(Node::new(identity, config, recovered, Rng::from_u64(7)));
    node.input(Input::WallClock(NOON, ClockState::Synchronised));
    node
}

/// A machine links and becomes a neighbour.
fn link(node: &mut Probe<Node>, seed: u8) {
    let machine = machine(seed);
    let contact = Contact {
        machine,
        addresses: Vec::new(),
    };
    let urgent = true;
    let message = overlay::Message::Neighbour { contact, urgent };
    node.input(Input::LinkUp(Box::new(membership(seed))));
    node.input(Input::Received(machine, Frame::Overlay(message)));
}

/// What the node has said and has on disk now.
fn written(node: &mut Probe<Node>, kind: StateKind) -> Vec<State> {
    let states = node.outputs().iter().filter_map(|output| match output {
        Output::Persist(ticket, Write::State(state)) if state.key().kind == kind => {
            Some((*ticket, state.clone()))
        }
        _ => None,
    });
    let (tickets, states): (Vec<_>, Vec<_>) = states.unzip();
    for ticket in tickets {
        node.input(Input::Persisted(ticket));
    }
    states
}

fn hear(node: &mut Probe<Node>, from: u8, states: Vec<State>) {
    let message = Frame::Gossip(gossip::Message::States(states));
    node.input(Input::Received(machine(from), message));
}

fn serve(node: &mut Probe<Node>) {
    let offer = Offer {
        commands: vec![("boiler/set".parse().expect("a name"), false)],
        concurrent: 100,
    };
    node.input(Input::Command(CommandInput::HandlerUp(HANDLER, offer)));
}

fn post(node: &mut Probe<Node>, call: u64, id: u8, target: u8) {
    let command = Call {
        target: machine(target),
        id: CommandId::from_bytes([id; 16]),
        is_repeat: false,
        name: "boiler/set".parse().expect("a name"),
        argument: Argument::I64(60),
        lineage: Lineage::default(),
        deadline: Duration::from_secs(3_600),
    };
    let posted = CommandInput::Post(CallId(call), command);
    node.input(Input::Command(posted));
}

/// All notes that the node has asked for are on disk.
fn note(node: &mut Probe<Node>) {
    let tickets = node.outputs().iter().filter_map(|output| match output {
        Output::Note(ticket, _) => Some(*ticket),
        _ => None,
    });
    for ticket in tickets.collect::<Vec<_>>() {
        node.input(Input::Persisted(ticket));
    }
}

fn runs(node: &Probe<Node>) -> Vec<RunId> {
    let runs = node.outputs().iter().filter_map(|output| match output {
        Output::Command(CommandOutput::Run(run, ..)) => Some(*run),
        _ => None,
    });
    runs.collect()
}

fn finished(node: &Probe<Node>) -> Vec<(CallId, Code)> {
    let ends = node.outputs().iter().filter_map(|output| match output {
        Output::Command(CommandOutput::Finished(call, status)) => Some((*call, status.code)),
        _ => None,
    });
    ends.collect()
}

/// A target that has taken in these letters of the caller, up to the notes that they wait for.
fn target_with(letters: Vec<State>, introduction: Vec<State>) -> Probe<Node> {
    let mut target = node(TARGET, introduction);
    link(&mut target, CALLER);
    serve(&mut target);
    target.take();
    hear(&mut target, CALLER, letters);
    note(&mut target);
    target
}

#[test]
fn an_answer_that_came_before_a_restart_is_told_to_who_asks_after_it() {
    let mut caller = node(CALLER, Vec::new());
    post(&mut caller, 1, 9, TARGET);
    let own = written(&mut caller, StateKind::Membership);
    let letter = written(&mut caller, StateKind::Letter);
    let mut target = target_with(letter.clone(), own.clone());
    let run = runs(&target)[0];
    target.input(Input::Command(CommandInput::Ended(run, Status::OK)));
    let reply = written(&mut target, StateKind::Reply);
    assert_eq!(reply.len(), 1);

    let others = written(&mut node(TARGET, Vec::new()), StateKind::Membership);
    let disk = [own, others, reply, letter].concat();
    let mut restarted = node(CALLER, disk);
    post(&mut restarted, 2, 9, TARGET);

    assert_eq!(finished(&restarted), [(CallId(2), Code::Ok)]);
}

#[test]
fn an_id_on_its_way_is_waited_for_by_one_program_and_names_one_target() {
    let mut caller = node(CALLER, Vec::new());

    post(&mut caller, 1, 9, TARGET);
    post(&mut caller, 2, 9, TARGET);
    post(&mut caller, 3, 9, 4);

    let refused = [2, 3].map(|call| (CallId(call), Code::AlreadyExists));
    assert_eq!(finished(&caller), refused);
    caller.take();
    caller.input(Input::Command(CommandInput::Abandon(CallId(1))));
    post(&mut caller, 4, 9, TARGET);
    assert!(
        finished(&caller).is_empty(),
        "it waits in place of the first"
    );
}

#[test]
fn a_letter_to_the_machine_itself_is_carried_out_without_the_post() {
    let mut own = node(TARGET, Vec::new());
    serve(&mut own);

    post(&mut own, 1, 9, TARGET);
    note(&mut own);
    let run = runs(&own)[0];
    own.input(Input::Command(CommandInput::Ended(run, Status::OK)));

    assert_eq!(finished(&own), [(CallId(1), Code::Ok)]);
    assert!(written(&mut own, StateKind::Letter).is_empty());
}

#[test]
fn one_caller_takes_a_share_of_the_replies_and_its_other_letters_wait_for_their_turn() {
    let mut caller = node(CALLER, Vec::new());
    for n in 0..20 {
        post(&mut caller, u64::from(n), n, TARGET);
    }
    let own = written(&mut caller, StateKind::Membership);
    let letters = written(&mut caller, StateKind::Letter);

    let mut target = target_with(letters, own);
    let first = runs(&target);
    for run in &first {
        target.input(Input::Command(CommandInput::Ended(*run, Status::OK)));
    }
    let replies = written(&mut target, StateKind::Reply);
    target.take();
    link(&mut caller, TARGET);
    caller.take();
    let others = written(&mut node(TARGET, Vec::new()), StateKind::Membership);
    hear(&mut caller, TARGET, [others, replies].concat());
    let taken_back = written(&mut caller, StateKind::Letter);
    hear(&mut target, CALLER, taken_back);
    for _ in 0..2 {
        target.advance(Duration::from_secs(1));
        note(&mut target);
    }

    assert_eq!((first.len(), finished(&caller).len()), (16, 16));
    assert_eq!(runs(&target).len(), 4);
}
