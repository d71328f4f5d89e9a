//! Blocks: batches of one origin's readings, columnar, compressed, numbered and signed.
//!
//! A block is encoded and signed once in its life, at its origin; everyone else verifies, forwards
//! and stores the same bytes. [`Block::parse`] reads the header and checks every limit before
//! anything is allocated; [`Block::readings`] decodes the columns.
//!
//! The bytes of a block, version 2, are its header (`header.rs`), its columns (`columns.rs`) and,
//! in the last 64 bytes, its signature. They are laid down by the golden files in `tests/golden`.
//!
//! # Not here
//!
//! Making and checking signatures (`identity::Keypair`, `identity::verify_block`).

mod bytes;
mod coders;
mod columns;
mod decimal;
mod header;
mod ints;

use std::fmt;
use std::sync::Arc;

use ::bytes::Bytes;
use sha2::{Digest as _, Sha256};

use self::bytes::Cursor;
use crate::{
    BlockError, BlockId, LogId, MachineId, NetworkId, Position, Reading, Sequence, Signature,
    Timestamp, Value,
};

/// The SHA-256 hash over a label, the network, a block's name and its [`ContentHash`]: what the
/// origin signs. That name and content are all that a signature needs makes two of them a proof
/// that an origin has given one name to two blocks, however large those are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockHash(pub [u8; 32]);

/// The SHA-256 hash over a block's bytes without the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(pub [u8; 32]);

impl BlockHash {
    /// What the origin of a block signs.
    #[must_use]
    pub fn of(network: &NetworkId, id: &BlockId, content: &ContentHash) -> Self {
        let hash = Sha256::new()
            .chain_update(b"fieldmesh-block-v2")
            .chain_update(network.as_bytes())
            .chain_update(id.log.machine.as_bytes())
            .chain_update(id.log.epoch.counter.to_le_bytes())
            .chain_update(id.log.epoch.tag.to_le_bytes())
            .chain_update(id.sequence.to_le_bytes())
            .chain_update(content.0)
            .finalize();
        Self(hash.into())
    }

    /// What the next block carries of it.
    #[must_use]
    pub fn prefix(&self) -> HashPrefix {
        let mut prefix = [0; 16];
        prefix.copy_from_slice(&self.0[..16]);
        HashPrefix(prefix)
    }
}

impl fmt::Debug for BlockHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.prefix().fmt(f)
    }
}

/// The first 16 bytes of a [`BlockHash`], by which a block names the one before it.
///
/// Half a hash keeps a lone reading cheap. Nobody can find another block with the prefix of a given
/// one (2^128 trials); an origin that prepares two of its own with one prefix (2^64 trials) has
/// signed two blocks of one number, which convicts it in any case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashPrefix(pub [u8; 16]);

impl HashPrefix {
    /// Stands where there is no block before.
    pub const NONE: Self = Self([0; 16]);
}

impl fmt::Debug for HashPrefix {
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
    /// The block before it, by its hash; [`HashPrefix::NONE`] in the first block of an origin.
    pub previous: HashPrefix,
    /// Only in the first block of an epoch: the last block of the origin's epoch before it.
    pub continues: Option<Position>,
    /// When it was sealed, which is also when its readings count as received.
    pub sealed: Timestamp,
    /// No reading older than this follows, but for late ones.
    pub watermark: Timestamp,
    /// How many readings it holds.
    pub count: u32,
    /// It holds an alarm: it goes before what is new, and among the past it goes first.
    pub urgent: bool,
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
pub struct Block(Arc<Content>);

#[derive(Debug, PartialEq, Eq)]
struct Content {
    header: BlockHeader,
    bytes: Bytes,
    /// Where the columns begin.
    columns: usize,
}

impl Block {
    /// Most readings in a block. Source: design, section 2.
    pub const READINGS_MAX: usize = 4_096;
    /// Largest encoded block with its signature. Unit: bytes. Source: design, section 2.
    pub const ENCODED_BYTES_MAX: usize = 256 * 1024;
    /// Largest decoded block. Unit: bytes. Source: design, section 2.
    pub const DECODED_BYTES_MAX: usize = 1024 * 1024;
    /// Readings whose [`decoded_bytes`] add up to no more than this always fit into a block.
    /// Unit: bytes. No reading takes more bytes encoded than decoded; the rest is for the header.
    pub const FILL_BYTES_MAX: usize = Self::ENCODED_BYTES_MAX - 8 * 1024;
    /// Most numbering publishers in a block. Source: guess.
    pub const PUBLISHERS_MAX: usize = 64;

    /// Reads the header and checks every limit; columns and signature are not looked at.
    ///
    /// # Errors
    ///
    /// [`BlockError`] if a limit is exceeded or the header does not decode.
    pub fn parse(bytes: Bytes) -> Result<Self, BlockError> {
        header::check("encoded block", bytes.len(), Self::ENCODED_BYTES_MAX)?;
        let unsigned = bytes.len().checked_sub(SIGNATURE_BYTES);
        let unsigned = unsigned.ok_or(BlockError::Malformed("it ends early"))?;
        let mut cursor = Cursor::new(&bytes[..unsigned]);
        let header = header::decode(&mut cursor)?;
        let columns = unsigned - cursor.rest().len();
        Ok(Self(Arc::new(Content {
            header,
            bytes,
            columns,
        })))
    }

    /// What stands before the columns.
    #[must_use]
    pub fn header(&self) -> &BlockHeader {
        &self.0.header
    }

    /// The block's name.
    #[must_use]
    pub fn id(&self) -> BlockId {
        self.0.header.id()
    }

    /// The bytes that travel and are stored.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0.bytes
    }

    /// The hash that its signature covers and that the next block names.
    #[must_use]
    pub fn hash(&self, network: &NetworkId) -> BlockHash {
        BlockHash::of(network, &self.id(), &self.content())
    }

    /// The hash of its bytes without the signature.
    #[must_use]
    pub fn content(&self) -> ContentHash {
        let bytes = self.as_bytes();
        content_of(&bytes[..bytes.len() - SIGNATURE_BYTES])
    }

    /// Its signature, which must be one of [`Block::hash`].
    #[must_use]
    pub fn signature(&self) -> Signature {
        let bytes = self.as_bytes();
        let mut signature = [0; SIGNATURE_BYTES];
        signature.copy_from_slice(&bytes[bytes.len() - SIGNATURE_BYTES..]);
        Signature(signature)
    }

    /// Decodes the columns; a reading's place in the result is its index.
    ///
    /// # Errors
    ///
    /// [`BlockError`] if a column claims more than its limit or does not decode.
    pub fn readings(&self) -> Result<Vec<Reading>, BlockError> {
        let Content {
            header,
            bytes,
            columns,
        } = &*self.0;
        let columns = &bytes[*columns..bytes.len() - SIGNATURE_BYTES];
        let count = usize::try_from(header.count).unwrap_or(usize::MAX);
        columns::decode(Cursor::new(columns), count, header.sealed)
    }
}

impl Draft {
    /// Encodes and signs it: `sign` is given the hash to sign with the origin's key. The readings
    /// are put into the order of their indices: by series, then as given.
    ///
    /// # Errors
    ///
    /// [`BlockError::OverLimit`] if the readings do not fit into one block,
    /// [`BlockError::Malformed`] if values of one series differ in type.
    pub fn seal(
        mut self,
        network: &NetworkId,
        sign: impl FnOnce(&[u8; 32]) -> Signature,
    ) -> Result<Block, BlockError> {
        let count = self.readings.len();
        header::check("number of readings", count, Block::READINGS_MAX)?;
        let decoded = self.readings.iter().map(decoded_bytes).sum();
        header::check("decoded block", decoded, Block::DECODED_BYTES_MAX)?;
        self.header.count = u32::try_from(count).unwrap_or(u32::MAX);
        let mut readings = self.readings.iter().collect::<Vec<_>>();
        if !readings.is_sorted_by_key(|reading| reading.series) {
            readings.sort_by_key(|reading| reading.series);
        }

        let mut out = Vec::with_capacity(1024);
        header::encode(&self.header, &mut out)?;
        let columns = out.len();
        columns::encode(&readings, self.header.sealed, &mut out)?;
        let size = out.len() + SIGNATURE_BYTES;
        header::check("encoded block", size, Block::ENCODED_BYTES_MAX)?;
        let hash = BlockHash::of(network, &self.header.id(), &content_of(&out));
        out.extend(sign(&hash.0).0);
        Ok(Block(Arc::new(Content {
            header: self.header,
            bytes: out.into_boxed_slice().into(),
            columns,
        })))
    }
}

/// How much a reading counts towards [`Block::DECODED_BYTES_MAX`]. Unit: bytes.
#[must_use]
pub fn decoded_bytes(reading: &Reading) -> usize {
    let content = match &reading.value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Null | Value::F64(_) | Value::I64(_) | Value::Bool(_) => 0,
    };
    READING_BYTES + content
}

fn content_of(unsigned: &[u8]) -> ContentHash {
    ContentHash(Sha256::digest(unsigned).into())
}

/// What a reading counts without the content of a text or byte string. Unit: bytes. Source: its
/// size in memory on 64-bit machines.
const READING_BYTES: usize = 56;
/// Source: Ed25519, RFC 8032.
const SIGNATURE_BYTES: usize = 64;
const _: () = assert!(Block::READINGS_MAX * READING_BYTES <= Block::FILL_BYTES_MAX);
const _: () = assert!(Block::FILL_BYTES_MAX <= Block::DECODED_BYTES_MAX);
