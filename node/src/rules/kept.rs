//! The file of what rules keep over a restart: which are active, and when they acted last.

use std::fs;
use std::io;
use std::path::Path;

use model::Timestamp;
use rule::Kept;
use serde::{Deserialize, Serialize};

use crate::newest::NewestFile;

/// The file.
#[derive(Debug)]
pub(crate) struct KeptFile {
    file: NewestFile,
}

/// [`Kept`] as written.
#[derive(Deserialize, Serialize)]
struct Raw {
    rule: String,
    is_active: bool,
    /// Unit: nanoseconds since the Unix epoch.
    acted_at: Option<i64>,
}

impl KeptFile {
    /// The file of a data directory, and what is in it. One that cannot be read is said, and rules
    /// start over.
    #[must_use]
    pub(crate) fn open(directory: &Path) -> (Self, Vec<Kept>) {
        let path = directory.join(FILE);
        let kept = read(&path).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "what rules kept is forgotten");
            }
            Vec::new()
        });
        let file = NewestFile::new(path, "what rules keep was not written");
        (Self { file }, kept)
    }

    /// Takes what is to be kept in place of what was; never waits.
    pub(crate) fn put(&mut self, kept: Vec<Kept>) {
        let raw = kept.into_iter().map(|kept| Raw {
            rule: kept.rule,
            is_active: kept.is_active,
            acted_at: kept.acted_at.map(Timestamp::as_nanos),
        });
        let raw: Vec<Raw> = raw.collect();
        let text = serde_json::to_vec(&raw).expect("plain text and numbers are JSON");
        self.file.put(text);
    }

    /// Starts a write if something waits and none is under way. Called now and then.
    pub(crate) fn write_if_free(&mut self) {
        self.file.write_if_free();
    }

    /// Writes what still waits.
    pub(crate) async fn close(self) {
        self.file.close().await;
    }
}

fn read(path: &Path) -> io::Result<Vec<Kept>> {
    let raw: Vec<Raw> = serde_json::from_slice(&fs::read(path)?)?;
    let kept = raw.into_iter().map(|raw| Kept {
        rule: raw.rule,
        is_active: raw.is_active,
        acted_at: raw.acted_at.map(Timestamp::from_nanos),
    });
    Ok(kept.collect())
}

/// Its name in the data directory.
const FILE: &str = "rules.json";

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_is_there_after_a_restart_and_damage_starts_over() {
        let directory = tempfile::tempdir().expect("a directory");
        let kept = |nanos| {
            vec![Kept {
                rule: "too-hot".to_owned(),
                is_active: true,
                acted_at: Some(Timestamp::from_nanos(nanos)),
            }]
        };
        let (mut file, before) = KeptFile::open(directory.path());
        assert_eq!(before, []);

        (1..=100).for_each(|nanos| file.put(kept(nanos)));
        file.close().await;

        assert_eq!(KeptFile::open(directory.path()).1, kept(100));
        fs::write(directory.path().join(FILE), "[{").expect("a file");
        assert_eq!(KeptFile::open(directory.path()).1, []);
    }
}
