//! The file of notes on commands: what must survive any crash, so that no command runs twice.
//!
//! ```text
//! file    magic 8, records
//! record  length of the payload 4 | CRC32C of offset, length and payload 4 | payload
//! ```
//!
//! One thread writes: many notes, one sync, then their completions. A file that ends in a torn
//! record is cut back to the last whole one: what was torn was never completed. A record that does
//! not read back with whole ones behind it was completed and is lost, and nobody else has it, so
//! the file is refused: whoever sent that command may send it again. After a failed sync the
//! operating system may have forgotten what it did not write, so the next write begins a new file
//! with all that can be read of the old one.
//!
//! # Not here
//!
//! What a note means and when the file is written anew (`command`).

use std::fs;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use command::{Note, NoteWrite};
use statemachine::Ticket;

use crate::disk::{self, Disk, Output, SystemDisk};
use crate::scan::as_u64;
use crate::writer::Complete;
use crate::{Completion, IoError, NotesError, OpenError, WriteError};

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
        Self::open_on(Arc::new(SystemDisk), directory, complete)
    }

    pub(crate) fn open_on(
        disk: Arc<dyn Disk>,
        directory: &Path,
        complete: impl FnMut(Vec<Completion>) + Send + 'static,
    ) -> Result<(Self, Vec<Note>), OpenError> {
        let path = directory.join(NAME);
        let notes = match fs::read(&path) {
            Ok(bytes) => records(&path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(IoError::on("read", &path)(error).into()),
        };
        // A note of another version is as good as none to this one, but damage must not pass.
        let notes: Vec<Note> = notes.iter().filter_map(|b| Note::decode(b).ok()).collect();
        let mut writer = Notes {
            disk,
            path,
            file: None,
        };
        writer.write_anew(notes.iter().map(Note::encode))?;
        let (jobs, queue) = sync_channel(JOBS_MAX);
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
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// The file and where it ends; `None` after a failure, until a new one stands.
    file: Option<(Box<dyn Output>, u64)>,
}

impl Notes {
    fn serve(mut self, queue: &Receiver<(Ticket, NoteWrite)>, mut complete: Complete) {
        while let Ok(first) = queue.recv() {
            let batch: Vec<_> = [first].into_iter().chain(queue.try_iter()).collect();
            let written = batch.iter().try_for_each(|(_, write)| self.add(write));
            let result = written.and_then(|()| self.sync());
            if result.is_err() {
                self.file = None;
            }
            let done = batch.into_iter().map(|(ticket, _)| Completion {
                ticket,
                result: result.clone(),
            });
            complete(done.collect());
        }
    }

    fn add(&mut self, write: &NoteWrite) -> Result<(), WriteError> {
        let note = match write {
            NoteWrite::Replace(notes) => {
                return Ok(self.write_anew(notes.iter().map(Note::encode))?);
            }
            NoteWrite::Append(note) => note,
        };
        if self.file.is_none() {
            let bytes = fs::read(&self.path).map_err(IoError::on("read", &self.path))?;
            let held = records(&self.path, &bytes)?;
            self.write_anew(held.into_iter())?;
        }
        if let Some((file, end)) = &mut self.file {
            let record = record(*end, &note.encode());
            file.append(&mut [IoSlice::new(&record)])
                .map_err(IoError::on("write", &self.path))?;
            *end += as_u64(record.len());
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), WriteError> {
        let synced = self.file.as_mut().map_or(Ok(()), |(file, _)| file.sync());
        Ok(synced.map_err(IoError::on("sync", &self.path))?)
    }

    /// Puts a new file into the place of the old one, durably.
    fn write_anew(&mut self, payloads: impl Iterator<Item = Vec<u8>>) -> Result<(), IoError> {
        let mut bytes = MAGIC.to_vec();
        for payload in payloads {
            let record = record(as_u64(bytes.len()), &payload);
            bytes.extend_from_slice(&record);
        }
        let file = disk::replace(&*self.disk, &self.path, &bytes)?;
        self.file = Some((file, as_u64(bytes.len())));
        Ok(())
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

/// The payloads up to the end, or to a torn record that nothing whole follows.
fn records(path: &Path, bytes: &[u8]) -> Result<Vec<Vec<u8>>, NotesError> {
    let damaged = |at| NotesError {
        path: path.to_owned(),
        at: as_u64(at),
    };
    if !bytes.starts_with(MAGIC) {
        return Err(damaged(0));
    }
    let (mut at, mut found) = (MAGIC.len(), Vec::new());
    while let Some(payload) = record_at(bytes, at) {
        at += RECORD_HEADER_BYTES + payload.len();
        found.push(payload.to_vec());
    }
    if (at..bytes.len()).any(|behind| record_at(bytes, behind).is_some()) {
        return Err(damaged(at));
    }
    Ok(found)
}

/// The payload of the record at an offset, if a whole one is there.
fn record_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let (length, rest) = bytes.get(at..)?.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let payload = rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    let is_whole = checksum(as_u64(at), length, payload) == u32::from_le_bytes(*crc);
    is_whole.then_some(payload)
}

/// Its name in the store's directory.
const NAME: &str = "commands.log";
/// What it begins with.
const MAGIC: &[u8] = b"fmcmd\0\0\x01";
/// What stands before a payload. Unit: bytes.
const RECORD_HEADER_BYTES: usize = 8;
/// Notes that wait for the disk. Source: as many as commands may be active, twice.
const JOBS_MAX: usize = 2_048;

#[cfg(test)]
mod tests;
