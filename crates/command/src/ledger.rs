//! The ledger: every command that may have begun, until nobody can send it again.
//!
//! **Invariant:** an entry is never dropped early to make room for another; a full ledger refuses.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use model::MachineId;
use statemachine::Instant;

use crate::note::Answer;
use crate::{
    Argument, CallKey, CommandName, Config, HandlerId, Lineage, Message, Note, RunId, Status,
};

/// What is known of one command.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) digest: [u8; 32],
    /// How long the id is kept, counted from its acceptance.
    pub(crate) keep: Duration,
    pub(crate) phase: Phase,
}

/// How far a command has come.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// It has not ended.
    Active(Box<Active>),
    /// It has ended, and this is kept of it.
    Ended(Answer),
    /// This machine stopped while it ran: nobody knows.
    Interrupted,
}

/// A command that has not ended.
#[derive(Clone, Debug)]
pub(crate) struct Active {
    pub(crate) name: CommandName,
    /// Taken when it begins.
    pub(crate) argument: Option<Argument>,
    pub(crate) lineage: Lineage,
    pub(crate) handler: HandlerId,
    /// It changes nothing, so that it may run twice and is never noted.
    pub(crate) is_safe: bool,
    pub(crate) deadline: Instant,
    pub(crate) step: Step,
    /// The caller hears of it: its link has not broken since it asked last.
    pub(crate) is_attached: bool,
    /// It came as a letter, which wants a reply.
    pub(crate) is_posted: bool,
    pub(crate) answer: Collected,
}

/// What an active command waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Its note is being written.
    Writing,
    /// A turn at its handler.
    Waiting,
    /// Its handler.
    Running(RunId),
}

/// The values of an answer so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collected {
    pub(crate) total: u32,
    pub(crate) bytes: usize,
    /// All of them, as long as they are few enough bytes to be kept.
    pub(crate) kept: Vec<Bytes>,
}

impl Collected {
    /// Most bytes of an answer that are kept for a caller that asks again. Source: guess.
    pub(crate) const KEPT_BYTES_MAX: usize = 4 * 1024;

    /// Adds a value; `false` if the answer would be longer than it may be.
    pub(crate) fn push(&mut self, value: Bytes, bytes_max: usize) -> bool {
        if self.bytes + value.len() > bytes_max || self.total >= Message::ITEMS_MAX {
            return false;
        }
        self.bytes += value.len();
        self.total += 1;
        if self.bytes > Self::KEPT_BYTES_MAX {
            self.kept = Vec::new();
        } else {
            self.kept.push(value);
        }
        true
    }

    pub(crate) fn ended(self, status: Status) -> Answer {
        Answer {
            status,
            items_total: self.total,
            items: self.kept,
        }
    }
}

/// The kept values from `have` on as messages; `None` if some that the caller lacks are not kept.
pub(crate) fn replay(key: CallKey, total: u32, kept: &[Bytes], have: u32) -> Option<Vec<Message>> {
    let is_whole = u32::try_from(kept.len()) == Ok(total);
    if !is_whole && have < total {
        return None;
    }
    let numbered = (0_u32..).zip(kept).filter(|(index, _)| *index >= have);
    let items = numbered.map(|(index, value)| Message::Item {
        id: key.id,
        index,
        value: value.clone(),
    });
    Some(items.collect())
}

/// The entries of all callers.
#[derive(Debug)]
pub(crate) struct Ledger {
    entries: BTreeMap<CallKey, Entry>,
    of_caller: BTreeMap<MachineId, usize>,
    max: usize,
    of_caller_max: usize,
}

impl Ledger {
    pub(crate) const fn new(config: &Config) -> Self {
        Self {
            entries: BTreeMap::new(),
            of_caller: BTreeMap::new(),
            max: config.kept_max,
            of_caller_max: config.kept_of_caller_max,
        }
    }

    /// Whether one more id of this caller can be kept.
    pub(crate) fn has_room(&self, caller: &MachineId) -> bool {
        let of_caller = self.of_caller.get(caller).copied().unwrap_or(0);
        self.entries.len() < self.max && of_caller < self.of_caller_max
    }

    pub(crate) fn insert(&mut self, key: CallKey, entry: Entry) {
        if self.entries.insert(key, entry).is_none() {
            *self.of_caller.entry(key.caller).or_default() += 1;
        }
    }

    pub(crate) fn remove(&mut self, key: &CallKey) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        if let Some(count) = self.of_caller.get_mut(&key.caller) {
            *count -= 1;
            if *count == 0 {
                self.of_caller.remove(&key.caller);
            }
        }
        Some(entry)
    }

    pub(crate) fn get_mut(&mut self, key: &CallKey) -> Option<&mut Entry> {
        self.entries.get_mut(key)
    }

    pub(crate) fn active(&self, key: &CallKey) -> Option<&Active> {
        match &self.entries.get(key)?.phase {
            Phase::Active(active) => Some(active),
            Phase::Ended(_) | Phase::Interrupted => None,
        }
    }

    pub(crate) fn active_mut(&mut self, key: &CallKey) -> Option<&mut Active> {
        match &mut self.entries.get_mut(key)?.phase {
            Phase::Active(active) => Some(active),
            Phase::Ended(_) | Phase::Interrupted => None,
        }
    }

    /// The keys of one caller.
    pub(crate) fn keys_of(&self, caller: MachineId) -> impl Iterator<Item = CallKey> {
        let from = self.entries.range(CallKey::first_of(caller)..);
        from.map(|(key, _)| *key)
            .take_while(move |key| key.caller == caller)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// A note of every entry that must outlive a restart.
    pub(crate) fn notes(&self) -> Vec<Note> {
        let entries = self.entries.iter();
        entries
            .filter_map(|(key, entry)| note(*key, entry))
            .collect()
    }
}

/// What is noted of an entry; nothing of one that is safe.
pub(crate) fn note(key: CallKey, entry: &Entry) -> Option<Note> {
    let answer = match &entry.phase {
        Phase::Active(active) if active.is_safe => return None,
        Phase::Active(_) | Phase::Interrupted => None,
        Phase::Ended(answer) => Some(answer.clone()),
    };
    Some(Note {
        key,
        digest: entry.digest,
        keep: entry.keep,
        answer,
    })
}
