//! Commands, between their machine, the links and the application.

use std::time::Duration;

use command::{Fault, Message, Output as Said, Rights};
use model::MachineId;
use statemachine::{Instant, StateMachine as _};
use wire::Frame;

use super::{Node, Owner};
use crate::{CommandInput, CommandOutput, Event, Output};

impl Node {
    pub(super) fn on_command(&mut self, now: Instant, input: CommandInput) {
        let input = match input {
            CommandInput::Call(id, call) => command::Input::Call(id, call),
            CommandInput::Post(id, call) => return self.on_post(now, id, call),
            CommandInput::Abandon(id) => {
                self.on_letter_abandoned(id);
                command::Input::Abandon(id)
            }
            CommandInput::HandlerUp(handler, offer) => command::Input::HandlerUp(handler, offer),
            CommandInput::HandlerDown(handler) => command::Input::HandlerDown(handler),
            CommandInput::Item(run, value) => command::Input::Item(run, value),
            CommandInput::Ended(run, status) => command::Input::Ended(run, status),
            CommandInput::Policy(policy) => command::Input::Policy(policy),
        };
        let is_handler = matches!(input, command::Input::HandlerUp(..));
        self.commands.handle(now, input);
        if is_handler {
            self.hand_over(now); // Letters may have waited for it.
        }
    }

    pub(super) fn on_command_message(&mut self, now: Instant, from: MachineId, message: Message) {
        let rights = match message {
            Message::Call { .. } => self.rights_of(from),
            Message::Part(..)
            | Message::Cancel(_)
            | Message::Item { .. }
            | Message::Done { .. } => Rights::default(),
        };
        let input = command::Input::Received {
            from,
            rights,
            message,
        };
        self.commands.handle(now, input);
    }

    /// What a machine may ask of this one: nothing while its membership is not known. That of a
    /// machine of another site is known while there is a link. Whether it
    /// is valid now was judged when the link was made, and is as long as the link stands.
    pub(super) fn rights_of(&self, machine: MachineId) -> Rights {
        if machine == self.machine {
            return Rights::own();
        }
        let said = self.catalogue.member(&machine);
        let said = said.map(|member| member.membership.as_ref());
        let membership = said.or_else(|| self.shown.get(&machine));
        membership.map_or_else(Rights::default, |membership| {
            let names = self.catalogue.names(&self.machine);
            Rights::of(membership.grant(), &names)
        })
    }

    pub(super) fn on_commands(&mut self, now: Instant, output: Said) {
        match output {
            Said::Send(to, message) if to == self.machine => {
                self.on_command_message(now, to, message);
            }
            Said::Send(to, message) => self.send(to, Frame::Command(message)),
            Said::KeepLink(machine) => {
                if self.links.keep_for_target(now, machine) && !self.dial(machine) {
                    let failed = command::Input::DialFailed(machine);
                    self.commands.handle(now, failed);
                }
            }
            Said::ReleaseLink(machine) => self.links.release_target(now, machine),
            Said::HoldLink(machine) => self.links.set_caller(now, machine, true),
            Said::LetLinkGo(machine) => self.links.set_caller(now, machine, false),
            Said::Reply(key, answer) => self.on_replied(now, key, &answer),
            Said::Persist(ticket, write) => {
                let ticket = self.ticket_for(Owner::Command(ticket));
                self.outputs.push_back(Output::Note(ticket, write));
            }
            Said::Run(run, handler, command) => {
                self.tell(CommandOutput::Run(run, handler, command));
            }
            Said::Cancel(run, handler) => self.tell(CommandOutput::Cancel(run, handler)),
            Said::Declined(handler, status) => {
                self.tell(CommandOutput::Declined(handler, status));
            }
            Said::Answer(call, value) => self.tell(CommandOutput::Answer(call, value)),
            Said::Finished(call, status) => self.tell(CommandOutput::Finished(call, status)),
            Said::Attempted(attempt) => self.tell(CommandOutput::Attempted(attempt)),
            Said::Misbehaved(machine, fault) => {
                let how = match fault {
                    Fault::Overlong => "command: more of an argument than was announced",
                    Fault::BadAnswer => "command: an answer that does not read or is out of turn",
                };
                self.event(Event::Misbehaved(machine, how.to_owned()));
            }
        }
    }

    /// Tells commands if this node was not called for so long that messages may have waited before
    /// it: a running node is told the wall clock about every second.
    pub(super) fn notice_pause(&mut self, now: Instant) {
        if now.since(self.called) > PAUSE && self.wall.is_some() {
            self.commands.handle(now, command::Input::Paused);
        }
        self.called = now;
    }

    fn tell(&mut self, output: CommandOutput) {
        self.outputs.push_back(Output::Command(output));
    }
}

/// How long a node that runs may go uncalled. Source: three of the intervals in which it is told
/// the wall clock.
const PAUSE: Duration = Duration::from_secs(3);
