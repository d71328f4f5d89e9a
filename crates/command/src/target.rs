//! The target's side: commands that come in, and what must not happen twice.
//!
//! The way of a command: permitted, assembled, checked, noted on disk, given to its handler when
//! that has a turn free, answered, and kept until nobody can send it again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use model::MachineId;
use statemachine::{Deadline, Instant, Ticket, Timers};

use crate::assembly::{Assemblies, Assembly, digest};
use crate::ends::{expired, handler_gone, interrupted, taken_back};
use crate::handlers::Handlers;
use crate::ledger::{Active, Collected, Entry, Ledger, Phase, Step, note, replay};
use crate::load::Load;
use crate::note::Answer;
use crate::{
    Argument, Attempt, CallKey, Code, Command, CommandName, Config, HandlerId, Message, Note,
    Offer, Output, Policy, Rights, RunId, Side, Stats, Status,
};

mod noting;
mod posted;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The command's deadline.
    Deadline(CallKey),
    /// Nobody can send it again.
    Forget(CallKey),
}

/// The target's side.
#[derive(Debug)]
pub(crate) struct Target {
    own: MachineId,
    config: Config,
    pub(crate) policy: Policy,
    ledger: Ledger,
    handlers: Handlers,
    assemblies: Assemblies,
    load: Load,
    writes: BTreeMap<Ticket, CallKey>,
    ticket: Ticket,
    /// Notes in the file, as far as this machine knows.
    noted: usize,
    timers: Timers<Timer>,
    /// Until then what comes may have waited before this machine for long.
    suspect_until: Instant,
    stats: Stats,
    pub(crate) outputs: VecDeque<Output>,
}

impl Target {
    pub(crate) fn new(own: MachineId, config: Config, policy: Policy, notes: Vec<Note>) -> Self {
        let mut target = Self {
            own,
            ledger: Ledger::new(&config),
            config,
            policy,
            handlers: Handlers::default(),
            assemblies: Assemblies::default(),
            load: Load::default(),
            writes: BTreeMap::new(),
            ticket: Ticket::default(),
            noted: notes.len(),
            timers: Timers::default(),
            suspect_until: Instant::ZERO,
            stats: Stats::default(),
            outputs: VecDeque::new(),
        };
        target.recover(notes);
        target
    }

    pub(crate) fn stats(&self, calls: u64) -> Stats {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Stats {
            calls,
            waiting: count(self.handlers.waiting()),
            kept: count(self.ledger.len()),
            ..self.stats
        }
    }

    fn recover(&mut self, notes: Vec<Note>) {
        for note in notes {
            let phase = note.answer.map_or(Phase::Interrupted, Phase::Ended);
            self.timers
                .set(Timer::Forget(note.key), Instant::ZERO + note.keep);
            let entry = Entry {
                digest: note.digest,
                keep: note.keep,
                phase,
            };
            self.ledger.insert(note.key, entry);
        }
        for Note { key, answer, .. } in self.ledger.notes() {
            if answer.is_none() {
                self.tell(key, None, false, interrupted());
            }
        }
    }

    pub(crate) fn on_received(
        &mut self,
        now: Instant,
        from: MachineId,
        rights: &Rights,
        message: Message,
    ) {
        match message {
            Message::Call {
                id,
                name,
                remaining,
                lineage,
                have,
                size,
                chunk,
            } => {
                let key = CallKey { caller: from, id };
                let digest = digest(&name, size, &chunk);
                if self.on_repeated(key, have, &digest) {
                    return;
                }
                let assembly = Assembly {
                    rights: rights.clone(),
                    name,
                    lineage,
                    have,
                    deadline: now + remaining.min(Message::REMAINING_MAX),
                    digest,
                    size,
                    bytes: Vec::new(),
                    lifetime: None,
                };
                self.on_new(now, key, assembly, &chunk);
            }
            Message::Part(id, chunk) => {
                let key = CallKey { caller: from, id };
                if let Some(assembly) = self.assemblies.remove(&key) {
                    self.assemble(now, key, assembly, &chunk);
                } // Else it was answered already.
            }
            Message::Cancel(id) => self.on_cancel(now, CallKey { caller: from, id }),
            Message::Item { .. } | Message::Done { .. } => {}
        }
    }

    /// Answers a command that came before; `false` if it did not.
    fn on_repeated(&mut self, key: CallKey, have: u32, digest: &[u8; 32]) -> bool {
        let Some(entry) = self.ledger.get_mut(&key) else {
            return false;
        };
        self.stats.repeated += 1;
        if entry.digest != *digest {
            let message = "this id names another command; draw a new one for each command";
            let status = Status::new(Code::AlreadyExists, message);
            self.tell(key, None, true, status.clone());
            self.send_done(key, 0, status);
            return true;
        }
        match &mut entry.phase {
            Phase::Active(active) => {
                let answer = &active.answer;
                let items = replay(key, answer.total, &answer.kept, have);
                active.is_attached = items.is_some();
                for item in items.into_iter().flatten() {
                    self.outputs.push_back(Output::Send(key.caller, item));
                }
                self.keep_link(key.caller);
            }
            Phase::Ended(answer) => {
                let answer = answer.clone();
                self.tell(key, None, true, answer.status.clone());
                self.give_again(key, &answer, have);
            }
            Phase::Interrupted => {
                self.tell(key, None, true, interrupted());
                self.send_done(key, 0, interrupted());
            }
        }
        true
    }

    fn give_again(&mut self, key: CallKey, answer: &Answer, have: u32) {
        let Some(items) = replay(key, answer.items_total, &answer.items, have) else {
            let message = format!(
                "it ended with {}; its answer is not kept",
                answer.status.code
            );
            self.send_done(key, 0, Status::new(Code::DataLoss, message));
            return;
        };
        for item in items {
            self.outputs.push_back(Output::Send(key.caller, item));
        }
        self.send_done(key, answer.items_total, answer.status.clone());
    }

    fn on_new(&mut self, now: Instant, key: CallKey, assembly: Assembly, chunk: &Bytes) {
        self.assemblies.remove(&key); // It begins anew.
        let admitted = self.is_suspect(now).and(self.admit(now, key, &assembly));
        if let Err(status) = admitted {
            self.refuse(key, Some(assembly.name), status);
            return;
        }
        self.timers.set(Timer::Deadline(key), assembly.deadline);
        self.assemble(now, key, assembly, chunk);
    }

    /// Everything that can be said against a command before its argument is known.
    fn admit(&self, now: Instant, key: CallKey, assembly: &Assembly) -> Result<(), Status> {
        if assembly.deadline <= now {
            return Err(expired());
        }
        let served = self.handlers.find(&assembly.name);
        let is_safe = served.is_some_and(|(_, is_safe)| is_safe);
        self.policy
            .permit(&assembly.rights, &assembly.name, is_safe)?;
        if served.is_none() {
            let message = "nothing on this machine serves this command; \
                           start the program that does, or check the name";
            return Err(Status::new(Code::Unimplemented, message));
        }
        if assembly.have > 0 && !is_safe {
            let message = "this machine does not remember a command that it answered in part; \
                           nobody knows what was done";
            return Err(Status::new(Code::Unknown, message));
        }
        let exhausted = |message: &str| Err(Status::new(Code::ResourceExhausted, message));
        if !is_safe && !self.ledger.has_room(&key.caller) {
            return exhausted("this machine remembers as many commands as it can; try again later");
        }
        if !self.load.has_room(&key.caller) {
            return exhausted("too many commands wait at this machine; try again later");
        }
        if !self.assemblies.has_room(key.caller, assembly.size) {
            return exhausted("too many large arguments at once; send them one after the other");
        }
        Ok(())
    }

    fn assemble(&mut self, now: Instant, key: CallKey, mut assembly: Assembly, chunk: &Bytes) {
        match assembly.push(chunk) {
            Ok(true) => {}
            Ok(false) => {
                self.assemblies.insert(key, assembly);
                return;
            }
            Err(fault) => {
                self.outputs
                    .push_back(Output::Misbehaved(key.caller, fault));
                let message = "more of an argument came than was announced";
                let status = Status::new(Code::InvalidArgument, message);
                self.refuse(key, Some(assembly.name), status);
                return;
            }
        }
        match self.check(&assembly) {
            Ok((argument, handler, is_safe)) => {
                self.accept(now, key, assembly, argument, handler, is_safe);
            }
            Err(status) => self.refuse(key, Some(assembly.name), status),
        }
    }

    /// Everything that can be said against a command once its argument is known.
    fn check(&self, assembly: &Assembly) -> Result<(Argument, HandlerId, bool), Status> {
        let argument = Argument::decode(&assembly.bytes)
            .map_err(|error| Status::new(Code::InvalidArgument, error.to_string()))?;
        self.policy
            .check(&assembly.rights, &assembly.name, &argument)?;
        let served = self.handlers.find(&assembly.name);
        let (handler, is_safe) = served.ok_or_else(handler_gone)?;
        Ok((argument, handler, is_safe))
    }

    fn accept(
        &mut self,
        now: Instant,
        key: CallKey,
        assembly: Assembly,
        argument: Argument,
        handler: HandlerId,
        is_safe: bool,
    ) {
        let posted = assembly.lifetime;
        let is_sent_too = self.assemblies.remove(&key).is_some(); // Of two ways the first counts.
        let keep = posted.unwrap_or(assembly.deadline.since(now)) + self.config.skew;
        let active = Active {
            name: assembly.name,
            argument: Some(argument),
            lineage: assembly.lineage,
            handler,
            is_safe,
            deadline: assembly.deadline,
            step: if is_safe {
                Step::Waiting
            } else {
                Step::Writing
            },
            is_attached: posted.is_none() || is_sent_too,
            is_posted: posted.is_some(),
            answer: Collected::default(),
        };
        let entry = Entry {
            digest: assembly.digest,
            keep,
            phase: Phase::Active(Box::new(active)),
        };
        let noted = note(key, &entry);
        self.ledger.insert(key, entry);
        self.load.add(key.caller);
        self.keep_link(key.caller);
        match noted {
            None => {
                self.handlers.queue(handler, key);
                self.pump(now, handler);
            }
            Some(noted) => {
                self.timers.set(Timer::Forget(key), now + keep);
                let ticket = self.write(noted);
                self.writes.insert(ticket, key);
            }
        }
    }

    /// Gives waiting commands to their handler while it has turns free.
    fn pump(&mut self, now: Instant, handler: HandlerId) {
        while let Some((run, key)) = self.handlers.take_turn(handler) {
            let begun = self.ledger.active_mut(&key).and_then(|active| {
                let is_waiting = active.step == Step::Waiting && active.deadline > now;
                let argument = active.argument.take().filter(|_| is_waiting)?;
                active.step = Step::Running(run);
                Some(Command {
                    caller: key.caller,
                    id: key.id,
                    name: active.name.clone(),
                    argument,
                    lineage: active.lineage.clone(),
                    remaining: active.deadline.since(now),
                })
            });
            match begun {
                Some(command) => {
                    self.stats.runs += 1;
                    self.outputs.push_back(Output::Run(run, handler, command));
                }
                None => self.handlers.end_turn(run),
            }
        }
    }

    pub(crate) fn on_item(&mut self, now: Instant, run: RunId, value: &Argument) {
        let Some((_, key)) = self.handlers.run(run) else {
            return; // Ended meanwhile.
        };
        let Some(active) = self.ledger.active_mut(&key) else {
            return;
        };
        let index = active.answer.total;
        let value = match value.encode() {
            Ok(value) if value.len() <= Message::CHUNK_BYTES_MAX => value,
            Ok(_) | Err(_) => Bytes::new(),
        };
        if value.is_empty() || !active.answer.push(value.clone(), ANSWER_BYTES_MAX) {
            self.stop(run);
            let message = "the handler's answer is too large; it may not have finished";
            self.end(now, key, Status::new(Code::Unknown, message));
        } else if active.is_attached {
            let id = key.id;
            let item = Message::Item { id, index, value };
            self.outputs.push_back(Output::Send(key.caller, item));
        }
    }

    pub(crate) fn on_ended(&mut self, now: Instant, run: RunId, status: Status) {
        if let Some((_, key)) = self.handlers.run(run) {
            self.end(now, key, status);
        }
    }

    fn on_cancel(&mut self, now: Instant, key: CallKey) {
        if let Some(assembly) = self.assemblies.remove(&key) {
            self.timers.clear(&Timer::Deadline(key));
            self.tell(key, Some(assembly.name), false, taken_back());
        }
        let Some(active) = self.ledger.active(&key) else {
            return;
        };
        match active.step {
            Step::Writing | Step::Waiting => self.end(now, key, taken_back()),
            Step::Running(run) => self.stop(run),
        }
    }

    /// Tells a handler that nobody waits any more.
    fn stop(&mut self, run: RunId) {
        if let Some((handler, _)) = self.handlers.run(run) {
            self.outputs.push_back(Output::Cancel(run, handler));
        }
    }

    pub(crate) fn on_link_down(&mut self, machine: MachineId) {
        for key in self.assemblies.keys_of(machine) {
            self.timers.clear(&Timer::Deadline(key));
            if let Some(assembly) = self.assemblies.remove(&key) {
                let message = "the link broke before the argument was there; it did not run";
                let status = Status::new(Code::Unavailable, message);
                self.tell(key, Some(assembly.name), false, status);
            }
        }
        if !self.load.has(&machine) {
            return;
        }
        for key in self.ledger.keys_of(machine).collect::<Vec<_>>() {
            if let Some(active) = self.ledger.active_mut(&key) {
                active.is_attached = false;
            }
        }
    }

    pub(crate) fn on_handler_up(&mut self, handler: HandlerId, offer: Offer) {
        if let Err(status) = self.handlers.add(handler, offer) {
            self.outputs.push_back(Output::Declined(handler, status));
        }
    }

    pub(crate) fn on_handler_down(&mut self, now: Instant, handler: HandlerId) {
        let Some((running, waiting)) = self.handlers.remove(handler) else {
            return;
        };
        for key in running {
            let message = "the handler went away in the middle; nobody knows what it did";
            self.end(now, key, Status::new(Code::Unknown, message));
        }
        for key in waiting {
            self.end(now, key, handler_gone());
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, timer)) = self.timers.pop_due(now) {
            match timer {
                Timer::Deadline(key) => self.on_deadline(now, key),
                Timer::Forget(key) => {
                    if self.ledger.active(&key).is_some() {
                        let again = now + self.config.skew.max(SUSPECT_TIME);
                        self.timers.set(timer, again);
                    } else {
                        self.ledger.remove(&key);
                    }
                }
            }
        }
    }

    fn on_deadline(&mut self, now: Instant, key: CallKey) {
        if let Some(assembly) = self.assemblies.remove(&key) {
            self.refuse(key, Some(assembly.name), expired());
            return;
        }
        let Some(active) = self.ledger.active(&key) else {
            return;
        };
        match active.step {
            Step::Writing | Step::Waiting => self.end(now, key, expired()),
            Step::Running(run) => self.stop(run),
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Deadline> {
        self.timers.next_deadline(|timer| match timer {
            Timer::Deadline(_) => "command: the target's deadline",
            Timer::Forget(_) => "command: forget an id",
        })
    }

    /// A command that was accepted ends; its answer is sent at once and noted.
    fn end(&mut self, now: Instant, key: CallKey, status: Status) {
        let Some(entry) = self.ledger.get_mut(&key) else {
            return;
        };
        let phase = std::mem::replace(&mut entry.phase, Phase::Interrupted);
        let Phase::Active(active) = phase else {
            entry.phase = phase;
            return;
        };
        self.timers.clear(&Timer::Deadline(key));
        let answer = active.answer.ended(status.clone());
        let items = answer.items_total;
        entry.phase = Phase::Ended(answer.clone());
        let noted = note(key, entry);
        if active.is_safe {
            self.ledger.remove(&key);
        } else if let Some(noted) = noted {
            self.write(noted);
        }
        self.tell(key, Some(active.name), false, status.clone());
        if active.is_posted {
            self.reply(key, answer);
        }
        if active.is_attached {
            self.send_done(key, items, status);
        }
        self.release_link(key.caller);
        match active.step {
            Step::Writing => {}
            Step::Waiting => self.handlers.unqueue(active.handler, &key),
            Step::Running(run) => self.handlers.end_turn(run),
        }
        self.pump(now, active.handler);
    }

    /// A command that was not accepted.
    fn refuse(&mut self, key: CallKey, name: Option<CommandName>, status: Status) {
        self.stats.refused += 1;
        self.timers.clear(&Timer::Deadline(key));
        self.tell(key, name, false, status.clone());
        self.send_done(key, 0, status);
    }

    fn send_done(&mut self, key: CallKey, items: u32, status: Status) {
        let id = key.id;
        let done = Message::Done { id, items, status };
        self.outputs.push_back(Output::Send(key.caller, done));
    }

    fn tell(&mut self, key: CallKey, name: Option<CommandName>, repeated: bool, status: Status) {
        self.outputs.push_back(Output::Attempted(Attempt {
            side: Side::Target,
            peer: key.caller,
            id: key.id,
            name,
            repeated,
            status,
        }));
    }

    /// The caller's link must last as long as its commands are active here.
    fn keep_link(&mut self, caller: MachineId) {
        if caller != self.own {
            self.outputs.push_back(Output::HoldLink(caller));
        }
    }

    fn release_link(&mut self, caller: MachineId) {
        if self.load.end(caller) && caller != self.own {
            self.outputs.push_back(Output::LetLinkGo(caller));
        }
    }
}

/// Longest answer. Unit: bytes. Source: guess; what is larger belongs into readings or files.
pub(crate) const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// How long commands are refused after a pause. Source: guess, above the time in which everything
/// that waited in buffers has been read.
const SUSPECT_TIME: Duration = Duration::from_secs(2);
