//! Records that the sink refuses for ever, kept with the reason for whoever looks after it.
//!
//! One JSON object per line in `set-aside.ndjson`; when the file is full it becomes
//! `set-aside.1.ndjson` and takes the place of the one before.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::Item;

/// The list of refused records.
#[derive(Debug)]
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
