//! What is known of one neighbour, and what it and we owe each other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use model::{BlockId, LogId, MachineId, Sequence, StateKey};
use statemachine::{BoundedMap, Instant, Ticket};

use crate::urgent::Runs;
use crate::withheld::Withheld;
use crate::{FrontierEntry, Holdings, Interest, Span};

/// One neighbour, from link up to link down.
#[derive(Debug)]
pub(crate) struct Neighbour {
    /// What it said that it holds.
    pub(crate) frontier: BoundedMap<LogId, FrontierEntry>,
    /// When it became a neighbour, or started anew.
    pub(crate) since: Instant,
    /// What it replicates, if that is not what this node does; no more than its own site until
    /// it has said that.
    pub(crate) interest: Option<Interest>,
    /// When it said so.
    pub(crate) interest_said: Option<Instant>,
    /// What it has sent sums of.
    pub(crate) compared: BTreeSet<Holdings>,
    /// It has fallen silent: nothing is asked of it until it says something.
    pub(crate) suspected: bool,
    /// Its send queue is full.
    pub(crate) congested: bool,
    /// The origins whose blocks it told us not to push.
    pub(crate) lazy: BTreeSet<MachineId>,
    /// The origins whose blocks we told it not to push, and how much later than the first copy
    /// its own came or would have come the last time.
    pub(crate) pruned: BTreeMap<MachineId, Duration>,
    /// The origins whose blocks it was let push because it would have been sooner.
    pub(crate) preferred: BTreeSet<MachineId>,
    /// The logs of which it holds something that we lack.
    pub(crate) leads: BTreeMap<LogId, Lead>,
    /// Those of them in which it may hold alarms that we lack.
    pub(crate) urgent: BTreeSet<LogId>,
    /// The log in which it was asked last, so that every log gets its turn.
    pub(crate) asked_last: Option<LogId>,
    /// The blocks asked of it and not arrived, with the time of asking.
    pub(crate) wanted: BTreeMap<BlockId, Instant>,
    /// Blocks that are not asked of it before a time, because the last try came to nothing.
    pub(crate) later: BoundedMap<BlockId, Instant>,
    /// How many blocks may be wanted of it at once.
    pub(crate) window: usize,
    /// When it last sent a block that was wanted of it.
    pub(crate) answered: Instant,
    /// When it last said anything.
    pub(crate) heard: Instant,
    /// What it says it holds and does not give.
    pub(crate) withheld: Withheld,
    /// What it wants of us, most urgent first.
    pub(crate) serving: VecDeque<Serving>,
    /// The read that is under way for it.
    pub(crate) reading: Option<Ticket>,
    /// The states that it has not been sent yet.
    pub(crate) owed: BTreeSet<StateKey>,
}

/// Blocks that a neighbour wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Serving {
    pub(crate) log: LogId,
    pub(crate) span: Span,
    /// What is new goes before them.
    pub(crate) is_past: bool,
}

/// How far a neighbour leads in a log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lead {
    /// What lies after this may still come over the tree and is not asked yet.
    pub(crate) settled: Sequence,
    /// What `settled` becomes when the graft timer fires.
    pub(crate) target: Sequence,
    /// Which of the newest blocks hold alarms, as it says.
    pub(crate) urgent: Runs,
}

impl Neighbour {
    pub(crate) fn new(now: Instant, logs_max: usize) -> Self {
        Self {
            frontier: BoundedMap::new(logs_max),
            since: now,
            interest: None,
            interest_said: None,
            compared: BTreeSet::new(),
            suspected: false,
            congested: false,
            lazy: BTreeSet::new(),
            pruned: BTreeMap::new(),
            preferred: BTreeSet::new(),
            leads: BTreeMap::new(),
            urgent: BTreeSet::new(),
            asked_last: None,
            wanted: BTreeMap::new(),
            later: BoundedMap::new(LATER_MAX),
            window: WINDOW_START,
            answered: now,
            heard: now,
            withheld: Withheld::new(),
            serving: VecDeque::new(),
            reading: None,
            owed: BTreeSet::new(),
        }
    }

    /// Whether it said that it holds a block.
    pub(crate) fn covers(&self, id: &BlockId) -> bool {
        (self.frontier.get(&id.log)).is_some_and(|entry| entry.covers(id.sequence))
    }

    /// The log in which it leads after `log`, around the end.
    pub(crate) fn lead_after(&self, log: Option<LogId>) -> Option<LogId> {
        let after = log.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.leads.range((after, Bound::Unbounded)).next();
        (next.or_else(|| self.leads.first_key_value())).map(|(log, _)| *log)
    }

    /// A block arrived that may have been wanted of it: more may be asked at once.
    pub(crate) fn note_answer(&mut self, now: Instant, id: &BlockId) -> bool {
        let asked = self.wanted.remove(id).is_some();
        if asked {
            self.answered = now;
            self.window = (self.window + 1).min(WINDOW_MAX);
        }
        asked
    }

    /// Takes out what was wanted of it for too long: nothing came for `timeout`, or other things
    /// did for [`WANT_PATIENCE`] times that.
    pub(crate) fn take_overdue(&mut self, now: Instant, timeout: Duration) -> Vec<BlockId> {
        let answered = self.answered;
        let is_overdue = |asked: Instant| overdue_at(asked, answered, timeout) <= now;
        let overdue = (self.wanted.extract_if(.., |_, asked| is_overdue(*asked)))
            .map(|(id, _)| id)
            .collect::<Vec<_>>();
        if !overdue.is_empty() {
            self.window = 1;
        }
        overdue
    }

    /// When the first block that is wanted of it will be overdue, if nothing arrives.
    pub(crate) fn next_overdue(&self, timeout: Duration) -> Option<Instant> {
        let oldest = self.wanted.values().min()?;
        Some(overdue_at(*oldest, self.answered, timeout))
    }

    /// Says that what was announced of a log should have come over the tree by now; returns whether
    /// it announced more since.
    pub(crate) fn settle(&mut self, log: &LogId) -> bool {
        let (Some(lead), Some(theirs)) = (self.leads.get_mut(log), self.frontier.get(log)) else {
            return false;
        };
        lead.settled = lead.settled.max(lead.target);
        lead.target = theirs.top();
        lead.target > lead.settled
    }

    /// Whether the last thing that was wanted of it did not come, or it has fallen silent.
    pub(crate) const fn is_stalled(&self) -> bool {
        self.window == 1 || self.suspected
    }
}

fn overdue_at(asked: Instant, answered: Instant, timeout: Duration) -> Instant {
    (asked.max(answered) + timeout).min(asked + timeout * WANT_PATIENCE)
}

/// Most blocks wanted of one neighbour at once. Source: guess.
pub(crate) const WINDOW_MAX: usize = 256;
/// How many blocks are wanted of a new neighbour at once; each that comes adds one. Source: guess.
const WINDOW_START: usize = 16;
/// Most blocks remembered as not to be asked again soon. Source: four windows.
const LATER_MAX: usize = 4 * WINDOW_MAX;
/// How many timeouts a block may be wanted for while others arrive. Unit: none. Source: guess.
pub(crate) const WANT_PATIENCE: u32 = 8;
