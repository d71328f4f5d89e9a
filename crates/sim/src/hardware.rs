//! What goes wrong with single machines: disks that are slow, full, rotten or new, clocks that are
//! set, and power that fails everywhere at once.

use std::time::Duration;

use model::{Block, BlockId, ClockState, LogId, Position, Sequence};

use engine::Input;

use crate::oracle;
use crate::world::{Event, World};

impl World {
    /// The last machine that is no candidate reads and syncs slowly.
    pub(crate) fn slow_down(&mut self) {
        let machine = self.site.len() - 1;
        self.machines[machine].disk.set_slow(true);
        self.network.set_slow(machine, true);
        self.slow = Some(machine);
    }

    /// A machine whose clock was right has another time from now on, or the right one again.
    pub(crate) fn step_clock(&mut self, machine: usize) {
        let day = 86_400_000_000_000;
        let since_1970 = self.machines[machine].wall(self.now).as_nanos();
        let skews = [day, -day, -since_1970, 0, 0];
        let skew = self.faults.choose(&skews).copied().unwrap_or(0);
        self.machines[machine].skew = skew;
        self.machines[machine].clock = match skew {
            0 => ClockState::Synchronised,
            _ if self.faults.chance(500) => ClockState::Synchronised, // It is mistaken.
            _ => ClockState::Unsynchronised,
        };
        let words = format!("{skew} ns ahead");
        self.trace.note(self.now, machine, "clock", &words);
        self.tell_time(machine);
    }

    /// A block turns bad that another machine holds, too. The process has stopped meanwhile: a
    /// store finds out when it reads its segments at the start.
    pub(crate) fn rot(&mut self, machine: usize, own_too: bool) {
        self.crash(machine, true);
        let others: Vec<usize> = self.honest().filter(|other| *other != machine).collect();
        let blocks = self.machines[machine].disk.blocks().iter();
        let ids = blocks.flat_map(|(log, blocks)| {
            blocks.keys().map(|sequence| BlockId {
                log: *log,
                sequence: *sequence,
            })
        });
        let has = |other: &usize, id: &BlockId| {
            let held = self.machines[*other].disk.blocks().get(&id.log);
            held.is_some_and(|held| held.contains_key(&id.sequence))
        };
        let own = self.site.id(machine);
        let spare: Vec<BlockId> = ids
            .filter(|id| own_too || id.log.machine != own)
            .filter(|id| others.iter().any(|other| has(other, id)))
            .collect();
        for _ in 0..ROTTEN {
            if let Some(id) = self.faults.choose(&spare) {
                self.machines[machine].disk.lose(id);
            }
        }
    }

    /// A machine comes back with an empty disk. Its readings that nobody else holds are lost with
    /// it; what it was told of them does not count any more.
    pub(crate) fn wipe(&mut self, machine: usize) {
        self.crash(machine, false);
        let own = self.site.id(machine);
        self.machines[machine].disk.wipe();
        let known = self.blocks_of(|origin| origin == own);
        let canonical = oracle::canonical(&known, own).into_iter().flatten();
        let known = canonical.map(Block::id).collect();
        self.checker.on_wipe(machine, own, known);
    }

    /// A machine gives up a part of what no uplink needs, as its store does for want of room.
    pub(crate) fn retain(&mut self, machine: usize) {
        let Some(running) = &self.machines[machine].running else {
            return;
        };
        let Some(needed) = running.node.needed_by_uplinks() else {
            return;
        };
        let disk = &self.machines[machine].disk;
        let floors: Vec<(LogId, Sequence)> = disk
            .blocks()
            .keys()
            .filter_map(|log| {
                let needed = needed.get(&log.machine)?;
                let first = Position {
                    epoch: log.epoch,
                    sequence: disk.floor(log),
                };
                let limit = match log.epoch == needed.epoch {
                    true => needed.sequence,
                    false if first < *needed => Sequence::MAX,
                    false => return None,
                };
                let last = limit.min(disk.end(log)); // The last block stays.
                (last > first.sequence).then_some((*log, last))
            })
            .collect();
        let Some((log, most)) = self.faults.choose(&floors).copied() else {
            return;
        };
        let least = self.machines[machine].disk.floor(&log);
        let floor = least + 1 + self.faults.below(most - least);
        let given_up = self.machines[machine].disk.give_up(log, floor);
        self.given_up.entry(log).or_default().extend(given_up);
        let words = format!("{log} from {floor} on");
        self.trace.note(self.now, machine, "keeps", &words);
        self.input(machine, Input::FloorMoved(log, floor));
    }

    /// Machines that are switched off are started.
    pub(crate) fn switch_on(&mut self) {
        for machine in 0..self.site.len() {
            if std::mem::take(&mut self.machines[machine].is_off) {
                self.machines[machine].joined = self.now;
                self.start(machine);
            }
        }
    }

    /// A machine loses power and stays off.
    pub(crate) fn switch_off(&mut self, machine: usize) {
        self.crash(machine, false);
        self.machines[machine].is_off = true;
        for machine in &mut self.machines {
            machine.joined = self.now + MISSED_MAX; // Until then some push to who is gone.
        }
    }

    /// All machines lose power at once; all but the first come back.
    pub(crate) fn black_out(&mut self) {
        for machine in 0..self.site.len() {
            self.crash(machine, false);
        }
        self.machines[0].is_off = true;
        self.after(FOUND_AGAIN_MAX, Event::LookWhole);
    }

    /// All machines that run are parts of one graph of neighbours.
    pub(crate) fn look_whole(&mut self) {
        let runs = |machine: &usize| self.machines[*machine].answers();
        let running: Vec<usize> = (0..self.site.len()).filter(runs).collect();
        let mut reached: Vec<usize> = running.iter().take(1).copied().collect();
        let mut next = 0;
        while let Some(from) = reached.get(next).copied() {
            next += 1;
            for machine in &running {
                if !reached.contains(machine) && self.is_neighbour(from, *machine) {
                    reached.push(*machine);
                }
            }
        }
        let (whole, parts) = (running.len(), reached.len());
        self.checker.require(whole == parts, || {
            format!("{FOUND_AGAIN_MAX:?} after a blackout {parts} of {whole} have found each other")
        });
    }
}

/// How long a dead machine may go unnoticed, and the others need to find each other without it.
/// Source: guess, above the longest silence of `network` and two dials into nothing.
const MISSED_MAX: Duration = Duration::from_secs(15);
/// Blocks that turn bad at once.
const ROTTEN: usize = 3;
/// How long machines may take to find each other again after all lost power, from the moment on
/// that they did. Source: guess, above the time that they are down and a few dials into nothing.
const FOUND_AGAIN_MAX: Duration = Duration::from_secs(20);
