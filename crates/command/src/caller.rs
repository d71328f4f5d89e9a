//! The caller's side: commands of this machine's application on their way.
//!
//! A command is sent again, under its id, whenever the link to its target comes back before the
//! deadline; the target sees to it that it runs once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use model::MachineId;
use statemachine::{Deadline, Instant, Timers};

use crate::target::ANSWER_BYTES_MAX;
use crate::{
    Argument, Attempt, Call, CallId, Code, CommandId, CommandName, Config, Fault, Lineage, Message,
    Output, Side, Status,
};

/// A command on its way.
#[derive(Debug)]
struct Outgoing {
    target: MachineId,
    id: CommandId,
    name: CommandName,
    argument: Bytes,
    lineage: Lineage,
    deadline: Instant,
    /// It may have reached the target.
    was_sent: bool,
    /// Dials in vain since the link was there last.
    dials: u8,
    items: u32,
    bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Deadline(CallId),
    Redial(MachineId),
}

/// The caller's side.
#[derive(Debug)]
pub(crate) struct Caller {
    own: MachineId,
    config: Config,
    calls: BTreeMap<CallId, Outgoing>,
    by_id: BTreeMap<(MachineId, CommandId), CallId>,
    up: BTreeSet<MachineId>,
    timers: Timers<Timer>,
    total: u64,
    pub(crate) outputs: VecDeque<Output>,
}

impl Caller {
    pub(crate) fn new(own: MachineId, config: Config) -> Self {
        Self {
            own,
            config,
            calls: BTreeMap::new(),
            by_id: BTreeMap::new(),
            up: [own].into(),
            timers: Timers::default(),
            total: 0,
            outputs: VecDeque::new(),
        }
    }

    pub(crate) const fn calls_total(&self) -> u64 {
        self.total
    }

    pub(crate) fn on_call(&mut self, now: Instant, call: CallId, command: Call) {
        self.total += 1;
        let (target, id) = (command.target, command.id);
        let argument = match self.refuse(&command) {
            Ok(argument) => argument,
            Err(status) => {
                self.say_ended(call, target, id, command.name, status);
                return;
            }
        };
        let deadline = now + command.deadline;
        self.timers.set(Timer::Deadline(call), deadline);
        self.by_id.insert((target, id), call);
        self.calls.insert(
            call,
            Outgoing {
                target,
                id,
                name: command.name,
                argument,
                lineage: command.lineage,
                deadline,
                was_sent: command.is_repeat,
                dials: 0,
                items: 0,
                bytes: 0,
            },
        );
        if target != self.own {
            self.outputs.push_back(Output::KeepLink(target));
        }
        if self.up.contains(&target) {
            self.send(now, call);
        }
    }

    fn refuse(&self, command: &Call) -> Result<Bytes, Status> {
        if self.calls.len() >= CALLS_MAX {
            let message = "too many commands of this machine are on their way; try again later";
            return Err(Status::new(Code::ResourceExhausted, message));
        }
        if self.by_id.contains_key(&(command.target, command.id)) {
            let message = "a command with this id is on its way already";
            return Err(Status::new(Code::AlreadyExists, message));
        }
        if command.deadline > Message::REMAINING_MAX {
            let message = "a deadline is at most an hour away";
            return Err(Status::new(Code::InvalidArgument, message));
        }
        if command.deadline.is_zero() {
            let message = "the deadline has passed; it was not sent";
            return Err(Status::new(Code::DeadlineExceeded, message));
        }
        let argument = command.argument.encode();
        argument.map_err(|error| Status::new(Code::InvalidArgument, error.to_string()))
    }

    pub(crate) fn on_abandon(&mut self, call: CallId) {
        let Some(outgoing) = self.calls.get(&call) else {
            return;
        };
        if outgoing.was_sent {
            let (target, id) = (outgoing.target, outgoing.id);
            self.outputs
                .push_back(Output::Send(target, Message::Cancel(id)));
        }
        let message = "the application does not wait for it any more";
        self.end(call, Status::new(Code::Cancelled, message));
    }

    pub(crate) fn on_link_up(&mut self, now: Instant, machine: MachineId) {
        self.up.insert(machine);
        self.timers.clear(&Timer::Redial(machine));
        for call in self.calls_to(machine) {
            if let Some(outgoing) = self.calls.get_mut(&call) {
                outgoing.dials = 0;
            }
            self.send(now, call);
        }
    }

    pub(crate) fn on_link_down(&mut self, now: Instant, machine: MachineId) {
        self.up.remove(&machine);
        if !self.calls_to(machine).is_empty() {
            self.timers
                .set(Timer::Redial(machine), now + self.config.redial);
        }
    }

    pub(crate) fn on_dial_failed(&mut self, now: Instant, machine: MachineId) {
        if self.up.contains(&machine) {
            return; // Another connection stands.
        }
        for call in self.calls_to(machine) {
            let Some(outgoing) = self.calls.get_mut(&call) else {
                continue;
            };
            outgoing.dials = outgoing.dials.saturating_add(1);
            if outgoing.dials >= self.config.dials_max && !outgoing.was_sent {
                let message = "the target cannot be reached; it did not run, try again later";
                self.end(call, Status::new(Code::Unavailable, message));
            }
        }
        if !self.calls_to(machine).is_empty() {
            self.timers
                .set(Timer::Redial(machine), now + self.config.redial);
        }
    }

    pub(crate) fn on_item(&mut self, from: MachineId, id: CommandId, index: u32, value: &Bytes) {
        let Some(&call) = self.by_id.get(&(from, id)) else {
            return; // Ended here meanwhile.
        };
        let Some(outgoing) = self.calls.get_mut(&call) else {
            return;
        };
        if index < outgoing.items {
            return; // Sent again because a link broke.
        }
        outgoing.bytes += value.len();
        let value = Argument::decode(value);
        match value {
            Ok(value)
                if index == outgoing.items
                    && index < Message::ITEMS_MAX
                    && outgoing.bytes <= ANSWER_BYTES_MAX =>
            {
                outgoing.items += 1;
                self.outputs.push_back(Output::Answer(call, value));
            }
            Ok(_) | Err(_) => self.on_bad_answer(from, call),
        }
    }

    pub(crate) fn on_done(&mut self, from: MachineId, id: CommandId, items: u32, status: Status) {
        let Some(&call) = self.by_id.get(&(from, id)) else {
            return;
        };
        let has = self.calls.get(&call).map_or(0, |outgoing| outgoing.items);
        if has == items || status.code != Code::Ok {
            self.end(call, status);
        } else {
            self.on_bad_answer(from, call);
        }
    }

    fn on_bad_answer(&mut self, from: MachineId, call: CallId) {
        self.outputs
            .push_back(Output::Misbehaved(from, Fault::BadAnswer));
        let message = "the target's answer broke the protocol; the command may have run";
        self.end(call, Status::new(Code::Internal, message));
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, timer)) = self.timers.pop_due(now) {
            match timer {
                Timer::Deadline(call) => self.on_deadline(call),
                Timer::Redial(machine) => {
                    if !self.up.contains(&machine) && !self.calls_to(machine).is_empty() {
                        self.outputs.push_back(Output::KeepLink(machine));
                    }
                }
            }
        }
    }

    fn on_deadline(&mut self, call: CallId) {
        let was_sent = self.calls.get(&call).is_some_and(|call| call.was_sent);
        let message = if was_sent {
            "no answer before the deadline; the command may have run. \
             Sending its id again before long tells"
        } else {
            "the target could not be reached before the deadline; it did not run"
        };
        self.end(call, Status::new(Code::DeadlineExceeded, message));
    }

    pub(crate) fn next_deadline(&self) -> Option<Deadline> {
        self.timers.next_deadline(|timer| match timer {
            Timer::Deadline(_) => "command: the caller's deadline",
            Timer::Redial(_) => "command: redial",
        })
    }

    fn send(&mut self, now: Instant, call: CallId) {
        let Some(outgoing) = self.calls.get_mut(&call) else {
            return;
        };
        let remaining = outgoing.deadline.since(now);
        if remaining.is_zero() {
            return; // Its timer is due.
        }
        outgoing.was_sent = true;
        let argument = outgoing.argument.clone();
        let mut chunks = argument
            .chunks(Message::CHUNK_BYTES_MAX)
            .map(|chunk| argument.slice_ref(chunk));
        let first = Message::Call {
            id: outgoing.id,
            name: outgoing.name.clone(),
            remaining,
            lineage: outgoing.lineage.clone(),
            have: outgoing.items,
            size: argument.len(),
            chunk: chunks.next().unwrap_or_default(),
        };
        let (target, id) = (outgoing.target, outgoing.id);
        self.outputs.push_back(Output::Send(target, first));
        let parts = chunks.map(|chunk| Output::Send(target, Message::Part(id, chunk)));
        self.outputs.extend(parts);
    }

    fn end(&mut self, call: CallId, status: Status) {
        let Some(outgoing) = self.calls.remove(&call) else {
            return;
        };
        self.timers.clear(&Timer::Deadline(call));
        let target = outgoing.target;
        self.by_id.remove(&(target, outgoing.id));
        self.say_ended(call, target, outgoing.id, outgoing.name, status);
        if target != self.own && self.calls_to(target).is_empty() {
            self.timers.clear(&Timer::Redial(target));
            self.outputs.push_back(Output::ReleaseLink(target));
        }
    }

    fn say_ended(
        &mut self,
        call: CallId,
        peer: MachineId,
        id: CommandId,
        name: CommandName,
        status: Status,
    ) {
        self.outputs.push_back(Output::Attempted(Attempt {
            side: Side::Caller,
            peer,
            id,
            name: Some(name),
            repeated: false,
            status: status.clone(),
        }));
        self.outputs.push_back(Output::Finished(call, status));
    }

    fn calls_to(&self, machine: MachineId) -> Vec<CallId> {
        let first = CommandId::from_bytes([0; 16]);
        let calls = self.by_id.range((machine, first)..);
        calls
            .take_while(|((target, _), _)| *target == machine)
            .map(|(_, call)| *call)
            .collect()
    }
}

/// Most commands of this machine on their way at once. Source: guess; 64 MiB of arguments at worst.
const CALLS_MAX: usize = 256;
