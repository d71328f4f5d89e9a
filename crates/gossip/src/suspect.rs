//! Suspicion: a neighbour that has fallen silent costs others' time only until somebody says so.
//!
//! Its link still stands, so nothing is taken from it for good: whatever it says ends the suspicion.

use std::collections::BTreeSet;

use model::MachineId;
use statemachine::Instant;

use crate::Gossip;
use crate::machine::Timer;
use crate::repair::GRAFTS_PER_CALL_MAX;

impl Gossip {
    /// A neighbour may be dead: what was asked of it is asked of others, whoever has announced what it
    /// should have pushed is asked for that at once, and others push in its place.
    pub(crate) fn on_suspected(&mut self, now: Instant, suspect: MachineId) {
        let Some(neighbour) = self.neighbours.get_mut(&suspect) else {
            return;
        };
        neighbour.suspected = true;
        neighbour.wanted.clear();
        self.timers.clear(&Timer::Want(suspect));
        self.push_in_place_of(suspect);
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

    /// Grafts another neighbour for every origin of which nobody but the suspect pushes here.
    fn push_in_place_of(&mut self, suspect: MachineId) {
        let others = || {
            self.neighbours
                .iter()
                .filter(|(machine, _)| **machine != suspect)
        };
        let mut orphans = BTreeSet::new();
        for (_, other) in others() {
            orphans.extend(other.pruned.iter().copied());
        }
        let pushed_by_suspect = |origin: &MachineId| {
            let suspect = self.neighbours.get(&suspect);
            suspect.is_some_and(|suspect| !suspect.pruned.contains(origin))
        };
        let has_another = |origin: &MachineId| {
            others().any(|(_, other)| !other.suspected && !other.pruned.contains(origin))
        };
        orphans.retain(|origin| pushed_by_suspect(origin) && !has_another(origin));
        let grafts = (orphans.into_iter())
            .filter_map(|origin| {
                let mut able = others().filter(|(_, other)| !other.suspected);
                let (machine, _) = able.find(|(_, other)| other.pruned.contains(&origin))?;
                Some((*machine, origin))
            })
            .take(GRAFTS_PER_CALL_MAX)
            .collect::<Vec<_>>();
        for (machine, origin) in grafts {
            self.graft(machine, origin);
        }
    }
}
