//! Commands that come as letters: permitted, noted and carried out like all others, and answered by
//! a reply instead of over a link.

use std::time::Duration;

use statemachine::Instant;

use super::{SUSPECT_TIME, Target};
use crate::assembly::{Assembly, digest};
use crate::ends::interrupted;
use crate::ledger::Phase;
use crate::note::Answer;
use crate::target::Timer;
use crate::{CallKey, Code, CommandName, Letter, Output, Rights, Status};

impl Target {
    /// A letter that counts for `remaining` of its `lifetime`.
    pub(crate) fn on_letter(
        &mut self,
        now: Instant,
        key: CallKey,
        rights: Rights,
        letter: Letter,
        [remaining, lifetime]: [Duration; 2],
    ) {
        let digest = digest(&letter.name, letter.argument.len(), &letter.argument);
        if self.on_letter_again(key, &digest) {
            return;
        }
        let assembly = Assembly {
            rights,
            name: letter.name,
            lineage: letter.lineage,
            have: 0,
            deadline: now + remaining,
            digest,
            size: letter.argument.len(),
            bytes: letter.argument.to_vec(),
            lifetime: Some(lifetime),
        };
        let admitted = self.admit(now, key, &assembly);
        match admitted.and_then(|()| self.check(&assembly)) {
            Ok((argument, handler, is_safe)) => {
                self.timers.set(Timer::Deadline(key), assembly.deadline);
                self.accept(now, key, assembly, argument, handler, is_safe);
            }
            Err(status) => {
                self.stats.refused += 1;
                self.tell(key, Some(assembly.name), false, status.clone());
                self.reply(key, Answer::of(status));
            }
        }
    }

    /// Answers a letter whose command came before, also over a link; `false` if it did not.
    fn on_letter_again(&mut self, key: CallKey, digest: &[u8; 32]) -> bool {
        let Some(entry) = self.ledger.get_mut(&key) else {
            return false;
        };
        self.stats.repeated += 1;
        let answer = match &mut entry.phase {
            _ if entry.digest != *digest => {
                let message = "this id names another command; draw a new one for each command";
                Answer::of(Status::new(Code::AlreadyExists, message))
            }
            Phase::Active(active) => {
                active.is_posted = true;
                return true;
            }
            Phase::Ended(answer) => answer.clone(),
            Phase::Interrupted => Answer::of(interrupted()),
        };
        self.tell(key, None, true, answer.status.clone());
        self.reply(key, answer);
        true
    }

    /// Whether something serves a command now.
    pub(crate) fn serves(&self, name: &CommandName) -> bool {
        self.handlers.find(name).is_some()
    }

    /// Whether what comes over links now may have waited before this machine for long. A letter
    /// says itself how old it is.
    pub(super) fn is_suspect(&self, now: Instant) -> Result<(), Status> {
        if now >= self.suspect_until {
            return Ok(());
        }
        let message = "this machine has just been paused and cannot tell how old a command is; it \
                       did not run, send it again";
        Err(Status::new(Code::Unavailable, message))
    }

    /// Commands that queued up while this machine did not run look new: they carry the time that
    /// remained when they were sent.
    pub(crate) fn on_paused(&mut self, now: Instant) {
        self.suspect_until = now + SUSPECT_TIME;
    }

    pub(super) fn reply(&mut self, key: CallKey, answer: Answer) {
        self.outputs.push_back(Output::Reply(key, answer));
    }
}
