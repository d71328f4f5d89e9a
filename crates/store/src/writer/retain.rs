//! Giving up segments.
//!
//! First what must outlive them is written elsewhere and synced: states that are still the newest,
//! blocks with alarms, floors and publishers' marks. Only then do the files go, so a crash in
//! between leaves too much at worst, and the next pass takes it away.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::{Duration, SystemTime};

use model::{LogId, Sequence};

use super::{Batch, What, Writer};
use crate::footer::Contents;
use crate::notes::{self, Floor, GivenUp};
use crate::retention::{Dropped, Retention};
use crate::segments;
use crate::store::{lock, read, write};
use crate::{IoError, WriteError};

/// Segments that are to go, with what they hold.
pub(super) type Victims = BTreeMap<u32, Contents>;

impl Writer {
    /// Gives up what may be given up, at most [`VICTIMS_MAX`] segments.
    pub(super) fn retain(&mut self, retention: &Retention) -> Result<Dropped, WriteError> {
        self.turn_over(retention);
        let victims = self.victims(retention);
        if victims.is_empty() {
            return Ok(Dropped::default());
        }
        self.save_states(&victims)?;
        let given_up = self.left_of(&victims);
        let kept = self.keep_alarms(&victims, &given_up, &retention.alarms)?;
        let shared = &self.shared;
        notes::put_given_up(&*shared.disk, &shared.config.directory, &given_up)?;
        let mut dropped = Dropped::default();
        let mut index = write(&shared.index);
        let readings = index.readings;
        for (log, floor) in &given_up.floors {
            if self.at_rest.given_up.floors.get(log) != Some(floor) {
                if let Some(needed) = retention.needed_from(log) {
                    dropped.readings_waiting += index.readings_in(log, needed, floor.sequence - 1);
                }
                index.advance_floor(*log, floor.sequence);
                dropped.floors.push((*log, floor.sequence));
            }
        }
        dropped.readings = (readings - index.readings).saturating_sub(kept);
        index.remove_kept_of(&victims);
        lock(&shared.lost).retain(|id| !index.is_given_up(*id));
        drop(index);
        let mut stats = lock(&shared.stats);
        stats.readings_dropped += dropped.readings;
        stats.readings_dropped_waiting += dropped.readings_waiting;
        drop(stats);
        self.at_rest.given_up = given_up;
        dropped.segments = self.remove(victims.into_keys());
        Ok(dropped)
    }

    /// Ends a segment that has been written to for a good part of the longest age, so that what is
    /// rarely written grows old too.
    fn turn_over(&mut self, retention: &Retention) {
        let (Some(current), Some(age_max)) = (&self.current, retention.age_max) else {
            return;
        };
        let path = segments::path(&self.shared.config.segments(), current.number);
        let begun =
            fs::metadata(&path).and_then(|file| file.created().or_else(|_| file.modified()));
        let Ok(begun) = begun else { return };
        let share = age_max / SEGMENTS_PER_AGE;
        let is_due = match retention.now.duration_since(begun) {
            Ok(age) => age > share,
            // Begun while the clock was ahead: what follows gets a date that can be judged.
            Err(ahead) => ahead.duration() > share,
        };
        if is_due {
            self.seal();
        }
    }

    /// The segments that are to go: what is uploaded first, then, for want of room, what is not.
    fn victims(&mut self, retention: &Retention) -> Victims {
        let mut room = self.room_wanted(retention);
        let old_through = self.old_through(retention);
        let mut victims = Victims::new();
        for uploaded_only in [true, false] {
            let numbers: Vec<u32> = self.at_rest.segments.keys().copied().collect();
            for number in numbers {
                let is_old = uploaded_only && old_through.is_some_and(|old| number <= old);
                if victims.len() >= VICTIMS_MAX || !(is_old || room.is_wanted(uploaded_only)) {
                    break; // Those that follow are younger.
                }
                if victims.contains_key(&number) || !self.may_go(number, retention, uploaded_only) {
                    continue;
                }
                let Some(contents) = self.contents(number) else {
                    continue;
                };
                let resting = self.at_rest.segments.get(&number);
                room.gain(resting.map_or(0, |resting| resting.bytes));
                victims.insert(number, contents);
            }
        }
        victims
    }

    fn room_wanted(&self, retention: &Retention) -> Room {
        let config = &self.shared.config;
        let bytes = lock(&self.shared.stats).bytes;
        let free = self.shared.disk.free_bytes(&config.directory);
        let enough = config.free_bytes_min.saturating_add(config.segment_bytes());
        Room {
            over: (retention.bytes_max).map_or(0, |bytes_max| bytes.saturating_sub(bytes_max)),
            // Without an uplink there is no other copy that would make it right to drop this one.
            short: match (free, &retention.uploaded) {
                (Ok(free), Some(_)) => enough.saturating_sub(free),
                _ => 0,
            },
        }
    }

    /// The last segment of those that are too old; `None` if none is.
    ///
    /// Segments are written one after the other, so one with a date that nobody can trust is at
    /// least as old as those that follow. Times of readings play no part: a reading from the far
    /// future keeps nothing, and one from the past takes nothing with it.
    fn old_through(&self, retention: &Retention) -> Option<u32> {
        let age_max = retention.age_max?;
        let mut old = None;
        for number in self.at_rest.segments.keys() {
            match self.age(*number, retention.now) {
                Some(age) if age > age_max => old = Some(*number),
                Some(_) => break, // What follows is younger still, whatever its date says.
                None => {}
            }
        }
        old
    }

    /// How long ago a segment was written; `None` if the clock was not set then, or ahead.
    fn age(&self, number: u32, now: SystemTime) -> Option<Duration> {
        let path = segments::path(&self.shared.config.segments(), number);
        let written = fs::metadata(&path).and_then(|file| file.modified()).ok()?;
        if written < SystemTime::UNIX_EPOCH + DATES_FROM {
            return None;
        }
        now.duration_since(written).ok()
    }

    /// Whether a segment may go: never the last own block, which the next epoch names.
    fn may_go(&mut self, number: u32, retention: &Retention, uploaded_only: bool) -> bool {
        let last_own = read(&self.shared.index).last_of(self.shared.config.own);
        let Some(ends) = self.ends(number) else {
            return false;
        };
        let holds_last_own = last_own
            .is_some_and(|last| ends.get(&last.log).is_some_and(|end| *end >= last.sequence));
        let is_uploaded = || {
            ends.iter()
                .all(|(log, end)| retention.is_uploaded(log, *end))
        };
        !holds_last_own && (!uploaded_only || is_uploaded())
    }

    /// The last block of each log in a segment.
    fn ends(&mut self, number: u32) -> Option<&BTreeMap<LogId, Sequence>> {
        let is_known = (self.at_rest.segments.get(&number)).is_some_and(|s| s.ends.is_some());
        if !is_known {
            let contents = self.contents(number)?;
            let resting = self.at_rest.segments.get_mut(&number)?;
            let mut ends = BTreeMap::new();
            for block in &contents.blocks {
                let end = ends.entry(block.id.log).or_default();
                *end = block.id.sequence.max(*end);
            }
            resting.ends = Some(ends);
        }
        self.at_rest.segments.get(&number)?.ends.as_ref()
    }

    fn contents(&self, number: u32) -> Option<Contents> {
        match segments::load(&*self.shared.disk, &self.shared.config, number) {
            Ok(loaded) => Some(loaded.contents),
            Err(error) => {
                tracing::warn!(segment = number, %error, "segment cannot be given up");
                None
            }
        }
    }

    /// Writes the states again that only these segments hold.
    fn save_states(&mut self, victims: &Victims) -> Result<(), WriteError> {
        let mut batch = Batch::default();
        for entry in victims.values().flat_map(|contents| &contents.states) {
            let held = self.shared.keyed.state(&entry.key);
            if let Some(state) = held.filter(|state| state.version() == entry.version)
                && !batch.states.contains_key(&entry.key)
            {
                batch.states.insert(entry.key.clone(), entry.version);
                let body = state.as_bytes().clone();
                batch.push(What::State(state), body);
            }
        }
        self.append(batch)
    }

    /// What is left when these segments are gone too.
    fn left_of(&self, victims: &Victims) -> GivenUp {
        let mut left = self.at_rest.given_up.clone();
        let index = read(&self.shared.index);
        for contents in victims.values() {
            for block in &contents.blocks {
                let log = block.id.log;
                let floor = left.floors.entry(log).or_insert_with(|| Floor {
                    sequence: 1,
                    continues: index.continues(&log),
                });
                floor.sequence = floor.sequence.max(block.id.sequence.saturating_add(1));
            }
            for (publisher, sequence) in &contents.marks {
                let mark = left.marks.entry(publisher.clone()).or_default();
                *mark = (*mark).max(*sequence);
            }
        }
        left
    }

    /// Removes the files; one that cannot be removed is tried again with the next pass.
    fn remove(&mut self, numbers: impl Iterator<Item = u32>) -> u64 {
        let directory = self.shared.config.segments();
        let mut count = 0;
        for number in numbers {
            let path = segments::path(&directory, number);
            match self.shared.disk.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    let error = IoError::on("remove", &path)(error);
                    tracing::warn!(%error, "segment is given up, but not gone");
                    continue;
                }
                Ok(()) | Err(_) => count += 1,
            }
            self.shared.reader.forget(number);
            let resting = self.at_rest.segments.remove(&number);
            let mut stats = lock(&self.shared.stats);
            stats.segments = stats.segments.saturating_sub(1);
            let bytes = resting.map_or(0, |resting| resting.bytes);
            stats.bytes = stats.bytes.saturating_sub(bytes);
            drop(stats);
            if let Err(error) = self.shared.keyed.remove_segment(number) {
                tracing::warn!(%error, "a segment that is given up is still in the catalogue");
            }
        }
        if let Err(error) = self.shared.disk.sync_directory(&directory) {
            // They are given up all the same; what a power cut brings back goes with a later pass.
            let error = IoError::on("sync", &directory)(error);
            tracing::warn!(%error, "segments are given up, but may be there again after a power cut");
            lock(&self.shared.stats).writes_failed += 1;
        }
        count
    }
}

/// How much room is wanted. Unit: bytes.
struct Room {
    /// The store is so much larger than it may be.
    over: u64,
    /// The disk has so much less room than it should.
    short: u64,
}

impl Room {
    fn is_wanted(&self, uploaded_only: bool) -> bool {
        self.over > 0 || (uploaded_only && self.short > 0)
    }

    fn gain(&mut self, bytes: u64) {
        self.over = self.over.saturating_sub(bytes);
        self.short = self.short.saturating_sub(bytes);
    }
}

/// Most segments that go in one pass, so that writes do not wait long. Source: guess, 1 GiB of full
/// ones.
const VICTIMS_MAX: usize = 16;
/// A file with an earlier date was written before the clock was set. Unit: time since 1970. Source:
/// 2025-01-01, before the first release.
const DATES_FROM: Duration = Duration::from_secs(1_735_689_600);
/// How many segments share the longest age when little is written; what is in one goes together,
/// so this is how exact the age is. Source: guess.
const SEGMENTS_PER_AGE: u32 = 16;
