//! The outbox: every record that the sink has not taken yet, held once, bounded in bytes and age.
//! The urgent go first and are given up last.
//!
//! A record that was just submitted is *live* and stays in memory: while the sink takes records at
//! once, nothing is written to disk and no flash wears out. When the sink fails, or more records
//! wait than [`LIVE_MAX`], they become *backlog*: their bodies go to files and only an entry of
//! some hundred bytes stays in memory.
//!
//! Files of our own rather than sled: what is appended is in the page cache at once and so
//! survives `kill -9`, where sled 0.34 buffers half a second; each record is written once, and
//! an outbox that has been emptied takes no space.

mod segments;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use aggregate::{Record, WindowRecord};
use bytes::Bytes;
use model::{Epoch, MachineId, Sequence, Timestamp};
use sha2::{Digest as _, Sha256};

use segments::{Location, SEGMENT_BYTES_MAX, Segments, Stored};

use crate::{DropReason, Item, Outgoing, Priority, packed};

/// The rules of an outbox.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Most that waiting records take. Unit: bytes.
    pub(crate) bytes_max: u64,
    /// Longest that a record waits.
    pub(crate) age_max: Duration,
    /// Of the records of one window only the latest is delivered: the sink cannot tell which of
    /// two is the later one.
    pub(crate) one_per_window: bool,
}

/// The records that wait.
#[derive(Debug)]
pub(crate) struct Outbox {
    rules: Rules,
    disk: Segments,
    /// By number, which is the order of submission.
    entries: BTreeMap<u64, Entry>,
    keys: BTreeMap<KeyHash, u64>,
    /// The latest waiting record of each window, if only that is delivered.
    windows: BTreeMap<KeyHash, u64>,
    /// The urgent first, then the oldest.
    live: BTreeSet<(Reverse<Priority>, u64)>,
    /// Those that the sink has put off least come first, then as if they were live.
    backlog: BTreeSet<(u32, Reverse<Priority>, u64)>,
    /// All, in the order in which they are given up.
    expendable: BTreeSet<(Priority, u64)>,
    /// Turned into backlog since the last [`Outbox::flush`], and in memory alone.
    unsaved: VecDeque<u64>,
    /// Done since the last [`Outbox::flush`], and on disk.
    done: Vec<(u64, Location)>,
    bytes: u64,
    next: u64,
}

/// The first half of the SHA-256 of a name.
type KeyHash = [u8; 16];

#[derive(Debug)]
struct Entry {
    key: KeyHash,
    /// The window that it is a record of, and its place among the records of that window.
    window: Option<(KeyHash, Version)>,
    origin: MachineId,
    priority: Priority,
    submitted: Timestamp,
    bytes: u64,
    ids: Vec<u64>,
    /// How often the sink has put it off while taking others.
    put_off: u32,
    body: Body,
}

/// Of two records of a window the greater is the valid one (aggregate's `WindowKey`).
type Version = (Epoch, Sequence, bool);

#[derive(Debug)]
enum Body {
    /// Packed.
    Memory(Bytes),
    Disk(Location),
}

/// What became of a record that was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// It waits.
    New,
    /// It waits in the place of an earlier record of its window.
    Replaced,
    /// It waits already, or a later record of its window does; its id is noted there.
    Known,
}

impl Outbox {
    /// Opens the outbox in a directory, with what was left there.
    pub(crate) fn open(dir: PathBuf, rules: Rules) -> io::Result<Self> {
        let (disk, left) = Segments::open(dir)?;
        let mut outbox = Self {
            rules,
            disk,
            entries: BTreeMap::new(),
            keys: BTreeMap::new(),
            windows: BTreeMap::new(),
            live: BTreeSet::new(),
            backlog: BTreeSet::new(),
            expendable: BTreeSet::new(),
            unsaved: VecDeque::new(),
            done: Vec::new(),
            bytes: 0,
            next: 1,
        };
        for (stored, location) in left {
            outbox.next = outbox.next.max(stored.number + 1);
            let Some(item) = packed::unpack(&stored.item) else {
                outbox.done.push((stored.number, location)); // Not written by this version.
                continue;
            };
            let entry = Entry {
                key: hash(&item.key()),
                window: outbox.window_of(&item),
                origin: item.record.machine(),
                priority: Priority::from_code(stored.priority),
                submitted: Timestamp::from_nanos(stored.submitted),
                bytes: stored.item.len() as u64,
                ids: Vec::new(),
                put_off: 0,
                body: Body::Disk(location),
            };
            if outbox.later_of(&entry).is_some() {
                outbox.done.push((stored.number, location));
                continue;
            }
            let order = Reverse(entry.priority);
            outbox.add(stored.number, entry);
            outbox.backlog.insert((0, order, stored.number));
        }
        Ok(outbox)
    }

    /// Takes a record.
    pub(crate) fn insert(&mut self, outgoing: &Outgoing, now: Timestamp) -> Inserted {
        let Outgoing { id, item, priority } = outgoing;
        let key = hash(&item.key());
        if let Some(entry) = self.keys.get(&key).and_then(|n| self.entries.get_mut(n)) {
            entry.note(&[*id]);
            return Inserted::Known;
        }
        let packed = Bytes::from(packed::pack(item));
        let entry = Entry {
            key,
            window: self.window_of(item),
            origin: item.record.machine(),
            priority: *priority,
            submitted: now,
            bytes: packed.len() as u64,
            ids: vec![*id],
            put_off: 0,
            body: Body::Memory(packed),
        };
        if let Some(later) = self.later_of(&entry).and_then(|n| self.entries.get_mut(&n)) {
            later.note(&[*id]);
            return Inserted::Known;
        }
        let number = self.next;
        let replaced = self.add(number, entry);
        self.live.insert((Reverse(*priority), number));
        if replaced {
            Inserted::Replaced
        } else {
            Inserted::New
        }
    }

    fn window_of(&self, item: &Item) -> Option<(KeyHash, Version)> {
        let Record::Window(WindowRecord { key, .. }) = &item.record else {
            return None;
        };
        let version = (key.log_epoch, key.last_sequence, key.complete);
        // A key is the window's name and three more levels.
        let name = item.key();
        let window = name.rsplitn(4, '/').nth(3)?;
        self.rules.one_per_window.then(|| (hash(window), version))
    }

    /// A waiting record that is valid in the place of this one.
    fn later_of(&self, entry: &Entry) -> Option<u64> {
        let (window, version) = entry.window?;
        let number = *self.windows.get(&window)?;
        let (_, other) = self.entries.get(&number)?.window?;
        (other > version).then_some(number)
    }

    /// Adds an entry; says whether it takes the place of an earlier record of its window.
    fn add(&mut self, number: u64, mut entry: Entry) -> bool {
        let mut replaced = false;
        if let Some((window, _)) = entry.window
            && let Some(earlier) = self.windows.insert(window, number)
            && !self.is_on_its_way(earlier)
        {
            entry.note(&self.remove(earlier).unwrap_or_default());
            replaced = true;
        }
        self.next = self.next.max(number + 1);
        self.bytes += entry.bytes;
        self.keys.insert(entry.key, number);
        self.expendable.insert((entry.priority, number));
        self.entries.insert(number, entry);
        replaced
    }

    /// Whether a record has been taken out for delivery.
    fn is_on_its_way(&self, number: u64) -> bool {
        self.entries.get(&number).is_some_and(|entry| {
            let order = Reverse(entry.priority);
            let waits = self.live.contains(&(order, number))
                || self.backlog.contains(&(entry.put_off, order, number));
            !waits
        })
    }

    /// Takes up to `max` live records out for delivery that are at least as important as this.
    pub(crate) fn take_live(&mut self, max: usize, least: Priority) -> Vec<(u64, Item)> {
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(&(priority, number)) = self.live.first()
            && priority.0 >= least
        {
            self.live.pop_first();
            taken.extend(self.body(number).map(|item| (number, item)));
        }
        taken
    }

    /// Takes up to `max` records of the backlog out for delivery that are at least as important as
    /// this; those whose body cannot be read are left in and returned apart.
    pub(crate) fn take_backlog(
        &mut self,
        max: usize,
        least: Priority,
    ) -> (Vec<(u64, Item)>, Vec<u64>) {
        let (mut taken, mut unreadable) = (Vec::new(), Vec::new());
        while taken.len() < max
            && let Some(&(_, priority, number)) = self.backlog.first()
            && priority.0 >= least
        {
            self.backlog.pop_first();
            match self.body(number) {
                Some(item) => taken.push((number, item)),
                None => unreadable.push(number),
            }
        }
        (taken, unreadable)
    }

    fn body(&self, number: u64) -> Option<Item> {
        match &self.entries.get(&number)?.body {
            Body::Memory(packed) => packed::unpack(packed),
            Body::Disk(location) => match self.disk.read(*location) {
                Ok(stored) => packed::unpack(&stored.item),
                Err(error) => {
                    tracing::warn!(%error, number, "a record of the outbox cannot be read");
                    None
                }
            },
        }
    }

    /// Puts a record back that was taken out and not delivered; `put_off` if others were.
    pub(crate) fn put_back(&mut self, number: u64, put_off: bool) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        if let Some(later) = entry
            .window
            .and_then(|(window, _)| self.windows.get(&window))
            && *later != number
        {
            let (later, ids) = (*later, self.remove(number).unwrap_or_default());
            if let Some(later) = self.entries.get_mut(&later) {
                later.note(&ids);
            }
            return;
        }
        entry.put_off = entry.put_off.saturating_add(u32::from(put_off));
        let waits = (entry.put_off, Reverse(entry.priority), number);
        if self.backlog.insert(waits) && matches!(entry.body, Body::Memory(_)) {
            self.unsaved.push_back(number);
        }
    }

    /// Forgets a record and returns its ids; `None` if it was forgotten before.
    pub(crate) fn remove(&mut self, number: u64) -> Option<Vec<u64>> {
        let entry = self.entries.remove(&number)?;
        let order = Reverse(entry.priority);
        self.keys.remove(&entry.key);
        if let Some((window, _)) = entry.window
            && self.windows.get(&window) == Some(&number)
        {
            self.windows.remove(&window);
        }
        self.live.remove(&(order, number));
        self.backlog.remove(&(entry.put_off, order, number));
        self.expendable.remove(&(entry.priority, number));
        self.bytes -= entry.bytes;
        if let Body::Disk(location) = entry.body {
            self.done.push((number, location));
        }
        Some(entry.ids)
    }

    /// Forgets an origin's records; returns how many there were.
    pub(crate) fn withdraw(&mut self, origin: MachineId) -> u64 {
        let of_origin = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.origin == origin);
        let numbers: Vec<u64> = of_origin.map(|(number, _)| *number).collect();
        numbers
            .iter()
            .filter_map(|number| self.remove(*number))
            .count() as u64
    }

    /// Forgets one record if all together are too large, the oldest of the least priority, or one
    /// that is too old.
    pub(crate) fn drop_one(&mut self, now: Timestamp) -> Option<(DropReason, Vec<u64>)> {
        if self.bytes > self.rules.bytes_max {
            let (_, number) = *self.expendable.first()?;
            return self.remove(number).map(|ids| (DropReason::Bytes, ids));
        }
        let too_old = Priority::ALL.into_iter().find_map(|priority| {
            let mut oldest = self.expendable.range((priority, 0)..=(priority, u64::MAX));
            let (_, number) = *oldest.next()?;
            let submitted = self.entries.get(&number)?.submitted;
            (now.since(submitted) > self.rules.age_max).then_some(number)
        })?;
        self.remove(too_old).map(|ids| (DropReason::Age, ids))
    }

    /// Turns all live records into backlog.
    pub(crate) fn demote_live(&mut self) {
        while let Some((_, number)) = self.live.pop_first() {
            self.put_back(number, false);
        }
    }

    /// Brings the files up to date: marks what is done, and writes down the bodies of the
    /// backlog. Called after changes; without any it does nothing.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.live.len() > LIVE_MAX {
            self.demote_live();
        }
        let done = std::mem::take(&mut self.done);
        self.disk.done(&done)?;
        while let Some(&number) = self.unsaved.front() {
            if let Some(entry) = self.entries.get_mut(&number)
                && let Body::Memory(packed) = &entry.body
            {
                let stored = Stored {
                    number,
                    priority: entry.priority.code(),
                    submitted: entry.submitted.as_nanos(),
                    item: packed.clone(),
                };
                entry.body = Body::Disk(self.disk.append(&stored)?);
            }
            self.unsaved.pop_front();
        }
        while self.disk.bytes() > 2 * self.rules.bytes_max + SEGMENT_BYTES_MAX {
            self.compact()?;
        }
        Ok(())
    }

    /// Moves what still waits in the oldest file to the newest, so that the oldest can go.
    fn compact(&mut self) -> io::Result<()> {
        let oldest = self.disk.oldest();
        let mut moved = Vec::new();
        for (number, entry) in &mut self.entries {
            if let Body::Disk(location) = entry.body
                && Some(location.segment) == oldest
            {
                let stored = self.disk.read(location)?;
                entry.body = Body::Disk(self.disk.append(&stored)?);
                moved.push((*number, location));
            }
        }
        self.disk.release(&moved);
        Ok(())
    }

    /// How much a record matters.
    pub(crate) fn priority(&self, number: u64) -> Priority {
        let entry = self.entries.get(&number);
        entry.map_or(Priority::default(), |entry| entry.priority)
    }

    /// How many records wait, those on their way to the sink included.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether records of the backlog wait to be taken.
    pub(crate) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// What the waiting records take. Unit: bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When the oldest record was submitted.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.entries.values().next().map(|entry| entry.submitted)
    }
}

impl Entry {
    /// Notes more ids under which the caller asks for this record.
    fn note(&mut self, ids: &[u64]) {
        for id in ids {
            if !self.ids.contains(id) {
                self.ids.push(*id);
            }
        }
        let excess = self.ids.len().saturating_sub(IDS_MAX);
        self.ids.drain(..excess);
    }
}

fn hash(key: &str) -> KeyHash {
    let digest: [u8; 32] = Sha256::digest(key).into();
    let (first, _) = digest.split_first_chunk().expect("32 bytes begin with 16");
    *first
}

/// Most ids of one record that are remembered; the oldest go first, which the caller has normally
/// forgotten. Unit: ids. Source: what the engine keeps of an origin.
const IDS_MAX: usize = 4_096;
/// Most live records that stay in memory alone. Unit: records, of about 1 kB. Source: guess: all
/// windows of a site end at the same time, and this is what may come at once.
const LIVE_MAX: usize = 8_192;

#[cfg(test)]
mod tests;
