//! The machine's inputs and outputs; `caller` and `target` are its two sides.

use std::collections::VecDeque;
use std::time::Duration;

use model::MachineId;
use statemachine::{Deadline, Instant, StateMachine, Ticket};

use crate::caller::Caller;
use crate::target::Target;
use crate::{
    Answer, Argument, Attempt, CallKey, CommandId, CommandName, Config, Letter, Lineage, Message,
    Note, NoteWrite, Policy, Rights, Status,
};

/// Names a command that the application sent, until it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// Names one run of a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunId(pub u64);

/// Names a handler while it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HandlerId(pub u64);

/// A command that the application sends.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who is to do it.
    pub target: MachineId,
    /// Its id; one that was used before repeats that command.
    pub id: CommandId,
    /// The id may have been sent before, by an earlier life of this machine too.
    pub is_repeat: bool,
    /// What is to be done.
    pub name: CommandName,
    /// With what.
    pub argument: Argument,
    /// Which rules led to it.
    pub lineage: Lineage,
    /// Time until the deadline; at most [`Message::REMAINING_MAX`].
    pub deadline: Duration,
}

/// A command as its handler gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Who sent it.
    pub caller: MachineId,
    /// What the caller calls it.
    pub id: CommandId,
    /// What is to be done.
    pub name: CommandName,
    /// With what.
    pub argument: Argument,
    /// Which rules led to it.
    pub lineage: Lineage,
    /// Time until the deadline.
    pub remaining: Duration,
}

/// What a handler serves.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Names of commands, each with whether it changes nothing: such a command may run twice and
    /// waits for no disk.
    pub commands: Vec<(CommandName, bool)>,
    /// How many it runs at once; at least one.
    pub concurrent: u16,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The application sends a command; answered by [`Output::Answer`] and [`Output::Finished`].
    Call(CallId, Call),
    /// The application does not wait for it any more.
    Abandon(CallId),
    /// A link to a machine stands.
    LinkUp(MachineId),
    /// The last link to a machine is gone.
    LinkDown(MachineId),
    /// A dial led nowhere.
    DialFailed(MachineId),
    /// A valid message over an open link, or from this machine itself.
    Received {
        /// Who sent it.
        from: MachineId,
        /// What the sender's membership lets it do here; looked at for [`Message::Call`] only.
        rights: Rights,
        /// What it says.
        message: Message,
    },
    /// A letter to this machine was opened; answered by [`Output::Reply`], whatever becomes of it,
    /// each time that it comes.
    Letter {
        /// Who sent it, and which command it is.
        key: CallKey,
        /// What the sender's membership lets it do here.
        rights: Rights,
        /// What it says.
        letter: Letter,
        /// How long it still counts.
        remaining: Duration,
        /// How long it counts altogether.
        lifetime: Duration,
    },
    /// A handler serves commands from now on.
    HandlerUp(HandlerId, Offer),
    /// A handler is gone.
    HandlerDown(HandlerId),
    /// A handler gives a value of the answer.
    Item(RunId, Argument),
    /// A handler has ended a command.
    Ended(RunId, Status),
    /// This machine did not run for longer than a message may be on its way.
    Paused,
    /// The policy, in place of the one before.
    Policy(Policy),
    /// [`Output::Persist`] is on disk.
    Persisted(Ticket),
    /// [`Output::Persist`] failed.
    PersistFailed(Ticket),
}

/// What the caller of this machine must do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send over an open link; a message to this machine itself comes back as
    /// [`Input::Received`].
    Send(MachineId, Message),
    /// As caller: keep the link to a machine, and dial it if there is none; said again for each
    /// new dial.
    KeepLink(MachineId),
    /// As caller: no use for the link any more.
    ReleaseLink(MachineId),
    /// As target: keep the link to a machine while it is there.
    HoldLink(MachineId),
    /// As target: no use for the link any more.
    LetLinkGo(MachineId),
    /// Answer a letter.
    Reply(CallKey, Answer),
    /// Write, then say [`Input::Persisted`] or [`Input::PersistFailed`].
    Persist(Ticket, NoteWrite),
    /// Have a handler carry a command out.
    Run(RunId, HandlerId, Command),
    /// Tell a handler that nobody waits for a run any more; it may end it or go on.
    Cancel(RunId, HandlerId),
    /// A handler cannot serve: another one serves this command already, or there are too many.
    Declined(HandlerId, Status),
    /// A value of the answer to a command of the application.
    Answer(CallId, Argument),
    /// A command of the application has ended.
    Finished(CallId, Status),
    /// For the audit log.
    Attempted(Attempt),
    /// The peer broke the protocol; the engine decides what follows.
    Misbehaved(MachineId, Fault),
}

/// How a peer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A part of an argument that exceeds what was announced.
    Overlong,
    /// A value of an answer that does not read, or not in its turn.
    BadAnswer,
}

/// What the disk knew.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The notes in the order in which they were written.
    pub notes: Vec<Note>,
}

/// What commands have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Commands that this machine sent.
    pub calls: u64,
    /// Commands that a handler of this machine began.
    pub runs: u64,
    /// Commands that this machine refused before they ran.
    pub refused: u64,
    /// Commands that came again and were answered from what is kept.
    pub repeated: u64,
    /// Commands that wait for their turn at a handler now.
    pub waiting: u64,
    /// Ids that are kept now.
    pub kept: u64,
}

/// Both sides of the commands of one machine.
#[derive(Debug)]
pub struct Commands {
    caller: Caller,
    target: Target,
    outputs: VecDeque<Output>,
}

impl Commands {
    /// Commands of a machine that knows what its disk knew.
    ///
    /// What a crash cut short is told to the audit log at once.
    #[must_use]
    pub fn new(own: MachineId, config: Config, policy: Policy, recovered: Recovered) -> Self {
        let mut commands = Self {
            caller: Caller::new(own, config.clone()),
            target: Target::new(own, config, policy, recovered.notes),
            outputs: VecDeque::new(),
        };
        commands.drain();
        commands
    }

    /// What has been counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.target.stats(self.caller.calls_total())
    }

    /// Whether a handler of this machine serves a command now.
    #[must_use]
    pub fn serves(&self, name: &CommandName) -> bool {
        self.target.serves(name)
    }

    fn drain(&mut self) {
        self.outputs.append(&mut self.caller.outputs);
        self.outputs.append(&mut self.target.outputs);
    }

    fn on_received(&mut self, now: Instant, from: MachineId, rights: &Rights, message: Message) {
        match message {
            Message::Item { id, index, value } => self.caller.on_item(from, id, index, &value),
            Message::Done { id, items, status } => self.caller.on_done(from, id, items, status),
            Message::Call { .. } | Message::Part(..) | Message::Cancel(_) => {
                self.target.on_received(now, from, rights, message);
            }
        }
    }
}

impl StateMachine for Commands {
    type Input = Input;
    type Output = Output;
    const OUTPUTS_PER_CALL_MAX: usize = 65_536;

    fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Call(id, call) => self.caller.on_call(now, id, call),
            Input::Abandon(id) => self.caller.on_abandon(id),
            Input::LinkUp(machine) => self.caller.on_link_up(now, machine),
            Input::LinkDown(machine) => {
                self.caller.on_link_down(now, machine);
                self.target.on_link_down(machine);
            }
            Input::DialFailed(machine) => self.caller.on_dial_failed(now, machine),
            Input::Received {
                from,
                rights,
                message,
            } => self.on_received(now, from, &rights, message),
            Input::Letter {
                key,
                rights,
                letter,
                remaining,
                lifetime,
            } => {
                let times = [remaining, lifetime];
                self.target.on_letter(now, key, rights, letter, times);
            }
            Input::HandlerUp(handler, offer) => self.target.on_handler_up(handler, offer),
            Input::HandlerDown(handler) => self.target.on_handler_down(now, handler),
            Input::Item(run, value) => self.target.on_item(now, run, &value),
            Input::Ended(run, status) => self.target.on_ended(now, run, status),
            Input::Paused => self.target.on_paused(now),
            Input::Policy(policy) => self.target.policy = policy,
            Input::Persisted(ticket) => self.target.on_persisted(now, ticket),
            Input::PersistFailed(ticket) => self.target.on_persist_failed(now, ticket),
        }
        self.drain();
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.caller.handle_timeout(now);
        self.target.handle_timeout(now);
        self.drain();
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Deadline> {
        Deadline::earlier(self.caller.next_deadline(), self.target.next_deadline())
    }
}

#[cfg(test)]
mod tests;
