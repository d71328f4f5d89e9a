//! Whose walks came by lately, which shows that they are in the same part of the graph.
//!
//! A few machines whose places are all filled with each other would stay among themselves: they
//! have no reason to look for anybody. They can tell from walks: in one graph, walks of others
//! come by too.

use std::collections::BTreeMap;
use std::time::Duration;

use model::MachineId;
use statemachine::Instant;

/// Whose walks came by lately.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    at: BTreeMap<MachineId, Instant>,
}

impl Heard {
    /// A walk of the machine came by.
    pub(crate) fn hear(&mut self, now: Instant, machine: MachineId) {
        if self.at.len() < HEARD_MAX || self.at.contains_key(&machine) {
            self.at.insert(machine, now);
        }
    }

    /// Forgets what was heard more than `window` ago.
    pub(crate) fn forget(&mut self, now: Instant, window: Duration) {
        self.at.retain(|_, at| now - *at < window);
    }

    /// Whether a walk of the machine came by.
    pub(crate) fn contains(&self, machine: &MachineId) -> bool {
        self.at.contains_key(machine)
    }

    /// The machines whose walks came by.
    pub(crate) fn machines(&self) -> impl Iterator<Item = &MachineId> {
        self.at.keys()
    }
}

/// Most machines kept. Source: above every size of a corner, beyond which nobody counts.
const HEARD_MAX: usize = 128;
