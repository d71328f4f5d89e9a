//! Where the store lies and how large its parts are.

use std::path::PathBuf;

use model::{MachineId, NetworkId};

/// Where the store lies and how large its parts are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The directory that belongs to the store; created with mode 0700 if it is missing.
    pub directory: PathBuf,
    /// Segments of another network are refused.
    pub network: NetworkId,
    /// Whose blocks are its own.
    pub own: MachineId,
    /// A segment is sealed once it is this long. Unit: bytes. Default: 64 MiB (guess). Used as at
    /// most 1 GiB.
    pub segment_bytes: u64,
    /// Most writes that wait for the disk. Default: 4,096 (guess).
    pub queue_writes_max: usize,
    /// Most bytes that wait for the disk. Default: 64 MiB (guess).
    pub queue_bytes_max: usize,
    /// With less free space no block is taken. Unit: bytes. Default: 64 MiB (guess).
    pub free_bytes_min: u64,
}

impl Config {
    /// The defaults for a machine's store in `directory`.
    #[must_use]
    pub fn new(directory: PathBuf, network: NetworkId, own: MachineId) -> Self {
        Self {
            directory,
            network,
            own,
            segment_bytes: 64 << 20,
            queue_writes_max: 4_096,
            queue_bytes_max: 64 << 20,
            free_bytes_min: 64 << 20,
        }
    }

    /// Where the segments lie.
    pub(crate) fn segments(&self) -> PathBuf {
        self.directory.join("segments")
    }

    /// Where sled lies.
    pub(crate) fn index(&self) -> PathBuf {
        self.directory.join("index")
    }

    /// [`Self::segment_bytes`] within what an offset of 32 bits can address, batch included.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_bytes.min(SEGMENT_BYTES_MAX)
    }
}

/// Largest segment before its last batch. Unit: bytes. Source: offsets are kept in 32 bits.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;
