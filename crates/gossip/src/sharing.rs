//! Sharing: what of all that is held concerns a neighbour whose interest is another one.
//!
//! Between equal interests everything is shared, and where nobody subscribes to anything this costs
//! one small message. Where a node does, or its neighbour is of another site, it waits for the
//! neighbour's interest before it compares, and tells it until then what it is sure to want. Where
//! they differ, the sums are made over what both want, each time anew: one hash for each log and
//! state that is held, twice for each such neighbour that comes, some 10 ms with 10,000 of them.
//!
//! Where the site of an origin is not known yet, its log counts as wanted here, and is not told to
//! those of other interests; when its membership comes, what is held of it is told to them.

use model::{LogId, MachineId, SeriesName, StateKey, StateKind};
use statemachine::Instant;

use crate::compare::COMPARISON_INTERVAL_MIN;
use crate::digests::{Digests, Place, item_of_entry, item_of_state};
use crate::interest::Reach;
use crate::states::States;
use crate::{Gossip, Holdings, Interest, Message};

impl States {
    /// Where a machine is, as far as memberships say.
    fn site_of(&self, machine: &MachineId) -> Option<&SeriesName> {
        match machine == self.own() {
            true => self.interest().site(),
            false => self.admitted(machine).map(|admitted| &admitted.site),
        }
    }

    /// Whether this node wants the logs of a machine.
    pub(crate) fn wants_log(&self, machine: &MachineId) -> bool {
        let site = self.site_of(machine);
        site.is_none_or(|site| self.interest().wants(site))
    }

    /// Whether this node keeps a state that it is told. A membership is told to whom it concerns.
    pub(crate) fn takes(&self, key: &StateKey) -> bool {
        key.kind == StateKind::Membership || self.concerns(self.interest(), key)
    }

    /// Whether a state concerns whoever has an interest.
    fn concerns(&self, interest: &Interest, key: &StateKey) -> bool {
        let site = self.site_of(&key.origin);
        let wants = |site: Option<&SeriesName>| match site {
            Some(site) => interest.wants(site),
            None => interest.site().is_none(),
        };
        match Reach::of(key.kind) {
            Reach::Network => true,
            Reach::Judges => wants(site) || self.is_judged_everywhere(&key.origin),
            Reach::Logs => wants(site),
            Reach::Site => match site {
                Some(site) => interest.is_own(site),
                None => interest.site().is_none(),
            },
        }
    }

    /// Whether everyone needs a machine's membership: it admits others, or has said something that
    /// reaches everyone.
    fn is_judged_everywhere(&self, origin: &MachineId) -> bool {
        let may_admit = self
            .admitted(origin)
            .is_some_and(|admitted| admitted.may_admit);
        may_admit
            || self
                .keys_of(*origin)
                .any(|key| Reach::of(key.kind) == Reach::Network)
    }

    /// Whether a log is to be told to a neighbour; without an interest of its own it has ours.
    pub(crate) fn shares_log(&self, with: Option<&Interest>, machine: &MachineId) -> bool {
        match with {
            None => self.wants_log(machine),
            Some(theirs) => self.site_of(machine).is_some_and(|site| theirs.wants(site)),
        }
    }

    /// Whether a state is to be told to a neighbour; without an interest of its own it has ours.
    pub(crate) fn shares(&self, with: Option<&Interest>, key: &StateKey) -> bool {
        self.concerns(with.unwrap_or(self.interest()), key)
    }
}

impl Gossip {
    /// A neighbour says what it replicates: if that is not what we do, both compare what both want.
    pub(crate) fn on_interest(&mut self, now: Instant, from: MachineId, interest: Interest) {
        let Some(neighbour) = self.neighbours.get_mut(&from) else {
            return;
        };
        let is_soon = |said: Instant| now.since(said) < COMPARISON_INTERVAL_MIN;
        if neighbour.interest_said.is_some_and(is_soon) {
            self.stats.comparisons_over_limit += 1;
            return;
        }
        let theirs = (interest != *self.states.interest()).then_some(interest);
        let before = std::mem::replace(&mut neighbour.interest, theirs);
        let has_said = neighbour.interest_said.replace(now).is_some();
        let with = neighbour.interest.as_ref();
        (neighbour.owed).retain(|key| self.states.shares(with, key));
        let is_another = with.is_some();
        if has_said {
            self.on_neighbour_up(now, from); // It has started anew.
        } else if before.is_some() {
            self.compare_holdings(from); // What was to be compared was not known yet.
        } else if is_another {
            self.compare_shared_with(from);
        }
    }

    /// Says the sums over what a neighbour of another interest and this node both want.
    pub(crate) fn compare_shared_with(&mut self, machine: MachineId) {
        for holdings in [Holdings::SharedLogs, Holdings::SharedStates] {
            let sums = self.shared_digests(machine, holdings).sums();
            self.send(machine, Message::Sums(holdings, sums));
        }
    }

    /// The digests of what both want.
    pub(crate) fn shared_digests(&self, with: MachineId, of: Holdings) -> Digests {
        let mut digests = Digests::default();
        let neighbour = self.neighbours.get(&with);
        let Some(theirs) = neighbour.and_then(|neighbour| neighbour.interest.as_ref()) else {
            return digests;
        };
        let states = &self.states;
        if of.is_states() {
            for state in states.iter() {
                let key = state.key();
                if states.takes(key) && states.shares(Some(theirs), key) {
                    digests.add(Place::of_state(key), item_of_state(key, state.version()));
                }
            }
        } else {
            for entry in self.frontier.iter() {
                let machine = &entry.log.machine;
                if states.wants_log(machine) && states.shares_log(Some(theirs), machine) {
                    digests.add(Place::of_log(&entry.log), item_of_entry(entry));
                }
            }
        }
        digests
    }

    /// Where a machine is has become known: what is held of it concerns some who did not hear of
    /// it.
    pub(crate) fn tell_of(&mut self, machine: MachineId) {
        let logs = self.frontier.entries_of(machine).map(|entry| entry.log);
        self.changed.extend(logs.collect::<Vec<LogId>>());
        for neighbour in self.neighbours.values_mut() {
            let with = neighbour.interest.as_ref();
            let said = self.states.keys_of(machine);
            let said = said.filter(|key| key.kind != StateKind::Membership);
            let shared = said.filter(|key| self.states.shares(with, key));
            neighbour.owed.extend(shared.cloned());
        }
    }
}
