//! The one thread that writes: many writes, one sync, then their completions.
//!
//! While a sync runs, the next writes gather in the queue, so batches are as large as the disk is
//! slow. A batch is completed as a whole, after its sync.
//!
//! When a write fails, the segment is cut back to what was synced and used further. When a sync
//! fails, the operating system may have forgotten what it did not write and report the next sync
//! as good, so the segment is left as it is and writing goes on in a new one.

mod alarms;
mod retain;

use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};

use bytes::Bytes;
use gossip::Write;
use model::{Block, BlockId, LogId, Sequence, State, StateKey, StateKind, StateVersion};
use statemachine::Ticket;

use crate::disk::Output;
use crate::footer::{BlockEntry, Contents, StateEntry};
use crate::keyed::SegmentRow;
use crate::record::{Extent, FILE_HEADER_BYTES, Kind, Spot, file_header, record_header};
use crate::retention::{AtRest, Dropped, Retention};
use crate::scan::as_u64;
use crate::segments;
use crate::store::{Shared, lock, read, write};
use crate::{IoError, WriteError};

/// The end of a write.
#[derive(Clone, Debug)]
pub struct Completion {
    /// The ticket that it was given.
    pub ticket: Ticket,
    /// Durable, or why not.
    pub result: Result<(), WriteError>,
}

/// Work on its way to the writer.
#[derive(Debug)]
pub(crate) enum Job {
    /// Something to write; the ticket names its completion.
    Write(Ticket, Write),
    /// Segments may be given up; whoever asks takes the answer.
    Retain(Retention, SyncSender<Result<Dropped, WriteError>>),
}

impl Job {
    /// How much a write counts towards the queue's limit. Unit: bytes.
    pub(crate) fn bytes(write: &Write) -> usize {
        match write {
            Write::Block(block) => block.as_bytes().len(),
            Write::State(state) => state.as_bytes().len(),
        }
    }
}

/// The segment that is written to, as it was found at the start.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Its number.
    pub(crate) number: u32,
    /// Where its records end; a footer may follow.
    pub(crate) end: u64,
    /// What it holds.
    pub(crate) contents: Contents,
}

/// Who is told about completions.
pub(crate) type Complete = Box<dyn FnMut(Vec<Completion>) + Send>;

/// The writing half of the store.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    complete: Complete,
    current: Option<Segment>,
    at_rest: AtRest,
    tail: Option<Tail>,
    next_number: u32,
}

/// An open segment.
struct Segment {
    number: u32,
    output: Box<dyn Output>,
    /// Up to here everything is synced.
    end: u64,
    blocks: BTreeMap<LogId, Vec<Sequence>>,
    /// Copies of blocks for their alarms.
    kept: Vec<BlockId>,
    /// States and marks; blocks join them when it is sealed.
    contents: Contents,
}

/// What goes to disk together.
#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    blocks: BTreeSet<BlockId>,
    states: BTreeMap<StateKey, StateVersion>,
}

struct Record {
    what: What,
    /// What goes before the body: header and extent.
    head: Vec<u8>,
    body: Bytes,
    offset: u64,
}

enum What {
    Block(Block, Extent),
    /// A copy of a block for its alarms.
    Kept(BlockId, Extent),
    State(State),
}

/// What is known of a write before its batch is synced.
enum Prepared {
    Done(Result<(), WriteError>),
    WithBatch,
}

impl Writer {
    /// A writer that goes on in `tail`, or else in a segment with the next number.
    pub(crate) fn new(
        shared: Arc<Shared>,
        complete: Complete,
        at_rest: AtRest,
        tail: Option<Tail>,
        next_number: u32,
    ) -> Self {
        Self {
            shared,
            complete,
            current: None,
            at_rest,
            tail,
            next_number,
        }
    }

    /// Writes until every sender is gone, then seals.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) {
        let mut next = None;
        while let Some(job) = next.take().or_else(|| jobs.recv().ok()) {
            match job {
                Job::Write(ticket, write) => next = self.write((ticket, write), jobs),
                Job::Retain(retention, answer) => {
                    // Whoever asked and does not wait has no use for the answer.
                    let _ = answer.try_send(self.retain(&retention));
                }
            }
        }
        self.seal();
        self.keep_counters();
    }

    /// Completes a write and those that wait behind it. Returns the job that ended them, if it is
    /// no write.
    fn write(&mut self, first: (Ticket, Write), jobs: &Receiver<Job>) -> Option<Job> {
        let mut bytes = Job::bytes(&first.1);
        let mut batch = vec![first];
        let mut next = None;
        while batch.len() < BATCH_WRITES_MAX && bytes < BATCH_BYTES_MAX {
            match jobs.try_recv() {
                Ok(Job::Write(ticket, write)) => {
                    bytes += Job::bytes(&write);
                    batch.push((ticket, write));
                }
                Ok(other) => {
                    next = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let completions = self.commit(batch);
        (self.complete)(completions);
        let segment_bytes = self.shared.config.segment_bytes();
        if (self.current.as_ref()).is_some_and(|segment| segment.end >= segment_bytes) {
            self.seal();
        }
        next
    }

    /// Makes a batch durable; says for each write how it ended.
    fn commit(&mut self, writes: Vec<(Ticket, Write)>) -> Vec<Completion> {
        let space = self.check_space();
        let mut batch = Batch::default();
        let mut prepared = Vec::with_capacity(writes.len());
        for (ticket, write) in writes {
            let outcome = match write {
                Write::Block(block) => self.prepare_block(&mut batch, block, &space),
                Write::State(state) => self.prepare_state(&mut batch, state),
            };
            prepared.push((ticket, outcome));
        }
        let written = self.append(batch);
        if let Err(error) = &written {
            tracing::warn!(%error, "writes failed");
        }
        let completions: Vec<Completion> = prepared
            .into_iter()
            .map(|(ticket, outcome)| Completion {
                ticket,
                result: match outcome {
                    Prepared::Done(result) => result,
                    Prepared::WithBatch => written.clone(),
                },
            })
            .collect();
        let failed = completions.iter().filter(|c| c.result.is_err()).count();
        lock(&self.shared.stats).writes_failed += as_u64(failed);
        completions
    }

    fn check_space(&self) -> Result<(), WriteError> {
        let config = &self.shared.config;
        let free = self.shared.disk.free_bytes(&config.directory);
        let free = free.map_err(IoError::on("measure", &config.directory))?;
        if free < config.free_bytes_min {
            return Err(WriteError::SpaceLow {
                path: config.directory.clone(),
                free,
                limit: config.free_bytes_min,
            });
        }
        Ok(())
    }

    fn prepare_block(
        &self,
        batch: &mut Batch,
        block: Block,
        space: &Result<(), WriteError>,
    ) -> Prepared {
        let id = block.id();
        let index = read(&self.shared.index);
        let is_settled = index.get(id).is_some() || index.is_given_up(id);
        drop(index);
        if is_settled {
            lock(&self.shared.stats).writes_repeated += 1;
            return Prepared::Done(Ok(()));
        }
        if batch.blocks.contains(&id) {
            lock(&self.shared.stats).writes_repeated += 1;
            return Prepared::WithBatch;
        }
        if let Err(error) = space {
            return Prepared::Done(Err(error.clone()));
        }
        match Extent::of(&block) {
            Ok(extent) => {
                batch.blocks.insert(id);
                let body = block.as_bytes().clone();
                batch.push(What::Block(block, extent), body);
                Prepared::WithBatch
            }
            Err(error) => Prepared::Done(Err(error.into())),
        }
    }

    fn prepare_state(&self, batch: &mut Batch, state: State) -> Prepared {
        let key = state.key();
        let held = self.shared.keyed.state(key).map(|held| held.version());
        let in_batch = batch.states.get(key).copied();
        if held.max(in_batch) >= Some(state.version()) {
            lock(&self.shared.stats).writes_repeated += 1;
            return if in_batch.is_some() {
                Prepared::WithBatch
            } else {
                Prepared::Done(Ok(()))
            };
        }
        match key.kind {
            StateKind::Membership
            | StateKind::Series
            | StateKind::Revocation
            | StateKind::Redemption
            | StateKind::Renewal
            | StateKind::NetworkKey
            | StateKind::Letter
            | StateKind::Reply
            | StateKind::Equivocation => {
                batch.states.insert(key.clone(), state.version());
                let body = state.as_bytes().clone();
                batch.push(What::State(state), body);
                Prepared::WithBatch
            }
            StateKind::Progress => Prepared::Done(self.shared.keyed.put_state(&state)),
            // Said again often enough; see `StateKind::is_persistent`.
            StateKind::Presence | StateKind::Watermark | StateKind::Candidacy => {
                Prepared::Done(Ok(()))
            }
        }
    }

    /// Writes and syncs a batch, then makes it visible.
    fn append(&mut self, mut batch: Batch) -> Result<(), WriteError> {
        if batch.records.is_empty() {
            return Ok(());
        }
        let segment = match self.current.take() {
            Some(segment) => segment,
            None => self.open_segment()?,
        };
        let segment = self.current.insert(segment);
        let end = batch.place(segment.number, segment.end);
        let path = segments::path(&self.shared.config.segments(), segment.number);
        if let Err(error) = segment.output.append(&mut batch.slices()) {
            if segment.output.cut(segment.end).is_err() {
                self.abandon();
            }
            return Err(IoError::on("write", &path)(error).into());
        }
        if let Err(error) = segment.output.sync() {
            self.abandon();
            return Err(IoError::on("sync", &path)(error).into());
        }
        let mut stats = lock(&self.shared.stats);
        stats.bytes += end - segment.end;
        stats.bytes_written += end - segment.end;
        stats.commits += 1;
        drop(stats);
        segment.end = end;
        self.show(batch);
        Ok(())
    }

    /// Makes what is durable visible to readers.
    fn show(&mut self, batch: Batch) {
        let Some(segment) = &mut self.current else {
            return;
        };
        let own = self.shared.config.own;
        let mut lost = lock(&self.shared.lost);
        let mut index = write(&self.shared.index);
        for record in batch.records {
            let length = u32::try_from(record.head.len() + record.body.len());
            let (Ok(offset), Ok(length)) = (u32::try_from(record.offset), length) else {
                unreachable!("segments end below 2 GiB");
            };
            match record.what {
                What::Block(block, extent) => {
                    let header = block.header();
                    if header.origin() == own {
                        segment.contents.mark(&header.publishers);
                    }
                    let entry = BlockEntry {
                        id: header.id(),
                        continues: header.continues,
                        offset,
                        length,
                        extent,
                    };
                    if index.insert(segment.number, &entry) && lost.remove(&entry.id) {
                        tracing::info!(block = %entry.id, "a damaged block is stored again");
                    }
                    let sequences = segment.blocks.entry(entry.id.log).or_default();
                    sequences.push(entry.id.sequence);
                }
                What::Kept(id, extent) => {
                    let entry = BlockEntry {
                        id,
                        continues: None,
                        offset,
                        length,
                        extent,
                    };
                    index.keep(segment.number, &entry);
                    segment.kept.push(id);
                }
                What::State(state) => {
                    segment.contents.states.push(StateEntry {
                        key: state.key().clone(),
                        version: state.version(),
                        offset,
                        length,
                    });
                    if let Err(error) = self.shared.keyed.put_state(&state) {
                        tracing::warn!(%error, "a state is in its segment, but not in the index");
                    }
                }
            }
        }
    }

    /// Goes on in the segment that was written last before the start, or makes a new one.
    fn open_segment(&mut self) -> Result<Segment, WriteError> {
        let directory = self.shared.config.segments();
        if let Some(tail) = self.tail.take() {
            let path = segments::path(&directory, tail.number);
            match self.shared.disk.reopen(&path, tail.end) {
                Ok(output) => return Ok(Segment::resume(tail, output)),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "segment left, next one begun");
                    self.at_rest.add(tail.number, tail.end);
                }
            }
        }
        let number = self.next_number;
        let path = segments::path(&directory, number);
        let header = file_header(number, &self.shared.config.network);
        let disk = &self.shared.disk;
        let created = disk.create(&path).and_then(|mut output| {
            output.append(&mut [IoSlice::new(&header)])?;
            disk.sync_directory(&directory)?;
            Ok(output)
        });
        // A file that was begun and failed is nobody's; its number is used again.
        let output = created.map_err(|error| {
            let _ = disk.remove(&path);
            IoError::on("create", &path)(error)
        })?;
        self.next_number += 1;
        let mut stats = lock(&self.shared.stats);
        stats.segments += 1;
        stats.bytes += as_u64(FILE_HEADER_BYTES);
        stats.bytes_written += as_u64(FILE_HEADER_BYTES);
        drop(stats);
        Ok(Segment {
            number,
            output,
            end: as_u64(FILE_HEADER_BYTES),
            blocks: BTreeMap::new(),
            kept: Vec::new(),
            contents: Contents::default(),
        })
    }

    /// Leaves the current segment without a footer: the next start scans it.
    fn abandon(&mut self) {
        let Some(mut segment) = self.current.take() else {
            return;
        };
        let path = segments::path(&self.shared.config.segments(), segment.number);
        tracing::warn!(path = %path.display(), "segment left after a failure, next one begun");
        let _ = segment.output.cut(segment.end);
        if segment.end == as_u64(FILE_HEADER_BYTES) && self.shared.disk.remove(&path).is_ok() {
            let mut stats = lock(&self.shared.stats);
            stats.segments -= 1;
            stats.bytes -= segment.end;
            return;
        }
        self.at_rest.add(segment.number, segment.end);
    }

    /// Ends the current segment with its footer.
    fn seal(&mut self) {
        let Some(mut segment) = self.current.take() else {
            return;
        };
        segment.gather_blocks(&self.shared);
        let sealed = segments::seal(
            &mut *segment.output,
            segment.number,
            segment.end,
            &segment.contents,
        );
        match sealed {
            Ok(length) => {
                let mut stats = lock(&self.shared.stats);
                stats.bytes += length - segment.end;
                stats.bytes_written += length - segment.end;
                drop(stats);
                let row = SegmentRow {
                    bytes: length,
                    blocks: as_u64(segment.contents.blocks.len()),
                };
                if let Err(error) = self.shared.keyed.put_segment(segment.number, row) {
                    tracing::warn!(%error, "a segment is missing in the catalogue");
                }
                self.at_rest.add(segment.number, length);
                self.keep_counters();
            }
            Err(error) => {
                tracing::warn!(segment = segment.number, %error, "segment could not be sealed");
                self.current = Some(segment);
                self.abandon();
            }
        }
    }

    fn keep_counters(&self) {
        let written = lock(&self.shared.stats).bytes_written;
        if let Err(error) = self.shared.keyed.put_bytes_written(written) {
            tracing::warn!(%error, "the count of bytes written is not kept");
        }
    }
}

impl Segment {
    fn resume(tail: Tail, output: Box<dyn Output>) -> Self {
        let mut blocks: BTreeMap<LogId, Vec<Sequence>> = BTreeMap::new();
        for block in &tail.contents.blocks {
            let sequences = blocks.entry(block.id.log).or_default();
            sequences.push(block.id.sequence);
        }
        Self {
            number: tail.number,
            output,
            end: tail.end,
            blocks,
            kept: tail.contents.kept.iter().map(|entry| entry.id).collect(),
            contents: Contents {
                blocks: Vec::new(),
                kept: Vec::new(),
                ..tail.contents
            },
        }
    }

    /// Lists the blocks for the footer; those that were found damaged are not in it.
    fn gather_blocks(&mut self, shared: &Shared) {
        let index = read(&shared.index);
        for (log, sequences) in &self.blocks {
            for sequence in sequences {
                let id = BlockId {
                    log: *log,
                    sequence: *sequence,
                };
                let here = index.get(id).is_some_and(|p| p.segment == self.number);
                self.contents
                    .blocks
                    .extend(index.entry(id).filter(|_| here));
            }
        }
        for id in &self.kept {
            let here = index.kept(*id).is_some_and(|p| p.segment == self.number);
            (self.contents.kept).extend(index.kept_entry(*id).filter(|_| here));
        }
    }
}

impl Batch {
    fn push(&mut self, what: What, body: Bytes) {
        let head = match &what {
            What::Block(_, extent) | What::Kept(_, extent) => extent.encode(),
            What::State(_) => Vec::new(),
        };
        self.records.push(Record {
            what,
            head,
            body,
            offset: 0,
        });
    }

    /// Gives each record its place and header. Returns where they end.
    fn place(&mut self, segment: u32, mut offset: u64) -> u64 {
        for record in &mut self.records {
            let spot = Spot { segment, offset };
            let kind = match record.what {
                What::Block(..) => Kind::Block,
                What::Kept(..) => Kind::Kept,
                What::State(_) => Kind::State,
            };
            let header = record_header(spot, kind, [&record.head, &record.body]);
            record.head.splice(0..0, header);
            record.offset = offset;
            offset += as_u64(record.head.len() + record.body.len());
        }
        offset
    }

    fn slices(&self) -> Vec<IoSlice<'_>> {
        let records = self.records.iter();
        records
            .flat_map(|record| [IoSlice::new(&record.head), IoSlice::new(&record.body)])
            .collect()
    }
}

/// Most writes in one batch. Source: guess; with blocks of 8 KiB as much as [`BATCH_BYTES_MAX`].
const BATCH_WRITES_MAX: usize = 1_024;
/// A batch ends with the write that exceeds this. Unit: bytes. Source: guess, what a disk that
/// writes 400 MB/s takes in 20 ms.
const BATCH_BYTES_MAX: usize = 8 << 20;
