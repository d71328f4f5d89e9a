//! Records that the sink refuses for ever, kept with the reason for whoever looks after it.
//!
//! One JSON object per line in `set-aside.ndjson`; when the file is full it becomes
//! `set-aside.1.ndjson` and takes the place of the one before.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value as Json;

use crate::Item;

/// A record that the sink refuses for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// The record's key.
    pub key: String,
    /// What the sink said.
    pub reason: String,
    /// The record as JSON.
    pub record: String,
}

/// What a line holds.
#[derive(Deserialize)]
struct Line {
    key: String,
    reason: String,
    record: Json,
}

/// Lists what an uplink has set aside, whether the uplink runs or not.
#[derive(Clone, Debug)]
pub struct SetAsideReader(Aside);

impl SetAsideReader {
    /// Of the uplink with this directory.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self(Aside::new(data_dir))
    }

    /// The newest records, the oldest of them first. A line that a crash tore is left out.
    ///
    /// # Errors
    ///
    /// If a file is there and cannot be read.
    pub fn newest(&self, limit: usize) -> io::Result<Vec<SetAside>> {
        let mut newest = VecDeque::new();
        for path in [&self.0.older, &self.0.path] {
            let text = match fs::read_to_string(path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for line in text.lines() {
                let Ok(Line {
                    key,
                    reason,
                    record,
                }) = serde_json::from_str(line)
                else {
                    continue;
                };
                newest.push_back(SetAside {
                    key,
                    reason,
                    record: record.to_string(),
                });
                if newest.len() > limit {
                    newest.pop_front();
                }
            }
        }
        Ok(newest.into())
    }
}

/// The list of refused records.
#[derive(Clone, Debug)]
pub(crate) struct Aside {
    path: PathBuf,
    older: PathBuf,
}

impl Aside {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            path: dir.join("set-aside.ndjson"),
            older: dir.join("set-aside.1.ndjson"),
        }
    }

    /// Writes a record down.
    pub(crate) fn add(&self, item: &Item, reason: &str) -> io::Result<()> {
        let (key, reason) = (Json::from(item.key()), Json::from(reason));
        let mut line = format!(r#"{{"key":{key},"reason":{reason},"record":"#).into_bytes();
        line.extend_from_slice(&item.json());
        line.extend_from_slice(b"}\n");
        if fs::metadata(&self.path).is_ok_and(|found| found.len() >= FILE_BYTES_MAX) {
            fs::rename(&self.path, &self.older)?;
        }
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)?;
        file.write_all(&line)?;
        file.sync_data()
    }
}

/// When a file is full. Unit: bytes. Source: guess, about a thousand records.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::samples::item;

    #[test]
    fn the_newest_are_listed_over_both_files_and_a_torn_line_is_left_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let (aside, reader) = (Aside::new(dir.path()), SetAsideReader::new(dir.path()));
        assert_eq!(reader.newest(10).expect("nothing yet"), []);
        for reason in ["first", "second"] {
            aside.add(&item("a"), reason).expect("written");
        }
        fs::rename(&aside.path, &aside.older).expect("renamed");
        aside.add(&item("b"), "third").expect("written");
        let mut file = OpenOptions::new().append(true).open(&aside.path);
        let torn = br#"{"key":"x","reas"#;
        file.as_mut()
            .expect("open")
            .write_all(torn)
            .expect("written");

        let newest = reader.newest(2).expect("readable");

        let reasons: Vec<&str> = newest.iter().map(|record| record.reason.as_str()).collect();
        assert_eq!(reasons, ["second", "third"]);
        assert_eq!(newest[1].key, item("b").key());
        let record: Json = serde_json::from_str(&newest[1].record).expect("JSON");
        assert_eq!(record["series"], "b");
    }
}
