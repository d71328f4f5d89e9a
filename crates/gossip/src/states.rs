//! States: the latest of each key, from admitted origins, and what of them a neighbour lacks.
//!
//! A state goes to every neighbour at once but to who sent it. What cannot go at once, because a
//! neighbour's queue is full or it lacks very many, is owed to it by key and sent later, then in
//! its latest version: a slow neighbour costs no more than its list of keys. When there is no room,
//! one that is said again often enough is forgotten, so that machines that are gone take none for
//! ever.
//!
//! Who may say what: every machine its membership; members everything else, until they are thrown
//! out; the operator and admitters, who is thrown out and who gets a newer membership; admitters,
//! which invitations are used up; the operator, who gets a newer network key. Of a machine that was
//! thrown out only what its blocks need to be read is kept, and what it is convicted of. A proof
//! that a machine has signed two blocks of one number anyone may say: it is checked, not who says
//! it. Which of them concern this node and its neighbours `sharing` says.

use std::collections::BTreeMap;
use std::ops::Bound;

use identity::{Equivocation, Redemption, Renewal, Revocation, Role, Roll};
use model::{MachineId, SeriesName, State, StateKey, StateKind};
use statemachine::Instant;

use crate::config::{share_of_operator, share_of_origin};
use crate::digests::{Differing, Digests, Place, item_of_state};
use crate::interest::Reach;
use crate::machine::Timer;
use crate::spread::as_u64;
use crate::writes::Writes;
use crate::{Fault, Gossip, Interest, Message, Output, RelayError, Sums};

/// The latest state of each key, and what memberships allow.
#[derive(Debug)]
pub(crate) struct States {
    own: MachineId,
    interest: Interest,
    by_key: BTreeMap<StateKey, State>,
    of_origin: BTreeMap<MachineId, usize>,
    /// The sums over all of them.
    digests: Digests,
    /// What the newest membership of each machine says.
    admitted: BTreeMap<MachineId, Admitted>,
    roll: Roll,
    /// How many of them are not written because they are said again often enough.
    fleeting: usize,
    /// The one of those that was forgotten last to make room.
    forgotten: Option<StateKey>,
    pub(crate) writes: Writes,
    max: usize,
}

/// What a membership says, as far as gossip asks.
#[derive(Clone, Debug)]
pub(crate) struct Admitted {
    pub(crate) site: SeriesName,
    issuer: MachineId,
    may_publish: bool,
    pub(crate) may_admit: bool,
}

/// What a state says that more follows from than that it is kept.
#[derive(Clone, Debug)]
enum Content {
    Membership(Admitted),
    Revocation(Revocation),
    Redemption(Box<Redemption>),
    Other,
}

impl States {
    pub(crate) fn new(own: MachineId, interest: Interest, max: usize, roll: Roll) -> Self {
        Self {
            own,
            interest,
            by_key: BTreeMap::new(),
            of_origin: BTreeMap::new(),
            digests: Digests::default(),
            admitted: BTreeMap::new(),
            roll,
            fleeting: 0,
            forgotten: None,
            writes: Writes::default(),
            max,
        }
    }

    pub(crate) fn get(&self, key: &StateKey) -> Option<&State> {
        self.by_key.get(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &State> {
        self.by_key.values()
    }

    /// The keys of an origin, its membership's first.
    pub(crate) fn keys_of(&self, origin: MachineId) -> impl Iterator<Item = &StateKey> {
        let keys = self.by_key.range(membership_key(origin)..);
        let keys = keys.map(|(key, _)| key);
        keys.take_while(move |key| key.origin == origin)
    }

    /// Whose states they are.
    pub(crate) const fn own(&self) -> &MachineId {
        &self.own
    }

    /// What this node replicates.
    pub(crate) const fn interest(&self) -> &Interest {
        &self.interest
    }

    /// What the membership of a machine says, if it is known.
    pub(crate) fn admitted(&self, machine: &MachineId) -> Option<&Admitted> {
        self.admitted.get(machine)
    }

    /// Who counts as a member, as far as these states say.
    pub(crate) const fn roll(&self) -> &Roll {
        &self.roll
    }

    /// Whether a membership of the machine is known.
    pub(crate) fn is_admitted(&self, machine: &MachineId) -> bool {
        self.admitted.contains_key(machine)
    }

    /// Whether a membership of the machine lets it be the origin of blocks. It stays so when the
    /// machine is thrown out: what it has published outlives it.
    pub(crate) fn may_publish(&self, machine: &MachineId) -> bool {
        (self.admitted.get(machine)).is_some_and(|admitted| admitted.may_publish)
    }

    /// Takes back the states that were stored, in any order.
    pub(crate) fn recover(&mut self, mut states: Vec<State>) {
        let is_ordinary = |state: &State| !state.key().kind.outlives_its_origin();
        states.sort_by_key(is_ordinary); // Who is out is known before what others say is judged.
        for state in states {
            let key = state.key();
            let counts = key.kind.outlives_its_origin() || !self.is_out(&key.origin);
            if counts && self.is_news(&state) && self.has_room_for(key) {
                let content = self.content_of(&state).unwrap_or(Content::Other);
                self.insert(state, content);
            }
        }
    }

    /// Whether the origin may say this at all.
    fn may_say(&self, key: &StateKey) -> bool {
        let is_operator = key.origin == self.roll.trust().operator();
        let admitted = self.admitted.get(&key.origin);
        match key.kind {
            StateKind::Membership => true,
            StateKind::NetworkKey => is_operator,
            StateKind::Revocation | StateKind::Renewal if is_operator => true,
            StateKind::Revocation | StateKind::Renewal | StateKind::Redemption => {
                admitted.is_some_and(|admitted| admitted.may_admit) && !self.is_out(&key.origin)
            }
            StateKind::Series | StateKind::Equivocation => admitted.is_some(),
            StateKind::Presence
            | StateKind::Watermark
            | StateKind::Candidacy
            | StateKind::Progress
            | StateKind::Letter
            | StateKind::Reply => admitted.is_some() && !self.is_out(&key.origin),
        }
    }

    /// Whether a machine was thrown out.
    fn is_out(&self, machine: &MachineId) -> bool {
        let admitted = self.admitted.get(machine);
        admitted.is_some_and(|admitted| self.roll.is_out(*machine, admitted.issuer))
    }

    /// What a state says; a fault if its payload is not what its kind demands.
    fn content_of(&self, state: &State) -> Result<Content, Fault> {
        match state.key().kind {
            StateKind::Membership => {
                let admitted = self.membership_of(state).ok_or(Fault::Membership)?;
                Ok(Content::Membership(admitted))
            }
            StateKind::Revocation => Revocation::from_state(state)
                .map(Content::Revocation)
                .map_err(|_| Fault::Revocation),
            StateKind::Redemption => Redemption::from_state(self.roll.trust(), state)
                .map(|redemption| Content::Redemption(Box::new(redemption)))
                .map_err(|_| Fault::Redemption),
            StateKind::Renewal => Renewal::from_state(&self.roll.trust(), state)
                .map(|_| Content::Other)
                .map_err(|_| Fault::Membership),
            StateKind::NetworkKey => (state.key().subject.parse::<MachineId>())
                .map(|_| Content::Other)
                .map_err(|_| Fault::NetworkKey),
            StateKind::Letter | StateKind::Reply => {
                let subject = &state.key().subject;
                let slot = subject.parse::<u8>();
                // Written in one way only: each of them is one state.
                let is_slot =
                    slot.is_ok_and(|slot| slot < State::SLOTS && slot.to_string() == *subject);
                is_slot.then_some(Content::Other).ok_or(Fault::Slot)
            }
            StateKind::Presence
            | StateKind::Series
            | StateKind::Watermark
            | StateKind::Candidacy
            | StateKind::Progress
            | StateKind::Equivocation => Ok(Content::Other),
        }
    }

    /// Reads a state of kind membership: `None` unless it is genuine and its origin's own.
    fn membership_of(&self, state: &State) -> Option<Admitted> {
        let membership = self.roll.trust().read(state.payload().clone()).ok()?;
        let grant = membership.grant();
        let admitted = Admitted {
            site: grant.site.parse().ok()?,
            issuer: membership.issuer(),
            may_publish: grant.roles.contains(&Role::Publish),
            may_admit: grant.may_admit(),
        };
        (grant.machine == state.key().origin).then_some(admitted)
    }

    /// The sums over all states.
    pub(crate) fn sums(&self) -> Sums {
        self.digests.sums()
    }

    /// Where another's sums differ.
    pub(crate) fn differing(&self, theirs: &Sums) -> Differing {
        self.digests.differing(theirs)
    }

    /// Whether it is proved that a machine has signed two different blocks of one number.
    pub(crate) fn is_convicted(&self, machine: &MachineId) -> bool {
        self.by_key.contains_key(&StateKey {
            origin: *machine,
            kind: StateKind::Equivocation,
            subject: String::new(),
        })
    }

    fn is_news(&self, state: &State) -> bool {
        (self.get(state.key())).is_none_or(|known| known.version() < state.version())
    }

    fn has_room_for(&self, key: &StateKey) -> bool {
        let of_origin = self.of_origin.get(&key.origin).copied().unwrap_or(0);
        if self.by_key.contains_key(key) || key.kind == StateKind::Equivocation {
            return true; // There is one of each origin, and what it says itself cannot keep it out.
        }
        if key.origin == self.roll.trust().operator() {
            // Its word is few, and no flood of others' keeps it out.
            return of_origin < share_of_operator(self.max);
        }
        (self.by_key.len() < self.max || self.fleeting > 0) && of_origin < share_of_origin(self.max)
    }

    /// Takes a state in, with what follows from it.
    fn insert(&mut self, state: State, content: Content) {
        let origin = state.key().origin;
        let key = state.key().clone();
        let place = Place::of_state(&key);
        self.digests
            .add(place, item_of_state(&key, state.version()));
        match self.by_key.insert(key.clone(), state) {
            Some(old) => (self.digests).remove(place, item_of_state(old.key(), old.version())),
            None => {
                *self.of_origin.entry(origin).or_default() += 1;
                self.fleeting += usize::from(!key.kind.is_persistent());
                self.make_room(&key);
            }
        }
        match content {
            Content::Membership(admitted) => {
                self.admitted.insert(origin, admitted);
                self.forget_if_out(origin);
            }
            Content::Revocation(revocation) => {
                if self.roll.revoke(&revocation) {
                    self.forget_if_out(revocation.machine);
                    self.forget_admitted_by(revocation.machine);
                }
            }
            Content::Redemption(redemption) => {
                if self.roll.redeem(&redemption) {
                    let redeemer = self.roll.redeemer(redemption.invitation());
                    let too_late = redeemer.map(|redeemer| redeemer.too_late);
                    for machine in too_late.into_iter().flatten() {
                        self.forget_if_out(machine);
                    }
                }
            }
            Content::Other => {}
        }
    }

    /// If there are too many, forgets one that is said again often enough, each in its turn: those
    /// of machines that are gone are not.
    fn make_room(&mut self, new: &StateKey) {
        if self.by_key.len() <= self.max || self.fleeting == 0 {
            return;
        }
        let after = self
            .forgotten
            .clone()
            .map_or(Bound::Unbounded, Bound::Excluded);
        let is_fleeting = |key: &&StateKey| !key.kind.is_persistent() && *key != new;
        let later = self.by_key.range((after, Bound::Unbounded));
        let next = later
            .chain(&self.by_key)
            .map(|(key, _)| key)
            .find(is_fleeting);
        if let Some(key) = next.cloned() {
            self.forget(&key);
            self.forgotten = Some(key);
        }
    }

    fn forget(&mut self, key: &StateKey) {
        let Some(old) = self.by_key.remove(key) else {
            return;
        };
        let item = item_of_state(key, old.version());
        self.digests.remove(Place::of_state(key), item);
        self.fleeting -= usize::from(!key.kind.is_persistent());
        if let Some(count) = self.of_origin.get_mut(&key.origin) {
            *count -= 1;
        }
    }

    /// With an admitter everyone is out that it has admitted.
    fn forget_admitted_by(&mut self, issuer: MachineId) {
        let by_issuer = self
            .admitted
            .iter()
            .filter(|(_, admitted)| admitted.issuer == issuer);
        for machine in by_issuer.map(|(machine, _)| *machine).collect::<Vec<_>>() {
            self.forget_if_out(machine);
        }
    }

    /// Forgets what a machine says that was thrown out, but for what its blocks need to be read.
    fn forget_if_out(&mut self, machine: MachineId) {
        if !self.is_out(&machine) {
            return;
        }
        let of_machine = self.keys_of(machine);
        let forgotten = of_machine.filter(|key| !key.kind.outlives_its_origin());
        for key in forgotten.cloned().collect::<Vec<_>>() {
            self.forget(&key);
        }
    }
}

/// The first key of an origin.
pub(crate) const fn membership_key(origin: MachineId) -> StateKey {
    StateKey {
        origin,
        kind: StateKind::Membership,
        subject: String::new(),
    }
}

impl Content {
    const fn admits_a_publisher(&self) -> bool {
        matches!(self, Self::Membership(admitted) if admitted.may_publish)
    }
}

/// Why a state is not taken.
enum Refused {
    /// It is known, or one that is newer.
    Old,
    /// Its origin may not say this.
    Unadmitted,
    /// It does not concern this node.
    Unwanted,
    OverLimit,
    Fault(Fault),
}

impl Gossip {
    /// An own state: it is neither checked nor bounded by an origin's share.
    pub(crate) fn on_publish_state(&mut self, now: Instant, state: State) {
        if self.states.is_news(&state) {
            let content = self.states.content_of(&state).unwrap_or(Content::Other);
            let admits = content.admits_a_publisher();
            self.take_state(state, content, None);
            self.after_states(now, admits);
        } else {
            self.stats.states_old += 1; // The one that is newer was delivered already.
        }
    }

    /// Two blocks of one number have met here.
    pub(crate) fn convict(&mut self, now: Instant, proof: &Equivocation) {
        self.stats.equivocations += 1;
        self.take_state(proof.to_state(), Content::Other, None);
        self.after_states(now, false);
    }

    /// Takes a state that was signed elsewhere and did not come over a link. Returns whether it is
    /// news.
    ///
    /// # Errors
    ///
    /// [`RelayError`] if no neighbour would take it either.
    pub fn relay(&mut self, now: Instant, state: State) -> Result<bool, RelayError> {
        match self.check_state(&state) {
            Ok(content) => {
                let admits = content.admits_a_publisher();
                self.take_state(state, content, None);
                self.after_states(now, admits);
                Ok(true)
            }
            Err(Refused::Old) => Ok(false),
            Err(Refused::Unadmitted | Refused::Unwanted) => Err(RelayError::NotPermitted),
            Err(Refused::OverLimit) => Err(RelayError::Full),
            Err(Refused::Fault(_)) => Err(RelayError::Invalid),
        }
    }

    pub(crate) fn on_states(&mut self, now: Instant, from: MachineId, states: Vec<State>) {
        let mut admits = false;
        for state in states {
            admits |= self.on_state(from, state);
        }
        self.after_states(now, admits);
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

    /// Forwards states that came in one call; an origin that may publish now can be asked for.
    fn after_states(&mut self, now: Instant, admits: bool) {
        if !self.changed.is_empty() {
            let at = now + self.config.announce_interval;
            self.timers.set_if_idle(Timer::Announce, at);
        }
        for machine in self.neighbours.keys().copied().collect::<Vec<_>>() {
            self.flush_states(now, machine);
        }
        if admits {
            self.fill_all(now);
        }
    }

    /// One state of a neighbour. Returns whether its origin may publish because of it.
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
        match self.check_state(&state) {
            Ok(content) => {
                let admits = content.admits_a_publisher();
                self.take_state(state, content, Some(from));
                return admits;
            }
            Err(Refused::Old) => self.stats.states_old += 1,
            Err(Refused::Unadmitted) => self.stats.states_unadmitted += 1,
            Err(Refused::Unwanted) => self.stats.states_unwanted += 1,
            Err(Refused::OverLimit) => self.stats.states_over_limit += 1,
            Err(Refused::Fault(fault)) => self.misbehaved(from, fault),
        }
        false
    }

    /// The cheap questions first, then signature and content.
    fn check_state(&self, state: &State) -> Result<Content, Refused> {
        if !self.states.is_news(state) {
            return Err(Refused::Old);
        }
        if !self.states.may_say(state.key()) {
            return Err(Refused::Unadmitted);
        }
        if !self.states.takes(state.key()) {
            return Err(Refused::Unwanted);
        }
        if !self.states.has_room_for(state.key()) {
            return Err(Refused::OverLimit);
        }
        if (self.signatures.verify_state(&self.network, state)).is_err() {
            return Err(Refused::Fault(Fault::Signature));
        }
        self.states.content_of(state).map_err(Refused::Fault)
    }

    /// Keeps a state that is news, has it written, and owes it to every other neighbour that it
    /// concerns, with the membership by which those of other sites judge it.
    fn take_state(&mut self, state: State, content: Content, from: Option<MachineId>) {
        let key = state.key().clone();
        self.stats.states_first += 1;
        let site = |states: &States| Some(states.admitted(&key.origin)?.site.clone());
        let (site_before, is_first) = (site(&self.states), self.states.get(&key).is_none());
        self.states.insert(state.clone(), content);
        let membership = membership_key(key.origin);
        let is_judged = is_first
            && Reach::of(key.kind) == Reach::Network
            && self.states.get(&membership).is_some();
        for (machine, neighbour) in &mut self.neighbours {
            if Some(*machine) == from {
                continue;
            }
            if self.states.shares(neighbour.interest.as_ref(), &key) {
                neighbour.owed.insert(key.clone());
            }
            if is_judged && neighbour.interest.is_some() {
                neighbour.owed.insert(membership.clone());
            }
        }
        if key.origin != self.own && site(&self.states) != site_before {
            self.tell_of(key.origin);
        }
        if key.kind.is_persistent() {
            self.write_state(&key);
        }
        self.outputs.push_back(Output::DeliverState(state));
    }
}

/// Most messages of states to one neighbour in one call; the rest follows a tick later.
/// Source: guess, 512 states.
const STATES_PER_FLUSH_MAX: usize = 16;
