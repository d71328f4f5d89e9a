//! What is open with each linked machine, and who of them is a neighbour.

use std::time::Duration;

use model::MachineId;
use statemachine::Instant;

use crate::Contact;

/// Why a machine is wanted as neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// For an empty place, or because it is a neighbour as far as this machine knows.
    Place,
    /// It was lost: it gets a place also in a full view.
    Reunion,
    /// It is a neighbour that is said to withhold something: is it there at all?
    Control,
    /// It is nearer than this neighbour, whose place it gets.
    InsteadOf(MachineId),
}

/// A question to be neighbours, not answered yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    /// When it was asked.
    pub(crate) asked_at: Instant,
    /// Why.
    pub(crate) reason: Reason,
}

/// A link to another machine.
#[derive(Debug)]
pub(crate) struct Link {
    /// What was asked over it last.
    pub(crate) question: Option<Question>,
    /// Since when it has been of no use here; `None` while it is, and once it was released.
    pub(crate) idle_since: Option<Instant>,
    /// Measured last.
    pub(crate) round_trip: Option<Duration>,
    /// It was asked whether it is there ([`Reason::Control`]): who has what it withholds, if known.
    pub(crate) accused: Option<Option<Contact>>,
    /// When it last answered that.
    pub(crate) suspect_since: Option<Instant>,
    replies_due: u8,
    shuffles_due: u8,
    messages: u16,
}

impl Link {
    /// A link that was just opened.
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            question: None,
            idle_since: Some(now),
            round_trip: None,
            accused: None,
            suspect_since: None,
            replies_due: 0,
            shuffles_due: 0,
            messages: 0,
        }
    }

    /// Opens a question; returns whether another one may be asked at all.
    pub(crate) fn ask(&mut self, now: Instant, reason: Reason) -> bool {
        if self.question.is_some() || self.replies_due >= REPLIES_DUE_MAX {
            return false;
        }
        self.replies_due += 1;
        self.question = Some(Question {
            asked_at: now,
            reason,
        });
        true
    }

    /// Whether its question has been open for too long.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        self.question
            .is_some_and(|question| now - question.asked_at >= REPLY_TIMEOUT)
    }

    /// Takes a reply; returns whether one was due, to this question or to one before.
    pub(crate) fn take_reply(&mut self) -> bool {
        let due = self.replies_due > 0;
        self.replies_due = self.replies_due.saturating_sub(1);
        due
    }

    /// A shuffle was handed over, which may be answered once.
    pub(crate) fn shuffle_sent(&mut self) {
        self.shuffles_due = SHUFFLES_DUE_MAX.min(self.shuffles_due + 1);
    }

    /// Takes the answer to a shuffle; returns whether one was due.
    pub(crate) fn take_shuffle(&mut self) -> bool {
        let due = self.shuffles_due > 0;
        self.shuffles_due = self.shuffles_due.saturating_sub(1);
        due
    }

    /// Counts a message that costs something; returns whether that is still within the limit.
    pub(crate) fn may_receive(&mut self) -> bool {
        self.messages = self.messages.saturating_add(1);
        self.messages <= MESSAGES_MAX
    }

    /// Begins to count messages anew.
    pub(crate) const fn forgive(&mut self) {
        self.messages = 0;
    }
}

/// A member of the active view.
#[derive(Debug)]
pub(crate) struct Neighbour {
    /// Since when.
    pub(crate) since: Instant,
    /// When it last said that it sees this machine as its neighbour.
    pub(crate) confirmed_at: Instant,
    /// This machine asked it, not the other way round.
    pub(crate) is_chosen: bool,
}

impl Neighbour {
    /// A neighbour from now on.
    pub(crate) const fn new(now: Instant, is_chosen: bool) -> Self {
        Self {
            since: now,
            confirmed_at: now,
            is_chosen,
        }
    }
}

/// When a question counts as not answered. Source: guess, above any round trip of a site.
pub(crate) const REPLY_TIMEOUT: Duration = Duration::from_secs(3);

/// Most questions to one machine whose answers may still come. Source: guess.
const REPLIES_DUE_MAX: u8 = 4;

/// Most shuffles to one machine that may still be answered. Source: guess.
const SHUFFLES_DUE_MAX: u8 = 8;

/// Most requests and walks that are taken from one machine in a shuffle interval. Source: guess,
/// above what a machine hears when a hundred others join through it at once.
const MESSAGES_MAX: u16 = 256;
