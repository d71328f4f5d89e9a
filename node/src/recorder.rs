//! The file of a recording: what the node takes in, as [`recording`] encodes it.
//!
//! A thread writes it. The node never waits for it: when the disk does not keep up, when the file
//! is as large as it may be, or when it cannot be written, the recording ends with one warning, and
//! the node goes on. Nothing is synced: a recording survives the end of the process, whatever ends
//! it, not a power cut.
//!
//! A recording that is there already is that of the run before, perhaps of a crash: it is kept
//! beside the new one with `.before` behind its name, in the place of one before that.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use anyhow::Context as _;
use recording::{Sink, Unrecordable};

/// Where a node is recorded, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordTo {
    /// The file.
    pub path: PathBuf,
    /// Its largest size. Unit: bytes.
    pub bytes_max: u64,
}

/// The node's end of the file.
#[derive(Debug)]
pub struct Recorder {
    to: RecordTo,
    /// For what is written before the node runs.
    file: File,
    queue: SyncSender<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
    /// What was taken so far. Unit: bytes.
    taken: u64,
}

/// The thread that writes, after the node is gone.
#[derive(Debug)]
pub struct Recording {
    writer: JoinHandle<()>,
}

impl Recorder {
    /// Makes the file, of mode 0600.
    ///
    /// # Errors
    ///
    /// If it cannot be made, with what to do about it.
    pub fn create(to: &RecordTo) -> anyhow::Result<(Self, Recording)> {
        let path = &to.path;
        let file = create(path).with_context(|| {
            let path = path.display();
            format!(
                "cannot record to {path}; give --record a file in a directory that is there and \
                 can be written"
            )
        })?;
        let (queue, queued) = sync_channel(ENTRIES_MAX);
        let waiting = Arc::new(AtomicUsize::new(0));
        let (written, count) = (file.try_clone()?, Arc::clone(&waiting));
        let name = path.display().to_string();
        let writer = thread::Builder::new().name("recorder".to_owned()).spawn(
            move || match serve(written, &queued, &count) {
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(%error, file = name, "the recording ends: it cannot be written")
                }
            },
        )?;
        tracing::info!(file = %path.display(), "what this node takes in is recorded, in clear");
        let recorder = Self {
            to: to.clone(),
            file,
            queue,
            waiting,
            taken: 0,
        };
        Ok((recorder, Recording { writer }))
    }

    fn warn(&self, why: &str) {
        let file = self.to.path.display();
        tracing::warn!(%file, bytes = self.taken, "the recording ends: {why}");
    }

    /// Whether there is room in the file for so many bytes more.
    fn take(&mut self, length: usize) -> bool {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        let taken = self.taken.saturating_add(length);
        if taken > self.to.bytes_max {
            self.warn("it is full; give --record-max more room");
            return false;
        }
        self.taken = taken;
        true
    }
}

impl Sink for Recorder {
    fn begin(&mut self, bytes: Vec<u8>) -> bool {
        if !self.take(bytes.len()) {
            return false;
        }
        match self.file.write_all(&bytes) {
            Ok(()) => true,
            Err(error) => {
                self.warn(&format!("it cannot be written: {error}"));
                false
            }
        }
    }

    fn put(&mut self, bytes: Vec<u8>) -> bool {
        let length = bytes.len();
        if !self.take(length) {
            return false;
        }
        let waiting = self.waiting.fetch_add(length, Ordering::Relaxed);
        if waiting > WAITING_BYTES_MAX || self.queue.try_send(bytes).is_err() {
            self.warn("the disk does not keep up with it, or refuses it");
            return false;
        }
        true
    }

    fn give_up(&mut self, why: Unrecordable) {
        self.warn(&format!("it has no place for what the node is told: {why}"));
    }
}

impl Recording {
    /// Waits until all is written that was taken. The node must be gone.
    pub fn close(self) {
        if self.writer.join().is_err() {
            tracing::warn!("the thread of the recording had died");
        }
    }
}

/// Writes until nobody records any more.
fn serve(mut file: File, queue: &Receiver<Vec<u8>>, waiting: &AtomicUsize) -> io::Result<()> {
    while let Ok(mut bytes) = queue.recv() {
        while bytes.len() < WRITE_BYTES
            && let Ok(more) = queue.try_recv()
        {
            bytes.extend(more);
        }
        file.write_all(&bytes)?;
        waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
    }
    Ok(())
}

fn create(path: &Path) -> io::Result<File> {
    let mut before = path.as_os_str().to_owned();
    before.push(".before");
    match fs::rename(path, before) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    OpenOptions::new()
        .create_new(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

/// Entries that wait for the disk. Source: guess, a second of a busy node.
const ENTRIES_MAX: usize = 16_384;
/// What waits for the disk at most, and an entry more. Unit: bytes. Source: guess.
const WAITING_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Entries are written together up to this size. Unit: bytes. Source: guess.
const WRITE_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder(bytes_max: u64) -> (tempfile::TempDir, RecordTo) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("recording");
        (dir, RecordTo { path, bytes_max })
    }

    #[test]
    fn what_was_taken_is_in_the_file_and_what_is_beyond_its_size_is_not_taken() {
        let (_dir, to) = recorder(10);
        let (mut recorder, recording) = Recorder::create(&to).expect("created");

        let taken = [
            recorder.begin(b"1234".to_vec()),
            recorder.put(b"5678".to_vec()),
            recorder.put(b"too".to_vec()),
        ];
        drop(recorder);
        recording.close();

        assert_eq!(taken, [true, true, false]);
        assert_eq!(fs::read(&to.path).expect("read"), b"12345678");
    }

    #[test]
    fn only_its_owner_reads_it_and_the_one_before_is_kept() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_dir, to) = recorder(1_000);
        for content in ["first", "second", "third"] {
            let (mut recorder, recording) = Recorder::create(&to).expect("created");
            assert!(recorder.begin(content.into()));
            drop(recorder);
            recording.close();
        }

        let before = to.path.with_extension("before");

        assert_eq!(fs::read(&to.path).expect("read"), b"third");
        assert_eq!(fs::read(&before).expect("read"), b"second");
        for path in [&to.path, &before] {
            let mode = fs::metadata(path).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
