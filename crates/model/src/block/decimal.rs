//! Doubles as integers: whole numbers of decimals where that gives every bit back, else their bits.
//!
//! Instruments report 6.87, not the double nearest to it; as 687 hundredths it compresses to half.

use crate::BlockError;

/// What the integers of a column of doubles stand for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scale {
    /// The value is the integer divided by this power of ten.
    Decimals(f64),
    /// The integer holds the bits, see [`ordered`].
    Bits,
}

impl Scale {
    pub(super) fn from_code(code: u8) -> Result<Self, BlockError> {
        if code == BITS {
            return Ok(Self::Bits);
        }
        let power = POWERS.get(usize::from(code)).copied();
        power
            .map(Self::Decimals)
            .ok_or(BlockError::Malformed("number of decimals"))
    }

    #[expect(clippy::cast_precision_loss, reason = "what is encoded is below 2^53")]
    pub(super) fn decode(self, integer: i64) -> f64 {
        match self {
            Self::Decimals(power) => integer as f64 / power,
            Self::Bits => f64::from_bits(ordered(integer).cast_unsigned()),
        }
    }
}

/// Fills `integers` and returns the code of the scale that gives every bit of `values` back.
pub(super) fn encode(values: &[f64], integers: &mut Vec<i64>) -> u8 {
    let mut decimals = 0;
    for value in values {
        while scaled(*value, decimals).is_none() {
            decimals += 1;
            if usize::from(decimals) == POWERS.len() {
                return encode_bits(values, integers);
            }
        }
    }
    integers.clear();
    for value in values {
        match scaled(*value, decimals) {
            Some(integer) => integers.push(integer),
            None => return encode_bits(values, integers),
        }
    }
    decimals
}

fn encode_bits(values: &[f64], integers: &mut Vec<i64>) -> u8 {
    integers.clear();
    integers.extend(values.iter().map(|v| ordered(v.to_bits().cast_signed())));
    BITS
}

/// The whole number of 10^-`decimals` that is `value` to the bit, if there is one.
fn scaled(value: f64, decimals: u8) -> Option<i64> {
    let power = POWERS[usize::from(decimals)];
    #[expect(clippy::cast_possible_truncation, reason = "saturates; compared below")]
    let integer = (value * power + 0.5_f64.copysign(value)) as i64;
    let same = Scale::Decimals(power).decode(integer).to_bits() == value.to_bits();
    (same && integer.unsigned_abs() <= INTEGER_MAX).then_some(integer)
}

/// Maps the bits of doubles to integers of the same order, and back: it is its own inverse.
const fn ordered(bits: i64) -> i64 {
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// Code of [`Scale::Bits`].
const BITS: u8 = 255;
/// Powers of ten by number of decimals. Source: nine decimals suffice for nanoseconds of seconds.
const POWERS: [f64; 10] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Greatest magnitude of a scaled value; up to 2^53 integers are exact doubles.
const INTEGER_MAX: u64 = 1 << 53;
