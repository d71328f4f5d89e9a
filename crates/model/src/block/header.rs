//! The header of a block as bytes.
//!
//! ```text
//! version (2) 1 | flags 1 | machine 32 | epoch counter varint, tag 4 | sequence varint
//! | previous 16, if flagged | continues: epoch counter varint, tag 4, sequence varint, if flagged
//! | sealed 8 | sealed - watermark zigzag | count varint
//! | publishers varint, each: length varint, name, sequence varint
//! ```
//!
//! Integers of fixed width are little-endian. The network is not carried; the hash covers it.

use super::bytes::{Cursor, put_length, put_varint, put_zigzag};
use super::{Block, BlockHeader, HashPrefix, PublisherMark};
use crate::{BlockError, Epoch, LogId, MachineId, Position, Timestamp};

/// Appends the header.
///
/// # Errors
///
/// [`BlockError`] if there are too many publishers, a name is too long, or the sequence is zero.
pub(super) fn encode(header: &BlockHeader, out: &mut Vec<u8>) -> Result<(), BlockError> {
    check_sequence(header.sequence)?;
    let mut flags = 0;
    if header.previous != HashPrefix::NONE {
        flags |= FLAG_PREVIOUS;
    }
    if header.continues.is_some() {
        flags |= FLAG_CONTINUES;
    }
    if header.urgent {
        flags |= FLAG_URGENT;
    }
    out.extend([VERSION, flags]);
    out.extend(header.log.machine.as_bytes());
    put_epoch(out, header.log.epoch);
    put_varint(out, header.sequence);
    if header.previous != HashPrefix::NONE {
        out.extend(header.previous.0);
    }
    if let Some(position) = header.continues {
        put_epoch(out, position.epoch);
        put_varint(out, position.sequence);
    }
    let (sealed, watermark) = (header.sealed.as_nanos(), header.watermark.as_nanos());
    out.extend(sealed.to_le_bytes());
    put_zigzag(out, sealed.wrapping_sub(watermark));
    put_varint(out, header.count.into());
    check("publishers", header.publishers.len(), Block::PUBLISHERS_MAX)?;
    put_length(out, header.publishers.len());
    for mark in &header.publishers {
        let length = mark.publisher.len();
        check("publisher name", length, PublisherMark::NAME_BYTES_MAX)?;
        put_length(out, length);
        out.extend(mark.publisher.as_bytes());
        put_varint(out, mark.sequence);
    }
    Ok(())
}

/// Reads the header and leaves the cursor at the columns.
///
/// # Errors
///
/// [`BlockError`] if a limit is exceeded or a field does not decode.
pub(super) fn decode(cursor: &mut Cursor<'_>) -> Result<BlockHeader, BlockError> {
    let version = cursor.byte()?;
    if version != VERSION {
        return Err(BlockError::Version(version));
    }
    let flags = cursor.byte()?;
    if flags & !(FLAG_PREVIOUS | FLAG_CONTINUES | FLAG_URGENT) != 0 {
        return Err(BlockError::Malformed("unknown header flag"));
    }
    let machine = MachineId::from_bytes(cursor.array()?);
    let epoch = epoch(cursor)?;
    let sequence = cursor.varint()?;
    check_sequence(sequence)?;
    let previous = match flags & FLAG_PREVIOUS {
        0 => HashPrefix::NONE,
        _ => HashPrefix(cursor.array()?),
    };
    let continues = match flags & FLAG_CONTINUES {
        0 => None,
        _ => Some(position(cursor)?),
    };
    let sealed = i64::from_le_bytes(cursor.array()?);
    let watermark = sealed.wrapping_sub(cursor.zigzag()?);
    let count = cursor.length("number of readings", Block::READINGS_MAX)?;
    let publishers = publishers(cursor)?;
    Ok(BlockHeader {
        log: LogId { machine, epoch },
        sequence,
        previous,
        continues,
        sealed: Timestamp::from_nanos(sealed),
        watermark: Timestamp::from_nanos(watermark),
        count: u32::try_from(count).map_err(|_| BlockError::Malformed("number of readings"))?,
        urgent: flags & FLAG_URGENT != 0,
        publishers,
    })
}

fn publishers(cursor: &mut Cursor<'_>) -> Result<Vec<PublisherMark>, BlockError> {
    let count = cursor.length("publishers", Block::PUBLISHERS_MAX)?;
    (0..count)
        .map(|_| {
            let length = cursor.length("publisher name", PublisherMark::NAME_BYTES_MAX)?;
            let publisher = str::from_utf8(cursor.take(length)?)
                .map_err(|_| BlockError::Malformed("publisher name is not UTF-8"))?
                .to_owned();
            let sequence = cursor.varint()?;
            Ok(PublisherMark {
                publisher,
                sequence,
            })
        })
        .collect()
}

fn position(cursor: &mut Cursor<'_>) -> Result<Position, BlockError> {
    Ok(Position {
        epoch: epoch(cursor)?,
        sequence: cursor.varint()?,
    })
}

fn epoch(cursor: &mut Cursor<'_>) -> Result<Epoch, BlockError> {
    Ok(Epoch {
        counter: cursor.varint()?,
        tag: u32::from_le_bytes(cursor.array()?),
    })
}

fn put_epoch(out: &mut Vec<u8>, epoch: Epoch) {
    put_varint(out, epoch.counter);
    out.extend(epoch.tag.to_le_bytes());
}

const fn check_sequence(sequence: u64) -> Result<(), BlockError> {
    match sequence {
        0 => Err(BlockError::Malformed("sequences start at 1")),
        _ => Ok(()),
    }
}

/// Refuses what exceeds its limit.
pub(super) const fn check(what: &'static str, size: usize, limit: usize) -> Result<(), BlockError> {
    if size > limit {
        return Err(BlockError::OverLimit { what, size, limit });
    }
    Ok(())
}

/// The version of header and columns together.
const VERSION: u8 = 2;
const FLAG_PREVIOUS: u8 = 1;
const FLAG_CONTINUES: u8 = 1 << 1;
const FLAG_URGENT: u8 = 1 << 2;
