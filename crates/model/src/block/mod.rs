//! Blocks: batches of one origin's readings, columnar, compressed, numbered and signed.
//!
//! A block is encoded and signed once in its life, at its origin; everyone else verifies, forwards
//! and stores the same bytes. [`Block::parse`] reads the header and checks every limit before
//! anything is allocated; [`Block::readings`] decodes the columns.
//!
//! # Not here
//!
//! Making and checking signatures (`identity::Keypair`, `identity::verify_block`).

use std::fmt;

use bytes::Bytes;

use crate::{
    BlockError, BlockId, LogId, MachineId, NetworkId, Position, Reading, Sequence, Signature,
    Timestamp,
};

/// The SHA-256 hash over a label, the network and a block's bytes without the signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockHash(pub [u8; 32]);

impl fmt::Debug for BlockHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// How far a publisher that numbers its own readings has come with this block, so that what it
/// sends again after a lost acknowledgement is stored once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublisherMark {
    /// The name that the publisher gave itself. At most [`PublisherMark::NAME_BYTES_MAX`] bytes.
    pub publisher: String,
    /// The greatest of its sequences in this block.
    pub sequence: u64,
}

impl PublisherMark {
    /// Longest name. Unit: bytes.
    pub const NAME_BYTES_MAX: usize = 64;
}

/// What stands before the columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// The log it belongs to.
    pub log: LogId,
    /// Its number there, starting at 1.
    pub sequence: Sequence,
    /// The hash of the block before it; all zero in the first block of an origin.
    pub previous: BlockHash,
    /// Only in the first block of an epoch: the last block of the origin's epoch before it.
    pub continues: Option<Position>,
    /// When it was sealed, which is also when its readings count as received.
    pub sealed: Timestamp,
    /// No reading older than this follows, but for late ones.
    pub watermark: Timestamp,
    /// How many readings it holds.
    pub count: u32,
    /// The publishers that number their readings, at most [`Block::PUBLISHERS_MAX`].
    pub publishers: Vec<PublisherMark>,
}

impl BlockHeader {
    /// The block's name.
    #[must_use]
    pub const fn id(&self) -> BlockId {
        BlockId {
            log: self.log,
            sequence: self.sequence,
        }
    }

    /// The machine that made it.
    #[must_use]
    pub const fn origin(&self) -> MachineId {
        self.log.machine
    }
}

/// A block that lacks its signature. `count` in the header is set from the readings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// What stands before the columns.
    pub header: BlockHeader,
    /// The readings, in the order that gives each its index: by series, then as given.
    pub readings: Vec<Reading>,
}

/// A signed block, kept as the bytes that travelled; cloning shares them. Its signature may not
/// have been checked yet: `identity::verify_block` does that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    header: BlockHeader,
    bytes: Bytes,
}

impl Block {
    /// Most readings in a block. Source: design, section 2.
    pub const READINGS_MAX: usize = 4_096;
    /// Largest encoded block with its signature. Unit: bytes. Source: design, section 2.
    pub const ENCODED_BYTES_MAX: usize = 256 * 1024;
    /// Largest decoded block. Unit: bytes. Source: design, section 2.
    pub const DECODED_BYTES_MAX: usize = 1024 * 1024;
    /// Most numbering publishers in a block. Source: guess.
    pub const PUBLISHERS_MAX: usize = 64;

    /// Reads the header and checks every limit; columns and signature are not looked at.
    ///
    /// # Errors
    ///
    /// [`BlockError`] if a limit is exceeded or the header does not decode.
    pub fn parse(bytes: Bytes) -> Result<Self, BlockError> {
        let _ = bytes;
        unimplemented!()
    }

    /// What stands before the columns.
    #[must_use]
    pub const fn header(&self) -> &BlockHeader {
        &self.header
    }

    /// The block's name.
    #[must_use]
    pub const fn id(&self) -> BlockId {
        self.header.id()
    }

    /// The bytes that travel and are stored.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The hash that its signature covers and that the next block names.
    #[must_use]
    pub fn hash(&self, network: &NetworkId) -> BlockHash {
        let _ = network;
        unimplemented!()
    }

    /// Its signature, which must be one of [`Block::hash`].
    #[must_use]
    pub fn signature(&self) -> Signature {
        unimplemented!()
    }

    /// Decodes the columns; a reading's place in the result is its index.
    ///
    /// # Errors
    ///
    /// [`BlockError`] if a column claims more than its limit or does not decode.
    pub fn readings(&self) -> Result<Vec<Reading>, BlockError> {
        unimplemented!()
    }
}

impl Draft {
    /// Encodes and signs it: `sign` is given the hash to sign with the origin's key. The readings
    /// are put into the order of their indices: by series, then as given.
    ///
    /// # Errors
    ///
    /// [`BlockError::OverLimit`] if the readings do not fit into one block.
    pub fn seal(
        self,
        network: &NetworkId,
        sign: impl FnOnce(&[u8; 32]) -> Signature,
    ) -> Result<Block, BlockError> {
        let _ = (network, sign);
        unimplemented!()
    }
}

/// How much a reading counts towards [`Block::DECODED_BYTES_MAX`]. Unit: bytes.
#[must_use]
pub fn decoded_bytes(reading: &Reading) -> usize {
    let _ = reading;
    unimplemented!()
}
