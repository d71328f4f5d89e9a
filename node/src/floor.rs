//! The latest time that this node knew while its clock was synchronised, kept over a restart: a
//! clock that shows an earlier one then is not right.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use model::{ClockState, Timestamp};

use crate::newest::NewestFile;

/// The file that it is kept in.
#[derive(Debug)]
pub struct FloorFile {
    file: NewestFile,
    /// What was written last.
    written: Timestamp,
}

impl FloorFile {
    /// The one in a node's directory; a damaged one counts as empty.
    #[must_use]
    pub fn open(data_dir: &Path) -> Self {
        let path = data_dir.join(FILE);
        let written = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "the time known before is forgotten");
                i64::MIN
            }),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(path = %path.display(), %error, "cannot be read");
                }
                i64::MIN
            }
        };
        Self {
            file: NewestFile::new(path, "the time was not noted"),
            written: Timestamp::from_nanos(written),
        }
    }

    /// What was known at the last start or write.
    #[must_use]
    pub const fn floor(&self) -> Timestamp {
        self.written
    }

    /// Starts a write if the time is known and has gone on for long enough; never waits.
    pub fn save_if_due(&mut self, now: Timestamp, state: ClockState) {
        let is_due = now >= self.written.saturating_add(INTERVAL);
        if state == ClockState::Synchronised && is_due && !self.file.is_busy() {
            self.written = now;
            self.file.put(now.as_nanos().to_string());
        }
    }

    /// Waits for a write that is under way.
    pub async fn close(self) {
        self.file.close().await;
    }
}

/// Its name.
const FILE: &str = "time.floor";
/// How much time may be forgotten. Source: guess; a small write an hour wears out no flash.
const INTERVAL: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_nanos(1_800_000_000_000_000_000);

    #[tokio::test]
    async fn adversarial_45_a_time_that_was_known_is_the_floor_after_a_restart_and_a_guess_is_not()
    {
        let dir = tempfile::tempdir().expect("a directory");
        let mut file = FloorFile::open(dir.path());
        assert_eq!(file.floor(), Timestamp::MIN);

        file.save_if_due(NOON, ClockState::Synchronised);
        file.save_if_due(NOON.saturating_add(INTERVAL * 9), ClockState::Coarse);
        file.close().await;

        let again = FloorFile::open(dir.path());
        assert_eq!(again.floor(), NOON);
        fs::write(dir.path().join(FILE), "soon").expect("a file");
        assert_eq!(FloorFile::open(dir.path()).floor(), Timestamp::MIN);
    }
}
