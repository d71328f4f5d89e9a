//! Commands for machines that are not there: sealed, carried to everyone as states, opened and
//! carried out by their target when it comes, and answered in the same way.
//!
//! At most once is the ledger's promise (`command`), for letters as for commands over links: the
//! target notes the id for as long as the letter can count. What a letter counts for is told by the
//! wall clock, so a target without one waits for it.

use std::collections::BTreeSet;
use std::time::Duration;

use command::{
    Answer, Argument, Attempt, Call, CallId, CallKey, Code, Envelope, Letter, Rights, Side, Status,
};
use model::{MachineId, State, StateKind, Timestamp};
use statemachine::{Instant, StateMachine as _};

use super::{Node, Timer};
use crate::mail::{Posted, Received, Replied, Stage};
use crate::{CommandOutput, Output};

impl Node {
    /// The application posts a command, or asks again what came of one. This machine itself can
    /// be reached.
    pub(super) fn on_post(&mut self, now: Instant, call: CallId, command: Call) {
        if command.target == self.machine {
            self.commands
                .handle(now, command::Input::Call(call, command));
            return;
        }
        let (target, id, name) = (command.target, command.id, command.name.clone());
        let posted = match self.mail.posted_as(id) {
            Some((slot, posted)) => posted.wait(call, target).map(|answer| {
                if let Some(answer) = answer {
                    self.end_letter(now, slot, answer);
                }
            }),
            None => self.post(now, call, command),
        };
        match posted {
            Ok(()) => self.timers.set(Timer::Mail, now + MAIL_INTERVAL),
            Err(status) => {
                self.attempted(target, id, Some(name), &status);
                let finished = CommandOutput::Finished(call, status);
                self.outputs.push_back(Output::Command(finished));
            }
        }
    }

    fn post(&mut self, now: Instant, call: CallId, command: Call) -> Result<(), Status> {
        let refused = |code, message: &str| Status::new(code, message);
        if command.deadline.is_zero() || command.deadline > Envelope::LIFETIME_MAX {
            let message = "a letter counts for some time, and for seven days at most";
            return Err(refused(Code::InvalidArgument, message));
        }
        let written = self.trusted_time(now).ok_or_else(|| {
            let message = "this machine does not know the time, by which a letter expires; \
                           set its clock, or send the command while the target is there";
            refused(Code::FailedPrecondition, message)
        })?;
        let argument = command.argument.encode();
        let argument =
            argument.map_err(|error| refused(Code::InvalidArgument, &error.to_string()))?;
        let letter = Letter {
            name: command.name.clone(),
            argument,
            lineage: command.lineage,
        };
        let content = letter.encode();
        if content.len() > Letter::BYTES_MAX {
            let message = "the arguments are too large for a letter; send them while the target \
                           is there";
            return Err(refused(Code::InvalidArgument, message));
        }
        let slot = self.mail.free_for_letter().ok_or_else(|| {
            let message = "too many letters of this machine wait for their targets; try again \
                           later";
            refused(Code::ResourceExhausted, message)
        })?;
        let mut envelope = Envelope {
            to: command.target,
            id: command.id,
            written,
            lifetime: command.deadline,
            sealed: Vec::new().into(),
        };
        let sealed = self.seal(&envelope, LETTER, &content);
        envelope.sealed = sealed
            .ok_or_else(|| refused(Code::NotFound, "nobody can hold this machine id"))?
            .into();
        let posted = Posted {
            id: command.id,
            target: command.target,
            name: Some(command.name),
            call: Some(call),
            until: envelope.until(),
            answer: None,
        };
        self.mail.posted.insert(slot, posted);
        self.say(
            now,
            StateKind::Letter,
            slot.to_string(),
            envelope.to_payload(),
        );
        Ok(())
    }

    /// The application does not wait any more; the letter stays, and its answer is kept.
    pub(super) fn on_letter_abandoned(&mut self, call: CallId) {
        for posted in self.mail.posted.values_mut() {
            if posted.call == Some(call) {
                posted.call = None;
            }
        }
    }

    /// A letter or a reply, of this machine or to it; at the start those that the disk knew.
    pub(super) fn on_mail(&mut self, now: Instant, state: &State) {
        let key = state.key();
        let Ok(slot) = key.subject.parse::<u8>() else {
            return;
        };
        let envelope = Envelope::from_payload(state.payload());
        let is_own = key.origin == self.machine;
        match (key.kind == StateKind::Letter, is_own) {
            (true, true) => self.on_own_letter(slot, envelope),
            (true, false) => self.on_letter(now, key.origin, slot, envelope),
            (false, true) => self.on_own_reply(slot, envelope),
            (false, false) => {
                if let Some(envelope) = envelope.filter(|envelope| envelope.to == self.machine) {
                    self.on_reply(now, key.origin, &envelope);
                }
            }
        }
        if !self.mail.is_empty() && !self.timers.is_set(&Timer::Mail) {
            self.timers.set(Timer::Mail, now + MAIL_INTERVAL);
        }
    }

    /// What an earlier life of this machine has posted still stands.
    fn on_own_letter(&mut self, slot: u8, envelope: Option<Envelope>) {
        let Some(envelope) = envelope else {
            // Taken back before a crash that this machine's disk does not remember.
            self.mail
                .posted
                .retain(|at, posted| *at != slot || posted.call.is_some());
            return;
        };
        let posted = Posted {
            id: envelope.id,
            target: envelope.to,
            name: None,
            call: None,
            until: envelope.until(),
            answer: None,
        };
        self.mail.posted.entry(slot).or_insert(posted);
    }

    /// What an earlier life of this machine has replied still stands.
    fn on_own_reply(&mut self, slot: u8, envelope: Option<Envelope>) {
        if let Some(envelope) = envelope {
            let (caller, id, until) = (envelope.to, envelope.id, envelope.until());
            let key = CallKey { caller, id };
            let replied = Replied { key, until };
            self.mail.replies.entry(slot).or_insert(replied);
        }
    }

    fn on_letter(&mut self, now: Instant, from: MachineId, slot: u8, envelope: Option<Envelope>) {
        let held = self.mail.received.get(&(from, slot));
        if held.is_some_and(|held| envelope.as_ref() == Some(&held.envelope)) {
            return;
        }
        self.mail.received.remove(&(from, slot)); // Something else stands there now.
        let Some(envelope) = envelope.filter(|envelope| envelope.to == self.machine) else {
            return;
        };
        let letter = self.open(from, &envelope, LETTER);
        let Some(letter) = letter.and_then(|content| Letter::decode(&content).ok()) else {
            return;
        };
        let received = Received {
            envelope,
            letter,
            since: now,
            stage: Stage::Waits,
        };
        self.mail.received.insert((from, slot), received);
        self.hand_over(now);
    }

    /// Hands letters to the handlers that are there, as far as the time is known.
    pub(super) fn hand_over(&mut self, now: Instant) {
        let Some(time) = self.trusted_time(now) else {
            return;
        };
        let over = |received: &Received| time >= received.envelope.until();
        self.mail.received.retain(|_, received| !over(received));
        let replied: BTreeSet<_> = self.mail.replies.values().map(|r| r.key).collect();
        let mut room = self.mail.room_for_replies();
        let mut due = Vec::new();
        for ((from, _), received) in &mut self.mail.received {
            let (caller, id) = (*from, received.envelope.id);
            if replied.contains(&CallKey { caller, id }) {
                received.stage = Stage::Answered;
            }
            let has_waited = now.since(received.since) >= SERVED_WITHIN;
            let is_due = has_waited || self.commands.serves(&received.letter.name);
            if received.stage == Stage::Waits && is_due && room.take(caller) {
                received.stage = Stage::Handed;
                due.push((*from, received.envelope.clone(), received.letter.clone()));
            }
        }
        for (caller, envelope, letter) in due {
            let (id, lifetime) = (envelope.id, envelope.lifetime);
            let input = command::Input::Letter {
                key: CallKey { caller, id },
                rights: self.rights_by_letter(now, caller),
                letter,
                // A clock behind the sender's does not make it last longer.
                remaining: envelope.until().since(time).min(lifetime),
                lifetime,
            };
            self.commands.handle(now, input);
        }
    }

    /// What the sender of a letter may ask. No handshake has judged its membership just now.
    fn rights_by_letter(&self, now: Instant, machine: MachineId) -> Rights {
        let member = self.catalogue.member(&machine);
        let time = self.trusted_time(now);
        let counts = member.is_some_and(|m| self.roll().judge(&m.membership, time).is_ok());
        if counts {
            self.rights_of(machine)
        } else {
            Rights::default()
        }
    }

    /// What came of a letter to this machine.
    pub(super) fn on_replied(&mut self, now: Instant, key: CallKey, answer: &Answer) {
        let slot = self.mail.free_for_reply();
        let Some(received) = self.mail.received_as(key) else {
            return; // Taken back, or over.
        };
        let Some(slot) = slot else {
            received.stage = Stage::Waits; // Asked again later, and answered from what is kept.
            return;
        };
        received.stage = Stage::Answered;
        let mut envelope = Envelope {
            to: key.caller,
            sealed: Vec::new().into(),
            ..received.envelope.clone()
        };
        let Some(sealed) = self.seal(&envelope, REPLY, &fitting(answer)) else {
            return;
        };
        envelope.sealed = sealed.into();
        let until = envelope.until();
        self.mail.replies.insert(slot, Replied { key, until });
        self.say(
            now,
            StateKind::Reply,
            slot.to_string(),
            envelope.to_payload(),
        );
    }

    fn on_reply(&mut self, now: Instant, from: MachineId, envelope: &Envelope) {
        let answer = self.open(from, envelope, REPLY);
        let answer = answer.and_then(|content| Answer::decode(&content).ok());
        let Some(answer) = answer else {
            return;
        };
        let Some((slot, posted)) = self.mail.posted_as(envelope.id) else {
            return;
        };
        if posted.target != from {
            return;
        }
        if posted.call.is_some() {
            self.end_letter(now, slot, answer);
        } else {
            posted.answer = Some(answer);
        }
    }

    /// A letter of this machine has ended: who waits for it hears, and its slot is free.
    fn end_letter(&mut self, now: Instant, slot: u8, answer: Answer) {
        let Some(posted) = self.mail.posted.remove(&slot) else {
            return;
        };
        let items: Result<Vec<_>, _> = answer.items.iter().map(|i| Argument::decode(i)).collect();
        let (items, status) = match items {
            Ok(items) => (items, answer.status),
            Err(_) => {
                let message = "the target's answer does not read; the command may have run";
                (Vec::new(), Status::new(Code::Internal, message))
            }
        };
        self.attempted(posted.target, posted.id, posted.name, &status);
        if let Some(call) = posted.call {
            let items = items.into_iter();
            let items = items.map(|item| CommandOutput::Answer(call, item));
            let finished = CommandOutput::Finished(call, status);
            let outputs = items.chain([finished]).map(Output::Command);
            self.outputs.extend(outputs);
        }
        self.say(now, StateKind::Letter, slot.to_string(), Vec::new());
    }

    fn attempted(
        &mut self,
        peer: MachineId,
        id: command::CommandId,
        name: Option<command::CommandName>,
        status: &Status,
    ) {
        let attempt = Attempt {
            side: Side::Caller,
            peer,
            id,
            name,
            repeated: false,
            status: status.clone(),
        };
        self.outputs
            .push_back(Output::Command(CommandOutput::Attempted(attempt)));
    }

    /// Looks after what has waited long enough.
    pub(super) fn look_after_mail(&mut self, now: Instant) {
        self.hand_over(now);
        let time = self.wall.as_ref().map(|_| self.now_wall(now).time);
        if let Some(time) = time {
            self.end_what_is_over(now, time);
        }
        if !self.mail.is_empty() {
            self.timers.set(Timer::Mail, now + MAIL_INTERVAL);
        }
    }

    fn end_what_is_over(&mut self, now: Instant, time: Timestamp) {
        let over = self.mail.posted.iter();
        let over = over.filter(|(_, posted)| time >= posted.until);
        let over: Vec<u8> = over.map(|(slot, _)| *slot).collect();
        for slot in over {
            let kept = self.mail.posted.get_mut(&slot);
            let answer = kept.and_then(|posted| posted.answer.take());
            self.end_letter(now, slot, answer.unwrap_or_else(unanswered));
        }
        for slot in self.mail.replies_over(time) {
            self.mail.replies.remove(&slot);
            self.say(now, StateKind::Reply, slot.to_string(), Vec::new());
        }
    }

    fn seal(&self, envelope: &Envelope, what: &str, content: &[u8]) -> Option<Vec<u8>> {
        let (own, network) = (&*self.identity.keypair, self.identity.trust.network());
        let context = envelope.context(what);
        own.seal_letter(&network, envelope.to, &context, content)
    }

    fn open(&self, from: MachineId, envelope: &Envelope, what: &str) -> Option<Vec<u8>> {
        let (own, network) = (&*self.identity.keypair, self.identity.trust.network());
        let context = envelope.context(what);
        own.open_letter(&network, from, &context, &envelope.sealed)
    }
}

/// An answer as far as it fits into a letter.
fn fitting(answer: &Answer) -> Vec<u8> {
    let is_whole = u32::try_from(answer.items.len()) == Ok(answer.items_total);
    let encoded = answer.encode();
    if is_whole && encoded.len() <= Letter::BYTES_MAX {
        return encoded;
    }
    let code = answer.status.code;
    let message = format!("it ended with {code}; its answer is too large for a letter");
    Answer::of(Status::new(Code::DataLoss, message)).encode()
}

fn unanswered() -> Answer {
    let message = "no answer came while the letter counted; the command may have run";
    Answer::of(Status::new(Code::DeadlineExceeded, message))
}

/// What a seal is bound to, so that a letter is never taken for a reply.
const LETTER: &str = "letter";
const REPLY: &str = "reply";
/// How often letters are looked after. Source: guess.
const MAIL_INTERVAL: Duration = Duration::from_secs(1);
/// How long a letter waits for the program that serves it: after a start of the machine it may
/// come later than the letter. Source: guess.
const SERVED_WITHIN: Duration = Duration::from_secs(30);
