//! The audit log: who was let in, refused or thrown out, who commanded whom, and who asked for it.
//! One JSON object a line, in files that are capped; commands have their own, so that however many
//! there are, they push nothing else out.
//!
//! A thread writes it, so that the loop never waits for the disk. When the file is full it takes
//! the place of the one before it and a new one begins: between half and all of the cap is kept.
//! What other machines can cause as often as they like has a pace ([`Pace`]): what comes faster is
//! counted, not written.
//!
//! # Not here
//!
//! What becomes a record ([`Record`]). Strangers leave none: a machine has proved its key before
//! it is recorded, and that takes the network key.

mod pace;
mod record;

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use statemachine::Instant;

pub use pace::Pace;
pub use record::{ADMINISTRATOR, Category, Kind, Record};

/// The log, as the loop writes it.
#[derive(Debug)]
pub struct Audit {
    lines: SyncSender<Record>,
    writer: JoinHandle<()>,
    dir: PathBuf,
    paces: BTreeMap<Kind, Pace>,
    dropped: u64,
}

impl Audit {
    /// Opens the log in a directory.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened, or the operating system gives no thread.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let mut writers = BTreeMap::new();
        for category in Category::ALL {
            let writer = Writer::open(&dir.join(category.file()), FILE_BYTES_MAX)?;
            writers.insert(category, writer);
        }
        let (lines, queue) = sync_channel(LINES_MAX);
        let writer = thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || serve(writers, &queue))?;
        Ok(Self {
            lines,
            writer,
            dir: dir.to_owned(),
            paces: BTreeMap::new(),
            dropped: 0,
        })
    }

    /// Adds a record, unless its kind has a pace and comes faster. Never waits: if too many wait
    /// for the disk, it is counted and dropped.
    pub fn record(&mut self, now: Instant, mut record: Record) {
        if let Some(interval) = record.kind.pace() {
            let pace = self.paces.entry(record.kind).or_default();
            let Some(left_out) = pace.admit(now, interval) else {
                return;
            };
            record.left_out = left_out;
        }
        if self.lines.try_send(record).is_err() {
            self.dropped += 1;
            tracing::warn!(dropped = self.dropped, "the audit log loses records");
        }
    }

    /// Reads the log, also while it is written.
    #[must_use]
    pub fn reader(&self) -> AuditReader {
        AuditReader {
            dir: self.dir.clone(),
        }
    }

    /// Writes what waits, and stops.
    pub fn close(self) {
        drop(self.lines);
        if self.writer.join().is_err() {
            tracing::warn!("the thread of the audit log had died");
        }
    }
}

/// Reads the log.
#[derive(Clone, Debug)]
pub struct AuditReader {
    dir: PathBuf,
}

impl AuditReader {
    /// The newest records of one category or of all, the oldest of them first. Reads files: not for
    /// the loop.
    ///
    /// # Errors
    ///
    /// If a file cannot be read.
    pub fn newest(&self, category: Option<Category>, limit: usize) -> io::Result<Vec<Record>> {
        let mut found = Vec::new();
        for one in Category::ALL {
            if category.is_none_or(|wanted| wanted == one) {
                found.extend(newest_of(&self.dir.join(one.file()), limit)?);
            }
        }
        // Stable, and all times are written alike.
        found.sort_by(|a, b| a.time.cmp(&b.time));
        Ok(found.split_off(found.len().saturating_sub(limit)))
    }
}

fn newest_of(path: &Path, limit: usize) -> io::Result<VecDeque<Record>> {
    let mut found = VecDeque::new();
    for path in [before(path), path.to_owned()] {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        // Not beyond the cap, whatever somebody has put there.
        for line in BufReader::new(file.take(FILE_BYTES_MAX)).lines() {
            let line = match line {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => continue,
                line => line?,
            };
            // A torn line is the end of a crash.
            let Ok(record) = serde_json::from_str::<Record>(&line) else {
                continue;
            };
            found.push_back(record);
            if found.len() > limit {
                found.pop_front();
            }
        }
    }
    Ok(found)
}

/// Writes until nobody records any more; syncs whenever nothing waits.
fn serve(mut writers: BTreeMap<Category, Writer>, queue: &Receiver<Record>) {
    while let Ok(first) = queue.recv() {
        let mut next = Some(first);
        while let Some(record) = next {
            if let Some(writer) = writers.get_mut(&record.kind.category())
                && let Err(error) = writer.write(&record)
            {
                tracing::warn!(%error, "a record of the audit log was not written");
            }
            next = queue.try_recv().ok();
        }
        for writer in writers.values_mut() {
            if let Err(error) = writer.sync() {
                tracing::warn!(%error, "the audit log was not synced");
            }
        }
    }
}

/// The writing half.
struct Writer {
    file: File,
    size: u64,
    path: PathBuf,
    bytes_max: u64,
    has_warned: bool,
    is_synced: bool,
}

impl Writer {
    fn open(path: &Path, bytes_max: u64) -> io::Result<Self> {
        let mut file = append_to(path)?;
        let size = file.metadata()?.len();
        if size > 0 {
            file.write_all(b"\n")?; // Ends a line that a crash has torn; an empty one says nothing.
        }
        Ok(Self {
            file,
            size: size.saturating_add(1),
            path: path.to_owned(),
            bytes_max,
            has_warned: false,
            is_synced: true,
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.is_synced, true) {
            self.file.sync_data()?;
        }
        Ok(())
    }

    fn write(&mut self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.size.saturating_add(length) > self.bytes_max {
            fs::rename(&self.path, before(&self.path))?;
            self.file = append_to(&self.path)?;
            self.size = 0;
            self.has_warned = false;
        }
        self.is_synced = false;
        self.file.write_all(&line)?;
        self.size += length;
        if self.size > self.bytes_max / 5 * 4 && !self.has_warned {
            self.has_warned = true;
            tracing::warn!(
                path = %before(&self.path).display(),
                "the audit log is nearly full: when it is, this older file of it is replaced; copy it"
            );
        }
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

/// The full file that the newest follows.
fn before(path: &Path) -> PathBuf {
    path.with_extension("1.jsonl")
}

/// Largest file, of two. Unit: bytes. Source: guess; some 30,000 records.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Records that wait for the disk. Source: guess.
const LINES_MAX: usize = 1_024;

#[cfg(test)]
mod tests;
