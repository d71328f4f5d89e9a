//! The store as others see it.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::{self, JoinHandle};

use gossip::{Span, Write};
use model::{Block, BlockId, LogId, Sequence};
use overlay::Contact;
use statemachine::Ticket;

use crate::disk::{Disk, SystemDisk};
use crate::index::{Index, Place};
use crate::keyed::Keyed;
use crate::latest::Latest;
use crate::record::Spot;
use crate::recover::{self, Recovered};
use crate::scan::as_u64;
use crate::segments::Reader;
use crate::writer::{Completion, Job, Writer};
use crate::{
    CleanStop, CloseError, Config, Dropped, IoError, OpenError, RefusedReason, RefusedWrite,
    Retention, Stats, WriteError, notes,
};

/// The store of one machine. Cloning shares it.
///
/// Reading and writing block their thread on the disk, but for [`Store::write`], which queues.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    writer: Arc<Mutex<Option<WriterHandle>>>,
}

/// The queue to the writer, and its thread. Dropping it ends the queue and waits for the thread.
struct WriterHandle {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// What the writer and all readers share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) index: RwLock<Index>,
    pub(crate) reader: Reader,
    pub(crate) keyed: Keyed,
    pub(crate) stats: Mutex<Stats>,
    pub(crate) latest: Mutex<Latest>,
    /// Blocks that do not read back and have not been stored again.
    pub(crate) lost: Mutex<BTreeSet<BlockId>>,
    pub(crate) queued_bytes: AtomicUsize,
    /// The highest counter of an own epoch that is noted.
    pub(crate) epoch: Mutex<u64>,
    /// Freed last, after sled has closed its files.
    pub(crate) _lock: File,
}

/// What [`Store::read`] found.
#[derive(Clone, Debug, Default)]
pub struct ReadBlocks {
    /// Blocks in the order of their sequences; what is not held is left out.
    pub blocks: Vec<Block>,
    /// What did not read back and is forgotten, so that gossip can bring it again.
    pub damaged: Vec<BlockId>,
}

impl Store {
    /// Opens the store of a machine, or makes an empty one, and repairs what a crash left.
    ///
    /// `complete` is called on the writer's thread, once for each batch, in the order of the
    /// batches; while it waits, nothing is written. Blocks are read only to find the hash of the
    /// last own one, so opening takes as long as reading the segments' footers and, after a crash,
    /// the last segment.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what to do about it.
    pub fn open(
        config: Config,
        complete: impl FnMut(Vec<Completion>) + Send + 'static,
    ) -> Result<(Self, Recovered), OpenError> {
        Self::open_on(Arc::new(SystemDisk), config, complete)
    }

    pub(crate) fn open_on(
        disk: Arc<dyn Disk>,
        config: Config,
        complete: impl FnMut(Vec<Completion>) + Send + 'static,
    ) -> Result<(Self, Recovered), OpenError> {
        let directory = config.directory.clone();
        let writes_max = config.queue_writes_max.max(1);
        let opened = recover::open(disk, config)?;
        let shared = Arc::new(opened.shared);
        let (jobs, queue): (_, Receiver<Job>) = sync_channel(writes_max);
        let writer = Writer::new(
            Arc::clone(&shared),
            Box::new(complete),
            opened.at_rest,
            opened.tail,
            opened.next_number,
        );
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(&queue))
            .map_err(IoError::on("start the writer of", &directory))?;
        let handle = WriterHandle {
            jobs: Some(jobs),
            thread: Some(thread),
        };
        let store = Self {
            shared,
            writer: Arc::new(Mutex::new(Some(handle))),
        };
        Ok((store, opened.recovered))
    }

    /// Queues a write; its completion carries the ticket. Never waits.
    ///
    /// # Errors
    ///
    /// [`RefusedWrite`] gives ticket and write back if too much is queued or the store is closed;
    /// then no completion follows.
    pub fn write(&self, ticket: Ticket, write: Write) -> Result<(), Box<RefusedWrite>> {
        let refused = |ticket, write, reason| {
            Err(Box::new(RefusedWrite {
                ticket,
                write,
                reason,
            }))
        };
        let writer = lock(&self.writer);
        let Some(jobs) = writer.as_ref().and_then(|writer| writer.jobs.as_ref()) else {
            return refused(ticket, write, RefusedReason::Closed);
        };
        let bytes = Job::bytes(&write);
        let queued = &self.shared.queued_bytes;
        if queued.fetch_add(bytes, Ordering::Relaxed) + bytes > self.shared.config.queue_bytes_max {
            queued.fetch_sub(bytes, Ordering::Relaxed);
            return refused(ticket, write, RefusedReason::Full);
        }
        let (job, reason) = match jobs.try_send(Job::Write(ticket, write)) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(job)) => (job, RefusedReason::Full),
            Err(TrySendError::Disconnected(job)) => (job, RefusedReason::Closed),
        };
        queued.fetch_sub(bytes, Ordering::Relaxed);
        let Job::Write(ticket, write) = job else {
            unreachable!("what comes back is what was sent");
        };
        refused(ticket, write, reason)
    }

    /// Queues a pass that gives up what may be given up, and returns where its answer comes: an
    /// error if what must outlive it cannot be written; then nothing is given up. Never waits;
    /// `None` if too much is queued or the store is closed.
    #[must_use]
    pub fn retain(&self, retention: Retention) -> Option<Receiver<Result<Dropped, WriteError>>> {
        let (answer, dropped) = sync_channel(1);
        let writer = lock(&self.writer);
        let jobs = writer.as_ref()?.jobs.as_ref()?;
        jobs.try_send(Job::Retain(retention, answer)).ok()?;
        Some(dropped)
    }

    /// Reads the blocks of a span that are held, in order, and stops before they exceed `bytes_max`
    /// encoded bytes, but gives at least one.
    #[must_use]
    pub fn read(&self, log: LogId, span: Span, bytes_max: usize) -> ReadBlocks {
        let mut found = ReadBlocks::default();
        let mut bytes = 0;
        for (sequence, place) in self.places(log, span, bytes_max) {
            let id = BlockId { log, sequence };
            let Some(block) = self.shared.block(id, place) else {
                found.damaged.push(id);
                continue;
            };
            bytes += block.as_bytes().len();
            if bytes > bytes_max && !found.blocks.is_empty() {
                break;
            }
            found.blocks.push(block);
        }
        found
    }

    /// The places of a span, until their records exceed `bytes_max`; records are longer than their
    /// blocks.
    fn places(&self, log: LogId, span: Span, bytes_max: usize) -> Vec<(Sequence, Place)> {
        let mut places = Vec::new();
        let mut bytes = 0;
        let enough = bytes_max.max(PLACES_BYTES_MIN);
        read(&self.shared.index).visit(&log, span.first, span.last, |sequence, place| {
            places.push((sequence, *place));
            bytes += usize::try_from(place.length).unwrap_or(usize::MAX);
            if bytes > enough {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        places
    }

    /// Keeps a contact over a restart, as far as the index survives it.
    ///
    /// # Errors
    ///
    /// [`WriteError`] if the index refuses.
    pub fn put_contact(&self, contact: &Contact) -> Result<(), WriteError> {
        self.shared.keyed.put_contact(contact)
    }

    /// Notes durably that an own epoch with this counter starts. Call it before the first block of
    /// the epoch is written; a lower counter than noted before changes nothing.
    ///
    /// # Errors
    ///
    /// [`IoError`] if it is not durable; then the epoch must not start.
    pub fn start_epoch(&self, counter: u64) -> Result<(), IoError> {
        let mut highest = lock(&self.shared.epoch);
        if counter > *highest {
            notes::put_epoch(&*self.shared.disk, &self.shared.config.directory, counter)?;
            *highest = counter;
        }
        Ok(())
    }

    /// The blocks that were found damaged since the start and have not been stored again: they are
    /// to be asked for again. At most 4,096; more are found when there is room.
    #[must_use]
    pub fn lost(&self) -> Vec<BlockId> {
        lock(&self.shared.lost).iter().copied().collect()
    }

    /// What it holds, and what has happened to it.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = *lock(&self.shared.stats);
        let index = read(&self.shared.index);
        stats.blocks = index.blocks;
        stats.readings = index.readings;
        stats.blocks_kept = as_u64(index.kept_count());
        drop(index);
        stats.blocks_lost = as_u64(lock(&self.shared.lost).len());
        stats
    }

    /// Ends writing: everything queued is written and completed, the last segment is sealed, and
    /// with `clean` the marker of a stop in order is left. Reading goes on; the directory is free
    /// for another process once the last clone is dropped.
    ///
    /// Completions are still delivered, so whoever takes them must not wait for this call.
    ///
    /// # Errors
    ///
    /// [`CloseError`]; then there is no marker, and the next start begins a new epoch.
    pub fn close(&self, clean: Option<CleanStop>) -> Result<(), CloseError> {
        let handle = lock(&self.writer).take();
        let ended = handle.is_some_and(WriterHandle::end);
        if let Err(error) = self.shared.keyed.flush() {
            tracing::warn!(%error, "the index is not flushed; it is repaired at the next start");
        }
        if !ended {
            return Err(CloseError::Writer);
        }
        if let Some(clean) = clean {
            notes::put_clean(&*self.shared.disk, &self.shared.config.directory, &clean)?;
        }
        Ok(())
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl WriterHandle {
    /// Ends the queue and waits until all of it is written; `false` if the writer panicked.
    fn end(mut self) -> bool {
        self.jobs = None;
        self.thread
            .take()
            .is_some_and(|thread| thread.join().is_ok())
    }
}

impl Drop for WriterHandle {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has said so; there is nobody to tell here.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Reads a block; one that does not read back is counted and forgotten.
    pub(crate) fn block(&self, id: BlockId, place: Place) -> Option<Block> {
        let spot = Spot {
            segment: place.segment,
            offset: place.offset.into(),
        };
        let block = self.reader.block(id, spot, place.length);
        lock(&self.stats).blocks_read += 1;
        if block.is_none() {
            // What retention gave up meanwhile is not damaged.
            let index = read(&self.index);
            let (is_held, is_kept) = (index.get(id), index.kept(id));
            drop(index);
            if is_held == Some(place) {
                self.on_damaged(id, place);
            } else if is_kept == Some(place) {
                self.on_kept_damaged(id);
            }
        }
        block
    }

    /// Forgets a block below its log's floor, which no neighbour gives again.
    fn on_kept_damaged(&self, id: BlockId) {
        tracing::warn!(block = %id, "a block that was kept for its alarms is damaged, and lost");
        write(&self.index).remove_kept(id);
        lock(&self.stats).records_damaged += 1;
    }

    /// Forgets a block that does not read back, if it can be remembered that it is to come again.
    fn on_damaged(&self, id: BlockId, place: Place) {
        let mut lost = lock(&self.lost);
        if lost.len() >= LOST_MAX || !lost.insert(id) {
            return;
        }
        drop(lost);
        tracing::warn!(
            block = %id,
            segment = place.segment,
            "a stored block is damaged; neighbours are asked for it"
        );
        write(&self.index).remove(id, place.segment);
        lock(&self.stats).records_damaged += 1;
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory: &Path = &self.shared.config.directory;
        f.debug_struct("Store")
            .field("directory", &directory)
            .finish()
    }
}

/// Locks. A thread that panicked has left counters at worst, so its poison is ignored.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks for reading, like [`lock`].
pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Locks for writing, like [`lock`].
pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Most damaged blocks that are remembered. Source: guess; a disk that damages more is broken.
const LOST_MAX: usize = 4_096;
/// So much is looked up at least, so that one damaged block does not hide those behind it. Unit:
/// bytes. Source: two of the largest blocks.
const PLACES_BYTES_MIN: usize = 2 * Block::ENCODED_BYTES_MAX;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::{FaultyDisk, Plan};
