//! Most machines die at once, for good: what those that are left say from then on must reach each
//! of them soon.

use std::collections::BTreeMap;
use std::time::Duration;

use model::BlockId;
use statemachine::Instant;

use crate::world::{Event, World};

/// Who is left, and how fast they hear each other.
#[derive(Debug)]
pub(crate) struct Survivors {
    /// How many machines are left.
    count: usize,
    /// Blocks that were sealed since and have not reached everyone: when, and how many lack it.
    spreading: BTreeMap<BlockId, (Instant, usize)>,
}

impl World {
    /// Kills so many of a hundred machines, which do not come back.
    pub(crate) fn kill_most(&mut self, percent: usize) {
        let mut machines: Vec<usize> = (0..self.site.len()).collect();
        self.faults.shuffle(&mut machines);
        let killed = self.site.len() * percent / 100;
        for machine in machines.into_iter().take(killed) {
            self.machines[machine].is_gone = true;
            self.crash(machine, true);
        }
        self.survivors = Some(Survivors {
            count: self.site.len() - killed,
            spreading: BTreeMap::new(),
        });
        self.after(LOOK_INTERVAL, Event::LookAtSurvivors);
    }

    /// A machine that is left has sealed a block.
    pub(crate) fn note_spreading(&mut self, id: BlockId) {
        if let Some(survivors) = &mut self.survivors
            && survivors.count > 1
        {
            let lacking = survivors.count - 1;
            survivors.spreading.insert(id, (self.now, lacking));
        }
    }

    /// A block has reached a machine that is left and has not made it.
    pub(crate) fn note_reached(&mut self, id: &BlockId) {
        let Some(survivors) = &mut self.survivors else {
            return;
        };
        if let Some((since, lacking)) = survivors.spreading.get_mut(id) {
            *lacking -= 1;
            if *lacking == 0 {
                self.meter.on_reached_survivors(self.now.since(*since));
                survivors.spreading.remove(id);
            }
        }
    }

    /// Looks whether a block takes too long.
    pub(crate) fn look_at_survivors(&mut self) {
        let Some(survivors) = &self.survivors else {
            return;
        };
        let is_late = |since: &Instant| self.now.since(*since) > REACHED_MAX;
        let late = survivors.spreading.iter().find(|(_, (at, _))| is_late(at));
        if let Some((id, (since, lacking))) = late {
            let (count, since) = (survivors.count, self.now.since(*since));
            self.checker.fail(format!(
                "{lacking} of {count} survivors lack {id} {since:?} after it was sealed"
            ));
        }
        self.after(LOOK_INTERVAL, Event::LookAtSurvivors);
    }
}

/// How long a block may take to reach every survivor, from the moment on in which the others died.
/// Source: design, section 14, row c.
const REACHED_MAX: Duration = Duration::from_secs(2);
/// How often is looked.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
