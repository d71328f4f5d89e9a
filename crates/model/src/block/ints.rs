//! Streams of integers: the one representation that times, integers and doubles are brought to.
//!
//! A stream is reduced in three steps: differences of order 0, 1 or 2; minus their minimum; divided
//! by their greatest common divisor. So evenly spaced times cost a few bytes however many there
//! are, and times in whole milliseconds do not pay for their nanoseconds.
//!
//! ```text
//! head 1: order (bits 0-1), divisor given (bit 2)
//! | the first values, as many as the order, zigzag | minimum zigzag | divisor varint, if given
//! | the remainders (`coders.rs`), unless it is only one, which is zero
//! ```
//!
//! How many values there are is not part of the stream. All arithmetic wraps: no stream can
//! overflow, and every 64-bit value survives.

use super::bytes::{Cursor, put_varint, put_zigzag};
use super::coders::{Coder, PCO_COUNT_MIN};
use crate::BlockError;

/// Encodes streams; keeps its buffers from one to the next.
#[derive(Debug, Default)]
pub(super) struct IntEncoder {
    differences: Vec<i64>,
    remainders: Vec<u64>,
    coder: Coder,
}

impl IntEncoder {
    /// Appends `values` as a stream; nothing for no values.
    pub(super) fn encode(&mut self, values: &[i64], out: &mut Vec<u8>) {
        if values.is_empty() {
            return;
        }
        let order = choose_order(values);
        self.differences.clear();
        self.differences.extend(values);
        for step in 0..order {
            difference(&mut self.differences[step..]);
        }
        let (firsts, rest) = self.differences.split_at(order);
        let minimum = rest.iter().copied().min().unwrap_or(0);
        self.remainders.clear();
        self.remainders
            .extend(rest.iter().map(|d| d.wrapping_sub(minimum).cast_unsigned()));
        let divisor = common_divisor(&self.remainders);
        if divisor > 1 {
            self.remainders.iter_mut().for_each(|r| *r /= divisor);
        }

        let divided = if divisor > 1 { HEAD_DIVISOR } else { 0 };
        out.push(ORDER_CODES[order] | divided);
        firsts.iter().for_each(|first| put_zigzag(out, *first));
        put_zigzag(out, minimum);
        if divisor > 1 {
            put_varint(out, divisor);
        }
        if self.remainders.len() > 1 {
            self.coder.encode(&self.remainders, out);
        }
    }
}

/// Decodes streams; keeps its buffers from one to the next.
#[derive(Debug, Default)]
pub(super) struct IntDecoder {
    remainders: Vec<u64>,
    coder: Coder,
}

impl IntDecoder {
    /// Reads a stream of `count` values into `values`, replacing what it held.
    ///
    /// # Errors
    ///
    /// [`BlockError::Malformed`] if the stream does not decode to exactly `count` values.
    pub(super) fn decode(
        &mut self,
        cursor: &mut Cursor<'_>,
        count: usize,
        values: &mut Vec<i64>,
    ) -> Result<(), BlockError> {
        values.clear();
        if count == 0 {
            return Ok(());
        }
        let head = cursor.byte()?;
        if head & !(HEAD_ORDER | HEAD_DIVISOR) != 0 {
            return Err(BlockError::Malformed("unknown flag of a stream"));
        }
        let order = usize::from(head & HEAD_ORDER);
        if order > ORDER_MAX || order >= count {
            return Err(BlockError::Malformed("order of differences"));
        }
        for _ in 0..order {
            values.push(cursor.zigzag()?);
        }
        let minimum = cursor.zigzag()?;
        let divisor = match head & HEAD_DIVISOR {
            0 => 1,
            _ => cursor.varint()?,
        };
        if count - order == 1 {
            self.remainders.clear();
            self.remainders.push(0);
        } else {
            self.coder
                .decode(cursor, count - order, &mut self.remainders)?;
        }
        values.extend(self.remainders.iter().map(|remainder| {
            let difference = remainder.wrapping_mul(divisor).cast_signed();
            difference.wrapping_add(minimum)
        }));
        for step in (0..order).rev() {
            sum(&mut values[step..]);
        }
        Ok(())
    }
}

/// The order of differences that will take least, as far as can be told without coding them.
fn choose_order(values: &[i64]) -> usize {
    let highest = ORDER_MAX.min(values.len() - 1);
    let cost_of = |order: usize| match order {
        0 => cost(values.iter().copied(), values.len()),
        1 => cost(differences(values), values.len() - 1),
        _ => {
            let pairs = differences(values).zip(differences(values).skip(1));
            cost(pairs.map(|(a, b)| b.wrapping_sub(a)), values.len() - 2)
        }
    };
    let firsts = |order: usize| {
        let firsts = values.iter().take(order);
        firsts.map(|f| 1 + bits(f.unsigned_abs())).sum::<u64>()
    };
    (0..=highest)
        .min_by_key(|order| cost_of(*order) + firsts(*order))
        .unwrap_or(0)
}

/// Each value's distance from the one before it.
fn differences(values: &[i64]) -> impl Iterator<Item = i64> + Clone {
    values.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]))
}

/// About how many bits a coder will need for `count` numbers, at least one.
///
/// Fixed width pays the range for each. Pco pays for each about what its distance from the median
/// has; a sample gives the median well enough.
fn cost(numbers: impl Iterator<Item = i64> + Clone, count: usize) -> u64 {
    if count < PCO_COUNT_MIN {
        let range = numbers.fold((i64::MAX, i64::MIN), |(low, high), n| {
            (low.min(n), high.max(n))
        });
        return bits(range.1.wrapping_sub(range.0).cast_unsigned()) * count as u64;
    }
    let mut sample = [0; SAMPLE];
    let spaced = numbers.clone().step_by(count.div_ceil(SAMPLE));
    let sampled = sample
        .iter_mut()
        .zip(spaced)
        .map(|(slot, n)| *slot = n)
        .count();
    let median = *sample[..sampled].select_nth_unstable(sampled / 2).1;
    numbers
        .map(|n| bits(n.wrapping_sub(median).unsigned_abs()))
        .sum()
}

/// How many bits a number has.
fn bits(number: u64) -> u64 {
    u64::from(u64::BITS - number.leading_zeros())
}

/// Replaces all but the first by their distance from the one before.
fn difference(values: &mut [i64]) {
    let mut before = values.first().copied().unwrap_or(0);
    for value in values.iter_mut().skip(1) {
        let here = *value;
        *value = here.wrapping_sub(before);
        before = here;
    }
}

/// Undoes [`difference`].
fn sum(values: &mut [i64]) {
    let mut total = 0_i64;
    for value in values {
        total = total.wrapping_add(*value);
        *value = total;
    }
}

/// The greatest number that divides all; 0 if all are zero.
fn common_divisor(remainders: &[u64]) -> u64 {
    let mut divisor = 0;
    for remainder in remainders {
        let (mut a, mut b) = (*remainder, divisor);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        divisor = a;
        if divisor == 1 {
            break;
        }
    }
    divisor
}

/// Highest order of differences. Source: guess; order 2 makes even slopes constant.
const ORDER_MAX: usize = 2;
const ORDER_CODES: [u8; ORDER_MAX + 1] = [0, 1, 2];
/// How many numbers the median is taken from. Source: measured, as good as all of them on
/// the turbine data.
const SAMPLE: usize = 32;
const HEAD_ORDER: u8 = 0b11;
const HEAD_DIVISOR: u8 = 1 << 2;
