//! What is done from time to time: dials, questions and links that came to nothing end, lost
//! machines are looked for, and views are refreshed.

use std::time::Duration;

use model::MachineId;
use statemachine::Instant;

use super::walks::SHUFFLE_WALK;
use super::{Output, Overlay, Timer};
use crate::book::Source;
use crate::links::{Link, Reason};
use crate::{Contact, Message};

impl Overlay {
    /// Asks a lost machine that is linked again for a place, if there can be one for it here.
    pub(super) fn reunite(&mut self, now: Instant, machine: MachineId) {
        if self.is_doubted(now, &machine) {
            return;
        }
        if self.active.len() < self.config.active_limit() || !self.droppable(now).is_empty() {
            self.ask(now, machine, true, Reason::Reunion);
        }
    }

    /// Looks for a machine that the site has lost.
    pub(super) fn on_missing(&mut self, now: Instant, contact: Contact) {
        let machine = contact.machine;
        if self.is_neighbour(&machine) {
            return;
        }
        self.learn(contact, Source::Presence);
        if self.links.contains_key(&machine) {
            self.book.look_for(machine, &mut self.rng);
            self.reunite(now, machine);
        } else if self.book.can_dial(&machine) {
            self.book.look_for(machine, &mut self.rng);
        }
    }

    /// Forgets a machine that was thrown out.
    pub(super) fn on_barred(&mut self, now: Instant, machine: MachineId) {
        self.book.bar(machine);
        self.invited.retain(|invited| *invited != machine);
        self.links.remove(&machine);
        if self.is_neighbour(&machine) {
            self.remove(now, machine);
            self.fill(now);
        }
    }

    pub(super) fn on_tend(&mut self, now: Instant) {
        let next = now + self.rng.jitter(TEND_INTERVAL);
        self.timers.set(Timer::Tend, next);
        for machine in self.book.dials_overdue(now) {
            self.on_dial_failed(now, machine);
        }
        self.doubts.forget(now);
        self.expire_questions(now);
        self.release_idle(now);
        self.probe_lost(now);
        self.fill(now);
        if self.active.is_empty() {
            self.insist(now);
        }
    }

    /// A neighbour that does not answer is lost; another machine is left alone for a while.
    fn expire_questions(&mut self, now: Instant) {
        let mut silent = Vec::new();
        for (machine, link) in &mut self.links {
            if link.is_overdue(now) {
                let question = link.question.take();
                link.accused = None;
                if question.is_none_or(|question| question.reason != Reason::Control) {
                    silent.push(*machine);
                }
            }
        }
        for machine in silent {
            if self.is_neighbour(&machine) {
                self.lose(now, machine);
                self.send(machine, Message::Disconnect);
            } else {
                self.book.failed(now, &machine, &mut self.rng);
            }
        }
    }

    fn release_idle(&mut self, now: Instant) {
        let idle: Vec<MachineId> = self
            .links
            .iter()
            .filter(|(_, link)| link.question.is_none())
            .filter(|(_, link)| {
                link.idle_since
                    .is_some_and(|since| now - since >= IDLE_TIMEOUT)
            })
            .map(|(machine, _)| *machine)
            .take(RELEASES_MAX)
            .collect();
        for machine in idle {
            if let Some(link) = self.links.get_mut(&machine) {
                link.idle_since = None;
            }
            self.say(Output::Release(machine));
        }
    }

    /// Looks for lost machines, a few at a time, for as long as it takes: they may be the only way
    /// to the other half of a partition.
    fn probe_lost(&mut self, now: Instant) {
        let linked: Vec<MachineId> = self
            .links
            .keys()
            .filter(|machine| self.book.is_lost(machine) && !self.is_neighbour(machine))
            .copied()
            .collect();
        for machine in linked.into_iter().take(PROBES_MAX) {
            self.reunite(now, machine);
        }
        for machine in self.book.lost_by_patience().into_iter().take(PROBES_MAX) {
            self.dial(now, machine, true);
        }
    }

    /// Alone, with everybody to be left alone for now: tries them all the same, in turn.
    fn insist(&mut self, now: Instant) {
        if self.links.values().any(|link| link.question.is_some()) || self.book.dials() > 0 {
            return;
        }
        let linked: Vec<MachineId> = self.links.keys().copied().collect();
        if let Some(machine) = self.rng.choose(&linked) {
            self.ask(now, *machine, true, Reason::Place);
        }
        for machine in self.book.to_dial_in_turn(INSISTED_MAX) {
            self.dial(now, machine, false);
        }
    }

    pub(super) fn on_shuffle_timer(&mut self, now: Instant) {
        let interval = if self.shuffles < SHUFFLES_EARLY {
            self.config.shuffle_interval.min(SHUFFLE_INTERVAL_EARLY)
        } else {
            self.config.shuffle_interval
        };
        self.shuffles = self.shuffles.saturating_add(1);
        let next = now + self.rng.jitter(interval);
        self.timers.set(Timer::Shuffle, next);
        self.look_around(now, interval * CORNER_WINDOW);
        self.links.values_mut().for_each(Link::forgive);
        let longest_silent = self.active.iter().min_by_key(|(_, n)| n.confirmed_at);
        if let Some(machine) = longest_silent.map(|(machine, _)| *machine) {
            self.ask(now, machine, false, Reason::Place);
        }
        let neighbours: Vec<MachineId> = self.neighbours().collect();
        if let Some(neighbour) = self.rng.choose(&neighbours) {
            self.shuffle(*neighbour, SHUFFLE_WALK);
        }
    }

    /// In a corner, from which few others are heard, looks for a machine that is not heard.
    fn look_around(&mut self, now: Instant, window: Duration) {
        self.heard.forget(now, window);
        if self.joined_at.is_none_or(|joined| now - joined < window) {
            return;
        }
        let around = self
            .heard
            .machines()
            .filter(|m| !self.is_neighbour(m))
            .count();
        if self.active.len() + around >= self.config.active_limit() + CORNER_MARGIN {
            return;
        }
        let (heard, active) = (&self.heard, &self.active);
        let unheard = self.book.sample(
            1,
            |machine| !heard.contains(machine) && !active.contains_key(machine),
            &mut self.rng,
        );
        if let Some(contact) = unheard.first() {
            self.book.look_for(contact.machine, &mut self.rng);
        }
    }
}

/// How often dials, questions, links and lost machines are looked after. Source: a partition that
/// heals must be noticed within a second or two, to leave time to the first block (three seconds).
const TEND_INTERVAL: Duration = Duration::from_secs(1);

/// How long a link may be of no use before it is released. Source: guess, above the time for what
/// was sent last to arrive and for the peer to ask over the same link.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Most lost machines dialled, and most asked, in one tick. Source: guess; at least every eighth
/// second each of the 16 that are looked for.
const PROBES_MAX: usize = 2;

/// Most machines dialled in one tick without hope. Source: guess.
const INSISTED_MAX: usize = 4;

/// Most links released in one tick. Source: guess.
const RELEASES_MAX: usize = 16;

/// Shuffles at the early interval. Unit: shuffles. Source: guess, until it is clear to each machine
/// that starts together with others whether it sits in a corner.
const SHUFFLES_EARLY: u32 = 10;

/// How often views are refreshed in the beginning. Source: guess.
const SHUFFLE_INTERVAL_EARLY: Duration = Duration::from_secs(1);

/// For how many shuffle intervals a machine must not have been heard. Source: among twelve machines
/// a walk of six hops comes by every second one, so one in sixteen is missed wrongly.
const CORNER_WINDOW: u32 = 4;

/// A corner is at most this much larger than one with all places filled. Unit: machines.
/// Source: guess.
const CORNER_MARGIN: usize = 3;

/// Most outputs of all that has a limit here.
pub(super) const OUTPUTS_MAX: usize = RELEASES_MAX + 2 * PROBES_MAX + 1 + INSISTED_MAX;
