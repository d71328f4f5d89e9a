//! Comparison: what two nodes that have just become neighbours do to learn where they differ.
//!
//! Each says its interest (`sharing`), and the sums over its frontier and its states (`digests`).
//! Where another's sums are not its own it lists what it holds; what is missing is then asked for.
//! So equal parts are never listed, and there is one round trip before the first want. What changes
//! after the sums were made is announced like any news, so nothing falls between the two.
//!
//! The entries of each other's own logs are said in any case, because `replicated:N` counts who
//! holds a block, and equal sums do not come with entries.

use std::time::Duration;

use model::{MachineId, StateKey, StateVersion};
use statemachine::Instant;

use crate::digests::{Differing, Place};
use crate::states::membership_key;
use crate::urgent::RUNS_MAX;
use crate::{Fault, FrontierEntry, Gossip, Holdings, Message, Sums};

impl Gossip {
    /// Says the own interest, and compares.
    pub(crate) fn compare_with(&mut self, machine: MachineId) {
        let interest = self.states.interest().clone();
        self.send(machine, Message::Interest(interest));
        self.compare_holdings(machine);
    }

    /// Says the sums over all that is held; over what both want, if the neighbour's interest is
    /// another one; nothing before that is known.
    pub(crate) fn compare_holdings(&mut self, machine: MachineId) {
        let Some(neighbour) = self.neighbours.get(&machine) else {
            return;
        };
        match (&neighbour.interest, neighbour.interest_said) {
            (Some(_), None) => return,
            (Some(_), Some(_)) => self.compare_shared_with(machine),
            (None, _) => {
                let logs = Message::Sums(Holdings::Logs, self.log_digests.sums());
                let states = Message::Sums(Holdings::States, self.states.sums());
                self.send(machine, logs);
                self.send(machine, states);
            }
        }
        let its_own = self.frontier.entries_of(machine).rev();
        let newest = its_own
            .take(Message::URGENT_MAX)
            .cloned()
            .collect::<Vec<_>>();
        self.list(machine, newest);
    }

    /// A neighbour said its sums: list what is held where they differ. If it does so again, it has
    /// started anew and this link has outlived that: so do we with it, but not very often.
    pub(crate) fn on_sums(&mut self, now: Instant, from: MachineId, of: Holdings, sums: &Sums) {
        if !sums.is_consistent() {
            self.misbehaved(from, Fault::Sums);
            return;
        }
        let Some(neighbour) = self.neighbours.get_mut(&from) else {
            return;
        };
        if neighbour.compared.contains(&of) {
            if now.since(neighbour.since) < COMPARISON_INTERVAL_MIN {
                self.stats.comparisons_over_limit += 1;
                return;
            }
            if of.is_shared() {
                neighbour.since = now; // It has heard our interest again.
            } else {
                self.on_neighbour_up(now, from);
            }
        }
        let Some(neighbour) = self.neighbours.get_mut(&from) else {
            return;
        };
        neighbour.compared.insert(of);
        if neighbour.interest.is_some() != of.is_shared() {
            return; // Made before it knew of our interest: it says others.
        }
        let differing = match of {
            Holdings::Logs => self.log_digests.differing(sums),
            Holdings::States => self.states.differing(sums),
            Holdings::SharedLogs | Holdings::SharedStates => {
                self.shared_digests(from, of).differing(sums)
            }
        };
        match of.is_states() {
            _ if differing.is_empty() => {}
            false => self.list_logs(from, &differing),
            true => self.list_states(now, from, &differing),
        }
    }

    /// Those of some entries that are to be told to a neighbour.
    pub(crate) fn shared_entries<'a>(
        &self,
        with: MachineId,
        entries: impl Iterator<Item = &'a FrontierEntry>,
    ) -> Vec<FrontierEntry> {
        let Some(neighbour) = self.neighbours.get(&with) else {
            return Vec::new();
        };
        let with = neighbour.interest.as_ref();
        let shared = |entry: &&FrontierEntry| self.states.shares_log(with, &entry.log.machine);
        entries.filter(shared).cloned().collect()
    }

    /// Frontier messages of some entries, none larger than it may be. Each tells which of the
    /// newest blocks of its logs hold alarms, as many runs of each as `of_each`. If they are news
    /// of `now`, each tells how long its newest blocks have been here.
    pub(crate) fn frontier_messages(
        &self,
        entries: Vec<FrontierEntry>,
        of_each: usize,
        news: Option<Instant>,
    ) -> Vec<Message> {
        let mut messages = Vec::new();
        for entry in entries {
            let runs = self.urgent.newest(&entry.log, of_each);
            let runs = runs.map(|span| (entry.log, span)).collect::<Vec<_>>();
            match messages.last_mut() {
                Some(Message::Frontier {
                    entries,
                    urgent,
                    ages,
                    ..
                }) if entries.len() < Message::FRONTIER_ENTRIES_MAX
                    && urgent.len() + runs.len() <= Message::URGENT_MAX =>
                {
                    ages.extend(self.age_of(news, &entry));
                    entries.push(entry);
                    urgent.extend(runs);
                }
                Some(_) | None => messages.push(Message::Frontier {
                    ages: self.age_of(news, &entry).into_iter().collect(),
                    entries: vec![entry],
                    urgent: runs,
                    is_news: news.is_some(),
                }),
            }
        }
        messages
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

    fn list_logs(&mut self, to: MachineId, differing: &Differing) {
        let entries = self.frontier.iter();
        let entries = entries.filter(|entry| differing.at(Place::of_log(&entry.log)).is_some());
        let entries = self.shared_entries(to, entries);
        self.list(to, entries);
    }

    fn list(&mut self, to: MachineId, entries: Vec<FrontierEntry>) {
        for message in self.frontier_messages(entries, RUNS_MAX, None) {
            self.send(to, message);
        }
    }

    /// Where the neighbour holds nothing at all it gets the states without having to ask, unless it
    /// may have to ask for the membership of whoever says them: before that they would be refused.
    fn list_states(&mut self, now: Instant, to: MachineId, differing: &Differing) {
        let Some(neighbour) = self.neighbours.get_mut(&to) else {
            return;
        };
        let with = neighbour.interest.as_ref();
        let mut listed = Vec::new();
        let mut owed = Vec::new();
        let at = |key: &StateKey| differing.at(Place::of_state(key));
        let states = self.states.iter();
        for state in states.filter(|state| self.states.shares(with, state.key())) {
            let key = state.key();
            let membership = membership_key(key.origin);
            match at(key) {
                Some(true) if at(&membership) != Some(false) => owed.push(key.clone()),
                Some(_) => listed.push((key.clone(), state.version())),
                None => {}
            }
        }
        neighbour.owed.extend(owed);
        for part in listed.chunks(Message::SUMMARY_MAX) {
            self.send(to, Message::StateSummary(part.to_vec()));
        }
        self.flush_states(now, to);
    }
}

/// How often a neighbour may start anew. Source: guess, below what a process needs to start.
pub(crate) const COMPARISON_INTERVAL_MIN: Duration = Duration::from_millis(100);
