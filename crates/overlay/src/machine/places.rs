//! Empty places in the active view, and who is dialled and asked for them.

use model::MachineId;
use statemachine::Instant;

use super::{Output, Overlay};
use crate::links::Reason;
use crate::{Contact, Message};

impl Overlay {
    /// How many places are neither filled nor asked for; those of doubted neighbours count as
    /// empty.
    pub(super) fn places(&self, now: Instant) -> usize {
        let asked = self
            .links
            .iter()
            .filter(|(machine, link)| link.question.is_some() && !self.is_neighbour(machine))
            .count();
        self.config
            .active_max
            .saturating_sub(self.trusted(now) + asked)
    }

    /// Asks and dials for empty places: more at once the more went wrong lately.
    pub(super) fn fill(&mut self, now: Instant) {
        for machine in self.askable(now) {
            if self.places(now) == 0 {
                return;
            }
            let urgent = self.trusted(now) == 0
                || self.refusals >= REFUSALS_MAX
                || self.is_invited(&machine);
            self.ask(now, machine, urgent, Reason::Place);
        }
        let count = self.places(now).saturating_mul(1 + self.setbacks);
        let count = count.min(DIALS_MAX).saturating_sub(self.book.dials());
        if count == 0 {
            return;
        }
        let invited = self.invited.iter().copied();
        let mut chosen: Vec<MachineId> = invited
            .filter(|m| self.book.can_dial(m) && !self.is_doubted(now, m))
            .collect();
        chosen.truncate(count);
        let doubts = &self.doubts;
        let trusted = |machine: &MachineId| !doubts.contains(now, machine);
        for machine in self.book.to_dial(now, count, trusted, &mut self.rng) {
            if chosen.len() < count && !chosen.contains(&machine) {
                chosen.push(machine);
            }
        }
        for machine in chosen {
            self.dial(now, machine, false);
        }
    }

    /// Who could be asked over a link that stands, in random order.
    fn askable(&mut self, now: Instant) -> Vec<MachineId> {
        let mut machines: Vec<MachineId> = self
            .links
            .iter()
            .filter(|(machine, link)| link.question.is_none() && !self.is_neighbour(machine))
            .filter(|(machine, _)| !self.book.rests(now, machine) && !self.is_doubted(now, machine))
            .map(|(machine, _)| *machine)
            .collect();
        self.rng.shuffle(&mut machines);
        machines
    }

    /// Asks a linked machine to be, or to confirm that it is, a neighbour.
    pub(super) fn ask(&mut self, now: Instant, machine: MachineId, urgent: bool, reason: Reason) {
        let joins = self.joined_at.is_none() && self.links.values().all(|l| l.question.is_none());
        let Some(link) = self.links.get_mut(&machine) else {
            return;
        };
        if !link.ask(now, reason) {
            return;
        }
        self.invited.retain(|invited| *invited != machine);
        let contact = Contact {
            machine: self.own,
            addresses: self.own_addresses.clone(),
        };
        let message = if urgent && reason == Reason::Place && joins {
            link.shuffle_sent(); // A join is answered like one too.
            Message::Join { contact }
        } else {
            Message::Neighbour { contact, urgent }
        };
        self.send(machine, message);
    }

    pub(super) fn dial(&mut self, now: Instant, machine: MachineId, probe: bool) {
        if let Some(contact) = self.book.dial(now, &machine, probe) {
            self.stats.dials += 1;
            self.say(Output::Dial(contact));
        }
    }
}

/// Most dials under way for empty places. Source: half of the contacts that are known at least, so
/// that two rounds try all.
pub(super) const DIALS_MAX: usize = 32;

/// Refusals in a row after which a machine with an empty place no longer takes no for an answer:
/// it may be part of a corner whose every other place is taken. Source: guess.
const REFUSALS_MAX: usize = 3;
