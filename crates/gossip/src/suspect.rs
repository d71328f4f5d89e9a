//! Suspicion: a neighbour that has fallen silent costs others' time only until somebody says so.
//!
//! Its link still stands, so nothing is taken from it for good: whatever it says ends the
//! suspicion.

use std::collections::BTreeSet;

use model::MachineId;
use statemachine::Instant;

use crate::Gossip;
use crate::machine::Timer;

impl Gossip {
    /// A neighbour may be dead: what was asked of it is asked of others, whoever has announced what
    /// it should have pushed is asked for that at once, and others push in its place.
    pub(crate) fn on_suspected(&mut self, now: Instant, suspect: MachineId) {
        let Some(neighbour) = self.neighbours.get_mut(&suspect) else {
            return;
        };
        neighbour.suspected = true;
        neighbour.wanted.clear();
        self.timers.clear(&Timer::Want(suspect));
        self.replace_pusher(&suspect);
        let announced = |log: &_| self.timers.is_set(&Timer::Graft(*log));
        let logs = self.neighbours.values().flat_map(|n| n.leads.keys());
        let logs = logs.copied().filter(announced).collect::<BTreeSet<_>>();
        self.on_grafts_due(now, logs);
        self.fill_all(now);
    }

    /// It has said something.
    pub(crate) fn end_suspicion(&mut self, now: Instant, machine: MachineId) {
        if let Some(neighbour) = self.neighbours.get_mut(&machine)
            && std::mem::take(&mut neighbour.suspected)
        {
            self.fill(now, machine);
        }
    }
}
