//! What the store counts.

/// What the store holds and what has happened to it. Bytes are of segment files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// What the segments hold. Unit: bytes.
    pub bytes: u64,
    /// How many segments there are.
    pub segments: u64,
    /// How many blocks are held.
    pub blocks: u64,
    /// How many are kept for their alarms below what is held of their logs.
    pub blocks_kept: u64,
    /// How many readings the blocks that are held have.
    pub readings: u64,
    /// Bytes written to flash since the directory was made, as far as the index remembers. Unit:
    /// bytes, without what file system and sled add.
    pub bytes_written: u64,
    /// Group commits, each ended by one sync, since the start.
    pub commits: u64,
    /// Blocks and states that were there already, since the start.
    pub writes_repeated: u64,
    /// Writes that ended with an error, since the start.
    pub writes_failed: u64,
    /// Blocks read for whoever asked, since the start.
    pub blocks_read: u64,
    /// Records that do not read back, found since the start; gossip brings blocks again.
    pub records_damaged: u64,
    /// Damaged blocks that have not been stored again yet.
    pub blocks_lost: u64,
    /// Readings that retention gave up, since the start.
    pub readings_dropped: u64,
    /// How many of them no uplink had brought out.
    pub readings_dropped_waiting: u64,
    /// What was cut off the ends of segments at the start. Unit: bytes.
    pub tail_bytes_cut: u64,
    /// How often sled was set aside and built anew at this start: 0 or 1.
    pub index_rebuilt: u64,
}
