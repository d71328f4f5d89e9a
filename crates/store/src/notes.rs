//! Small files beside the segments: the lock, the marker of a stop in order, the highest epoch,
//! what is left of what retention gave up.
//!
//! Each is replaced as a whole: written under another name, synced, renamed, directory synced.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use model::{Epoch, LogId, MachineId, Position, Sequence};
use serde::{Deserialize, Serialize};

use crate::disk::{self, Disk, private};
use crate::{IoError, OpenError};

/// What a stop in order leaves behind, so that the epoch can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanStop {
    /// The epoch that ended in order.
    pub epoch: Epoch,
    /// The last number that was used in it; 0 if none was.
    pub last_sequence: Sequence,
    /// The counter of the last own state.
    pub state_counter: u64,
}

/// [`CleanStop`] as written.
#[derive(Serialize, Deserialize)]
struct RawClean {
    epoch: String,
    last_sequence: u64,
    state_counter: u64,
}

/// The highest counter of an own epoch, as written.
#[derive(Serialize, Deserialize)]
struct RawEpoch {
    counter: u64,
}

/// What is left of what retention gave up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GivenUp {
    /// By log, the oldest block that is kept.
    pub(crate) floors: BTreeMap<LogId, Floor>,
    /// How far each numbering publisher had come in own blocks.
    pub(crate) marks: BTreeMap<String, u64>,
}

/// Where what is kept of a log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Floor {
    /// The oldest block that is kept.
    pub(crate) sequence: Sequence,
    /// What the first block said to continue.
    pub(crate) continues: Option<Position>,
}

/// [`GivenUp`] as written.
#[derive(Serialize, Deserialize)]
struct RawGivenUp {
    floors: Vec<RawFloor>,
    marks: BTreeMap<String, u64>,
}

#[derive(Serialize, Deserialize)]
struct RawFloor {
    machine: String,
    epoch: String,
    floor: u64,
    continues: Option<(String, u64)>,
}

/// Takes the lock that keeps a second process out. It is free again when the file is closed, so
/// also after a crash.
pub(crate) fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("lock");
    let file = private()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(IoError::on("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(OpenError::Locked {
            path: directory.to_owned(),
        }),
        Err(fs::TryLockError::Error(error)) => Err(IoError::on("lock", &path)(error).into()),
    }
}

/// Takes the marker of a stop in order: it is gone, durably, before anything is changed.
///
/// A marker that cannot be read counts as none: then a new epoch starts, which is always safe.
pub(crate) fn take_clean(disk: &dyn Disk, directory: &Path) -> Result<Option<CleanStop>, IoError> {
    let path = clean_path(directory);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(IoError::on("read", &path)(error)),
    };
    disk.remove(&path).map_err(IoError::on("remove", &path))?;
    disk.sync_directory(directory)
        .map_err(IoError::on("sync", directory))?;
    let clean = serde_json::from_slice::<RawClean>(&text).ok();
    let clean = clean.and_then(|raw| {
        Some(CleanStop {
            epoch: raw.epoch.parse().ok()?,
            last_sequence: raw.last_sequence,
            state_counter: raw.state_counter,
        })
    });
    if clean.is_none() {
        tracing::warn!(path = %path.display(), "marker of the last stop is unreadable, ignored");
    }
    Ok(clean)
}

/// Leaves the marker of a stop in order.
pub(crate) fn put_clean(
    disk: &dyn Disk,
    directory: &Path,
    clean: &CleanStop,
) -> Result<(), IoError> {
    let raw = RawClean {
        epoch: clean.epoch.to_string(),
        last_sequence: clean.last_sequence,
        state_counter: clean.state_counter,
    };
    replace(disk, &clean_path(directory), &raw)
}

/// Reads the highest counter of an own epoch that was ever started; 0 if none is noted.
///
/// A note that cannot be read counts as none: blocks of the epoch, and the neighbours, know better.
pub(crate) fn epoch_highest(directory: &Path) -> Result<u64, IoError> {
    let path = epoch_path(directory);
    match fs::read(&path) {
        Ok(text) => Ok(serde_json::from_slice::<RawEpoch>(&text).map_or_else(
            |_| {
                tracing::warn!(path = %path.display(), "note of the highest epoch is unreadable");
                0
            },
            |raw| raw.counter,
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(IoError::on("read", &path)(error)),
    }
}

/// Notes the highest counter of an own epoch.
pub(crate) fn put_epoch(disk: &dyn Disk, directory: &Path, counter: u64) -> Result<(), IoError> {
    replace(disk, &epoch_path(directory), &RawEpoch { counter })
}

/// Reads what is left of what was given up.
///
/// A note that cannot be read counts as none: then neighbours bring back what they still have.
pub(crate) fn given_up(directory: &Path) -> Result<GivenUp, IoError> {
    let path = given_up_path(directory);
    match fs::read(&path) {
        Ok(text) => Ok(decode_given_up(&text).unwrap_or_else(|| {
            tracing::warn!(path = %path.display(), "note of what was given up is unreadable");
            GivenUp::default()
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(GivenUp::default()),
        Err(error) => Err(IoError::on("read", &path)(error)),
    }
}

/// Notes what is left of what is given up, before it goes.
pub(crate) fn put_given_up(
    disk: &dyn Disk,
    directory: &Path,
    given_up: &GivenUp,
) -> Result<(), IoError> {
    let floors = given_up.floors.iter().map(|(log, floor)| RawFloor {
        machine: log.machine.to_string(),
        epoch: log.epoch.to_string(),
        floor: floor.sequence,
        continues: (floor.continues).map(|named| (named.epoch.to_string(), named.sequence)),
    });
    let raw = RawGivenUp {
        floors: floors.collect(),
        marks: given_up.marks.clone(),
    };
    replace(disk, &given_up_path(directory), &raw)
}

fn decode_given_up(text: &[u8]) -> Option<GivenUp> {
    let raw: RawGivenUp = serde_json::from_slice(text).ok()?;
    let mut floors = BTreeMap::new();
    for floor in raw.floors {
        let log = LogId {
            machine: floor.machine.parse::<MachineId>().ok()?,
            epoch: floor.epoch.parse().ok()?,
        };
        let continues = match floor.continues {
            Some((epoch, sequence)) => Some(Position {
                epoch: epoch.parse().ok()?,
                sequence,
            }),
            None => None,
        };
        let floor = Floor {
            sequence: floor.floor,
            continues,
        };
        floors.insert(log, floor);
    }
    Some(GivenUp {
        floors,
        marks: raw.marks,
    })
}

fn replace(disk: &dyn Disk, path: &Path, content: &impl Serialize) -> Result<(), IoError> {
    let text = serde_json::to_vec(content).expect("plain numbers and text are JSON");
    disk::replace(disk, path, &text).map(drop)
}

fn clean_path(directory: &Path) -> PathBuf {
    directory.join("clean")
}

fn epoch_path(directory: &Path) -> PathBuf {
    directory.join("epoch")
}

fn given_up_path(directory: &Path) -> PathBuf {
    directory.join("given-up")
}
