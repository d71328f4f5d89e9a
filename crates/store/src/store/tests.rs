//! A site of two machines, and a disk that fails when told to.

mod crash;
mod durable;
mod faults;
mod question;
mod retention;
mod schedule;

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use gossip::Write;
use identity::Keypair;
use model::{
    Block, BlockHash, BlockHeader, Draft, Epoch, LogId, MachineId, NetworkId, Position,
    PublisherMark, Quality, Reading, Sequence, SeriesNumber, State, StateDraft, StateKey,
    StateKind, StateVersion, Timestamp, Value,
};
use statemachine::Ticket;
use tempfile::TempDir;

use super::*;
use crate::Recovered;
use crate::disk::Output;

pub(super) const NETWORK: NetworkId = NetworkId::from_bytes([9; 32]);

/// One of the machines of the site.
pub(super) fn machine(seed: u8) -> MachineId {
    Keypair::from_seed(&[seed; 32]).machine()
}

/// The own machine of every store here.
pub(super) const OWN: u8 = 1;
pub(super) const OTHER: u8 = 2;

pub(super) fn log_of(seed: u8, counter: u64) -> LogId {
    LogId {
        machine: machine(seed),
        epoch: Epoch { counter, tag: 7 },
    }
}

/// A block of readings given as (series, time, value).
pub(super) fn block(
    seed: u8,
    counter: u64,
    sequence: Sequence,
    readings: &[(u32, i64, i64)],
) -> Block {
    continuing(seed, counter, sequence, None, readings)
}

pub(super) fn continuing(
    seed: u8,
    counter: u64,
    sequence: Sequence,
    continues: Option<Position>,
    readings: &[(u32, i64, i64)],
) -> Block {
    let key = Keypair::from_seed(&[seed; 32]);
    let header = BlockHeader {
        log: log_of(seed, counter),
        sequence,
        previous: BlockHash([0; 32]).prefix(),
        continues,
        sealed: Timestamp::from_nanos(1_000 + sequence.cast_signed()),
        watermark: Timestamp::from_nanos(0),
        count: 0,
        urgent: false,
        publishers: vec![PublisherMark {
            publisher: format!("publisher-{}", sequence % 3),
            sequence,
        }],
    };
    let readings = readings
        .iter()
        .map(|(series, time, value)| Reading {
            series: SeriesNumber(*series),
            time: Timestamp::from_nanos(*time),
            value: Value::I64(*value),
            quality: Quality::GOOD,
        })
        .collect();
    Draft { header, readings }
        .seal(&NETWORK, |digest| key.sign(digest))
        .expect("a block")
}

pub(super) fn state(kind: StateKind, subject: &str, counter: u64) -> State {
    let key = Keypair::from_seed(&[OTHER; 32]);
    StateDraft {
        key: StateKey {
            origin: key.machine(),
            kind,
            subject: subject.to_owned(),
        },
        version: StateVersion { epoch: 1, counter },
        payload: Bytes::from(format!("{subject} {counter}")),
    }
    .seal(&NETWORK, |digest| key.sign(digest))
}

/// A store and its completions.
pub(super) struct Site {
    pub(super) store: Store,
    pub(super) recovered: Recovered,
    completions: Receiver<Vec<Completion>>,
    ticket: Ticket,
}

impl Site {
    pub(super) fn open(directory: &TempDir) -> Self {
        Self::open_with(Arc::new(SystemDisk), config(directory)).expect("opens")
    }

    /// Opens without syncing anything.
    pub(super) fn open_quickly(directory: &TempDir) -> Self {
        Self::open_with(Arc::new(FaultyDisk::quick()), config(directory)).expect("opens")
    }

    pub(super) fn open_with(disk: Arc<dyn Disk>, config: Config) -> Result<Self, OpenError> {
        let (sender, completions) = sync_channel(1_024);
        let (store, recovered) = Store::open_on(disk, config, move |batch| {
            sender.send(batch).expect("the test takes completions");
        })?;
        Ok(Self {
            store,
            recovered,
            completions,
            ticket: Ticket::default(),
        })
    }

    /// Writes all at once and waits until all are completed.
    pub(super) fn put(&mut self, writes: Vec<Write>) -> Vec<Result<(), WriteError>> {
        let count = writes.len();
        for write in writes {
            self.ticket = self.ticket.next();
            self.store.write(self.ticket, write).expect("is queued");
        }
        let mut results = Vec::new();
        while results.len() < count {
            let batch = self.completions.recv().expect("the writer lives");
            results.extend(batch.into_iter().map(|completion| completion.result));
        }
        results
    }

    pub(super) fn put_blocks(&mut self, blocks: &[Block]) {
        let results = self.put(blocks.iter().cloned().map(Write::Block).collect());
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    }

    pub(super) fn read_all(&self, log: LogId) -> Vec<Block> {
        let span = Span {
            first: 1,
            last: Sequence::MAX,
        };
        self.store.read(log, span, usize::MAX).blocks
    }
}

pub(super) fn config(directory: &TempDir) -> Config {
    Config {
        free_bytes_min: 0,
        ..Config::new(directory.path().join("data"), NETWORK, machine(OWN))
    }
}

pub(super) fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// Series numbers as a set.
pub(super) fn series(numbers: &[u32]) -> BTreeSet<SeriesNumber> {
    numbers.iter().map(|number| SeriesNumber(*number)).collect()
}

/// What the next operations on files do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) append: Option<io::ErrorKind>,
    pub(crate) sync: Option<io::ErrorKind>,
    pub(crate) cut: Option<io::ErrorKind>,
    pub(crate) free: Option<u64>,
    /// Of the directory of segments.
    pub(crate) sync_segments: Option<io::ErrorKind>,
}

/// The system's disk, failing as planned.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultyDisk {
    pub(super) plan: Arc<Mutex<Plan>>,
    /// For tests that reopen very often: the page cache outlives them anyway.
    pub(super) skips_sync: bool,
}

struct FaultyOutput {
    inner: Box<dyn Output>,
    disk: FaultyDisk,
}

impl FaultyDisk {
    pub(super) fn quick() -> Self {
        Self {
            skips_sync: true,
            ..Self::default()
        }
    }

    pub(crate) fn set(&self, plan: Plan) {
        *lock(&self.plan) = plan;
    }

    fn wrap(&self, inner: io::Result<Box<dyn Output>>) -> io::Result<Box<dyn Output>> {
        Ok(Box::new(FaultyOutput {
            inner: inner?,
            disk: self.clone(),
        }))
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        self.wrap(SystemDisk.create(path))
    }

    fn reopen(&self, path: &Path, length: u64) -> io::Result<Box<dyn Output>> {
        self.wrap(SystemDisk.reopen(path, length))
    }

    fn settle(&self, path: &Path) -> io::Result<()> {
        if self.skips_sync {
            return Ok(());
        }
        SystemDisk.settle(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let planned = lock(&self.plan).sync_segments;
        if let Some(kind) = planned.filter(|_| path.ends_with("segments")) {
            return Err(kind.into());
        }
        if self.skips_sync {
            return Ok(());
        }
        SystemDisk.sync_directory(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        lock(&self.plan)
            .free
            .map_or_else(|| SystemDisk.free_bytes(path), Ok)
    }
}

impl Output for FaultyOutput {
    /// Fails after the first slice, as a disk does that fills up on the way.
    fn append(&mut self, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let planned = lock(&self.disk.plan).append;
        match planned {
            Some(kind) => {
                let count = slices.len().min(1);
                self.inner.append(&mut slices[..count])?;
                Err(kind.into())
            }
            None => self.inner.append(slices),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        let planned = lock(&self.disk.plan).sync;
        match planned {
            Some(kind) => Err(kind.into()),
            None if self.disk.skips_sync => Ok(()),
            None => self.inner.sync(),
        }
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        let planned = lock(&self.disk.plan).cut;
        planned.map_or_else(|| self.inner.cut(length), |kind| Err(kind.into()))
    }
}
