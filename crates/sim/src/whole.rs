//! What must be whole in the end, and what must hold of a run as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aggregate::{Progress, Record, WindowRecord};
use model::{Block, BlockId, Epoch, LogId, MachineId, Position, Sequence, StateKind};
use statemachine::Instant;

use crate::machine::{ALLOWED_LATENESS, EPOCH_NANOS};
use crate::oracle::{self, Blocks, Expected, WindowName};
use crate::world::World;

impl World {
    /// All blocks that are safe at any honest machine, or were until it gave them up.
    pub(crate) fn all_blocks(&self) -> Blocks {
        self.blocks_of(|_| true)
    }

    /// Those of some origins.
    pub(crate) fn blocks_of(&self, is_meant: impl Fn(MachineId) -> bool) -> Blocks {
        let disks = self
            .honest()
            .map(|machine| self.machines[machine].disk.blocks());
        let mut all = Blocks::new();
        for (log, blocks) in disks.flatten().chain(&self.given_up) {
            if !is_meant(log.machine) {
                continue;
            }
            let known = all.entry(*log).or_default();
            if !known.keys().eq(blocks.keys()) {
                known.extend(
                    blocks
                        .iter()
                        .map(|(sequence, block)| (*sequence, block.clone())),
                );
            }
        }
        all
    }

    /// What is lacking until everyone holds everything and the sink has every window right.
    pub(crate) fn lacking(&self) -> Option<String> {
        for number in self.members() {
            let machine = &self.machines[number];
            if !machine.answers() {
                return Some(format!("machine {number} does not run"));
            }
            if machine.publisher.is_waiting() {
                return Some(format!("machine {number} has a batch that is not answered"));
            }
        }
        self.lacking_of_outcast()
            .or_else(|| self.lacking_of_newcomers())
            .or_else(|| self.lacking_of_commands())
            .or_else(|| self.lacking_blocks())
            .or_else(|| self.lacking_states())
            .or_else(|| self.lacking_of_sites())
            .or_else(|| self.lacking_windows())
    }

    /// Who lacks a block that another machine has, and that it has not given up itself.
    fn lacking_blocks(&self) -> Option<String> {
        let mut all: BTreeMap<LogId, BTreeSet<Sequence>> = BTreeMap::new();
        for number in self.honest() {
            for (log, blocks) in self.machines[number].disk.blocks() {
                let held = all.entry(*log).or_default();
                if !held.iter().eq(blocks.keys()) {
                    held.extend(blocks.keys());
                }
            }
        }
        for (log, blocks) in &all {
            let wants = |number: &usize| self.wants_log(*number, &log.machine);
            for number in self.honest().filter(wants) {
                let disk = &self.machines[number].disk;
                let held = disk.blocks().get(log).map_or(0, BTreeMap::len);
                let all = blocks.range(disk.floor(log)..).count();
                if held < all {
                    return Some(format!(
                        "machine {number} holds {held} of {all} blocks of {log}"
                    ));
                }
            }
        }
        None
    }

    /// Who knows another version of a state of an honest machine that is kept for good.
    fn lacking_states(&self) -> Option<String> {
        let mut latest = BTreeMap::new();
        let honest: BTreeSet<_> = self.honest().map(|number| self.site.id(number)).collect();
        for number in self.honest() {
            let states = self.machines[number].running.as_ref()?.node.states();
            let lasting = states.filter(|state| state.key().kind.is_persistent());
            for state in lasting.filter(|state| honest.contains(&state.key().origin)) {
                let (first, known) = latest.entry(state.key().clone()).or_insert((number, state));
                if *known != state {
                    let (key, own, other) = (state.key(), state.version(), known.version());
                    return Some(format!(
                        "machine {number} has the state {key:?} in version {own}, \
                         machine {first} another one, in version {other}"
                    ));
                }
            }
        }
        None
    }

    /// Which window the sink has not, or not right.
    fn lacking_windows(&self) -> Option<String> {
        if self.plan.candidates(self.site.len()) == 0 {
            return None;
        }
        let all = self.all_blocks();
        // What an outcast said last of its time is lost with it: its last windows stay partial. An
        // insider may say of itself what it wants.
        let honest: BTreeSet<_> = self.honest().map(|number| self.site.id(number)).collect();
        let origins = all.keys().map(|log| log.machine);
        let origins: BTreeSet<_> = origins.filter(|origin| honest.contains(origin)).collect();
        for origin in origins {
            let lines = oracle::canonical(&all, origin);
            for line in &lines {
                let is_over = line.last().is_some_and(|last| self.is_over(&all, last));
                let lacking = self.lacking_windows_of(&all, line, is_over);
                if lacking.is_some() {
                    return lacking;
                }
            }
        }
        None
    }

    /// Whether a line ends with a block for good: its origin lost its disk, and goes on in another
    /// one.
    fn is_over(&self, all: &Blocks, last: &Block) -> bool {
        let BlockId { log, .. } = last.id();
        let is_other = |said| oracle::line_of(all, &said) != oracle::line_of(all, &log);
        self.checker.is_forgotten(&log)
            || self.checker.last_said(&log.machine).is_some_and(is_other)
    }

    /// Whether a relay has told progress beyond the end of what is held of a line: who goes on
    /// after it waits for blocks that were lost with a disk, and gives no partial records.
    fn is_told_beyond(&self, line: &[&Block]) -> bool {
        let Some(last) = line.last().map(|last| last.id()) else {
            return false;
        };
        let nodes = self
            .honest()
            .filter_map(|n| self.machines[n].running.as_ref());
        let mut states = nodes.flat_map(|running| running.node.states());
        let origin = last.log.machine.to_string();
        states.any(|state| {
            let is_meant = state.key().kind == StateKind::Progress
                && state.key().subject.split('/').nth(1) == Some(origin.as_str());
            let told = Progress::from_payload(state.payload()).ok();
            let through = told.map(|told| told.through).filter(|_| is_meant);
            through.is_some_and(|through| {
                through.epoch == last.log.epoch && through.sequence > last.sequence
            })
        })
    }

    /// Which window of a line the sink has not, or not right.
    fn lacking_windows_of(&self, all: &Blocks, line: &[&Block], is_over: bool) -> Option<String> {
        let log = line.first()?.header().log;
        let mut valid = self.valid_of(all, &log);
        let counted: BTreeSet<BlockId> = line.iter().map(|block| block.id()).collect();
        let windows = oracle::windows(line, self.definitions()?, self.plan.window);
        for (name, window) in windows {
            let record = valid.remove(&name);
            let is_lost = |record: &WindowRecord| !is_held(all, &name.0, record.key.position());
            let is_outranked = |record| self.was_forgotten_at_cut(record, line) || is_lost(record);
            if self.cannot_be_known(&name, &window) || record.is_some_and(is_outranked) {
                continue;
            }
            if record.is_none() && is_over && self.is_told_beyond(line) {
                continue;
            }
            let lacking = match record {
                None => Some(format!("the sink lacks the window {}", self.show(&name))),
                Some(record) => window.compare(record, is_over).err(),
            };
            if lacking.is_some() {
                return lacking;
            }
        }
        // Nothing takes back a window of which there are stragglers alone.
        let is_stray = |(name, record): &(&WindowName, &&WindowRecord)| {
            let Position { epoch, sequence } = record.key.position();
            let machine = name.0;
            let log = LogId { machine, epoch };
            counted.contains(&BlockId { log, sequence }) && !self.is_ahead(name)
        };
        let stray = valid.iter().find(is_stray);
        stray.map(|(name, _)| format!("the sink has a window of nothing, {}", self.show(name)))
    }

    /// The records at the sink that are valid among those of a line.
    pub(crate) fn valid_of(
        &self,
        all: &Blocks,
        log: &LogId,
    ) -> BTreeMap<WindowName, &WindowRecord> {
        let line = oracle::line_of(all, log);
        let logs = all.keys().filter(|other| other.machine == log.machine);
        let logs = logs.filter(|log| oracle::line_of(all, log) == line);
        let epochs: BTreeSet<Epoch> = logs.map(|log| log.epoch).collect();
        let is_meant = |record: &&Record| match record {
            Record::Window(WindowRecord { key, .. }) => {
                key.machine == log.machine && epochs.contains(&key.log_epoch)
            }
            Record::Raw(_) => false,
        };
        oracle::valid(self.sink.records().values().filter(is_meant))
    }

    /// Whether a record is named by a straggler, and its window had left all memories when that was
    /// cut off: nobody knows then that it must be given again.
    fn was_forgotten_at_cut(&self, record: &WindowRecord, canonical: &[&Block]) -> bool {
        let named = record.key.position();
        let before = canonical
            .iter()
            .rfind(|block| block.id().position() <= named);
        before.is_some_and(|last| {
            let end = (record.key.window_start).saturating_add(record.key.window_length);
            let watermark = last.header().watermark;
            last.id().position() != named && end.saturating_add(ALLOWED_LATENESS) <= watermark
        })
    }

    /// Whether no relay can compute a window: it lies ahead; or a reading came late to it, and some
    /// machine has given up blocks of its origin that may be part of it.
    pub(crate) fn cannot_be_known(&self, name: &WindowName, window: &Expected) -> bool {
        let mut logs = self.given_up.keys();
        let is_short = window.is_late() && logs.any(|log| log.machine == name.0);
        is_short || self.is_ahead(name)
    }

    /// Whether a window lies ahead, where a clock was once, and has not ended.
    fn is_ahead(&self, (_, _, start): &WindowName) -> bool {
        *start > EPOCH_NANOS.saturating_add_unsigned(self.now.as_nanos())
    }

    /// A new block must come soon to whoever is concerned by nothing.
    pub(crate) fn hold_to_live_max(
        &mut self,
        machine: usize,
        origin: usize,
        published: Option<Instant>,
    ) {
        let (Some(limit), Some(published)) = (self.plan.live_max, published) else {
            return;
        };
        let is_concerned = |number: usize| {
            let since = self.machines[number].joined + SETTLED_AFTER;
            self.slow == Some(number) || published < since
        };
        let is_calm = self.publishing && !is_concerned(machine) && !is_concerned(origin);
        let (now, took) = (self.now, self.now.since(published));
        self.checker.require(!is_calm || took <= limit, || {
            format!("at {now} a block of machine {origin} reached machine {machine} after {took:?}")
        });
    }

    /// Members with bad intent must have had the chance to do harm; among few machines they may
    /// spare one.
    pub(crate) fn check_malice(&mut self) {
        let insiders = &self.insiders;
        let is_meant = insiders.swallow() && self.site.len() > FEW;
        let mut spared = self
            .honest()
            .filter(|machine| is_meant && !insiders.swallowed().contains(machine));
        let spared = spared.next();
        self.checker.require(spared.is_none(), || {
            format!("nobody ever swallowed a block of machine {spared:?}")
        });
    }

    /// Whoever had a neighbour that reads slowly must have had to hold back.
    pub(crate) fn check_slowness(&mut self) {
        let is_missed = self.slow.is_some() && self.meter.congestions() == 0;
        self.checker.require(!is_missed, || {
            "no queue was ever full although a neighbour did not read".to_owned()
        });
    }

    /// Copies beyond the first are few.
    pub(crate) fn check_redundancy(&mut self) {
        let (repeated, first) = self.meter.copies();
        let limit = self.plan.redundancy_max;
        let holds = limit.is_none_or(|limit| repeated * 1_000 <= first * limit);
        self.checker.require(holds, || {
            format!("redundancy: {repeated} of {first} blocks came again")
        });
    }
}

/// Whether a block and all of its log before it are safe somewhere: what is named by one behind a
/// gap was computed by who had the rest, and lost it.
fn is_held(all: &Blocks, machine: &MachineId, Position { epoch, sequence }: Position) -> bool {
    let machine = *machine;
    let log = all.get(&LogId { machine, epoch });
    let held = log.map_or(0, |log| log.range(1..=sequence).count());
    u64::try_from(held).is_ok_and(|held| held == sequence)
}

/// So few machines can all be neighbours.
const FEW: usize = 5;
/// How long after its start a machine counts as one of the others. Source: guess, above the time
/// to find neighbours and to exchange frontiers.
const SETTLED_AFTER: Duration = Duration::from_secs(3);
