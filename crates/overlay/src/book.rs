//! The book: every machine that is known, how to reach it, and how that went so far.
//!
//! Holds the passive view and, so that their addresses stay known, the active one. Bounded: when it
//! is full, a random machine that nobody needs makes room.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::MachineId;
use statemachine::{Instant, Rng};

use crate::{Address, Contact};

/// Who says where a machine may be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The machine, over a link that it authenticated.
    Itself,
    /// Discovery, on the machine's own network segment or by configuration.
    Discovery,
    /// This machine's own address book.
    Store,
    /// The machine, in a signed state that others carried.
    Presence,
    /// Another machine.
    Hearsay,
}

/// What is known of one machine.
#[derive(Debug)]
struct Entry {
    addresses: Vec<Address>,
    /// The addresses come from the machine itself.
    first_hand: bool,
    /// A link to it stood once, or it is known as a member for sure.
    met: bool,
    /// A link to it stands.
    linked: bool,
    /// Dials that failed, and requests refused, since it last was of use.
    failures: u32,
    /// Not before then again.
    retry_at: Instant,
    /// Dialled last.
    tried_at: Instant,
    /// Measured last, over a link that may be gone.
    round_trip: Option<Duration>,
}

/// One dial that is under way.
#[derive(Debug)]
struct Dial {
    since: Instant,
    probe: bool,
}

/// Every machine that is known.
#[derive(Debug)]
pub(crate) struct Book {
    own: MachineId,
    max: usize,
    entries: BTreeMap<MachineId, Entry>,
    dials: BTreeMap<MachineId, Dial>,
    lost: BTreeSet<MachineId>,
    /// Machines that nobody may link with; the caller bounds them.
    barred: BTreeSet<MachineId>,
}

impl Book {
    /// An empty book of at most `max` machines, of which `own` is none.
    pub(crate) const fn new(own: MachineId, max: usize) -> Self {
        Self {
            own,
            max,
            entries: BTreeMap::new(),
            dials: BTreeMap::new(),
            lost: BTreeSet::new(),
            barred: BTreeSet::new(),
        }
    }

    /// How many machines are known.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes note of a contact; returns whether the book says something new now.
    pub(crate) fn learn(&mut self, contact: Contact, source: Source, rng: &mut Rng) -> bool {
        let Contact {
            machine,
            mut addresses,
        } = contact;
        addresses.truncate(Contact::ADDRESSES_MAX);
        if machine == self.own || self.barred.contains(&machine) {
            return false;
        }
        if let Some(entry) = self.entries.get_mut(&machine) {
            return entry.update(addresses, source);
        }
        if self.entries.len() >= self.max && !self.make_room(source, rng) {
            return false;
        }
        let entry = Entry {
            addresses,
            first_hand: source == Source::Itself,
            met: matches!(source, Source::Itself | Source::Store | Source::Presence),
            linked: false,
            failures: 0,
            retry_at: Instant::ZERO,
            tried_at: Instant::ZERO,
            round_trip: None,
        };
        self.entries.insert(machine, entry);
        true
    }

    /// Forgets a random machine that nobody needs: one that fails if there is one. Hearsay takes
    /// the place of machines that were met only while those hold more than half of the book.
    fn make_room(&mut self, source: Source, rng: &mut Rng) -> bool {
        let met_count = self.entries.values().filter(|entry| entry.met).count();
        let spare_met = source == Source::Hearsay && met_count <= self.max / 2;
        let spared = |machine: &MachineId, entry: &Entry| {
            entry.linked
                || (spare_met && entry.met)
                || self.dials.contains_key(machine)
                || self.lost.contains(machine)
        };
        let free: Vec<(MachineId, bool)> = self
            .entries
            .iter()
            .filter(|(machine, entry)| !spared(machine, entry))
            .map(|(machine, entry)| (*machine, entry.failures > 0))
            .collect();
        let failing: Vec<(MachineId, bool)> = free.iter().copied().filter(|(_, f)| *f).collect();
        let victims = if failing.is_empty() { free } else { failing };
        match rng.choose(&victims) {
            Some((victim, _)) => self.entries.remove(victim).is_some(),
            None => false,
        }
    }

    /// Forgets a machine, and learns no more of it.
    pub(crate) fn bar(&mut self, machine: MachineId) {
        self.entries.remove(&machine);
        self.dials.remove(&machine);
        self.lost.remove(&machine);
        self.barred.insert(machine);
    }

    /// A machine may be known again.
    pub(crate) fn unbar(&mut self, machine: &MachineId) {
        self.barred.remove(machine);
    }

    /// The contact of a known machine.
    pub(crate) fn contact(&self, machine: &MachineId) -> Option<Contact> {
        self.entries.get(machine).map(|entry| Contact {
            machine: *machine,
            addresses: entry.addresses.clone(),
        })
    }

    /// All contacts, in the order of their ids.
    pub(crate) fn contacts(&self) -> impl Iterator<Item = Contact> {
        let machines = self.entries.keys();
        machines.filter_map(|machine| self.contact(machine))
    }

    /// A link to the machine stands.
    pub(crate) fn linked(&mut self, machine: &MachineId) {
        self.dials.remove(machine);
        if let Some(entry) = self.entries.get_mut(machine) {
            entry.linked = true;
            entry.met = true;
        }
    }

    /// The last link to the machine is gone.
    pub(crate) fn unlinked(&mut self, machine: &MachineId) {
        if let Some(entry) = self.entries.get_mut(machine) {
            entry.linked = false;
        }
    }

    /// The machine is a neighbour: all is forgiven.
    pub(crate) fn succeeded(&mut self, machine: &MachineId) {
        self.lost.remove(machine);
        if let Some(entry) = self.entries.get_mut(machine) {
            entry.failures = 0;
            entry.retry_at = Instant::ZERO;
        }
    }

    /// The machine did not answer or had no place: it is left alone for twice as long as before.
    pub(crate) fn failed(&mut self, now: Instant, machine: &MachineId, rng: &mut Rng) {
        if let Some(entry) = self.entries.get_mut(machine) {
            let backoff = BACKOFF_MIN * 2_u32.pow(entry.failures.min(16));
            entry.failures = entry.failures.saturating_add(1);
            entry.retry_at = now + rng.jitter(backoff.min(BACKOFF_MAX));
        }
    }

    /// The machine was dropped or has dropped this one: it is left alone for a while.
    pub(crate) fn rest(&mut self, now: Instant, machine: &MachineId, rng: &mut Rng) {
        if let Some(entry) = self.entries.get_mut(machine) {
            entry.retry_at = now + rng.jitter(REST);
        }
    }

    /// Whether the machine should be left alone for now.
    pub(crate) fn rests(&self, now: Instant, machine: &MachineId) -> bool {
        self.entries
            .get(machine)
            .is_some_and(|entry| entry.retry_at > now)
    }

    /// Looks for a machine from now on until it is a neighbour: it was one and is gone, or was met
    /// once and cannot be reached, or is not heard of. Beyond [`LOST_MAX`], a random one is given
    /// up.
    pub(crate) fn look_for(&mut self, machine: MachineId, rng: &mut Rng) {
        self.lost.insert(machine);
        if self.lost.len() > LOST_MAX {
            let lost: Vec<MachineId> = self.lost.iter().copied().collect();
            if let Some(given_up) = rng.choose(&lost) {
                self.lost.remove(given_up);
            }
        }
    }

    /// Whether the machine was lost and is no neighbour yet.
    pub(crate) fn is_lost(&self, machine: &MachineId) -> bool {
        self.lost.contains(machine)
    }

    /// The lost machines that may be dialled, the one that has waited longest first.
    pub(crate) fn lost_by_patience(&self) -> Vec<MachineId> {
        let mut lost: Vec<(Instant, MachineId)> = self
            .lost
            .iter()
            .filter_map(|machine| Some((machine, self.entries.get(machine)?)))
            .filter(|(machine, entry)| self.may_dial(machine, entry))
            .map(|(machine, entry)| (entry.tried_at, *machine))
            .collect();
        lost.sort_unstable();
        lost.into_iter().map(|(_, machine)| machine).collect()
    }

    /// At most `count` machines to dial for which `wanted` is true, those that failed least first,
    /// otherwise at random. Those that should be left alone for now are none of them.
    pub(crate) fn to_dial(
        &self,
        now: Instant,
        count: usize,
        wanted: impl Fn(&MachineId) -> bool,
        rng: &mut Rng,
    ) -> Vec<MachineId> {
        let mut due: Vec<(u32, u64, MachineId)> = self
            .entries
            .iter()
            .filter(|(machine, entry)| entry.retry_at <= now && self.may_dial(machine, entry))
            .filter(|(machine, _)| wanted(machine))
            .map(|(machine, entry)| (entry.failures, rng.next_u64(), *machine))
            .collect();
        due.sort_unstable();
        due.truncate(count);
        due.into_iter().map(|(_, _, machine)| machine).collect()
    }

    /// How far a machine is, as measured.
    pub(crate) fn measured(&mut self, machine: &MachineId, round_trip: Duration) {
        if let Some(entry) = self.entries.get_mut(machine) {
            entry.round_trip = Some(round_trip);
        }
    }

    /// A machine that could be nearer than this, by what was measured before or, if nothing is
    /// known of that kind, at random.
    pub(crate) fn nearer_than(
        &self,
        now: Instant,
        limit: Duration,
        rng: &mut Rng,
    ) -> Option<MachineId> {
        let good = self.entries.iter().filter(|(machine, entry)| {
            entry.failures == 0
                && entry.retry_at <= now
                && self.may_dial(machine, entry)
                && !self.lost.contains(machine)
        });
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for (machine, entry) in good {
            match entry.round_trip {
                Some(round_trip) if round_trip <= limit => known.push(*machine),
                Some(_) => {}
                None => unknown.push(*machine),
            }
        }
        rng.choose(&known).or(rng.choose(&unknown)).copied()
    }

    /// At most `count` machines to dial if there is nothing to lose: in turn, however often they
    /// failed.
    pub(crate) fn to_dial_in_turn(&self, count: usize) -> Vec<MachineId> {
        let mut all: Vec<(Instant, MachineId)> = self
            .entries
            .iter()
            .filter(|(machine, entry)| self.may_dial(machine, entry))
            .map(|(machine, entry)| (entry.tried_at, *machine))
            .collect();
        all.sort_unstable();
        all.truncate(count);
        all.into_iter().map(|(_, machine)| machine).collect()
    }

    /// Whether a dial to the machine makes sense.
    pub(crate) fn can_dial(&self, machine: &MachineId) -> bool {
        self.entries
            .get(machine)
            .is_some_and(|entry| self.may_dial(machine, entry))
    }

    fn may_dial(&self, machine: &MachineId, entry: &Entry) -> bool {
        !entry.linked && !entry.addresses.is_empty() && !self.dials.contains_key(machine)
    }

    /// Notes that a machine is being dialled, and returns where.
    pub(crate) fn dial(
        &mut self,
        now: Instant,
        machine: &MachineId,
        probe: bool,
    ) -> Option<Contact> {
        self.entries.get_mut(machine)?.tried_at = now;
        self.dials.insert(*machine, Dial { since: now, probe });
        self.contact(machine)
    }

    /// How many dials are under way for an empty place, probes aside.
    pub(crate) fn dials(&self) -> usize {
        self.dials.values().filter(|dial| !dial.probe).count()
    }

    /// A dial led nowhere; returns whether it was for an empty place. A machine that was met is
    /// looked for from now on, and one that was not is not.
    pub(crate) fn dial_failed(&mut self, now: Instant, machine: &MachineId, rng: &mut Rng) -> bool {
        let Some(dial) = self.dials.remove(machine) else {
            return false;
        };
        self.failed(now, machine, rng);
        if self.entries.get(machine).is_some_and(|entry| entry.met) {
            self.look_for(*machine, rng);
        } else {
            self.lost.remove(machine);
        }
        !dial.probe
    }

    /// Dials that nothing was heard of for too long.
    pub(crate) fn dials_overdue(&self, now: Instant) -> Vec<MachineId> {
        self.dials
            .iter()
            .filter(|(_, dial)| now - dial.since >= DIAL_TIMEOUT)
            .map(|(machine, _)| *machine)
            .collect()
    }

    /// At most `count` contacts for others, at random among those for which `wanted` is true and
    /// that are not known to fail.
    pub(crate) fn sample(
        &self,
        count: usize,
        wanted: impl Fn(&MachineId) -> bool,
        rng: &mut Rng,
    ) -> Vec<Contact> {
        let mut good: Vec<MachineId> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.failures == 0 && !entry.addresses.is_empty())
            .map(|(machine, _)| *machine)
            .filter(|machine| wanted(machine) && !self.lost.contains(machine))
            .collect();
        rng.shuffle(&mut good);
        good.truncate(count);
        good.iter()
            .filter_map(|machine| self.contact(machine))
            .collect()
    }
}

impl Entry {
    /// Takes newer addresses as far as their source is worth it; returns whether any changed.
    fn update(&mut self, mut addresses: Vec<Address>, source: Source) -> bool {
        match source {
            Source::Itself => {
                self.met = true;
                self.first_hand = true;
            }
            Source::Discovery => {
                self.retry_at = Instant::ZERO; // It is there now, whatever happened before.
                for known in &self.addresses {
                    if !addresses.contains(known) {
                        addresses.push(known.clone());
                    }
                }
                addresses.truncate(Contact::ADDRESSES_MAX);
            }
            Source::Presence => self.met = true,
            Source::Hearsay if self.first_hand && self.failures == 0 => return false,
            Source::Hearsay if self.linked => return false,
            Source::Hearsay | Source::Store => {}
        }
        if addresses.is_empty() || addresses == self.addresses {
            return false;
        }
        self.addresses = addresses;
        true
    }
}

/// First pause after a failure. Source: guess.
const BACKOFF_MIN: Duration = Duration::from_secs(1);

/// Longest pause after failures. Source: guess; with 64 contacts that all fail, two dials a second.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Pause after two machines ceased to be neighbours. Source: guess, so that places do not flap.
const REST: Duration = Duration::from_secs(5);

/// When a dial counts as failed though the link layer said nothing. Source: guess, above the link
/// layer's own limit.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Most machines that are probed because they were lost. Unit: machines. Source: guess, three times
/// the usual active view.
const LOST_MAX: usize = 16;

#[cfg(test)]
mod tests;
