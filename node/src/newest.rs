//! A small file that holds the newest of something, written beside the loop, which never waits.
//!
//! Writes are made one after the other, each of the newest content there is; what was replaced
//! before its turn came is never written. A reader, and a crash, see an old file or a new one.

use std::path::PathBuf;

use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::keys;

/// The file, what waits to be written to it, and a write that is under way.
#[derive(Debug)]
pub(crate) struct NewestFile {
    path: PathBuf,
    /// What is said when it cannot be written.
    complaint: &'static str,
    /// Wiped when it is gone: some files are secret.
    waiting: Option<Zeroizing<Vec<u8>>>,
    writing: Option<JoinHandle<()>>,
}

impl NewestFile {
    /// The file at a path. `complaint` is the warning when it cannot be written.
    #[must_use]
    pub(crate) const fn new(path: PathBuf, complaint: &'static str) -> Self {
        Self {
            path,
            complaint,
            waiting: None,
            writing: None,
        }
    }

    /// Whether a write is under way.
    #[must_use]
    pub(crate) fn is_busy(&self) -> bool {
        (self.writing.as_ref()).is_some_and(|writing| !writing.is_finished())
    }

    /// Takes what is to be in the file in place of what was; never waits.
    pub(crate) fn put(&mut self, content: impl Into<Vec<u8>>) {
        self.waiting = Some(Zeroizing::new(content.into()));
        self.write_if_free();
    }

    /// Starts a write if something waits and none is under way. Called now and then.
    pub(crate) fn write_if_free(&mut self) {
        if self.is_busy() {
            return;
        }
        let Some(content) = self.waiting.take() else {
            return;
        };
        let (path, complaint) = (self.path.clone(), self.complaint);
        self.writing = Some(tokio::task::spawn_blocking(move || {
            if let Err(error) = keys::replace(&path, &content) {
                tracing::warn!(%error, "{complaint}");
            }
        }));
    }

    /// Writes what still waits.
    pub(crate) async fn close(mut self) {
        while let Some(writing) = self.writing.take() {
            let _ = writing.await; // Says itself what went wrong.
            self.write_if_free();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn the_newest_is_there_at_the_end_and_a_failure_stops_no_later_write() {
        let directory = tempfile::tempdir().expect("a directory");
        let below = directory.path().join("below");
        let mut file = NewestFile::new(below.join("file"), "not written");

        file.put("lost");
        while file.is_busy() {
            tokio::task::yield_now().await;
        }
        fs::create_dir(&below).expect("a directory");
        (1..=100).for_each(|n: u32| file.put(n.to_string()));
        file.close().await;

        let written = fs::read_to_string(below.join("file")).expect("a file");
        assert_eq!(written, "100");
    }
}
