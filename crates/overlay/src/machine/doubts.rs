//! Doubted neighbours: those that withhold what they should give lose their places to others.
//!
//! Whoever fills all places of a machine decides what it hears. HyParView has no defence: full
//! views change only when a neighbour fails, and those that mean ill do not fail. As Bitcoin's
//! nodes do (Heilman, Kendler, Zohar, Goldberg, "Eclipse Attacks on Bitcoin's Peer-to-Peer
//! Network", USENIX Security 2015), a machine keeps some neighbours that it chose itself, whoever
//! asks for their places, and looks for others when it is told less than it should be.
//!
//! Doubt is no proof: the neighbour may be an honest machine with a broken disk. So it costs
//! little. A doubted machine keeps its place until another has come, gets a free one if there is
//! one, is told nothing wrong of, and is like any other after a while; that is longer each time.

use std::collections::BTreeMap;
use std::time::Duration;

use model::MachineId;
use statemachine::Instant;

use super::{Output, Overlay};
use crate::book::Source;
use crate::links::Reason;
use crate::{Contact, Message};

/// Who is doubted.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    machines: BTreeMap<MachineId, Doubt>,
}

#[derive(Clone, Copy, Debug)]
struct Doubt {
    until: Instant,
    /// How often there was reason for it.
    times: u32,
}

impl Doubts {
    /// There is reason to doubt a machine. If too many are, the one that is trusted again first
    /// makes room.
    fn add(&mut self, now: Instant, machine: MachineId) {
        let before = self.machines.get(&machine).copied();
        if before.is_some_and(|doubt| doubt.until > now) {
            return;
        }
        let times = before.map_or(0, |doubt| doubt.times);
        let pause = (DOUBT_MIN * 2_u32.pow(times.min(16))).min(DOUBT_MAX);
        let (until, times) = (now + pause, times.saturating_add(1));
        self.machines.insert(machine, Doubt { until, times });
        if self.machines.len() > DOUBTS_MAX {
            let first = self.machines.iter().min_by_key(|(_, doubt)| doubt.until);
            if let Some(first) = first.map(|(machine, _)| *machine) {
                self.machines.remove(&first);
            }
        }
    }

    /// Forgets those that have given no reason for as long as a doubt lasts at most.
    pub(super) fn forget(&mut self, now: Instant) {
        self.machines
            .retain(|_, doubt| doubt.until + DOUBT_MAX > now);
    }

    /// Whether a machine is doubted now.
    pub(super) fn contains(&self, now: Instant, machine: &MachineId) -> bool {
        let doubt = self.machines.get(machine);
        doubt.is_some_and(|doubt| doubt.until > now)
    }
}

impl Overlay {
    /// A neighbour withholds what it should give. It is asked whether it is there: if this machine
    /// reads slowly, or the link is overloaded, that is not answered in time either, and nothing
    /// follows.
    pub(super) fn on_withholds(
        &mut self,
        now: Instant,
        machine: MachineId,
        instead: Option<Contact>,
    ) {
        if self.is_neighbour(&machine)
            && let Some(link) = self.links.get_mut(&machine)
            && link.question.is_none()
        {
            link.accused = Some(instead);
            self.ask(now, machine, false, Reason::Control);
        }
    }

    /// A neighbour that withholds something answers other questions. Once may be chance: what was
    /// sent to a machine that reads slowly came to nothing, and now it has read everything. Twice
    /// in a row is not.
    pub(super) fn on_control(&mut self, now: Instant, machine: MachineId, other: Option<Contact>) {
        let Some(link) = self.links.get_mut(&machine) else {
            return;
        };
        let before = link.suspect_since.replace(now);
        if before.is_some_and(|before| now - before < SUSPICION) {
            self.doubt(now, machine, other);
        }
    }

    /// A neighbour is doubted: others are looked for, the one that certainly has what it withholds
    /// before all.
    fn doubt(&mut self, now: Instant, machine: MachineId, instead: Option<Contact>) {
        self.stats.doubts += 1;
        self.say(Output::Doubted(machine));
        self.doubts.add(now, machine);
        let instead = instead.filter(|contact| {
            let machine = &contact.machine;
            !self.is_neighbour(machine) && !self.is_doubted(now, machine)
        });
        if let Some(contact) = instead {
            let machine = contact.machine;
            self.learn(contact, Source::Presence);
            self.book.look_for(machine, &mut self.rng);
        } else {
            self.look_elsewhere(now);
        }
        self.fill(now);
    }

    /// Looks for a random machine that is no neighbour: whom all neighbours keep something from
    /// needs others, also with a full view.
    fn look_elsewhere(&mut self, now: Instant) {
        let (active, doubts) = (&self.active, &self.doubts);
        let other = self.book.sample(
            1,
            |machine| !active.contains_key(machine) && !doubts.contains(now, machine),
            &mut self.rng,
        );
        if let Some(contact) = other.first() {
            self.book.look_for(contact.machine, &mut self.rng);
        }
    }

    /// Whether a machine is doubted.
    pub(super) fn is_doubted(&self, now: Instant, machine: &MachineId) -> bool {
        self.doubts.contains(now, machine)
    }

    /// How many neighbours are not doubted.
    pub(super) fn trusted(&self, now: Instant) -> usize {
        let trusted = self.active.keys().filter(|m| !self.is_doubted(now, m));
        trusted.count()
    }

    /// Whether a doubted machine gets a place: a free one, or in need one above the view's size,
    /// but nobody else's.
    pub(super) fn has_place_for_doubted(&self, urgent: bool) -> bool {
        let max = match urgent {
            true => self.config.active_limit(),
            false => self.config.active_max,
        };
        self.active.len() < max
    }

    /// Takes a place from a doubted neighbour, if there is one.
    pub(super) fn drop_doubted(&mut self, now: Instant) -> bool {
        let doubted = self.active.keys().filter(|m| self.is_doubted(now, m));
        let doubted: Vec<MachineId> = doubted.copied().collect();
        let Some(machine) = self.rng.choose(&doubted).copied() else {
            return false;
        };
        self.stats.replaced += 1;
        self.remove(now, machine);
        self.send(machine, Message::Disconnect);
        true
    }

    /// The neighbours that may be dropped for whoever asks: not those that came just now, nor the
    /// oldest of those that this machine chose itself, as far as half of the view.
    pub(super) fn droppable(&self, now: Instant) -> Vec<MachineId> {
        let chosen = self.active.iter().filter(|(_, n)| n.is_chosen);
        let mut chosen: Vec<(Instant, MachineId)> = chosen
            .filter(|(machine, _)| !self.is_doubted(now, machine))
            .map(|(machine, neighbour)| (neighbour.since, *machine))
            .collect();
        chosen.sort_unstable();
        chosen.truncate(self.config.active_max / KEPT_ONE_IN);
        let is_kept = |machine: &MachineId| chosen.iter().any(|(_, kept)| kept == machine);
        let mut droppable = self.settled(now);
        droppable.retain(|machine| !is_kept(machine));
        droppable
    }
}

/// Within which time a neighbour must be said twice to withhold something. Source: guess, twice as
/// long as it takes `gossip` to find that out of a single block.
const SUSPICION: Duration = Duration::from_secs(150);
/// How long a machine is doubted the first time. Source: guess, several times what it takes to
/// notice again that it gives nothing.
const DOUBT_MIN: Duration = Duration::from_mins(2);
/// How long at most. Source: guess.
const DOUBT_MAX: Duration = Duration::from_hours(1);
/// Most machines that are doubted. Source: guess, several full views.
const DOUBTS_MAX: usize = 256;
/// One place in so many is kept for neighbours that this machine chose. Source: guess; whoever
/// joins finds a place in the other half.
const KEPT_ONE_IN: usize = 2;

#[cfg(test)]
mod tests;
