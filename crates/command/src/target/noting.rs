//! Notes on the way to disk: nothing runs before its note is there.

use statemachine::{Instant, Ticket};

use super::Target;
use crate::ends::handler_gone;
use crate::ledger::Step;
use crate::{Code, Note, NoteWrite, Output, Status};

impl Target {
    /// Has a note written; when most of the file is of no use any more, all of it anew.
    pub(super) fn write(&mut self, note: Note) -> Ticket {
        self.ticket = self.ticket.next();
        self.noted += 1;
        let write = if self.noted > self.ledger.len().max(NOTES_FEW) * NOTES_PER_ENTRY_MAX {
            let notes = self.ledger.notes();
            self.noted = notes.len();
            NoteWrite::Replace(notes)
        } else {
            NoteWrite::Append(note)
        };
        self.outputs.push_back(Output::Persist(self.ticket, write));
        self.ticket
    }

    pub(crate) fn on_persisted(&mut self, now: Instant, ticket: Ticket) {
        let Some(key) = self.writes.remove(&ticket) else {
            return;
        };
        let Some(active) = self.ledger.active_mut(&key) else {
            return; // Taken back, or expired.
        };
        let handler = active.handler;
        active.step = Step::Waiting;
        if self.handlers.queue(handler, key) {
            self.pump(now, handler);
        } else {
            self.end(now, key, handler_gone());
        }
    }

    /// The note is not on disk, or nobody knows: it did not run, and may be sent again.
    pub(crate) fn on_persist_failed(&mut self, now: Instant, ticket: Ticket) {
        let Some(key) = self.writes.remove(&ticket) else {
            return;
        };
        if self.ledger.active(&key).is_some() {
            let message = "the disk of this machine refuses to note the command; it did not run";
            self.end(now, key, Status::new(Code::Unavailable, message));
        }
    }
}

/// How many notes the file may have for each entry before it is written anew. Source: guess, twice
/// what an entry has with its beginning and its end.
const NOTES_PER_ENTRY_MAX: usize = 4;
/// So few entries are not worth writing the file anew for. Source: guess; 4 MiB with long answers.
const NOTES_FEW: usize = 256;
