//! First messages of handshakes that were seen, kept over a restart, so that a recording of one is
//! not answered after it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use handshake::ReplayGuard;
use swarm::Swarm;
use tokio::task::JoinHandle;

/// The file that they are kept in.
#[derive(Debug)]
pub struct SeenFile {
    path: PathBuf,
    /// A write that is under way; the loop does not wait for it.
    writing: Option<JoinHandle<()>>,
}

impl SeenFile {
    /// The one in a node's directory, with what it holds; a damaged one counts as empty.
    #[must_use]
    pub fn open(data_dir: &Path) -> (Self, ReplayGuard) {
        let path = data_dir.join(FILE);
        let seen = match fs::read(&path) {
            Ok(bytes) => ReplayGuard::from_bytes(&bytes).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "handshakes seen before are forgotten");
                ReplayGuard::new()
            }),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(path = %path.display(), %error, "cannot be read");
                }
                ReplayGuard::new()
            }
        };
        let file = Self {
            path,
            writing: None,
        };
        (file, seen)
    }

    /// Starts a write if one is due; never waits.
    pub fn save_if_due(&mut self, swarm: &Swarm) {
        let is_writing = self.writing.as_ref().is_some_and(|it| !it.is_finished());
        if swarm.must_save_seen() && !is_writing {
            self.start(swarm.seen());
        }
    }

    /// Writes what there is at the end.
    pub async fn close(mut self, seen: Vec<u8>) {
        for last in [None, Some(seen)] {
            if let Some(seen) = last {
                self.start(seen);
            }
            if let Some(writing) = self.writing.take() {
                let _ = writing.await; // Says itself what went wrong.
            }
        }
    }

    fn start(&mut self, seen: Vec<u8>) {
        let path = self.path.clone();
        self.writing = Some(tokio::task::spawn_blocking(move || {
            if let Err(error) = replace(&path, &seen) {
                tracing::warn!(path = %path.display(), %error, "seen handshakes were not written");
            }
        }));
    }
}

/// A reader, and a crash, see the old file or the new one.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// Its name.
const FILE: &str = "handshakes.seen";

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_seen_is_there_at_the_next_start_and_damage_stops_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, before) = SeenFile::open(dir.path());
        assert_eq!(before, ReplayGuard::new());

        file.close(ReplayGuard::new().to_bytes()).await;
        let written = fs::read(dir.path().join(FILE)).expect("it was written");
        fs::write(dir.path().join(FILE), &written[1..]).expect("a file");
        let (_, damaged) = SeenFile::open(dir.path());

        assert_eq!(written, ReplayGuard::new().to_bytes());
        assert_eq!(damaged, ReplayGuard::new());
    }
}
