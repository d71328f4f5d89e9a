//! How much longer blocks travel than they had to: the first copy against the shortest way over the
//! links that stood when the block was sealed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{Block, BlockId};
use statemachine::Instant;

use crate::world::World;

/// The blocks that are measured.
#[derive(Debug, Default)]
pub(crate) struct Stretch {
    sealed: BTreeMap<BlockId, (Instant, Vec<Option<Duration>>)>,
}

impl World {
    /// A machine has sealed a block: computes how soon everyone could have it.
    pub(crate) fn measure_shortest(&mut self, machine: usize, block: &Block) {
        if self.is_measuring() {
            let bytes = block.as_bytes().len();
            let ways = self.shortest_ways(machine, bytes);
            self.stretch.sealed.insert(block.id(), (self.now, ways));
        }
    }

    /// The first copy of a block has reached a machine.
    pub(crate) fn measure_stretch(&mut self, machine: usize, id: &BlockId) {
        let Some((sealed, ways)) = self.stretch.sealed.get(id) else {
            return;
        };
        let taken = self.now.since(*sealed);
        if let Some(shortest) = ways[machine].filter(|shortest| !shortest.is_zero()) {
            let permille = taken.as_nanos() * 1_000 / shortest.as_nanos();
            let permille = u64::try_from(permille).unwrap_or(u64::MAX);
            self.meter.on_arrival(taken, permille);
        }
    }

    /// Dijkstra, over the links between machines of which one is the other's neighbour.
    fn shortest_ways(&self, from: usize, bytes: usize) -> Vec<Option<Duration>> {
        let mut shortest = vec![None; self.machines.len()];
        let mut open = BTreeSet::from([(Duration::ZERO, from)]);
        while let Some((time, at)) = open.pop_first() {
            if shortest[at].is_some() {
                continue;
            }
            shortest[at] = Some(time);
            let Some(running) = &self.machines[at].running else {
                continue;
            };
            for neighbour in running.node.neighbours() {
                let number = self.site.number(&neighbour.machine);
                let way = number
                    .and_then(|to| self.network.ways(at, bytes).find(|(other, _)| *other == to));
                if let Some((to, way)) = way
                    && shortest[to].is_none()
                {
                    open.insert((time + way, to));
                }
            }
        }
        shortest
    }
}
