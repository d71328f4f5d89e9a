//! The network falls into two halves for a set time: what is sealed in one half after the link has
//! returned must soon be in the other one.

use std::collections::BTreeSet;
use std::time::Duration;

use model::BlockId;
use statemachine::Instant;

use crate::scenario::{Fault, Plan};
use crate::world::{Event, World};

/// Two halves that have met again.
#[derive(Debug)]
pub(crate) struct Halves {
    /// Which machines are in the second half.
    second: Vec<bool>,
    healed_at: Instant,
    /// What was sealed since then.
    sealed: BTreeSet<BlockId>,
    /// Machines that have a block of the other half which was sealed since.
    merged: BTreeSet<usize>,
}

impl World {
    /// Every other machine is cut off from the rest.
    pub(crate) fn part_halves(&mut self, apart: Duration) {
        let sides = (0..self.site.len()).map(|machine| u8::from(is_second(machine)));
        let deaf = self.network.partition(&sides.collect::<Vec<_>>(), false);
        self.deafen(deaf);
        self.after(apart, Event::JoinHalves);
    }

    /// The link between the halves returns.
    pub(crate) fn join_halves(&mut self) {
        self.heal_network();
        self.halves = Some(Halves {
            second: (0..self.site.len()).map(is_second).collect(),
            healed_at: self.now,
            sealed: BTreeSet::new(),
            merged: BTreeSet::new(),
        });
    }

    /// A machine has sealed a block.
    pub(crate) fn note_sealed_after_gap(&mut self, id: BlockId) {
        let Some(halves) = &mut self.halves else {
            return;
        };
        let is_first = halves.sealed.is_empty();
        halves.sealed.insert(id);
        if is_first {
            self.after(MERGED_MAX, Event::LookAtHalves); // Before it, nothing could come over.
        }
    }

    /// A machine holds a block of another one.
    pub(crate) fn note_merged(&mut self, machine: usize, origin: usize, id: &BlockId) {
        let Some(halves) = &mut self.halves else {
            return;
        };
        let is_across = halves.second[machine] != halves.second[origin];
        if is_across && halves.sealed.contains(id) && halves.merged.insert(machine) {
            self.meter.on_merged(self.now.since(halves.healed_at));
        }
    }

    /// Looks whether anything has come over.
    pub(crate) fn look_at_halves(&mut self) {
        let merged = self.halves.as_ref().map_or(0, |halves| halves.merged.len());
        self.checker.require(merged > 0, || {
            format!("what was sealed since the link returned has not come over in {MERGED_MAX:?}")
        });
    }
}

/// Two halves that are apart for so many seconds and publish every so many, from the same machines.
pub(crate) const fn plan(
    steady: Plan,
    set_faults: &'static [(Duration, Fault)],
    apart: u64,
    publish_every: u64,
) -> Plan {
    Plan {
        set_faults,
        candidates_max: 0,
        discovers_again: false,
        publish_every: Duration::from_secs(publish_every),
        duration: Duration::from_secs(10 + apart + 10),
        settle_max: Duration::from_mins(10),
        ..steady
    }
}

const fn is_second(machine: usize) -> bool {
    machine % 2 == 1
}

/// How long the first block that is sealed since may take to get over. Source: design, section 14,
/// row d.
const MERGED_MAX: Duration = Duration::from_secs(3);
/// Times that two halves are apart. Source: design, section 14, row d, says any.
pub(crate) const SHORT: &[(Duration, Fault)] = &[(
    Duration::from_secs(10),
    Fault::Halves(Duration::from_secs(10)),
)];
pub(crate) const LONG: &[(Duration, Fault)] = &[(
    Duration::from_secs(10),
    Fault::Halves(Duration::from_mins(10)),
)];
pub(crate) const DAY: &[(Duration, Fault)] = &[(
    Duration::from_secs(10),
    Fault::Halves(Duration::from_hours(24)),
)];
