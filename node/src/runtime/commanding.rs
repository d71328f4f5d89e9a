//! Commands: between the node, the desk and the audit log.

use api::{Order, Sent, Serving};
use command::{Code, Offer, Status};
use engine::{CommandInput, CommandOutput, Input};
use statemachine::StateMachine as _;
use tokio::sync::oneshot;

use super::Runtime;
use crate::audit::{ADMINISTRATOR, Kind, Record};
use crate::clock;
use crate::commands::{self, Errand};
use crate::config::Configuration;

impl Runtime {
    /// The node says something about commands. Its outputs are being performed: what the desk has
    /// to say about it only adds to them.
    pub(super) fn on_command(&mut self, output: CommandOutput) {
        for errand in self.desk.hear(&self.node, output) {
            match errand {
                Errand::Tell(input) => self.tell(input),
                Errand::Reload(run) => {
                    if self.reloads.try_send(run).is_err() {
                        let message = "this node reads its configuration already, or stops";
                        let status = Status::new(Code::Unavailable, message);
                        self.tell(CommandInput::Ended(run, status));
                    }
                }
                Errand::Record(attempt) => {
                    let (time, own) = (clock::wall_time(), self.node.machine());
                    let record = Record::of_attempt(time, own, &attempt);
                    self.audit.record(self.clock.now(), record);
                }
            }
        }
    }

    fn tell(&mut self, input: CommandInput) {
        self.node.handle(self.clock.now(), Input::Command(input));
    }

    /// What a configuration says that can change while the node runs is so from now on.
    pub(super) fn reload(&mut self, configuration: Configuration) {
        self.tell(CommandInput::Policy(configuration.engine.policy));
        tracing::info!("the policy of commands was read again");
        self.load_rules(configuration.rules);
        self.perform_all();
    }

    pub(super) fn on_send(&mut self, order: Order, reply: oneshot::Sender<Result<Sent, String>>) {
        let target = match commands::find(&self.node, &order.machine) {
            Ok(target) => target,
            Err(error) => {
                let record = Record::new(clock::wall_time(), Kind::Sent, ADMINISTRATOR, "");
                let record = record.with(format!("{} to {}", order.name, order.machine));
                let record = record.failed(format!("NOT_FOUND: {error}"));
                self.audit.record(self.clock.now(), record);
                let _ = reply.send(Err(error)); // Whoever asked may be gone.
                return;
            }
        };
        let (sent, input) = self.desk.send(target, order, clock::wall_time());
        let _ = reply.send(Ok(sent)); // Who is gone takes the command back with it.
        self.handle(Input::Command(input));
    }

    /// Sends the command of a rule; how it ends is told to the log.
    pub(super) fn send_for_rule(&mut self, rule: String, order: Order) {
        match commands::find(&self.node, &order.machine) {
            Ok(target) => {
                let (sent, input) = self.desk.send(target, order, clock::wall_time());
                self.rules.sent.watch(rule, sent);
                self.tell(input);
            }
            Err(error) => tracing::warn!(rule, error, "the command of a rule is not sent"),
        }
    }

    pub(super) fn on_serve(&mut self, offer: Offer, reply: oneshot::Sender<Serving>) {
        let (serving, input) = self.desk.serve(offer);
        let _ = reply.send(serving); // A program that is gone is noticed soon.
        self.handle(Input::Command(input));
    }
}
