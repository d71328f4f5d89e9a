//! States: the latest of each key, from admitted origins, and what of them a neighbour lacks.
//!
//! A state goes to every neighbour at once but to who sent it. What cannot go at once, because a
//! neighbour's queue is full or it lacks very many, is owed to it by key and sent later, then in
//! its latest version: a slow neighbour costs no more than its list of keys.

use std::collections::BTreeMap;
use std::ops::Bound;

use identity::Trust;
use model::{MachineId, State, StateKey, StateKind, StateVersion};
use statemachine::Instant;

use crate::config::share_of_origin;
use crate::machine::{Effect, Timer};
use crate::spread::as_u64;
use crate::{Fault, Gossip, Message, Output, Write};

/// The latest state of each key, and what memberships allow.
#[derive(Debug)]
pub(crate) struct States {
    by_key: BTreeMap<StateKey, State>,
    of_origin: BTreeMap<MachineId, usize>,
    /// The admitted machines, and whether each may publish.
    admitted: BTreeMap<MachineId, bool>,
    /// States that are being written, and whether a newer one waits for that.
    writing: BTreeMap<StateKey, bool>,
    max: usize,
}

impl States {
    pub(crate) const fn new(max: usize) -> Self {
        Self {
            by_key: BTreeMap::new(),
            of_origin: BTreeMap::new(),
            admitted: BTreeMap::new(),
            writing: BTreeMap::new(),
            max,
        }
    }

    pub(crate) fn get(&self, key: &StateKey) -> Option<&State> {
        self.by_key.get(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &State> {
        self.by_key.values()
    }

    /// Whether a membership of the machine is known.
    pub(crate) fn is_admitted(&self, machine: &MachineId) -> bool {
        self.admitted.contains_key(machine)
    }

    /// Whether a membership of the machine lets it be the origin of blocks.
    pub(crate) fn may_publish(&self, machine: &MachineId) -> bool {
        self.admitted.get(machine) == Some(&true)
    }

    /// Takes back a state that was stored.
    pub(crate) fn recover(&mut self, state: State, trust: &Trust) {
        if self.is_news(&state) && self.has_room_for(state.key()) {
            let may_publish = membership_of(&state, trust);
            self.insert(state, may_publish);
        }
    }

    /// All keys and versions, in parts that together cover every key.
    pub(crate) fn summary(&self) -> Vec<Message> {
        let known = (self.iter())
            .map(|state| (state.key().clone(), state.version()))
            .collect::<Vec<_>>();
        let count = known.len().div_ceil(Message::SUMMARY_MAX).max(1);
        let mut after = None;
        (1..=count)
            .map(|part| {
                let from = (part - 1) * Message::SUMMARY_MAX;
                let to = known.len().min(part * Message::SUMMARY_MAX);
                let entries = known[from..to].to_vec();
                let last = entries.last().map(|(key, _)| key.clone());
                let through = last.filter(|_| part < count);
                Message::StateSummary {
                    after: std::mem::replace(&mut after, through.clone()),
                    through,
                    entries,
                }
            })
            .collect()
    }

    fn is_news(&self, state: &State) -> bool {
        (self.get(state.key())).is_none_or(|known| known.version() < state.version())
    }

    fn has_room_for(&self, key: &StateKey) -> bool {
        let of_origin = self.of_origin.get(&key.origin).copied().unwrap_or(0);
        self.by_key.contains_key(key)
            || (self.by_key.len() < self.max && of_origin < share_of_origin(self.max))
    }

    /// Takes a state in; `may_publish` is what it says if it is a membership that holds.
    fn insert(&mut self, state: State, may_publish: Option<bool>) {
        let origin = state.key().origin;
        if let Some(may_publish) = may_publish {
            self.admitted.insert(origin, may_publish);
        }
        if self.by_key.insert(state.key().clone(), state).is_none() {
            *self.of_origin.entry(origin).or_default() += 1;
        }
    }
}

/// Reads a state of kind membership: `None` unless the operator signed it for its origin.
fn membership_of(state: &State, trust: &Trust) -> Option<bool> {
    if state.key().kind != StateKind::Membership {
        return None;
    }
    let membership = trust.read(state.payload().clone()).ok()?;
    let grant = membership.grant();
    let may_publish = grant.roles.contains(&identity::Role::Publish);
    (grant.machine == state.key().origin).then_some(may_publish)
}

impl Gossip {
    /// An own state: it is neither checked nor bounded by an origin's share.
    pub(crate) fn on_publish_state(&mut self, now: Instant, state: State) {
        if self.states.is_news(&state) {
            let may_publish = membership_of(&state, &self.trust);
            self.take_state(state, may_publish, None);
            self.after_states(now, may_publish == Some(true));
        } else {
            self.stats.states_old += 1; // The one that is newer was delivered already.
        }
    }

    pub(crate) fn on_states(&mut self, now: Instant, from: MachineId, states: Vec<State>) {
        let mut admits = false;
        for state in states {
            admits |= self.on_state(from, state);
        }
        self.after_states(now, admits);
    }

    /// Says what is newer here, or missing there, between two keys.
    pub(crate) fn on_summary(
        &mut self,
        now: Instant,
        from: MachineId,
        after: Option<StateKey>,
        through: Option<StateKey>,
        entries: Vec<(StateKey, StateVersion)>,
    ) {
        if let (Some(after), Some(through)) = (&after, &through)
            && after >= through
        {
            self.misbehaved(from, Fault::Frontier);
            return;
        }
        let Some(neighbour) = self.neighbours.get_mut(&from) else {
            return;
        };
        let known = entries.into_iter().collect::<BTreeMap<_, _>>();
        let range = (
            after.map_or(Bound::Unbounded, Bound::Excluded),
            through.map_or(Bound::Unbounded, Bound::Included),
        );
        for (key, state) in self.states.by_key.range(range) {
            if known.get(key).is_none_or(|known| *known < state.version()) {
                neighbour.owed.insert(key.clone());
            }
        }
        self.flush_states(now, from);
    }

    /// Sends a neighbour some of what it is owed, unless its queue is full.
    pub(crate) fn flush_states(&mut self, now: Instant, machine: MachineId) {
        for _ in 0..STATES_PER_FLUSH_MAX {
            let Some(neighbour) = self.neighbours.get_mut(&machine) else {
                return;
            };
            if neighbour.congested || neighbour.owed.is_empty() {
                return;
            }
            let states = std::iter::from_fn(|| neighbour.owed.pop_first())
                .take(Message::STATES_MAX)
                .filter_map(|key| self.states.by_key.get(&key).cloned())
                .collect::<Vec<_>>();
            self.stats.states_sent += as_u64(states.len());
            self.send(machine, Message::States(states));
        }
        let at = now + self.config.announce_interval;
        self.timers.set(Timer::Owed(machine), at);
    }

    /// A write of a state has ended, well or not; if a newer one waited, it is next.
    pub(crate) fn on_state_written(&mut self, key: &StateKey) {
        if self.states.writing.remove(key) == Some(true) {
            self.write_state(key);
        }
    }

    /// Forwards states that came in one call; an origin that may publish now can be asked for.
    fn after_states(&mut self, now: Instant, admits: bool) {
        for machine in self.neighbours.keys().copied().collect::<Vec<_>>() {
            self.flush_states(now, machine);
        }
        if admits {
            self.fill_all(now);
        }
    }

    /// One state of a neighbour: the cheap questions first, then signature and membership. Returns
    /// whether its origin may publish because of it.
    fn on_state(&mut self, from: MachineId, state: State) -> bool {
        let key = state.key();
        let known = self.states.get(key).map(State::version);
        if let Some(neighbour) = self.neighbours.get_mut(&from) {
            if known.is_some_and(|known| known > state.version()) {
                neighbour.owed.insert(key.clone());
            } else {
                neighbour.owed.remove(key);
            }
        }
        let is_membership = key.kind == StateKind::Membership;
        if known.is_some_and(|known| known >= state.version()) {
            self.stats.states_old += 1;
            return false;
        }
        if !is_membership && !self.states.is_admitted(&key.origin) {
            self.stats.states_unadmitted += 1;
            return false;
        }
        if !self.states.has_room_for(key) {
            self.stats.states_over_limit += 1;
            return false;
        }
        if identity::verify_state(&self.network, &state).is_err() {
            self.misbehaved(from, Fault::Signature);
            return false;
        }
        let may_publish = membership_of(&state, &self.trust);
        if is_membership && may_publish.is_none() {
            self.misbehaved(from, Fault::Membership);
            return false;
        }
        self.take_state(state, may_publish, Some(from));
        may_publish == Some(true)
    }

    /// Keeps a state that is news, has it written, and owes it to every other neighbour.
    fn take_state(&mut self, state: State, may_publish: Option<bool>, from: Option<MachineId>) {
        let key = state.key().clone();
        self.stats.states_first += 1;
        self.states.insert(state.clone(), may_publish);
        for (machine, neighbour) in &mut self.neighbours {
            if Some(*machine) != from {
                neighbour.owed.insert(key.clone());
            }
        }
        if key.kind.is_persistent() {
            self.write_state(&key);
        }
        self.outputs.push_back(Output::DeliverState(state));
    }

    /// Has a state written, one version at a time.
    fn write_state(&mut self, key: &StateKey) {
        if let Some(waits) = self.states.writing.get_mut(key) {
            *waits = true;
            return;
        }
        let Some(state) = self.states.get(key).cloned() else {
            return;
        };
        self.states.writing.insert(key.clone(), false);
        let ticket = self.ticket(Effect::State(key.clone()));
        let write = Write::State(state);
        self.outputs.push_back(Output::Persist(ticket, write));
    }
}

/// Most messages of states to one neighbour in one call; the rest follows a tick later.
/// Source: guess, 512 states.
const STATES_PER_FLUSH_MAX: usize = 16;
