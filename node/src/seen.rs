//! First messages of handshakes that were seen, kept over a restart, so that a recording of one is
//! not answered after it.

use std::fs;
use std::io;
use std::path::Path;

use handshake::ReplayGuard;
use swarm::Swarm;

use crate::newest::NewestFile;

/// The file that they are kept in.
#[derive(Debug)]
pub struct SeenFile {
    file: NewestFile,
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
        let file = NewestFile::new(path, "seen handshakes were not written");
        (Self { file }, seen)
    }

    /// Starts a write if one is due; never waits.
    pub fn save_if_due(&mut self, swarm: &Swarm) {
        if swarm.must_save_seen() && !self.file.is_busy() {
            self.file.put(swarm.seen());
        }
    }

    /// Writes what there is at the end.
    pub async fn close(mut self, seen: Vec<u8>) {
        self.file.put(seen);
        self.file.close().await;
    }
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
