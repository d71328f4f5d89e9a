//! How many commands of whom have not ended.

use std::collections::BTreeMap;

use model::MachineId;

/// Counts of commands that have not ended.
#[derive(Debug, Default)]
pub(crate) struct Load {
    total: usize,
    of: BTreeMap<MachineId, usize>,
}

impl Load {
    /// Whether one more of this caller is taken.
    pub(crate) fn has_room(&self, caller: &MachineId) -> bool {
        let of_caller = self.of.get(caller).copied().unwrap_or(0);
        self.total < ACTIVE_MAX && of_caller < ACTIVE_OF_CALLER_MAX
    }

    /// Whether any of this caller's has not ended.
    pub(crate) fn has(&self, caller: &MachineId) -> bool {
        self.of.contains_key(caller)
    }

    pub(crate) fn add(&mut self, caller: MachineId) {
        self.total += 1;
        *self.of.entry(caller).or_default() += 1;
    }

    /// One has ended; whether it was the last of its caller.
    pub(crate) fn end(&mut self, caller: MachineId) -> bool {
        let Some(count) = self.of.get_mut(&caller) else {
            return false;
        };
        self.total -= 1;
        *count -= 1;
        *count == 0 && self.of.remove(&caller).is_some()
    }
}

/// Most commands that have not ended. Source: guess; 256 MiB of arguments at worst.
const ACTIVE_MAX: usize = 1_024;
/// Most commands of one caller that have not ended. Source: guess.
const ACTIVE_OF_CALLER_MAX: usize = 128;
