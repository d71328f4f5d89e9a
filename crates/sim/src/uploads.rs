//! What must hold of uploads while a run goes on: progress never runs ahead of the sink, and whom
//! a candidate could serve is served.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aggregate::Progress;
use model::{Block, BlockId, LogId, State, StateKind};
use statemachine::Instant;

use crate::machine::{Running, uplink};
use crate::oracle::{self, Expected, WindowName};
use crate::world::{Event, World};

/// How origins are served.
#[derive(Debug, Default)]
pub(crate) struct Service {
    /// Since when each candidate has been fit to serve.
    fit_since: BTreeMap<usize, Instant>,
    /// Since when each origin has not been served although somebody was fit to.
    unserved_since: BTreeMap<usize, Instant>,
}

impl World {
    /// A state has become valid: if it is progress, what it says is done must be at the sink.
    pub(crate) fn check_progress(&mut self, state: &State) {
        if let Some(ahead) = self.ahead_of_sink(state) {
            let now = self.now;
            self.checker.fail(format!("at {now} {ahead}"));
        }
    }

    fn ahead_of_sink(&self, state: &State) -> Option<String> {
        if state.key().kind != StateKind::Progress {
            return None;
        }
        let progress = match Progress::from_payload(state.payload()) {
            Ok(progress) => progress,
            Err(error) => return Some(format!("{:?}: {error}", state.key())),
        };
        let origin = state.key().subject.split('/').nth(1)?.parse().ok()?;
        let all = self.blocks_of(|machine| machine == origin);
        let log = LogId {
            machine: origin,
            epoch: progress.through.epoch,
        };
        let line = oracle::line_of(&all, &log); // A progress speaks for the line that it is in.
        let lines = oracle::canonical(&all, origin).into_iter().flatten();
        let is_done = |block: &&Block| {
            let BlockId { log, .. } = block.id();
            block.id().position() <= progress.through && oracle::line_of(&all, &log) == line
        };
        let done: Vec<&Block> = lines.filter(is_done).collect();
        let windows = oracle::windows(&done, self.definitions()?, self.plan.window);
        let valid = self.valid_of(&all, &log);
        let length = i64::try_from(self.plan.window.as_nanos()).unwrap_or(i64::MAX);
        // A window that a block from `late` on has touched gets a record that is named by it.
        let is_late = |window: &Expected| {
            progress
                .late
                .is_some_and(|late| window.last() >= Some(late))
        };
        let mut ended = windows.iter().filter(|((_, _, start), window)| {
            start.saturating_add(length) <= progress.watermark.as_nanos() && !is_late(window)
        });
        let at_sink = |name: &WindowName| Some(valid.get(name)?.key.position());
        let is_behind = |name: &WindowName, window: &Expected| {
            !self.cannot_be_known(name, window) && at_sink(name) < window.last()
        };
        let (name, window) = ended.find(|(name, window)| is_behind(name, window))?;
        let (name, last, held) = (self.show(name), window.last(), at_sink(name));
        Some(format!(
            "{progress:?} says that {name} is uploaded up to {last:?}, but the sink has {held:?}"
        ))
    }

    /// Looks who is served.
    pub(crate) fn look_at_service(&mut self) {
        let now = self.now;
        let candidates = self.plan.candidates(self.site.len());
        let mut service = std::mem::take(&mut self.service);
        let mut fit_sites = BTreeSet::new();
        for candidate in 0..candidates {
            if self.is_fit(candidate) {
                let since = *service.fit_since.entry(candidate).or_insert(now);
                if now.since(since) >= FIT_AFTER {
                    fit_sites.insert(self.site.sites().of(candidate));
                }
            } else {
                service.fit_since.remove(&candidate);
            }
        }
        let has_run = |origin: &usize| self.machines[*origin].life > 0;
        for origin in self.members().filter(has_run).collect::<Vec<_>>() {
            let is_served = (0..candidates).any(|candidate| self.serves(candidate, origin));
            if is_served || !fit_sites.contains(&self.site.sites().of(origin)) {
                service.unserved_since.remove(&origin);
                continue;
            }
            let since = *service.unserved_since.entry(origin).or_insert(now);
            let unserved = now.since(since);
            self.meter.on_unserved(unserved);
            let limit = self.plan.unserved_max;
            self.checker.require(unserved <= limit, || {
                format!("at {now} nobody has served machine {origin} for {unserved:?}")
            });
        }
        self.service = service;
        self.after(LOOK_INTERVAL, Event::LookAtService);
    }

    /// Whether a candidate runs, reaches the sink, and has a link to each other one of its site
    /// that runs on its side: who dies without one is known by its last state alone, and missed
    /// when that is old.
    fn is_fit(&self, candidate: usize) -> bool {
        let machine = &self.machines[candidate];
        let stopping = |running: &Running| running.stopping;
        let stops = machine.running.as_ref().is_some_and(stopping);
        let mut others = (0..self.plan.candidates(self.site.len()))
            .filter(|other| *other != candidate && self.machines[*other].running.is_some())
            .filter(|other| self.site.sites().are_together(candidate, *other))
            .filter(|other| self.network.reaches(candidate, *other));
        let is_linked = others.all(|other| self.network.is_linked(candidate, other));
        machine.answers() && !stops && machine.reaches_sink && self.sink.is_up() && is_linked
    }

    fn serves(&self, candidate: usize, origin: usize) -> bool {
        let machine = &self.machines[candidate];
        let running = machine.running.as_ref().filter(|_| machine.answers());
        let relay = running.and_then(|running| {
            let origin = self.site.id(origin);
            running.node.relay_of(&uplink(), &origin)
        });
        relay == Some(self.site.id(candidate))
    }
}

/// How long a candidate must have been fit before it can be expected to serve. Source: guess, above
/// the time in which it reads the states, listens, and takes a dead relay for dead at the latest.
const FIT_AFTER: Duration = Duration::from_secs(3);
/// How often is looked.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
