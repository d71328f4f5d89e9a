//! What must hold after every event: the safety that the design promises.
//!
//! The first thing that is wrong is kept and ends the run.

use std::collections::{BTreeMap, BTreeSet};

use engine::{AckLevel, Event, PublishError, Published, RequestId};
use gossip::FrontierEntry;
use identity::{verify_block, verify_state};
use model::{
    Block, BlockId, LogId, MachineId, NetworkId, PublisherMark, State, StateKey, StateVersion,
};
use statemachine::Instant;

use crate::disk::Disk;
use crate::oracle::{self, Blocks};
use crate::workload::{Batch, ValueBits, bits};

#[derive(Debug)]
struct Request {
    machine: usize,
    values: Vec<ValueBits>,
    level: AckLevel,
    mark: Option<PublisherMark>,
}

/// Watches a whole network.
#[derive(Debug)]
pub(crate) struct Checker {
    network: NetworkId,
    failure: Option<String>,
    /// Every block that was ever seen, with the hash of its bytes; its signature was checked.
    blocks: BTreeMap<BlockId, [u8; 32]>,
    states: BTreeMap<(StateKey, StateVersion), State>,
    requests: BTreeMap<RequestId, Request>,
    /// When each reading was published first, by machine and value.
    published: BTreeMap<(usize, ValueBits), Instant>,
    /// In which blocks each reading of a machine was put.
    stored: BTreeMap<(usize, ValueBits), BTreeSet<BlockId>>,
    /// Readings that were acknowledged as durable, by machine.
    acknowledged: BTreeMap<usize, BTreeSet<ValueBits>>,
    /// Those of them that no crash has put to the test.
    untested: BTreeMap<usize, BTreeSet<ValueBits>>,
    /// What each life of each machine was handed over.
    delivered: BTreeSet<(usize, u64, BlockId)>,
    /// Machines whose disks were replaced, with those of their blocks that counted and that others
    /// held then.
    wiped: BTreeMap<usize, BTreeSet<BlockId>>,
    /// Their logs that they forgot: nobody says any more where these end.
    forgotten: BTreeSet<LogId>,
    /// The log of each machine's last own block.
    last: BTreeMap<MachineId, LogId>,
}

impl Checker {
    /// A checker that has seen nothing.
    #[must_use]
    pub(crate) fn new(network: NetworkId) -> Self {
        Self {
            network,
            failure: None,
            blocks: BTreeMap::new(),
            states: BTreeMap::new(),
            requests: BTreeMap::new(),
            published: BTreeMap::new(),
            stored: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            untested: BTreeMap::new(),
            delivered: BTreeSet::new(),
            wiped: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            last: BTreeMap::new(),
        }
    }

    /// What went wrong first.
    #[must_use]
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Something is wrong.
    pub(crate) fn fail(&mut self, what: impl Into<String>) {
        self.failure.get_or_insert_with(|| what.into());
    }

    /// Fails unless something holds.
    pub(crate) fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.fail(what());
        }
    }

    /// A machine's publisher sends a batch.
    pub(crate) fn on_publish(
        &mut self,
        now: Instant,
        machine: usize,
        request: RequestId,
        batch: &Batch,
    ) {
        let values = batch.values();
        for value in &values {
            self.published.entry((machine, *value)).or_insert(now);
        }
        let request_of = Request {
            machine,
            values,
            level: batch.level,
            mark: batch.mark.clone(),
        };
        self.requests.insert(request, request_of);
    }

    /// A request is answered. Returns the number of the batch, if it was stored and had one.
    pub(crate) fn on_reply(
        &mut self,
        request: RequestId,
        result: &Result<Published, PublishError>,
    ) -> Option<PublisherMark> {
        let Some(asked) = self.requests.remove(&request) else {
            self.fail(format!("{request:?} was answered twice, or never asked"));
            return None;
        };
        match result {
            Ok(_) => {
                if asked.level != AckLevel::Accepted {
                    let values = asked.values.iter().copied();
                    self.untested
                        .entry(asked.machine)
                        .or_default()
                        .extend(values.clone());
                    self.acknowledged
                        .entry(asked.machine)
                        .or_default()
                        .extend(values);
                }
                asked.mark
            }
            Err(PublishError::Busy | PublishError::NotPersisted | PublishError::Stopping) => None,
            Err(error) => {
                self.fail(format!("{request:?} was refused: {error}"));
                None
            }
        }
    }

    /// A machine is given a block, by its own publisher or by a neighbour.
    pub(crate) fn on_block(&mut self, block: &Block) {
        let (id, hash) = (block.id(), block.hash(&self.network).0);
        if let Some(known) = self.blocks.get(&id) {
            let same = *known == hash;
            self.require(same, || format!("two different blocks {id}"));
            return;
        }
        let verdict = verify_block(&self.network, block);
        self.require(verdict.is_ok(), || format!("block {id}: {verdict:?}"));
        self.blocks.insert(id, hash);
    }

    /// A machine puts readings of its own into a block.
    pub(crate) fn on_own_block(&mut self, machine: usize, block: &Block) {
        let readings = match block.readings() {
            Ok(readings) => readings,
            Err(error) => return self.fail(format!("own block {}: {error}", block.id())),
        };
        for bits in readings.iter().filter_map(|reading| bits(&reading.value)) {
            let known = self.published.contains_key(&(machine, bits));
            self.require(known, || {
                format!("{} has a reading from nowhere", block.id())
            });
            self.stored
                .entry((machine, bits))
                .or_default()
                .insert(block.id());
        }
        let log = block.id().log;
        self.last.insert(log.machine, log);
    }

    /// A life of a machine hands a block over to its application. Returns when the first of its
    /// readings was published.
    pub(crate) fn on_deliver(
        &mut self,
        machine: usize,
        life: u64,
        origin: usize,
        block: &Block,
    ) -> Option<Instant> {
        self.on_block(block);
        let new = self.delivered.insert((machine, life, block.id()));
        self.require(new, || format!("{} was delivered twice", block.id()));
        let readings = block.readings().unwrap_or_default();
        let values = readings.iter().filter_map(|reading| bits(&reading.value));
        values
            .filter_map(|value| self.published.get(&(origin, value)).copied())
            .min()
    }

    /// A state of a machine became valid at some machine; returns whether it did so anywhere for
    /// the first time. Whoever lost its disk says other things in the same versions, until it hears
    /// of the greater ones.
    pub(crate) fn on_state(&mut self, origin: Option<usize>, state: &State) -> bool {
        let name = (state.key().clone(), state.version());
        if let Some(known) = self.states.get(&name) {
            let same =
                known == state || origin.is_some_and(|origin| self.wiped.contains_key(&origin));
            self.require(same, || format!("two different states {name:?}"));
            return false;
        }
        let verdict = verify_state(&self.network, state);
        self.require(verdict.is_ok(), || format!("state {name:?}: {verdict:?}"));
        self.states.insert(name, state.clone());
        true
    }

    /// A machine has something to tell its operator.
    pub(crate) fn on_event(&mut self, machine: usize, event: &Event, accused: Option<usize>) {
        self.require(accused.is_none(), || {
            format!("machine {machine} accuses the honest machine {accused:?}: {event:?}")
        });
    }

    /// A machine says what it holds: it must be on its disk. Ends of runs stand for what is
    /// between.
    pub(crate) fn on_claims(&mut self, machine: usize, entries: &[FrontierEntry], disk: &Disk) {
        for entry in entries {
            let log = entry.log;
            let ends = entry.spans().flat_map(|span| [span.first, span.last]);
            let mut claimed = ends.map(|sequence| BlockId { log, sequence });
            let early = claimed.find(|id| !disk.holds(id));
            self.require(early.is_none(), || {
                format!("machine {machine} claims {early:?}, which is not on its disk")
            });
        }
    }

    /// The disk of a machine is replaced by an empty one: what only it held is lost, and of what it
    /// publishes again nothing need be recognised. What others hold of it, `known`, counts for
    /// good.
    pub(crate) fn on_wipe(&mut self, machine: usize, own: MachineId, known: BTreeSet<BlockId>) {
        let said = self.blocks.keys().map(|id| id.log);
        self.forgotten.extend(said.filter(|log| log.machine == own));
        self.untested.remove(&machine);
        self.acknowledged.remove(&machine);
        self.wiped.entry(machine).or_default().extend(known);
    }

    /// Whether a machine has forgotten a log that it wrote, and says nothing of it any more.
    pub(crate) fn is_forgotten(&self, log: &LogId) -> bool {
        self.forgotten.contains(log)
    }

    /// The log of a machine's last own block.
    pub(crate) fn last_said(&self, machine: &MachineId) -> Option<LogId> {
        self.last.get(machine).copied()
    }

    /// A machine's disk has just lost what was not synced: what was acknowledged must be there.
    pub(crate) fn on_crash(&mut self, machine: usize, disk: &Disk) {
        for value in self.untested.remove(&machine).unwrap_or_default() {
            let blocks = self.stored.get(&(machine, value));
            let held = blocks.is_some_and(|blocks| blocks.iter().any(|block| disk.holds(block)));
            self.require(held, || {
                let value = f64::from_bits(value);
                format!("machine {machine} lost reading {value}, which was acknowledged as durable")
            });
        }
    }

    /// At the end, with the blocks of a machine that count, line by line, among all that anybody
    /// holds: each names the one before it, what was acknowledged counts once, and nothing counts
    /// twice. What was lost with a disk alone is gone, and what was published again because of that
    /// may count again.
    pub(crate) fn on_end(&mut self, machine: usize, canonical: &[Vec<&Block>], all: &Blocks) {
        for pair in canonical.iter().flat_map(|line| line.windows(2)) {
            let before = pair[0].hash(&self.network).prefix();
            let chained = pair[1].header().previous == before;
            if !chained {
                let (block, before) = (pair[1].id(), pair[0].id());
                return self.fail(format!("block {block} does not name {before}"));
            }
        }
        let counted = oracle::values(canonical);
        let is_wiped = self.wiped.contains_key(&machine);
        let twice = counted.iter().find(|(_, count)| **count > 1 && !is_wiped);
        if let Some((value, count)) = twice {
            let value = f64::from_bits(*value);
            return self.fail(format!(
                "reading {value} of machine {machine} counts {count} times"
            ));
        }
        let acknowledged = self.acknowledged.get(&machine).into_iter().flatten();
        let mut expected =
            acknowledged.filter_map(|value| Some((value, self.stored.get(&(machine, *value))?)));
        if let Some((value, blocks)) = expected.find(|(value, _)| !counted.contains_key(value)) {
            let value = f64::from_bits(*value);
            return self.fail(format!(
                "reading {value} of machine {machine} was acknowledged but does not count; \
                 it is in {blocks:?}"
            ));
        }
        let counted: BTreeSet<BlockId> = canonical.iter().flatten().map(|b| b.id()).collect();
        // What lies behind a block that was lost with another disk has no way to count.
        let is_held = |id: &&BlockId| {
            let log = all.get(&id.log);
            let held = log.map_or(0, |log| log.range(1..=id.sequence).count());
            u64::try_from(held).is_ok_and(|held| held == id.sequence)
        };
        let mut known = self
            .wiped
            .get(&machine)
            .into_iter()
            .flatten()
            .filter(is_held);
        if let Some(lost) = known.find(|id| !counted.contains(id)) {
            self.fail(format!(
                "block {lost} counted when machine {machine} lost its disk, and does not any more"
            ));
        }
    }
}
