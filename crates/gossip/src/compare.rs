//! Comparison: what two nodes that have just become neighbours do to learn where they differ.
//!
//! Each says the sums over its frontier and its states (`digests`). Where another's sums are not its
//! own it lists what it holds; what is missing is then asked for. So equal parts are never listed,
//! and there is one round trip before the first want. What changes after the sums were made is
//! announced like any news, so nothing falls between the two.
//!
//! The entries of each other's own logs are said in any case, because `replicated:N` counts who
//! holds a block, and equal sums do not come with entries.

use std::time::Duration;

use model::{LogId, MachineId, StateKey, StateKind, StateVersion};
use statemachine::Instant;

use crate::digests::Place;
use crate::urgent::RUNS_MAX;
use crate::{Fault, FrontierEntry, Gossip, Holdings, Message, Span, Sums};

impl Gossip {
    /// Says the sums over all that is held.
    pub(crate) fn compare_with(&mut self, machine: MachineId) {
        let logs = Message::Sums(Holdings::Logs, self.log_digests.sums());
        let states = Message::Sums(Holdings::States, self.states.sums());
        self.send(machine, logs);
        self.send(machine, states);
        let its_own = self.frontier.entries_of(machine).rev();
        let newest = its_own
            .take(Message::URGENT_MAX)
            .cloned()
            .collect::<Vec<_>>();
        self.list(machine, &newest);
    }

    /// A neighbour said its sums: list what is held where they differ. If it does so again, it has
    /// started anew and this link has outlived that: so do we with it, but not very often.
    pub(crate) fn on_sums(&mut self, now: Instant, from: MachineId, of: Holdings, sums: &Sums) {
        if !sums.is_consistent() {
            self.misbehaved(from, Fault::Sums);
            return;
        }
        let Some(neighbour) = self.neighbours.get(&from) else {
            return;
        };
        if neighbour.compared.contains(&of) {
            if now.since(neighbour.since) < COMPARISON_INTERVAL_MIN {
                self.stats.comparisons_over_limit += 1;
                return;
            }
            self.on_neighbour_up(now, from);
        }
        if let Some(neighbour) = self.neighbours.get_mut(&from) {
            neighbour.compared.insert(of);
        }
        match of {
            Holdings::Logs => self.list_logs(from, sums),
            Holdings::States => self.list_states(now, from, sums),
        }
    }

    /// Tells which of some logs' newest blocks hold alarms, as many runs of each as `of_each`.
    pub(crate) fn urgent_of(
        &self,
        entries: &[FrontierEntry],
        of_each: usize,
    ) -> Vec<(LogId, Span)> {
        (entries.iter())
            .flat_map(|entry| {
                let runs = self.urgent.newest(&entry.log, of_each);
                runs.map(|span| (entry.log, span))
            })
            .take(Message::FRONTIER_ENTRIES_MAX)
            .collect()
    }

    /// A neighbour lacks states that were listed to it.
    pub(crate) fn on_state_want(&mut self, now: Instant, from: MachineId, keys: Vec<StateKey>) {
        if let Some(neighbour) = self.neighbours.get_mut(&from) {
            let known = keys
                .into_iter()
                .filter(|key| self.states.get(key).is_some());
            neighbour.owed.extend(known);
            self.flush_states(now, from);
        }
    }

    /// A neighbour lists its states where the sums differ: ask for those that are news.
    pub(crate) fn on_summary(&mut self, from: MachineId, entries: Vec<(StateKey, StateVersion)>) {
        let is_news = |(key, version): &(StateKey, StateVersion)| {
            (self.states.get(key)).is_none_or(|known| known.version() < *version)
        };
        let entries = entries.into_iter().filter(is_news);
        let keys = entries.map(|(key, _)| key).collect::<Vec<_>>();
        if !keys.is_empty() {
            self.send(from, Message::StateWant(keys));
        }
    }

    fn list_logs(&mut self, to: MachineId, theirs: &Sums) {
        let differing = self.log_digests.differing(theirs);
        if differing.is_empty() {
            return;
        }
        let entries = self.frontier.iter();
        let entries = entries.filter(|entry| differing.at(Place::of_log(&entry.log)).is_some());
        let entries = entries.cloned().collect::<Vec<_>>();
        self.list(to, &entries);
    }

    fn list(&mut self, to: MachineId, entries: &[FrontierEntry]) {
        for part in entries.chunks(Message::FRONTIER_ENTRIES_MAX) {
            let message = Message::Frontier {
                entries: part.to_vec(),
                urgent: self.urgent_of(part, RUNS_MAX),
                is_news: false,
            };
            self.send(to, message);
        }
    }

    /// Where the neighbour holds nothing at all it gets the states without having to ask, unless it may
    /// have to ask for the membership of whoever says them: before that they would be refused.
    fn list_states(&mut self, now: Instant, to: MachineId, theirs: &Sums) {
        let differing = self.states.differing(theirs);
        if differing.is_empty() {
            return;
        }
        let mut listed = Vec::new();
        let mut owed = Vec::new();
        let at = |key: &StateKey| differing.at(Place::of_state(key));
        for state in self.states.iter() {
            let key = state.key();
            let membership = StateKey {
                origin: key.origin,
                kind: StateKind::Membership,
                subject: String::new(),
            };
            match at(key) {
                Some(true) if at(&membership) != Some(false) => owed.push(key.clone()),
                Some(_) => listed.push((key.clone(), state.version())),
                None => {}
            }
        }
        for part in listed.chunks(Message::SUMMARY_MAX) {
            self.send(to, Message::StateSummary(part.to_vec()));
        }
        if let Some(neighbour) = self.neighbours.get_mut(&to) {
            neighbour.owed.extend(owed);
        }
        self.flush_states(now, to);
    }
}

/// How often a neighbour may start anew. Source: guess, below what a process needs to start.
const COMPARISON_INTERVAL_MIN: Duration = Duration::from_millis(100);
