//! The desk of commands: who waits for which answer, which programs serve, and what the node does
//! by itself.

use std::collections::BTreeMap;

use api::{Order, Sent, SentStep, Served, Serving, ServingOrder};
use command::{
    Argument, Attempt, Call, CallId, Command, CommandId, HandlerId, Offer, RunId, Status,
};
use engine::{CommandInput, CommandOutput, Member, Node};
use identity::Grant;
use model::{MachineId, Timestamp};
use statemachine::Rng;
use tokio::sync::mpsc;

/// What the loop has to do after the desk was told something.
#[derive(Debug)]
pub enum Errand {
    /// Tell the node.
    Tell(CommandInput),
    /// Read the configuration again, then end this run.
    Reload(RunId),
    /// Tell the audit log.
    Record(Attempt),
}

/// The desk.
#[derive(Debug)]
pub struct Desk {
    calls: BTreeMap<CallId, mpsc::Sender<SentStep>>,
    handlers: BTreeMap<HandlerId, mpsc::Sender<ServingOrder>>,
    last_call: u64,
    last_handler: u64,
    rng: Rng,
    identity: Argument,
}

impl Desk {
    /// A desk that serves nothing yet.
    #[must_use]
    pub fn new(grant: &Grant, rng: Rng) -> Self {
        let text = |text: &str| Argument::Text(text.to_owned());
        let members = [
            ("machine_id", text(&grant.machine.to_string())),
            ("name", text(&grant.name)),
            ("site", text(&grant.site)),
            ("version", text(env!("CARGO_PKG_VERSION"))),
        ];
        let members = members.map(|(key, member)| (key.to_owned(), member));
        Self {
            calls: BTreeMap::new(),
            handlers: BTreeMap::new(),
            last_call: 0,
            last_handler: BUILT_IN.0,
            rng,
            identity: Argument::Map(members.into()),
        }
    }

    /// What the node serves by itself.
    #[must_use]
    pub fn built_in() -> CommandInput {
        let named = |(text, is_safe): (&str, bool)| Some((text.parse().ok()?, is_safe));
        let commands = [(PING, true), (IDENTIFY, true), (RELOAD, false)];
        let offer = Offer {
            commands: commands.into_iter().filter_map(named).collect(),
            concurrent: 8,
        };
        CommandInput::HandlerUp(BUILT_IN, offer)
    }

    /// A client sends a command.
    pub fn send(
        &mut self,
        target: MachineId,
        order: Order,
        now: Timestamp,
    ) -> (Sent, CommandInput) {
        let id = order
            .id
            .unwrap_or_else(|| CommandId::draw(now, &mut self.rng));
        self.last_call += 1;
        let call = CallId(self.last_call);
        let (steps, received) = mpsc::channel(STEPS_MAX);
        self.calls.insert(call, steps);
        let command = Call {
            target,
            id,
            is_repeat: order.id.is_some(),
            name: order.name,
            argument: order.argument,
            lineage: order.lineage,
            deadline: order.deadline,
        };
        let sent = Sent {
            id,
            steps: received,
        };
        let input = if order.when_reachable {
            CommandInput::Post(call, command)
        } else {
            CommandInput::Call(call, command)
        };
        (sent, input)
    }

    /// A program offers to serve.
    pub fn serve(&mut self, offer: Offer) -> (Serving, CommandInput) {
        self.last_handler += 1;
        let handler = HandlerId(self.last_handler);
        let (orders, received) = mpsc::channel(ORDERS_MAX);
        self.handlers.insert(handler, orders);
        let serving = Serving {
            handler,
            orders: received,
        };
        (serving, CommandInput::HandlerUp(handler, offer))
    }

    /// A program has done something.
    #[must_use]
    pub fn served(served: Served) -> CommandInput {
        match served {
            Served::Value(run, value) => CommandInput::Item(run, value),
            Served::Ended(run, status) => CommandInput::Ended(run, status),
        }
    }

    /// A program is gone.
    pub fn gone(&mut self, handler: HandlerId) -> CommandInput {
        self.handlers.remove(&handler);
        CommandInput::HandlerDown(handler)
    }

    /// Clients that do not wait any more, and programs that went away unheard.
    pub fn sweep(&mut self) -> Vec<CommandInput> {
        let gone = self.calls.iter().filter(|(_, steps)| steps.is_closed());
        let gone: Vec<CallId> = gone.map(|(call, _)| *call).collect();
        for call in &gone {
            self.calls.remove(call);
        }
        let silent = self
            .handlers
            .iter()
            .filter(|(_, orders)| orders.is_closed());
        let silent: Vec<HandlerId> = silent.map(|(handler, _)| *handler).collect();
        for handler in &silent {
            self.handlers.remove(handler);
        }
        let silent = silent.into_iter().map(CommandInput::HandlerDown);
        gone.into_iter()
            .map(CommandInput::Abandon)
            .chain(silent)
            .collect()
    }

    /// The node says something; what must be done about it.
    pub fn hear(&mut self, node: &Node, output: CommandOutput) -> Vec<Errand> {
        match output {
            CommandOutput::Run(run, BUILT_IN, command) => self.run_built_in(run, command),
            CommandOutput::Run(run, handler, command) => {
                let caller = node.catalogue().name(&command.caller);
                let order = ServingOrder::Run(run, Box::new(command), caller);
                self.order(handler, order)
            }
            CommandOutput::Cancel(run, handler) => self.order(handler, ServingOrder::Cancel(run)),
            CommandOutput::Declined(handler, status) => {
                if let Some(orders) = self.handlers.remove(&handler) {
                    let _ = orders.try_send(ServingOrder::Declined(status)); // It may be gone.
                }
                Vec::new()
            }
            CommandOutput::Answer(call, value) => self.answer(call, SentStep::Value(value)),
            CommandOutput::Finished(call, status) => {
                let errands = self.answer(call, SentStep::Ended(status));
                self.calls.remove(&call);
                errands
            }
            CommandOutput::Attempted(attempt) => vec![Errand::Record(attempt)],
        }
    }

    fn run_built_in(&self, run: RunId, command: Command) -> Vec<Errand> {
        let value = match command.name.as_str() {
            PING => command.argument,
            IDENTIFY => self.identity.clone(),
            _ => return vec![Errand::Reload(run)],
        };
        vec![
            Errand::Tell(CommandInput::Item(run, value)),
            Errand::Tell(CommandInput::Ended(run, Status::OK)),
        ]
    }

    /// Tells a program; one that does not take what it is told is cut off.
    fn order(&mut self, handler: HandlerId, order: ServingOrder) -> Vec<Errand> {
        let orders = self.handlers.get(&handler);
        if orders.is_none_or(|orders| orders.try_send(order).is_ok()) {
            return Vec::new();
        }
        vec![Errand::Tell(self.gone(handler))]
    }

    /// Tells a client; one that is gone takes its command back.
    fn answer(&mut self, call: CallId, step: SentStep) -> Vec<Errand> {
        let steps = self.calls.get(&call);
        if steps.is_none_or(|steps| steps.try_send(step).is_ok()) {
            return Vec::new();
        }
        self.calls.remove(&call);
        vec![Errand::Tell(CommandInput::Abandon(call))]
    }
}

/// Finds a machine by id, by name, or as `self`.
///
/// # Errors
///
/// What to say if there is none, or more than one.
pub fn find(node: &Node, text: &str) -> Result<MachineId, String> {
    let members = node.catalogue().members();
    find_among(node, members.map(|(_, member)| member), text)
}

/// As [`find`], also machines that were thrown out.
///
/// # Errors
///
/// As [`find`].
pub fn find_anyone(node: &Node, text: &str) -> Result<MachineId, String> {
    let everyone = node.catalogue().everyone();
    find_among(node, everyone.map(|(member, _)| member), text)
}

fn find_among<'a>(
    node: &Node,
    members: impl Iterator<Item = &'a Member>,
    text: &str,
) -> Result<MachineId, String> {
    if text == SELF {
        return Ok(node.machine());
    }
    if let Ok(machine) = text.parse::<MachineId>() {
        return Ok(machine);
    }
    let mut named = members
        .map(|member| member.membership.grant())
        .filter(|grant| grant.name == text);
    match (named.next(), named.next()) {
        (Some(grant), None) => Ok(grant.machine),
        (None, _) => Err(format!(
            "no machine named {text} is known here; `fieldmesh topology` lists those that are, and one \
             of another site is named by its id"
        )),
        (Some(_), Some(_)) => Err(format!(
            "more than one machine is named {text}; use the machine's id"
        )),
    }
}

/// What stands for a node's own machine.
const SELF: &str = "self";
/// The node's own handler.
const BUILT_IN: HandlerId = HandlerId(0);
/// Answers with its argument.
pub(crate) const PING: &str = "ping";
/// Answers with who this machine is.
pub(crate) const IDENTIFY: &str = "identify";
/// Reads the configuration again: what can change while the node runs does.
const RELOAD: &str = "reload";
/// Steps of an answer that wait for a client: all there can be.
const STEPS_MAX: usize = command::Message::ITEMS_MAX as usize + 1;
/// What waits for a program: what it may carry out at once, each taken back several times.
const ORDERS_MAX: usize = 256;
