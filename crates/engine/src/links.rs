//! Links: who needs which connection, so that nobody's is closed and no useless one stays.

use std::collections::BTreeSet;
use std::time::Duration;

use model::MachineId;
use statemachine::{Instant, Timers};

/// The connections of this machine and who needs them.
#[derive(Debug)]
pub(crate) struct Links {
    /// How long to wait before a candidate is dialled again.
    redial: Duration,
    up: BTreeSet<MachineId>,
    overlay: BTreeSet<MachineId>,
    election: BTreeSet<MachineId>,
    /// Targets of this machine's commands.
    targets: BTreeSet<MachineId>,
    /// Callers whose commands run here.
    callers: BTreeSet<MachineId>,
    timers: Timers<Timer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Nobody has needed the link for a while.
    Idle(MachineId),
    /// A candidate's link is down; dial it again.
    Redial(MachineId),
}

/// What to do about links whose timer fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Close the link.
    Release(MachineId),
    /// Open a link.
    Dial(MachineId),
}

impl Links {
    /// No connections. A candidate is dialled twice as often as candidacies are repeated, so that
    /// on a thin link one that is gone costs little.
    pub(crate) fn new(refresh_interval: Duration) -> Self {
        Self {
            redial: refresh_interval / 2,
            up: BTreeSet::new(),
            overlay: BTreeSet::new(),
            election: BTreeSet::new(),
            targets: BTreeSet::new(),
            callers: BTreeSet::new(),
            timers: Timers::default(),
        }
    }

    pub(crate) fn on_up(&mut self, now: Instant, machine: MachineId) {
        self.up.insert(machine);
        self.timers.clear(&Timer::Redial(machine));
        self.review(now, machine);
    }

    pub(crate) fn on_down(&mut self, now: Instant, machine: MachineId) {
        self.up.remove(&machine);
        self.overlay.remove(&machine);
        self.timers.clear(&Timer::Idle(machine));
        self.on_dial_failed(now, machine);
    }

    pub(crate) fn on_dial_failed(&mut self, now: Instant, machine: MachineId) {
        if self.election.contains(&machine) && !self.up.contains(&machine) {
            self.timers.set(Timer::Redial(machine), now + self.redial);
        }
    }

    /// The overlay took the machine in as neighbour, or let it go.
    pub(crate) fn set_overlay(&mut self, now: Instant, machine: MachineId, needed: bool) {
        if needed {
            self.overlay.insert(machine);
        } else {
            self.overlay.remove(&machine);
        }
        self.review(now, machine);
    }

    /// The election keeps the link to a candidate; returns whether it must be dialled.
    pub(crate) fn keep_for_election(&mut self, now: Instant, machine: MachineId) -> bool {
        self.election.insert(machine);
        self.review(now, machine);
        if self.up.contains(&machine) {
            return false;
        }
        self.timers.set(Timer::Redial(machine), now + self.redial);
        true
    }

    /// The election has no use for the link any more.
    pub(crate) fn release_by_election(&mut self, now: Instant, machine: MachineId) {
        self.election.remove(&machine);
        self.timers.clear(&Timer::Redial(machine));
        self.review(now, machine);
    }

    /// A command is on its way to the machine; returns whether it must be dialled.
    pub(crate) fn keep_for_target(&mut self, now: Instant, machine: MachineId) -> bool {
        self.targets.insert(machine);
        self.review(now, machine);
        !self.up.contains(&machine)
    }

    /// No command is on its way to the machine any more.
    pub(crate) fn release_target(&mut self, now: Instant, machine: MachineId) {
        self.targets.remove(&machine);
        self.review(now, machine);
    }

    /// A command of the machine runs here, or none any more.
    pub(crate) fn set_caller(&mut self, now: Instant, machine: MachineId, needed: bool) {
        if needed {
            self.callers.insert(machine);
        } else {
            self.callers.remove(&machine);
        }
        self.review(now, machine);
    }

    pub(crate) fn is_up(&self, machine: &MachineId) -> bool {
        self.up.contains(machine)
    }

    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Action> {
        let (_, timer) = self.timers.pop_due(now)?;
        Some(match timer {
            Timer::Idle(machine) => Action::Release(machine),
            Timer::Redial(machine) => {
                self.timers.set(timer, now + self.redial);
                Action::Dial(machine)
            }
        })
    }

    pub(crate) fn next_deadline(&self) -> Option<statemachine::Deadline> {
        self.timers.next_deadline(|timer| match timer {
            Timer::Idle(_) => "links: idle",
            Timer::Redial(_) => "links: redial",
        })
    }

    fn review(&mut self, now: Instant, machine: MachineId) {
        let users = [&self.overlay, &self.election, &self.targets, &self.callers];
        let needed = users.into_iter().any(|users| users.contains(&machine));
        if needed || !self.up.contains(&machine) {
            self.timers.clear(&Timer::Idle(machine));
        } else {
            self.timers.set_if_idle(Timer::Idle(machine), now + IDLE);
        }
    }
}

/// How long a link that nobody needs stays open, so that the other side may say what it is for.
/// Source: guess, above the time that a join and its answer take on a slow link.
const IDLE: Duration = Duration::from_secs(10);
