//! The outbox: every record that the sink has not taken yet, held once, bounded in bytes and age.
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

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use model::{MachineId, Timestamp};
use sha2::{Digest as _, Sha256};

use segments::{Location, SEGMENT_BYTES_MAX, Segments, Stored};

use crate::{DropReason, Item};

/// The limits of an outbox.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most that waiting records take. Unit: bytes.
    pub(crate) bytes_max: u64,
    /// Longest that a record waits.
    pub(crate) age_max: Duration,
}

/// The records that wait.
#[derive(Debug)]
pub(crate) struct Outbox {
    limits: Limits,
    disk: Segments,
    /// By number, which is the order of submission.
    entries: BTreeMap<u64, Entry>,
    keys: BTreeMap<KeyHash, u64>,
    live: BTreeSet<u64>,
    /// Those that the sink has put off least come first, then the oldest.
    backlog: BTreeSet<(u32, u64)>,
    /// Turned into backlog since the last [`Outbox::flush`], and in memory alone.
    unsaved: VecDeque<u64>,
    /// Done since the last [`Outbox::flush`], and on disk.
    done: Vec<(u64, Location)>,
    bytes: u64,
    next: u64,
}

/// The first half of the SHA-256 of a record's key.
type KeyHash = [u8; 16];

#[derive(Debug)]
struct Entry {
    key: KeyHash,
    origin: MachineId,
    submitted: Timestamp,
    bytes: u64,
    ids: Vec<u64>,
    /// How often the sink has put it off while taking others.
    put_off: u32,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Memory(Item),
    Disk(Location),
}

impl Outbox {
    /// Opens the outbox in a directory, with what was left there.
    pub(crate) fn open(dir: PathBuf, limits: Limits) -> io::Result<Self> {
        let (disk, left) = Segments::open(dir)?;
        let mut outbox = Self {
            limits,
            disk,
            entries: BTreeMap::new(),
            keys: BTreeMap::new(),
            live: BTreeSet::new(),
            backlog: BTreeSet::new(),
            unsaved: VecDeque::new(),
            done: Vec::new(),
            bytes: 0,
            next: 1,
        };
        for (stored, location) in left {
            let Ok(origin) = <[u8; 32]>::try_from(stored.origin.as_ref()) else {
                continue; // Not written by this version; it is left out, as if it were done.
            };
            let item = item_of(&stored);
            let entry = Entry {
                key: hash(&item.key),
                origin: MachineId::from_bytes(origin),
                submitted: Timestamp::from_nanos(stored.submitted),
                bytes: size_of(&item),
                ids: Vec::new(),
                put_off: 0,
                body: Body::Disk(location),
            };
            outbox.backlog.insert((0, stored.number));
            outbox.add(stored.number, entry);
        }
        Ok(outbox)
    }

    /// Takes a record; says whether it is new. Of a key that waits already only the id is noted.
    pub(crate) fn insert(
        &mut self,
        item: Item,
        origin: MachineId,
        id: u64,
        now: Timestamp,
    ) -> bool {
        let key = hash(&item.key);
        if let Some(entry) = self
            .keys
            .get(&key)
            .and_then(|number| self.entries.get_mut(number))
        {
            if !entry.ids.contains(&id) {
                entry.ids.push(id);
            }
            if entry.ids.len() > IDS_MAX {
                entry.ids.remove(0);
            }
            return false;
        }
        let number = self.next;
        let entry = Entry {
            key,
            origin,
            submitted: now,
            bytes: size_of(&item),
            ids: vec![id],
            put_off: 0,
            body: Body::Memory(item),
        };
        self.add(number, entry);
        self.live.insert(number);
        true
    }

    fn add(&mut self, number: u64, entry: Entry) {
        self.next = self.next.max(number + 1);
        self.bytes += entry.bytes;
        self.keys.insert(entry.key, number);
        self.entries.insert(number, entry);
    }

    /// Takes up to `max` live records out for delivery, oldest first.
    pub(crate) fn take_live(&mut self, max: usize) -> Vec<(u64, Item)> {
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(number) = self.live.pop_first()
        {
            taken.extend(self.body(number).map(|item| (number, item)));
        }
        taken
    }

    /// Takes up to `max` records of the backlog out for delivery; those whose body cannot be read
    /// are left in and returned apart.
    pub(crate) fn take_backlog(&mut self, max: usize) -> (Vec<(u64, Item)>, Vec<u64>) {
        let (mut taken, mut unreadable) = (Vec::new(), Vec::new());
        while taken.len() < max
            && let Some((_, number)) = self.backlog.pop_first()
        {
            match self.body(number) {
                Some(item) => taken.push((number, item)),
                None => unreadable.push(number),
            }
        }
        (taken, unreadable)
    }

    fn body(&self, number: u64) -> Option<Item> {
        match &self.entries.get(&number)?.body {
            Body::Memory(item) => Some(item.clone()),
            Body::Disk(location) => match self.disk.read(*location) {
                Ok(stored) => Some(item_of(&stored)),
                Err(error) => {
                    tracing::warn!(%error, number, "a record of the outbox cannot be read");
                    None
                }
            },
        }
    }

    /// Puts a record back that was taken out and not delivered; `put_off` if others were.
    pub(crate) fn put_back(&mut self, number: u64, put_off: bool) {
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.put_off = entry.put_off.saturating_add(u32::from(put_off));
            self.backlog.insert((entry.put_off, number));
            if matches!(entry.body, Body::Memory(_)) {
                self.unsaved.push_back(number);
            }
        }
    }

    /// Forgets a record and returns its ids; `None` if it was forgotten before.
    pub(crate) fn remove(&mut self, number: u64) -> Option<Vec<u64>> {
        let entry = self.entries.remove(&number)?;
        self.keys.remove(&entry.key);
        self.live.remove(&number);
        self.backlog.remove(&(entry.put_off, number));
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

    /// Forgets the oldest record if it is too old, or if all together are too large.
    pub(crate) fn drop_oldest(&mut self, now: Timestamp) -> Option<(DropReason, Vec<u64>)> {
        let (&number, oldest) = self.entries.first_key_value()?;
        let reason = if self.bytes > self.limits.bytes_max {
            DropReason::Bytes
        } else if now.since(oldest.submitted) > self.limits.age_max {
            DropReason::Age
        } else {
            return None;
        };
        self.remove(number).map(|ids| (reason, ids))
    }

    /// Turns all live records into backlog.
    pub(crate) fn demote_live(&mut self) {
        while let Some(number) = self.live.pop_first() {
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
                && let Body::Memory(item) = &entry.body
            {
                let stored = stored_of(number, entry, item);
                entry.body = Body::Disk(self.disk.append(&stored)?);
            }
            self.unsaved.pop_front();
        }
        while self.disk.bytes() > 2 * self.limits.bytes_max + SEGMENT_BYTES_MAX {
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

fn hash(key: &str) -> KeyHash {
    let digest: [u8; 32] = Sha256::digest(key).into();
    let (first, _) = digest.split_first_chunk().expect("32 bytes begin with 16");
    *first
}

fn size_of(item: &Item) -> u64 {
    (item.key.len() + item.topic.len() + item.json.len()) as u64
}

fn stored_of(number: u64, entry: &Entry, item: &Item) -> Stored {
    Stored {
        number,
        submitted: entry.submitted.as_nanos(),
        origin: Bytes::copy_from_slice(entry.origin.as_bytes()),
        key: item.key.clone(),
        topic: item.topic.clone(),
        json: item.json.clone(),
    }
}

fn item_of(stored: &Stored) -> Item {
    Item {
        key: stored.key.clone(),
        topic: stored.topic.clone(),
        json: stored.json.clone(),
    }
}

/// Most ids of one record that are remembered; the oldest go first. A caller that submits a record
/// again has normally forgotten its former id. Unit: ids. Source: guess.
const IDS_MAX: usize = 8;
/// Most live records that stay in memory alone. Unit: records, of about 1 kB. Source: guess: all
/// windows of a site end at the same time, and this is what may come at once.
const LIVE_MAX: usize = 8_192;

#[cfg(test)]
mod tests;
