//! Coders: four ways to write numbers down, of which a stream takes the shortest.
//!
//! ```text
//! none  every number is zero: nothing
//! fixed bits 1 | each number in that many bits
//! rice  centre varint | parameter k 1 | each distance from the centre, zigzag: its upper bits in
//!       unary, its k lower bits; more than 24 in unary is 24 ones and then 64 bits
//! pco   16, 32 or 64 | one chunk's metadata | its one page
//! ```
//!
//! Bits are filled from the least significant; the last byte is filled up with zeros.
//!
//! Pco needs some hundred numbers to earn back its tables, Rice coding needs none, and numbers
//! spread evenly are best left in fixed width.
//!
//! # Pco
//!
//! Format 4.1 without its header, on the narrowest of u16, u32 and u64, since its tables carry
//! numbers in full width. Only classic mode without differences is written, and nothing else is
//! read: in this form a chunk decodes to exactly as many numbers as asked for, from tables of at
//! most 2^14 entries. Other modes allocate what the bytes claim.

use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, DeltaSpec, ModeSpec, PagingSpec};

use super::bytes::{Cursor, put_varint, unzigzag, zigzag};
use crate::BlockError;

/// How the remainders of a stream are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coder {
    None,
    Fixed,
    Rice,
    Pco,
}

impl Coder {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Fixed => 1,
            Self::Rice => 2,
            Self::Pco => 3,
        }
    }

    /// The coder with this number, of which only the two lowest bits are looked at.
    pub(super) const fn from_code(code: u8) -> Self {
        match code & 0b11 {
            0 => Self::None,
            1 => Self::Fixed,
            2 => Self::Rice,
            _ => Self::Pco,
        }
    }
}

/// Chooses, writes and reads; keeps its buffers from one stream to the next.
#[derive(Debug, Default)]
pub(super) struct Coders {
    width: u32,
    centre: u64,
    parameter: u32,
    sorted: Vec<u64>,
    narrow16: Vec<u16>,
    narrow32: Vec<u32>,
    compressed: Vec<u8>,
}

impl Coders {
    /// The coder that needs fewest bytes for `numbers`, at equal length the simplest.
    pub(super) fn choose(&mut self, numbers: &[u64]) -> Coder {
        let maximum = numbers.iter().copied().max().unwrap_or(0);
        self.width = u64::BITS - maximum.leading_zeros();
        if self.width == 0 {
            return Coder::None;
        }
        let fixed = 1 + packed_bytes(numbers.len(), self.width);
        let rice = self.fit_rice(numbers);
        let (mut coder, mut bytes) = (Coder::Fixed, fixed);
        if rice < bytes {
            (coder, bytes) = (Coder::Rice, rice);
        }
        if numbers.len() >= PCO_COUNT_MIN && self.compress(numbers) && self.compressed.len() < bytes
        {
            coder = Coder::Pco;
        }
        coder
    }

    /// Appends `numbers`, for which `coder` was just chosen.
    pub(super) fn write(&self, coder: Coder, numbers: &[u64], out: &mut Vec<u8>) {
        match coder {
            Coder::None => {}
            Coder::Fixed => {
                out.push(width_code(self.width));
                let mut bits = BitWriter::new(out);
                numbers.iter().for_each(|n| bits.push(*n, self.width));
                bits.finish();
            }
            Coder::Rice => {
                put_varint(out, self.centre);
                out.push(width_code(self.parameter));
                let mut bits = BitWriter::new(out);
                for number in numbers {
                    let distance = zigzag(number.wrapping_sub(self.centre).cast_signed());
                    let high = distance >> self.parameter;
                    if high < RICE_UNARY_MAX {
                        let ones = (1 << high) - 1;
                        bits.push(ones, u32::try_from(high).unwrap_or(0) + 1);
                        bits.push(distance & low_bits(self.parameter), self.parameter);
                    } else {
                        bits.push((1 << RICE_UNARY_MAX) - 1, RICE_UNARY_BITS);
                        bits.push(distance, u64::BITS);
                    }
                }
                bits.finish();
            }
            Coder::Pco => out.extend(&self.compressed),
        }
    }

    /// Reads `count` numbers into `numbers`, replacing what it held.
    pub(super) fn read(
        &mut self,
        coder: Coder,
        cursor: &mut Cursor<'_>,
        count: usize,
        numbers: &mut Vec<u64>,
    ) -> Result<(), BlockError> {
        numbers.clear();
        match coder {
            Coder::None => numbers.resize(count, 0),
            Coder::Fixed => {
                let width = u32::from(cursor.byte()?);
                if width > u64::BITS {
                    return Err(BlockError::Malformed("width of a number"));
                }
                let mut bits = BitReader::new(cursor.take(packed_bytes(count, width))?);
                numbers.extend((0..count).map(|_| bits.read(width)));
            }
            Coder::Rice => read_rice(cursor, count, numbers)?,
            Coder::Pco => self.decompress(cursor, count, numbers)?,
        }
        Ok(())
    }

    /// Sets centre and parameter to what suits `numbers`, and returns how many bytes that takes.
    fn fit_rice(&mut self, numbers: &[u64]) -> usize {
        self.sorted.clear();
        self.sorted.extend(numbers);
        let middle = self.sorted.len() / 2;
        self.centre = *self.sorted.select_nth_unstable(middle).1;
        let centre = self.centre;
        let distances = self
            .sorted
            .iter_mut()
            .map(|n| {
                *n = zigzag(n.wrapping_sub(centre).cast_signed());
                u128::from(*n)
            })
            .sum::<u128>();
        let mean = distances / (numbers.len() as u128).max(1);
        let guess = 127_u32.saturating_sub((mean + 1).leading_zeros());
        let candidates = guess.saturating_sub(1)..=(guess + 1).min(RICE_PARAMETER_MAX);
        let (bits, parameter) = candidates
            .map(|parameter| (rice_bits(&self.sorted, parameter), parameter))
            .min()
            .unwrap_or((usize::MAX, 0));
        self.parameter = parameter;
        let mut centre_bytes = Vec::new();
        put_varint(&mut centre_bytes, self.centre);
        centre_bytes.len() + 1 + bits.div_ceil(8)
    }

    /// Has pco compress `numbers` into `compressed`; false if it will not.
    fn compress(&mut self, numbers: &[u64]) -> bool {
        self.compressed.clear();
        match self.width {
            0..=16 => {
                self.compressed.push(16);
                narrow(numbers, &mut self.narrow16);
                pco_compress(&self.narrow16, &mut self.compressed)
            }
            17..=32 => {
                self.compressed.push(32);
                narrow(numbers, &mut self.narrow32);
                pco_compress(&self.narrow32, &mut self.compressed)
            }
            _ => {
                self.compressed.push(64);
                pco_compress(numbers, &mut self.compressed)
            }
        }
    }

    fn decompress(
        &mut self,
        cursor: &mut Cursor<'_>,
        count: usize,
        numbers: &mut Vec<u64>,
    ) -> Result<(), BlockError> {
        if count < PCO_COUNT_MIN {
            return Err(BlockError::Malformed("too few numbers for pco"));
        }
        match cursor.byte()? {
            16 => {
                pco_decompress(cursor, count, &mut self.narrow16)?;
                numbers.extend(self.narrow16.iter().copied().map(u64::from));
            }
            32 => {
                pco_decompress(cursor, count, &mut self.narrow32)?;
                numbers.extend(self.narrow32.iter().copied().map(u64::from));
            }
            64 => pco_decompress(cursor, count, numbers)?,
            _ => return Err(BlockError::Malformed("width of pco's numbers")),
        }
        Ok(())
    }
}

fn read_rice(
    cursor: &mut Cursor<'_>,
    count: usize,
    numbers: &mut Vec<u64>,
) -> Result<(), BlockError> {
    let centre = cursor.varint()?;
    let parameter = u32::from(cursor.byte()?);
    if parameter > RICE_PARAMETER_MAX {
        return Err(BlockError::Malformed("parameter of a Rice code"));
    }
    let mut bits = BitReader::new(cursor.rest());
    for _ in 0..count {
        let mut high = 0;
        while high < RICE_UNARY_MAX && bits.read(1) == 1 {
            high += 1;
        }
        let distance = if high < RICE_UNARY_MAX {
            high << parameter | bits.read(parameter)
        } else {
            bits.read(u64::BITS)
        };
        numbers.push(centre.wrapping_add(unzigzag(distance).cast_unsigned()));
    }
    cursor.take(bits.bytes_read())?;
    Ok(())
}

/// How many bits `distances` take in a Rice code.
fn rice_bits(distances: &[u64], parameter: u32) -> usize {
    let (mut unary, mut escapes) = (0, 0);
    for distance in distances {
        let high = distance >> parameter;
        unary += high.min(RICE_UNARY_MAX);
        escapes += usize::from(high >= RICE_UNARY_MAX);
    }
    let regular = distances.len() - escapes;
    usize::try_from(unary).unwrap_or(usize::MAX)
        + regular * (parameter as usize + 1)
        + escapes * u64::BITS as usize
}

fn pco_compress<T: pco::data_types::Number>(numbers: &[T], out: &mut Vec<u8>) -> bool {
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

fn pco_decompress<T: pco::data_types::Number + Default>(
    cursor: &mut Cursor<'_>,
    count: usize,
    numbers: &mut Vec<T>,
) -> Result<(), BlockError> {
    const MALFORMED: BlockError = BlockError::Malformed("pco's bytes");
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

/// A number of bits, at most 64, as a byte.
fn width_code(width: u32) -> u8 {
    width.to_le_bytes()[0]
}

/// A mask of the `width` lowest bits, at most 63.
const fn low_bits(width: u32) -> u64 {
    (1 << width) - 1
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

/// Reads bits; past the end it reads zeros, and [`Self::bytes_read`] tells.
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

    /// How many bytes were begun, also past the end.
    const fn bytes_read(&self) -> usize {
        self.next - (self.filled / 8) as usize
    }
}

/// Fewest numbers that pco is tried on. Also bounds the work of decoding: its tables, of up to
/// 2^14 entries, can be asked for at most once per so many readings. Source: measured, below this
/// it never won on the wind-turbine data.
const PCO_COUNT_MIN: usize = 64;
/// The version that the chunks are in, which pco otherwise writes before them.
const PCO_HEADER: &[u8] = &[4, 1];
/// The first byte of a chunk in classic mode (lower four bits) without differences (upper four).
const PCO_CLASSIC: u8 = 0;
/// Most ones in a Rice code before the number is given plainly. Source: guess, such that a code is
/// never much longer than the number.
const RICE_UNARY_MAX: u64 = 24;
const RICE_UNARY_BITS: u32 = 24;
/// Greatest parameter of a Rice code. Beyond it fixed width is as good.
const RICE_PARAMETER_MAX: u32 = 56;
