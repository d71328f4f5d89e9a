//! What follows from an origin having several lines: each has its followers, and its own progress.

use std::collections::BTreeMap;

use aggregate::Progress;
use model::{Epoch, MachineId, Position};

use statemachine::Instant;

use super::{Effect, Feed, Key, Source, Timer};
use crate::lines::Lines;

impl Feed {
    /// By origin, the first block that some uplink still needs, as far as that was told; `None` if
    /// there is no uplink.
    pub(crate) fn needed(&self) -> Option<BTreeMap<MachineId, Position>> {
        if self.uplinks.is_empty() {
            return None;
        }
        let needed_of = |key: Key| {
            let progress = self.done_of(&key)?;
            let late = progress.late.unwrap_or(progress.resume);
            Some(late.min(progress.resume))
        };
        let needed = |machine: &MachineId| {
            let keys = self.keys_of(*machine).into_iter();
            let needed = keys.filter(|key| !self.is_over(key)).map(needed_of);
            needed.min().flatten() // An uplink that has told nothing is the least.
        };
        let machines = self.lines.keys();
        Some(
            machines
                .filter_map(|machine| Some((*machine, needed(machine)?)))
                .collect(),
        )
    }

    /// The followers that an origin should have.
    pub(super) fn keys_of(&self, machine: MachineId) -> Vec<Key> {
        let lines = self.lines.get(&machine).into_iter();
        let lines: Vec<Epoch> = lines.flat_map(Lines::names).collect();
        let uplinks = 0..self.uplinks.len();
        let keys = uplinks.flat_map(|uplink| {
            lines.iter().map(move |line| Key {
                uplink,
                machine,
                line: *line,
            })
        });
        keys.collect()
    }

    /// What was given of an origin is not to be delivered any more.
    pub(super) fn withdraw(&mut self, source: Source) {
        self.uploads.retain(|_, of| of.source() != source);
        let uplink = self.uplinks[source.0].id.clone();
        self.effects.push(Effect::Withdraw(uplink, source.1));
        for (key, follower) in &mut self.followers {
            if key.source() == source {
                follower.upload_again();
            }
        }
    }

    pub(super) fn on_rewound(&mut self, now: Instant, key: Key) {
        self.withdraw(key.source());
        let uplink = self.uplinks[key.uplink].id.clone();
        self.effects.push(Effect::Rewound(uplink, key.machine));
        for other in self.keys_of(key.machine) {
            if other.source() == key.source() && other != key {
                self.settle(now, other);
            }
        }
    }

    /// Whether an epoch of an origin is of this line.
    pub(crate) fn is_of_line(&self, machine: &MachineId, epoch: Epoch, line: Epoch) -> bool {
        let lines = self.lines.get(machine);
        lines.and_then(|lines| lines.of(epoch)) == Some(line)
    }

    /// The furthest progress in what a follower follows.
    pub(super) fn done_of(&self, key: &Key) -> Option<Progress> {
        let lines = self.lines.get(&key.machine)?;
        let uplink = &self.uplinks[key.uplink].id;
        self.told.of(uplink, key.machine, lines, key.line)
    }

    /// Whether a line has ended, and nothing of it is to be uploaded any more.
    fn is_over(&self, key: &Key) -> bool {
        let lines = self.lines.get(&key.machine);
        let logs = lines
            .filter(|lines| lines.newest() != Some(key.line))
            .and_then(|lines| lines.logs(key.line));
        let follower = self.followers.get(key);
        follower
            .zip(logs)
            .is_some_and(|(follower, logs)| follower.is_through(logs))
    }

    /// The lines of an origin have changed: a follower stays with the line that its own first epoch
    /// is of now, if all that it has done is of that line, too.
    pub(super) fn part(&mut self, machine: MachineId) {
        let is_meant = |key: &&Key| key.machine == machine;
        let followed: Vec<Key> = self.followers.keys().filter(is_meant).copied().collect();
        for key in followed {
            let Some((line, fits)) = self.place_of(&key) else {
                continue;
            };
            let place = Key { line, ..key };
            if !fits || (place != key && self.followers.contains_key(&place)) {
                self.end(key);
            } else if place != key {
                self.rename(key, place);
            }
            let done = self.done_of(&place);
            if let (Some(follower), Some(done)) = (self.followers.get_mut(&place), done) {
                follower.on_progress(done, &self.uplinks[key.uplink]);
            }
        }
    }

    /// The line in which a follower would go on, and whether it can.
    fn place_of(&self, key: &Key) -> Option<(Epoch, bool)> {
        let (lines, follower) = (self.lines.get(&key.machine)?, self.followers.get(key)?);
        let line = lines.of(key.line)?;
        let fits = follower.epochs().all(|epoch| lines.of(epoch) == Some(line));
        Some((line, fits))
    }

    fn rename(&mut self, from: Key, to: Key) {
        let Some(follower) = self.followers.remove(&from) else {
            return;
        };
        self.followers.insert(to, follower);
        let reads = self.reads.values_mut().map(|(key, _)| key);
        let looking = self.looking.iter_mut().map(|(key, _)| key);
        let keys = reads.chain(looking).chain(self.uploads.values_mut());
        keys.filter(|key| **key == from).for_each(|key| *key = to);
        if self.lookbacks.remove(&from) {
            self.lookbacks.insert(to);
        }
        self.clear_timers(from);
    }

    /// A follower is needed no longer, or must begin anew.
    fn end(&mut self, key: Key) {
        if let Some(follower) = self.followers.remove(&key) {
            self.stats_before = self.stats_before.plus(follower.stats());
            if follower.backlog().is_some() {
                self.withdraw(key.source());
            }
        }
        self.lookbacks.remove(&key);
        self.clear_timers(key);
    }

    fn clear_timers(&mut self, key: Key) {
        let timers = [
            Timer::Silence(key),
            Timer::Progress(key),
            Timer::Reread(key),
            Timer::Lacking(key),
            Timer::Lookback(key),
        ];
        for timer in timers {
            self.timers.clear(&timer);
        }
    }
}
