//! The file of notes on commands: what must survive any crash, so that no command runs twice.
//!
//! ```text
//! file    magic 8, records
//! record  length of the payload 4 | CRC32C of offset, length and payload 4 | payload
//! ```
//!
//! One thread writes: many notes, one sync, then their completions. A file that ends in a torn
//! record is cut back to the last whole one: what was torn was never completed. After a failed
//! sync the operating system may have forgotten what it did not write, so the next write begins a
//! new file with all that can be read of the old one.
//!
//! # Not here
//!
//! What a note means and when the file is written anew (`command`).

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use command::{Note, NoteWrite};
use statemachine::Ticket;

use crate::disk::private;
use crate::writer::Complete;
use crate::{Completion, IoError, OpenError, WriteError};

/// The file of notes, and the thread that writes it. The thread ends when this and what it has
/// queued is gone.
#[derive(Debug)]
pub struct CommandLog {
    jobs: SyncSender<(Ticket, NoteWrite)>,
}

impl CommandLog {
    /// Opens the file in the store's directory, which must be open already; returns its notes in
    /// the order in which they were written. `complete` is told when writes are on disk.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if it cannot be read or written, or is none.
    pub fn open(
        directory: &Path,
        complete: impl FnMut(Vec<Completion>) + Send + 'static,
    ) -> Result<(Self, Vec<Note>), OpenError> {
        let path = directory.join(NAME);
        let notes = match fs::read(&path) {
            Ok(bytes) => records(&bytes).ok_or_else(|| {
                let error = io::Error::new(io::ErrorKind::InvalidData, "not a file of notes");
                IoError::on("read", &path)(error)
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(IoError::on("read", &path)(error).into()),
        };
        // A note of another version is as good as none to this one, but damage must not pass.
        let notes: Vec<Note> = notes.iter().filter_map(|b| Note::decode(b).ok()).collect();
        let file = Notes::write_anew(&path, notes.iter().map(Note::encode))
            .map_err(IoError::on("write", &path))?;
        let (jobs, queue) = sync_channel(JOBS_MAX);
        let file = Some(file);
        let writer = Notes { path, file };
        thread::Builder::new()
            .name("command-log".to_owned())
            .spawn(move || writer.serve(&queue, Box::new(complete)))
            .map_err(IoError::on("start a thread for", directory))?;
        Ok((Self { jobs }, notes))
    }

    /// Queues a write; `false` if too many wait: it is not written then.
    #[must_use]
    pub fn write(&self, ticket: Ticket, write: NoteWrite) -> bool {
        self.jobs.try_send((ticket, write)).is_ok()
    }
}

/// The writing half.
struct Notes {
    path: PathBuf,
    /// `None` after a failure, until a new file stands.
    file: Option<(File, u64)>,
}

impl Notes {
    fn serve(mut self, queue: &Receiver<(Ticket, NoteWrite)>, mut complete: Complete) {
        while let Ok(first) = queue.recv() {
            let batch: Vec<_> = [first].into_iter().chain(queue.try_iter()).collect();
            let written = batch.iter().try_for_each(|(_, write)| self.add(write));
            let synced = written.and_then(|()| self.sync());
            if synced.is_err() {
                self.file = None;
            }
            let result = synced.map_err(IoError::on("write", &self.path));
            let result = result.map_err(WriteError::from);
            let done = batch.into_iter().map(|(ticket, _)| Completion {
                ticket,
                result: result.clone(),
            });
            complete(done.collect());
        }
    }

    fn add(&mut self, write: &NoteWrite) -> io::Result<()> {
        match write {
            NoteWrite::Replace(notes) => {
                self.file = Some(Self::write_anew(
                    &self.path,
                    notes.iter().map(Note::encode),
                )?);
                Ok(())
            }
            NoteWrite::Append(note) => {
                if self.file.is_none() {
                    let held = records(&fs::read(&self.path)?).unwrap_or_default();
                    self.file = Some(Self::write_anew(&self.path, held.into_iter())?);
                }
                let Some((file, end)) = &mut self.file else {
                    return Ok(());
                };
                let record = record(*end, &note.encode());
                file.write_all(&record)?;
                *end += as_u64(record.len());
                Ok(())
            }
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file
            .as_ref()
            .map_or(Ok(()), |(file, _)| file.sync_data())
    }

    /// Puts a new file into the place of the old one, durably.
    fn write_anew(path: &Path, payloads: impl Iterator<Item = Vec<u8>>) -> io::Result<(File, u64)> {
        let temporary = path.with_extension("new");
        let mut options = private();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .open(&temporary)?;
        let mut bytes = MAGIC.to_vec();
        for payload in payloads {
            let record = record(as_u64(bytes.len()), &payload);
            bytes.extend_from_slice(&record);
        }
        file.write_all(&bytes)?;
        file.sync_data()?;
        fs::rename(&temporary, path)?;
        if let Some(directory) = path.parent() {
            File::open(directory)?.sync_all()?;
        }
        Ok((file, as_u64(bytes.len())))
    }
}

fn record(offset: u64, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .unwrap_or(u32::MAX)
        .to_le_bytes();
    let crc = checksum(offset, &length, payload).to_le_bytes();
    [&length, &crc, payload].concat()
}

fn checksum(offset: u64, length: &[u8], payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&offset.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, length), payload)
}

/// The payloads up to the first record that is not whole; `None` if it is another kind of file.
fn records(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let mut found = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>()
        && let Some((crc, after)) = after.split_first_chunk::<4>()
        && let Ok(size) = usize::try_from(u32::from_le_bytes(*length))
        && let Some((payload, after)) = after.split_at_checked(size)
        && checksum(as_u64(bytes.len() - rest.len()), length, payload) == u32::from_le_bytes(*crc)
    {
        found.push(payload.to_vec());
        rest = after;
    }
    Some(found)
}

fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Its name in the store's directory.
const NAME: &str = "commands.log";
/// What it begins with.
const MAGIC: &[u8] = b"fmcmd\0\0\x01";
/// Notes that wait for the disk. Source: as many as commands may be active, twice.
const JOBS_MAX: usize = 2_048;

#[cfg(test)]
mod tests;
