//! Letters and replies of this machine and to it, by the slots in which they stand.
//!
//! A slot is a state of its origin; what stands in it is replaced by what comes later, so that
//! letters cost everyone no more than their slots, and nobody has to clear up after anyone.

use std::collections::BTreeMap;

use command::{Answer, CallId, CallKey, Code, CommandId, CommandName, Envelope, Letter, Status};
use model::{MachineId, State, Timestamp};
use statemachine::Instant;

/// What stands in which slot.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    /// Letters of this machine.
    pub(crate) posted: BTreeMap<u8, Posted>,
    /// Letters to this machine, by origin and slot of theirs.
    pub(crate) received: BTreeMap<(MachineId, u8), Received>,
    /// Replies of this machine.
    pub(crate) replies: BTreeMap<u8, Replied>,
}

/// A letter of this machine.
#[derive(Debug)]
pub(crate) struct Posted {
    pub(crate) id: CommandId,
    pub(crate) target: MachineId,
    /// What it asks; `None` if it was posted before this machine started.
    pub(crate) name: Option<CommandName>,
    /// Who waits for it here.
    pub(crate) call: Option<CallId>,
    pub(crate) until: Timestamp,
    /// What came of it, while nobody waits here.
    pub(crate) answer: Option<Answer>,
}

/// A letter to this machine.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) envelope: Envelope,
    pub(crate) letter: Letter,
    /// When this machine read it first.
    pub(crate) since: Instant,
    pub(crate) stage: Stage,
}

/// How far a letter to this machine has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing serves it yet, or the time is not known.
    Waits,
    /// Commands have it.
    Handed,
    /// A reply stands in one of this machine's slots.
    Answered,
}

/// A reply of this machine.
#[derive(Debug)]
pub(crate) struct Replied {
    pub(crate) key: CallKey,
    pub(crate) until: Timestamp,
}

/// How many more letters may be handed to commands, so that each can be replied to.
#[derive(Debug)]
pub(crate) struct Room {
    left: usize,
    of_caller: BTreeMap<MachineId, usize>,
}

impl Room {
    /// Takes a place for a letter of this caller, if there is one.
    pub(crate) fn take(&mut self, caller: MachineId) -> bool {
        let of_caller = self.of_caller.entry(caller).or_default();
        let has_room = self.left > 0 && *of_caller < REPLIES_OF_CALLER_MAX;
        if has_room {
            self.left -= 1;
            *of_caller += 1;
        }
        has_room
    }
}

impl Posted {
    /// Waits for a letter that was posted before; returns its answer if that is there.
    ///
    /// # Errors
    ///
    /// `ALREADY_EXISTS` if the id names a letter to somebody else, or if somebody waits for it.
    pub(crate) fn wait(
        &mut self,
        call: CallId,
        target: MachineId,
    ) -> Result<Option<Answer>, Status> {
        let refused = |message: &str| Err(Status::new(Code::AlreadyExists, message));
        if self.target != target {
            return refused("this id names another command; draw a new one for each command");
        }
        if self.call.is_some() {
            return refused("another program waits for this command already; let it end first");
        }
        self.call = Some(call);
        Ok(self.answer.take())
    }
}

impl Mail {
    /// A slot for one more letter.
    pub(crate) fn free_for_letter(&self) -> Option<u8> {
        (0..State::SLOTS).find(|slot| !self.posted.contains_key(slot))
    }

    /// A slot for one more reply.
    pub(crate) fn free_for_reply(&self) -> Option<u8> {
        (0..State::SLOTS).find(|slot| !self.replies.contains_key(slot))
    }

    /// How many more letters can be replied to, besides those that commands have already.
    pub(crate) fn room_for_replies(&self) -> Room {
        let handed = self.received.iter();
        let handed = handed.filter(|(_, received)| received.stage == Stage::Handed);
        let handed = handed.map(|((caller, _), _)| *caller);
        let replied = self.replies.values().map(|replied| replied.key.caller);
        let mut room = Room {
            left: usize::from(State::SLOTS),
            of_caller: BTreeMap::new(),
        };
        for caller in handed.chain(replied) {
            room.left = room.left.saturating_sub(1);
            *room.of_caller.entry(caller).or_default() += 1;
        }
        room
    }

    /// The letter of this machine with this id.
    pub(crate) fn posted_as(&mut self, id: CommandId) -> Option<(u8, &mut Posted)> {
        let mut posted = self.posted.iter_mut();
        let (slot, posted) = posted.find(|(_, posted)| posted.id == id)?;
        Some((*slot, posted))
    }

    /// The letter to this machine that a key names.
    pub(crate) fn received_as(&mut self, key: CallKey) -> Option<&mut Received> {
        let of_caller = (key.caller, 0)..=(key.caller, u8::MAX);
        let mut received = self.received.range_mut(of_caller);
        received.find_map(|(_, letter)| (letter.envelope.id == key.id).then_some(letter))
    }

    /// The replies that stand for nobody any more: their letter was taken back, or its time is
    /// over.
    pub(crate) fn replies_over(&self, now: Timestamp) -> Vec<u8> {
        let is_over = |replied: &Replied| {
            let of_caller = (replied.key.caller, 0)..=(replied.key.caller, u8::MAX);
            let mut letters = self.received.range(of_caller);
            now >= replied.until || letters.all(|(_, letter)| letter.envelope.id != replied.key.id)
        };
        let replies = self.replies.iter();
        replies
            .filter(|(_, replied)| is_over(replied))
            .map(|(slot, _)| *slot)
            .collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.posted.is_empty() && self.received.is_empty() && self.replies.is_empty()
    }
}

/// Most replies to one machine at once, and letters of its that are carried out. Its other letters
/// wait until it has taken the first ones back. Source: guess, a quarter of the slots.
const REPLIES_OF_CALLER_MAX: usize = 16;
