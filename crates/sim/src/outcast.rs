//! The machine that is thrown out: who has heard of it, and what must hold afterwards.

use engine::{AdminRequest, Event, Input, RequestId};
use statemachine::Instant;

use crate::world::World;

/// The machine that was thrown out. It goes on as if nothing had happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcast {
    /// Which one.
    pub(crate) machine: usize,
    /// When the operator pushed the revocation.
    pushed: Instant,
}

impl World {
    /// The machines that belong to the network, but those that are gone for good.
    pub(crate) fn members(&self) -> impl Iterator<Item = usize> + use<> {
        let outcast = self.outcast.map(|outcast| outcast.machine);
        let is_left = |number: &usize| !self.machines[*number].is_gone;
        let left: Vec<usize> = (0..self.site.len()).filter(is_left).collect();
        left.into_iter()
            .filter(move |number| Some(*number) != outcast)
    }

    /// The operator throws out the last machine, which is no candidate, once, through another one.
    pub(crate) fn revoke(&mut self, through: usize) {
        let machine = self.site.len() - 1;
        if self.outcast.is_some()
            || self.site.is_candidate(machine)
            || through == machine
            || !self.machines[through].answers()
        {
            return;
        }
        self.outcast = Some(Outcast {
            machine,
            pushed: self.now,
        });
        self.requests += 1;
        let request = AdminRequest::Relay(self.site.revocation(machine));
        self.input(
            through,
            Input::Admin(RequestId(self.requests), Box::new(request)),
        );
    }

    /// Whether a machine lets another one in.
    pub(crate) fn admits(&self, host: usize, guest: usize) -> bool {
        let host = &self.machines[host];
        let shown = self.site.membership(guest);
        host.running.as_ref().is_some_and(|running| {
            let time = Some(host.wall(self.now));
            running.node.roll().judge(&shown, time).is_ok()
        })
    }

    /// Whether somebody beside `machine` keeps the outcast out: what only one has heard is gone
    /// with its list, and must be pushed again.
    pub(crate) fn others_know_of_outcast(&self, machine: usize) -> bool {
        let Some(outcast) = self.outcast else {
            return true;
        };
        self.members().any(|other| {
            let is_running = self.machines[other].running.is_some();
            other != machine && is_running && !self.admits(other, outcast.machine)
        })
    }

    pub(crate) fn on_event(&mut self, machine: usize, event: &Event) {
        let Some(outcast) = self.outcast else {
            return;
        };
        let is_heard = matches!(event, Event::Revoked(_)) && machine != outcast.machine;
        if is_heard {
            self.meter.on_revoked(self.now.since(outcast.pushed));
            let is_linked = self.is_neighbour(machine, outcast.machine);
            self.checker.require(!is_linked, || {
                format!("machine {machine} keeps a neighbour that was thrown out")
            });
        }
    }

    /// Whom a machine accuses with an event, if it is an honest one.
    pub(crate) fn accused(&self, event: &Event) -> Option<usize> {
        let (Event::Misbehaved(accused, _) | Event::Withholds(accused)) = event else {
            return None;
        };
        let accused = self.site.number(accused)?;
        (!self.insiders.contains(accused)).then_some(accused)
    }

    /// What is lacking until the outcast is out, if there is one.
    pub(crate) fn lacking_of_outcast(&self) -> Option<String> {
        let outcast = self.outcast?.machine;
        let admits = self
            .members()
            .find(|machine| self.admits(*machine, outcast))
            .map(|machine| format!("machine {machine} admits the outcast"));
        let linked = self
            .members()
            .find(|machine| self.network.is_linked(*machine, outcast))
            .map(|machine| format!("machine {machine} is linked to the outcast"));
        admits.or(linked)
    }

    pub(crate) fn is_neighbour(&self, machine: usize, other: usize) -> bool {
        let other = self.site.id(other);
        let running = self.machines[machine].running.as_ref();
        running.is_some_and(|running| {
            let neighbours = running.node.neighbours();
            neighbours.iter().any(|n| n.machine == other)
        })
    }
}
