//! Numbers as bytes: in fixed width or by pco, whichever is shorter.
//!
//! ```text
//! 0..=64  | each number in that many bits, least significant first, the last byte zero-filled
//! 65..=67 | pco on u16, u32 or u64: one chunk's metadata | its one page
//! ```
//!
//! Pco needs some dozens of numbers to earn back its tables; fewer, and numbers spread evenly, are
//! best left in fixed width. A Rice code beside the two was tried: it saves another 4 % of the
//! turbine data at 512 readings a block and 2 % at 4,096, too little for an entropy coder of our
//! own.
//!
//! # Pco
//!
//! Format 4.1 without its header, on the narrowest type, since its tables carry numbers in full
//! width. Only classic mode without differences is written, and nothing else is read: in this form
//! a chunk decodes to exactly as many numbers as asked for, from tables of at most 2^14 entries.
//! Other modes allocate what the bytes claim.

use pco::data_types::Number;
use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, DeltaSpec, ModeSpec, PagingSpec};

use super::bytes::Cursor;
use crate::BlockError;

/// Writes and reads numbers; keeps its buffers from one stream to the next.
#[derive(Debug, Default)]
pub(super) struct Coder {
    narrow16: Vec<u16>,
    narrow32: Vec<u32>,
    compressed: Vec<u8>,
}

impl Coder {
    /// Appends `numbers`.
    pub(super) fn encode(&mut self, numbers: &[u64], out: &mut Vec<u8>) {
        let maximum = numbers.iter().copied().max().unwrap_or(0);
        let width = u64::BITS - maximum.leading_zeros();
        let fixed = packed_bytes(numbers.len(), width);
        let worth_a_try = width > 0 && numbers.len() >= PCO_COUNT_MIN;
        if worth_a_try
            && let Some(code) = self.compress(numbers, width)
            && self.compressed.len() < fixed
        {
            out.push(code);
            out.extend(&self.compressed);
            return;
        }
        out.push(width.to_le_bytes()[0]);
        let mut bits = BitWriter::new(out);
        numbers.iter().for_each(|n| bits.push(*n, width));
        bits.finish();
    }

    /// Reads `count` numbers into `numbers`, replacing what it held.
    ///
    /// # Errors
    ///
    /// [`BlockError::Malformed`] if the bytes do not decode to exactly `count` numbers.
    pub(super) fn decode(
        &mut self,
        cursor: &mut Cursor<'_>,
        count: usize,
        numbers: &mut Vec<u64>,
    ) -> Result<(), BlockError> {
        numbers.clear();
        match cursor.byte()? {
            width @ 0..=WIDTH_MAX => {
                let width = u32::from(width);
                let mut bits = BitReader::new(cursor.take(packed_bytes(count, width))?);
                numbers.extend((0..count).map(|_| bits.read(width)));
            }
            PCO_U16 => {
                pco_decompress(cursor, count, &mut self.narrow16)?;
                numbers.extend(self.narrow16.iter().copied().map(u64::from));
            }
            PCO_U32 => {
                pco_decompress(cursor, count, &mut self.narrow32)?;
                numbers.extend(self.narrow32.iter().copied().map(u64::from));
            }
            PCO_U64 => pco_decompress(cursor, count, numbers)?,
            _ => return Err(BlockError::Malformed("unknown coder")),
        }
        Ok(())
    }

    /// Has pco compress `numbers` of up to `width` bits into `compressed`; `None` if it will not.
    fn compress(&mut self, numbers: &[u64], width: u32) -> Option<u8> {
        self.compressed.clear();
        let (done, code) = match width {
            0..=16 => {
                narrow(numbers, &mut self.narrow16);
                (pco_compress(&self.narrow16, &mut self.compressed), PCO_U16)
            }
            17..=32 => {
                narrow(numbers, &mut self.narrow32);
                (pco_compress(&self.narrow32, &mut self.compressed), PCO_U32)
            }
            _ => (pco_compress(numbers, &mut self.compressed), PCO_U64),
        };
        done.then_some(code)
    }
}

fn pco_compress<T: Number>(numbers: &[T], out: &mut Vec<u8>) -> bool {
    let config = ChunkConfig::default()
        .with_mode_spec(ModeSpec::Classic)
        .with_delta_spec(DeltaSpec::NoOp)
        .with_paging_spec(PagingSpec::Exact(vec![numbers.len()]));
    FileCompressor::default()
        .chunk_compressor(numbers, &config)
        .and_then(|mut chunk| {
            chunk.write_meta(&mut *out)?;
            chunk.write_page(0, &mut *out)?;
            Ok(())
        })
        .is_ok()
}

fn pco_decompress<T: Number + Default>(
    cursor: &mut Cursor<'_>,
    count: usize,
    numbers: &mut Vec<T>,
) -> Result<(), BlockError> {
    const MALFORMED: BlockError = BlockError::Malformed("pco's bytes");
    if count < PCO_COUNT_MIN {
        return Err(BlockError::Malformed("too few numbers for pco"));
    }
    if cursor.rest().first() != Some(&PCO_CLASSIC) {
        return Err(BlockError::Malformed("mode of pco"));
    }
    let (file, _) = FileDecompressor::new(PCO_HEADER).map_err(|_| MALFORMED)?;
    let (mut chunk, rest) = file
        .chunk_decompressor::<T, _>(cursor.rest())
        .map_err(|_| MALFORMED)?;
    let mut page = chunk
        .page_decompressor(rest, count)
        .map_err(|_| MALFORMED)?;
    numbers.clear();
    numbers.resize(count, T::default());
    let progress = page.read(numbers).map_err(|_| MALFORMED)?;
    if progress.n_processed != count || !progress.finished {
        return Err(MALFORMED);
    }
    *cursor = Cursor::new(page.into_src());
    Ok(())
}

/// The same numbers in a narrower type, which is known to hold them.
fn narrow<T: TryFrom<u64> + Default>(numbers: &[u64], narrow: &mut Vec<T>) {
    narrow.clear();
    narrow.extend(
        numbers
            .iter()
            .map(|number| T::try_from(*number).unwrap_or_default()),
    );
}

/// Bytes that `count` numbers of `width` bits take; `count` is at most that of a block.
fn packed_bytes(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    pending: u128,
    filled: u32,
}

impl<'a> BitWriter<'a> {
    fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            pending: 0,
            filled: 0,
        }
    }

    /// Appends `width` bits, at most 64; the bits of `value` above them must be zero.
    fn push(&mut self, value: u64, width: u32) {
        self.pending |= u128::from(value) << self.filled;
        self.filled += width;
        if self.filled >= u64::BITS {
            self.out.extend(&self.pending.to_le_bytes()[..8]);
            self.pending >>= u64::BITS;
            self.filled -= u64::BITS;
        }
    }

    fn finish(self) {
        let bytes = self.filled.div_ceil(8) as usize;
        self.out.extend(&self.pending.to_le_bytes()[..bytes]);
    }
}

/// Reads bits; past the end it reads zeros.
struct BitReader<'a> {
    bytes: &'a [u8],
    next: usize,
    pending: u128,
    filled: u32,
}

impl<'a> BitReader<'a> {
    const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            next: 0,
            pending: 0,
            filled: 0,
        }
    }

    /// The next `width` bits, at most 64.
    fn read(&mut self, width: u32) -> u64 {
        if self.filled < width {
            let mut eight = [0; 8];
            let rest = self.bytes.get(self.next..).unwrap_or_default();
            let taken = rest.len().min(8);
            eight[..taken].copy_from_slice(&rest[..taken]);
            self.pending |= u128::from(u64::from_le_bytes(eight)) << self.filled;
            self.filled += u64::BITS;
            self.next += 8;
        }
        let value = self.pending & ((1 << width) - 1);
        self.pending >>= width;
        self.filled -= width;
        u64::try_from(value).unwrap_or(0)
    }
}

/// Fewest numbers that pco is used for. Also bounds the work of decoding: its tables, of up to 2^14
/// entries, can be asked for at most once per so many readings. Source: guess; on the turbine data
/// pco wins nothing at 9 numbers and 20 % at 73.
pub(super) const PCO_COUNT_MIN: usize = 32;
/// The version that the chunks are in, which pco otherwise writes before them.
const PCO_HEADER: &[u8] = &[4, 1];
/// The first byte of a chunk in classic mode (lower four bits) without differences (upper four).
const PCO_CLASSIC: u8 = 0;
/// Code of the greatest fixed width.
const WIDTH_MAX: u8 = 64;
const PCO_U16: u8 = 65;
const PCO_U32: u8 = 66;
const PCO_U64: u8 = 67;
