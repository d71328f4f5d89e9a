//! States on their way to the disk: one version of each at a time, and again if it was refused.

use std::collections::{BTreeMap, BTreeSet};

use model::StateKey;
use statemachine::Instant;

use crate::machine::Effect;
use crate::{Gossip, Output, Write};

/// Which states are not on disk yet.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    /// Those that are being written, and whether a newer version waits for that.
    under_way: BTreeMap<StateKey, bool>,
    /// Those that the disk did not take; they are written again when it may be tried.
    refused: BTreeSet<StateKey>,
}

impl Writes {
    /// Whether a state is on disk or need not be; `None` while it is being written.
    pub(crate) fn is_done(&self, key: &StateKey) -> Option<bool> {
        (!self.under_way.contains_key(key)).then(|| !self.refused.contains(key))
    }
}

impl Gossip {
    /// Has a state written, one version at a time.
    pub(crate) fn write_state(&mut self, key: &StateKey) {
        let writes = &mut self.states.writes;
        writes.refused.remove(key);
        if let Some(waits) = writes.under_way.get_mut(key) {
            *waits = true;
            return;
        }
        let Some(state) = self.states.get(key).cloned() else {
            return;
        };
        self.states.writes.under_way.insert(key.clone(), false);
        let ticket = self.ticket(Effect::State(key.clone()));
        let write = Write::State(state);
        self.outputs.push_back(Output::Persist(ticket, write));
    }

    /// A write of a state has ended; if a newer one waited, it is next.
    pub(crate) fn on_state_written(&mut self, key: &StateKey) {
        if self.states.writes.under_way.remove(key) == Some(true) {
            self.write_state(key);
        }
    }

    /// The disk did not take a state: it is tried again later, unless a newer one is next.
    pub(crate) fn on_state_not_written(&mut self, now: Instant, key: &StateKey) {
        if let Some(state) = self.states.get(key) {
            let write = Write::State(state.clone());
            self.outputs.push_back(Output::NotPersisted(write));
        }
        self.on_state_written(key);
        if self.states.writes.is_done(key).is_some() {
            self.states.writes.refused.insert(key.clone());
            self.spare_disk(now);
        }
    }

    /// The disk may be tried again: some of what it did not take is written.
    pub(crate) fn write_refused(&mut self, now: Instant) {
        for _ in 0..REFUSED_PER_CALL_MAX {
            let Some(key) = self.states.writes.refused.first().cloned() else {
                return;
            };
            self.write_state(&key);
        }
        self.spare_disk(now);
    }
}

/// Most states written again in one call; the others when the disk is tried next. Source: guess.
const REFUSED_PER_CALL_MAX: usize = 256;
