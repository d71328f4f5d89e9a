//! The other side of the file sink: a directory, that can be replaced by a file.

use std::fs;
use std::path::PathBuf;

use serde_json::Value as Json;
use tempfile::TempDir;

use super::suite::{Counterpart, read};

/// A directory.
pub(crate) struct Directory {
    parent: TempDir,
}

impl Directory {
    pub(crate) fn start() -> Self {
        let parent = tempfile::tempdir().expect("a directory");
        Self { parent }
    }

    fn path(&self) -> PathBuf {
        self.parent.path().join("out")
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

    async fn received(&mut self, at_least: usize) -> Vec<Json> {
        let mut records = Vec::new();
        for entry in fs::read_dir(self.path()).expect("a directory") {
            let text = read(&entry.expect("an entry").path());
            let lines = text
                .lines()
                .map(|line| serde_json::from_str::<Json>(line).expect("JSON"));
            records.extend(lines);
        }
        assert!(records.len() >= at_least, "what was acknowledged is there");
        records
    }
}
