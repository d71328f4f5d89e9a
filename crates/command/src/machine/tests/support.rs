//! Machines, messages, and what to look for in outputs.

use std::time::Duration;

use bytes::Bytes;
use model::MachineId;
use sha2::{Digest as _, Sha256};
use statemachine::{StateMachine as _, Ticket};
use testkit::Probe;

use crate::{
    Allowance, Argument, Attempt, Call, Code, CommandId, Commands, Config, HandlerId, Input,
    Lineage, Message, Note, Offer, Output, Policy, Recovered, Rights, RunId, Status,
};

pub(super) const CALLER: MachineId = MachineId::from_bytes([1; 32]);
pub(super) const OTHER_CALLER: MachineId = MachineId::from_bytes([2; 32]);
pub(super) const TARGET: MachineId = MachineId::from_bytes([3; 32]);
pub(super) const ID: CommandId = CommandId::from_bytes([9; 16]);
pub(super) const OTHER_ID: CommandId = CommandId::from_bytes([8; 16]);
pub(super) const HANDLER: HandlerId = HandlerId(1);

pub(super) fn policy() -> Policy {
    Policy {
        maintenance: false,
        allow: vec![Allowance::everyone("**".parse().expect("a pattern"))],
    }
}

pub(super) fn offer() -> Offer {
    let commands = [
        ("heating/set", false),
        ("heating/stop", false),
        ("ping", true),
    ];
    let commands = commands.map(|(text, safe)| (text.parse().expect("a name"), safe));
    Offer {
        commands: commands.into(),
        concurrent: 1,
    }
}

pub(super) fn make(notes: Vec<Note>) -> Commands {
    Commands::new(TARGET, Config::default(), policy(), Recovered { notes })
}

pub(super) fn target_with(config: Config, notes: Vec<Note>) -> Probe<Commands> {
    let recovered = Recovered { notes };
    let mut target = Probe::new(Commands::new(TARGET, config, policy(), recovered));
    target.input(Input::HandlerUp(HANDLER, offer()));
    target
}

pub(super) fn target() -> Probe<Commands> {
    target_with(Config::default(), Vec::new())
}

pub(super) fn caller() -> Probe<Commands> {
    let recovered = Recovered::default();
    Probe::new(Commands::new(
        CALLER,
        Config::default(),
        policy(),
        recovered,
    ))
}

pub(super) fn received_from(from: MachineId, message: Message) -> Input {
    Input::Received {
        from,
        rights: Rights::own(),
        message,
    }
}

pub(super) fn received(message: Message) -> Input {
    received_from(CALLER, message)
}

pub(super) fn from_target(message: Message) -> Input {
    received_from(TARGET, message)
}

pub(super) fn call(id: CommandId, name: &str, seconds: u64) -> Message {
    let chunk = Argument::Null.encode().expect("an argument");
    Message::Call {
        id,
        name: name.parse().expect("a name"),
        remaining: Duration::from_secs(seconds),
        lineage: Lineage::default(),
        have: 0,
        size: chunk.len(),
        chunk,
    }
}

/// As [`call`], from a caller that has this many values of the answer.
pub(super) fn call_having(values: u32) -> Message {
    let mut message = call(ID, "heating/set", 5);
    if let Message::Call { have, .. } = &mut message {
        *have = values;
    }
    message
}

pub(super) fn digest_of(name: &str) -> [u8; 32] {
    let digest = Sha256::new().chain_update(name).chain_update([0]);
    let digest = digest.chain_update(1_u64.to_le_bytes()).chain_update([0]);
    digest.finalize().into()
}

pub(super) fn to_target(argument: Argument) -> Call {
    Call {
        target: TARGET,
        id: ID,
        is_repeat: false,
        name: "heating/set".parse().expect("a name"),
        argument,
        lineage: Lineage::default(),
        deadline: Duration::from_secs(5),
    }
}

pub(super) fn item(index: u32, value: i64) -> Message {
    let value = Argument::I64(value).encode().expect("an argument");
    Message::Item {
        id: ID,
        index,
        value,
    }
}

pub(super) fn done(items: u32, status: Status) -> Message {
    Message::Done {
        id: ID,
        items,
        status,
    }
}

/// Has the target begin a command of the caller.
pub(super) fn begin(target: &mut Probe<Commands>, id: CommandId) -> RunId {
    target.input(received(call(id, "heating/set", 5)));
    note_written(target);
    let run = runs(&target.take());
    *run.last().expect("it runs")
}

/// The note that the target has asked for last is on disk.
pub(super) fn note_written(target: &mut Probe<Commands>) {
    let written = ticket(target.outputs());
    target.take();
    target.input(Input::Persisted(written));
}

pub(super) fn ticket(outputs: &[Output]) -> Ticket {
    let tickets = outputs.iter().filter_map(|output| match output {
        Output::Persist(ticket, _) => Some(*ticket),
        _ => None,
    });
    tickets.last().expect("something to write")
}

pub(super) fn runs(outputs: &[Output]) -> Vec<RunId> {
    let runs = outputs.iter().filter_map(|output| match output {
        Output::Run(run, ..) => Some(*run),
        _ => None,
    });
    runs.collect()
}

pub(super) fn attempts(outputs: &[Output]) -> Vec<Attempt> {
    let attempts = outputs.iter().filter_map(|output| match output {
        Output::Attempted(attempt) => Some(attempt.clone()),
        _ => None,
    });
    attempts.collect()
}

/// Values and ends that the target sends.
pub(super) fn answers(outputs: &[Output]) -> Vec<(Option<i64>, Option<Code>)> {
    let number = |value: &Bytes| match Argument::decode(value) {
        Ok(Argument::I64(number)) => Some(number),
        _ => None,
    };
    let answers = outputs.iter().filter_map(|output| match output {
        Output::Send(_, Message::Item { value, .. }) => Some((number(value), None)),
        Output::Send(_, Message::Done { status, .. }) => Some((None, Some(status.code))),
        _ => None,
    });
    answers.collect()
}

/// Ends that the target sends.
pub(super) fn codes(outputs: &[Output]) -> Vec<Code> {
    let answers = answers(outputs).into_iter();
    answers.filter_map(|(_, code)| code).collect()
}

/// Ends that the application hears.
pub(super) fn finished(outputs: &[Output]) -> Vec<Code> {
    let ends = outputs.iter().filter_map(|output| match output {
        Output::Finished(_, status) => Some(status.code),
        _ => None,
    });
    ends.collect()
}

/// Tells a machine and returns what it says.
pub(super) fn tell(
    machine: &mut Commands,
    now: statemachine::Instant,
    input: Option<Input>,
) -> Vec<Output> {
    match input {
        Some(input) => machine.handle(now, input),
        None => machine.handle_timeout(now),
    }
    std::iter::from_fn(|| machine.poll_output()).collect()
}
