//! What can go wrong with the disk, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gossip::Write;
use model::{BlockError, NetworkId};
use statemachine::Ticket;

/// The operating system refused something on a file or directory.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot {what} {path}: {source}; {advice}", path = .path.display(), advice = advice(.source))]
pub struct IoError {
    /// What was tried.
    pub what: &'static str,
    /// On which file or directory.
    pub path: PathBuf,
    /// What the operating system said. Shared, since it ends every write of a batch.
    #[source]
    pub source: Arc<io::Error>,
}

impl IoError {
    /// For `map_err`: the error of trying `what` on `path`.
    pub(crate) fn on(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self {
            what,
            path,
            source: Arc::new(source),
        }
    }

    /// Whether the disk or its mount is the trouble, not the bytes on it.
    pub(crate) fn is_environment(error: &io::Error) -> bool {
        matches!(
            error.kind(),
            io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::ReadOnlyFilesystem
                | io::ErrorKind::PermissionDenied
        )
    }
}

/// What to do about it.
fn advice(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::StorageFull || error.kind() == io::ErrorKind::QuotaExceeded {
        "free space there, or set data_dir to a larger disk"
    } else if error.kind() == io::ErrorKind::ReadOnlyFilesystem {
        "mount it writable, or set data_dir to another disk"
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        "give the user that runs the node write access to it"
    } else {
        "check the disk and the kernel's log"
    }
}

/// A note on a command that was on disk cannot be read, so that nobody knows which command must
/// not run again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{path} is damaged at byte {at}: a command whose note is lost there could run twice; wait until \
     the deadlines of all commands to this machine have passed, then move the file away and start \
     the node again", path = .path.display()
)]
pub struct NotesError {
    /// The file of notes.
    pub path: PathBuf,
    /// Where the first record lies that does not read back. Unit: bytes.
    pub at: u64,
}

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// Two processes would write over each other.
    #[error("{path} is in use by another process; stop that node, or give this one its own data_dir", path = .path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// There is not even room to open.
    #[error("{path} has {free} bytes free, at least {needed} are needed to open it; free space there, or set data_dir to a larger disk", path = .path.display())]
    Full {
        /// The directory.
        path: PathBuf,
        /// What is left. Unit: bytes.
        free: u64,
        /// What opening takes. Unit: bytes.
        needed: u64,
    },
    /// The directory belongs to another network.
    #[error("{path} was written in network {found}; set data_dir to a directory of its own for each network", path = .path.display())]
    Network {
        /// The segment that says so.
        path: PathBuf,
        /// The network that it was written in.
        found: NetworkId,
    },
    /// Written by a version that this one does not know.
    #[error("{path} has format version {version}, unknown to this version; update this node", path = .path.display())]
    Version {
        /// The segment that says so.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// The notes on commands are damaged.
    #[error(transparent)]
    Notes(#[from] NotesError),
    /// sled does not even open empty.
    #[error("the index in {path} cannot be created: {reason}; check the disk and the kernel's log", path = .path.display())]
    Index {
        /// sled's directory.
        path: PathBuf,
        /// What sled said.
        reason: String,
    },
}

/// Why a write is not durable.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The rest of the disk is kept for what must go on working.
    #[error("{path} has {free} bytes free, below the limit of {limit}, so blocks are refused; free space there, or set data_dir to a larger disk", path = .path.display())]
    SpaceLow {
        /// The store's directory.
        path: PathBuf,
        /// What is left. Unit: bytes.
        free: u64,
        /// [`crate::Config::free_bytes_min`].
        limit: u64,
    },
    /// The notes on commands are damaged.
    #[error(transparent)]
    Notes(#[from] NotesError),
    /// The block's columns do not decode.
    #[error("a block that does not decode is not stored")]
    Malformed(#[from] BlockError),
    /// sled refused what is kept there alone.
    #[error("the index refused: {0}; check the disk, then restart the node")]
    Index(String),
}

/// A write that was not even queued.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct RefusedWrite {
    /// The ticket as given.
    pub ticket: Ticket,
    /// The write as given.
    pub write: Write,
    /// Why.
    pub reason: RefusedReason,
}

/// Why a write was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedReason {
    /// Too many writes or bytes wait for the disk.
    #[error("the disk does not keep up; try again, and publish more readings per batch")]
    Full,
    /// The store is closed, or its writer ended.
    #[error("the store is closed; restart the node")]
    Closed,
}

/// Why a store did not close in order. What was completed is durable all the same.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The writer ended before it was told to.
    #[error("the store's writer had ended; see the log before this, then restart the node")]
    Writer,
}
