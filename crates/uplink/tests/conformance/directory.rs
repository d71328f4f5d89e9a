//! The other side of the file sink: a directory, that can be replaced by a file.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value as Json;
use tempfile::TempDir;

use super::process::Slowed;
use super::suite::{Counterpart, read};

/// A directory.
pub(crate) struct Directory {
    slowed: Option<Slowed>,
    parent: TempDir,
}

impl Directory {
    pub(crate) fn start() -> Self {
        let parent = tempfile::tempdir().expect("a directory");
        Self {
            slowed: None,
            parent,
        }
    }

    fn path(&self) -> PathBuf {
        self.parent.path().join("out")
    }

    /// Every line that is whole: a relay that was killed may have torn the last one.
    pub(crate) fn received_whole(&self) -> Vec<Json> {
        let mut records = Vec::new();
        for entry in fs::read_dir(self.path()).expect("a directory") {
            let text = read(&entry.expect("an entry").path());
            let lines = text
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'))
                .map(|line| serde_json::from_str::<Json>(line).expect("JSON"));
            records.extend(lines);
        }
        records
    }

    fn aside(&self) -> PathBuf {
        self.parent.path().join("aside")
    }
}

impl Counterpart for Directory {
    fn url(&self) -> String {
        format!("file:{}", self.path().display())
    }

    async fn fail(&mut self) {
        if self.path().exists() {
            fs::rename(self.path(), self.aside()).expect("moved away");
        }
        fs::write(self.path(), "in the way").expect("written");
    }

    async fn heal(&mut self) {
        fs::remove_file(self.path()).expect("removed");
        if self.aside().exists() {
            fs::rename(self.aside(), self.path()).expect("moved back");
        }
    }

    /// Keeps the disk busy, so that each sync takes its time.
    fn slow(&mut self) {
        let path = self.parent.path().join("busy");
        self.slowed = Some(Slowed::by(move |wait| {
            let block = vec![0; 4 * 1024 * 1024];
            while !wait(Duration::ZERO) {
                let mut file = File::create(&path).expect("a file");
                file.write_all(&block).expect("written");
                file.sync_all().expect("synced");
            }
        }));
    }

    fn quicken(&mut self) {
        self.slowed = None;
    }

    const KEEPS_COPIES: bool = true;

    async fn received(&mut self, at_least: usize) -> Vec<Json> {
        let torn = fs::read_dir(self.path())
            .expect("a directory")
            .any(|entry| {
                let text = read(&entry.expect("an entry").path());
                !text.is_empty() && !text.ends_with('\n')
            });
        assert!(!torn, "a line was torn and not cut off");
        let records = self.received_whole();
        assert!(records.len() >= at_least, "what was acknowledged is there");
        records
    }
}
