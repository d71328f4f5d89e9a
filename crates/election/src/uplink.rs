//! What is known of one uplink: who stands, who the relays are, what this machine serves.

use std::collections::BTreeSet;
use std::time::Duration;

use model::MachineId;
use statemachine::{BoundedMap, Instant};

use crate::ranking::{Relay, rank};
use crate::{Candidacy, Config};

/// This machine's own candidacy.
#[derive(Debug)]
pub(crate) struct Own {
    /// As the caller said it last.
    pub(crate) current: Candidacy,
    /// As everyone was told last: this counts, so that all machines reckon with the same.
    pub(crate) told: Candidacy,
    /// Since when it stands without a break; `None` if it does not, or only listens.
    pub(crate) since: Option<Instant>,
    /// `told` is not on its way yet.
    pub(crate) untold: bool,
}

impl Own {
    pub(crate) const fn new(current: Candidacy, told: Candidacy) -> Self {
        Self {
            current,
            told,
            since: None,
            untold: false,
        }
    }

    /// Makes what everyone is told equal to what is.
    pub(crate) fn tell(&mut self, now: Instant, settle_after: Duration) {
        let stood = |since| now.since(since) >= settle_after;
        self.told = Candidacy {
            serving: self.told.serving && self.current.standing,
            settled: self.since.is_some_and(stood) && self.current.standing,
            ..self.current.clone()
        };
        self.untold = true;
    }
}

/// What is known of one uplink.
#[derive(Debug)]
pub(crate) struct Uplink {
    pub(crate) own: Option<Own>,
    /// The others that stand.
    others: BoundedMap<MachineId, Candidacy>,
    /// The relays in the order of their ids.
    pub(crate) relays: Vec<Relay>,
    /// The origins that this machine serves.
    pub(crate) served: BTreeSet<MachineId>,
}

/// What became of another machine's candidacy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Noted.
    Yes,
    /// Noted in place of a worse one.
    InPlaceOf(MachineId),
    /// There are better ones enough.
    No,
}

impl Uplink {
    /// Most candidates that are reckoned with. Source: guess; a relay sends
    /// heartbeats to each.
    pub(crate) const CANDIDATES_MAX: usize = 16;

    pub(crate) fn new() -> Self {
        Self {
            own: None,
            others: BoundedMap::new(Self::CANDIDATES_MAX),
            relays: Vec::new(),
            served: BTreeSet::new(),
        }
    }

    /// Whether nothing is known of it, so it need not be kept.
    pub(crate) fn is_idle(&self) -> bool {
        self.own.is_none() && self.others.is_empty()
    }

    /// Whether this machine stands.
    pub(crate) fn stands(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.current.standing)
    }

    /// Whether a machine is one of its relays.
    pub(crate) fn has_relay(&self, machine: &MachineId) -> bool {
        self.relays.iter().any(|relay| relay.machine == *machine)
    }

    pub(crate) fn other(&self, machine: &MachineId) -> Option<&Candidacy> {
        self.others.get(machine)
    }

    pub(crate) fn others(&self) -> impl Iterator<Item = &MachineId> {
        self.others.keys()
    }

    pub(crate) fn remove(&mut self, machine: &MachineId) -> Option<Candidacy> {
        self.others.remove(machine)
    }

    /// The dead lose what they had over others, until they say themselves that they still serve:
    /// who comes back has no claim to the place that another took meanwhile.
    pub(crate) fn unseat(&mut self, is_alive: impl Fn(&MachineId) -> bool) {
        for (machine, candidacy) in self.others.iter_mut() {
            if !is_alive(machine) {
                candidacy.serving = false;
                candidacy.settled = false;
            }
        }
    }

    /// Notes a candidacy; if there are too many, the worst one goes.
    pub(crate) fn put(
        &mut self,
        machine: MachineId,
        candidacy: Candidacy,
        config: &Config,
    ) -> Taken {
        let rank_of = |(machine, c): (&MachineId, &Candidacy)| rank(*machine, c, config.hysteresis);
        if self.others.insert(machine, candidacy.clone()).is_ok() {
            return Taken::Yes;
        }
        let Some((worst, _)) = self.others.iter().max_by_key(|entry| rank_of(*entry)) else {
            return Taken::No;
        };
        let worst = *worst;
        let evicted = self.others.get(&worst).map(|c| rank_of((&worst, c)));
        if evicted.is_none_or(|evicted| rank_of((&machine, &candidacy)) > evicted) {
            return Taken::No;
        }
        self.others.remove(&worst);
        match self.others.insert(machine, candidacy) {
            Ok(_) => Taken::InPlaceOf(worst),
            Err(_) => Taken::No,
        }
    }

    /// The candidates that are reckoned with, best first, this machine included if it stands.
    pub(crate) fn electorate(
        &self,
        own: MachineId,
        config: &Config,
    ) -> Vec<(MachineId, &Candidacy)> {
        let standing = self.own.iter().filter(|own| own.current.standing);
        let others = self
            .others
            .iter()
            .map(|(machine, candidacy)| (*machine, candidacy));
        let mut candidates: Vec<_> = others.chain(standing.map(|o| (own, &o.told))).collect();
        candidates.sort_by_key(|(machine, c)| rank(*machine, c, config.hysteresis));
        candidates.truncate(Self::CANDIDATES_MAX);
        candidates
    }
}
