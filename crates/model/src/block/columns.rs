//! The columns of a block: one per series, in the order of the series' numbers.
//!
//! ```text
//! series varint: the number; after the first column its distance from the one before, minus 1
//! | flags 1: value type (bits 0-2, 0 if all are null), nulls (3), qualities (4), times of the
//!   column before (5)
//! | unless times are shared: number of readings varint, times minus the sealing time as a stream
//! | if flagged, nulls: a bit per reading
//! | if flagged, qualities: runs of code 1 and length varint
//! | the values that are not null
//! ```
//!
//! Values: doubles are a byte and a stream, where the byte is the number of decimals if all are
//! decimal fractions and the stream holds them as whole numbers, or 255 if the stream holds their
//! bits. Integers are a stream. Truth values are a bit each. Texts and byte strings are a varint
//! and bytes each, where 0 repeats the one before and n announces n - 1 bytes.

use super::bytes::{Cursor, put_length, put_varint};
use super::header::check;
use super::ints::{IntDecoder, IntEncoder};
use super::{Block, READING_BYTES, decimal};
use crate::{BlockError, Quality, Reading, SeriesNumber, Timestamp, Value, ValueType};

/// Appends the columns of `readings`, which are sorted by series.
///
/// # Errors
///
/// [`BlockError`] if a value is too long, or the values of one series are of several types.
pub(super) fn encode(
    readings: &[&Reading],
    sealed: Timestamp,
    out: &mut Vec<u8>,
) -> Result<(), BlockError> {
    let mut encoder = Encoder::default();
    let mut before = None;
    for column in readings.chunk_by(|a, b| a.series == b.series) {
        let Some(first) = column.first() else {
            continue;
        };
        let SeriesNumber(series) = first.series;
        let distance = before.map_or(series, |before| series - before - 1);
        before = Some(series);
        put_varint(out, distance.into());
        encoder.column(column, sealed, out)?;
    }
    Ok(())
}

/// Encodes column after column; keeps its buffers from one to the next.
#[derive(Default)]
struct Encoder {
    ints: IntEncoder,
    /// Those of the column before.
    times: Vec<i64>,
    values: Vec<i64>,
    doubles: Vec<f64>,
}

impl Encoder {
    fn column(
        &mut self,
        column: &[&Reading],
        sealed: Timestamp,
        out: &mut Vec<u8>,
    ) -> Result<(), BlockError> {
        let value_type = column.iter().find_map(|reading| reading.value.value_type());
        let mut flags = value_type.map_or(0, ValueType::code);
        let nulls = column.iter().any(|r| matches!(r.value, Value::Null));
        if nulls && value_type.is_some() {
            flags |= FLAG_NULLS;
        }
        if column.iter().any(|r| r.quality != Quality::GOOD) {
            flags |= FLAG_QUALITIES;
        }
        let times = column
            .iter()
            .map(|r| r.time.as_nanos().wrapping_sub(sealed.as_nanos()));
        let shared = times.clone().eq(self.times.iter().copied());
        if shared {
            flags |= FLAG_SAME_TIMES;
        }

        out.push(flags);
        if !shared {
            self.times.clear();
            self.times.extend(times);
            put_length(out, column.len());
            self.ints.encode(&self.times, out);
        }
        if flags & FLAG_NULLS != 0 {
            put_bits(column.iter().map(|r| matches!(r.value, Value::Null)), out);
        }
        if flags & FLAG_QUALITIES != 0 {
            for run in column.chunk_by(|a, b| a.quality == b.quality) {
                out.push(run.first().map_or(0, |reading| reading.quality.code()));
                put_length(out, run.len());
            }
        }
        value_type.map_or(Ok(()), |value_type| self.values(value_type, column, out))
    }

    fn values(
        &mut self,
        value_type: ValueType,
        column: &[&Reading],
        out: &mut Vec<u8>,
    ) -> Result<(), BlockError> {
        let types = column.iter().filter_map(|r| r.value.value_type());
        if types.clone().any(|found| found != value_type) {
            return Err(BlockError::Malformed("values of one series differ in type"));
        }
        let values = column.iter().map(|reading| &reading.value);
        match value_type {
            ValueType::F64 => {
                self.doubles.clear();
                self.doubles.extend(values.filter_map(as_f64));
                out.push(decimal::encode(&self.doubles, &mut self.values));
                self.ints.encode(&self.values, out);
            }
            ValueType::I64 => {
                self.values.clear();
                self.values.extend(values.filter_map(as_i64));
                self.ints.encode(&self.values, out);
            }
            ValueType::Bool => put_bits(values.filter_map(as_bool), out),
            ValueType::Text | ValueType::Bytes => {
                put_strings(values.filter_map(as_bytes), out)?;
            }
        }
        Ok(())
    }
}

fn as_f64(value: &Value) -> Option<f64> {
    if let Value::F64(value) = value {
        Some(*value)
    } else {
        None
    }
}

fn as_i64(value: &Value) -> Option<i64> {
    if let Value::I64(value) = value {
        Some(*value)
    } else {
        None
    }
}

fn as_bool(value: &Value) -> Option<bool> {
    if let Value::Bool(value) = value {
        Some(*value)
    } else {
        None
    }
}

fn as_bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::Text(text) => Some(text.as_bytes()),
        Value::Bytes(bytes) => Some(bytes),
        Value::Null | Value::F64(_) | Value::I64(_) | Value::Bool(_) => None,
    }
}

fn put_strings<'a>(
    strings: impl Iterator<Item = &'a [u8]>,
    out: &mut Vec<u8>,
) -> Result<(), BlockError> {
    let mut before = None;
    for string in strings {
        check("value", string.len(), Value::BYTES_MAX)?;
        if before == Some(string) {
            put_length(out, 0);
        } else {
            put_length(out, string.len() + 1);
            out.extend(string);
            before = Some(string);
        }
    }
    Ok(())
}

fn put_bits(bits: impl Iterator<Item = bool>, out: &mut Vec<u8>) {
    let start = out.len();
    for (index, bit) in bits.enumerate() {
        if index % 8 == 0 {
            out.push(0);
        }
        out[start + index / 8] |= u8::from(bit) << (index % 8);
    }
}

/// Decodes columns until they hold `count` readings, which must be all there is.
///
/// # Errors
///
/// [`BlockError`] if a column claims more than its limit or does not decode.
pub(super) fn decode(
    mut cursor: Cursor<'_>,
    count: usize,
    sealed: Timestamp,
) -> Result<Vec<Reading>, BlockError> {
    let mut decoder = Decoder {
        readings: Vec::with_capacity(count),
        count,
        sealed,
        decoded: count * READING_BYTES,
        ints: IntDecoder::default(),
        times: Vec::new(),
        values: Vec::new(),
        nulls: Vec::new(),
    };
    let mut series = 0_u64;
    while decoder.readings.len() < count {
        let next = series.checked_add(cursor.varint()?);
        let next = next.and_then(|next| u32::try_from(next).ok());
        let number = next.ok_or(BlockError::Malformed("series number"))?;
        decoder.column(&mut cursor, SeriesNumber(number))?;
        series = u64::from(number) + 1;
    }
    if !cursor.is_empty() {
        return Err(BlockError::Malformed("bytes follow the last column"));
    }
    Ok(decoder.readings)
}

/// Decodes column after column; keeps its buffers from one to the next.
struct Decoder {
    readings: Vec<Reading>,
    /// How many readings there will be.
    count: usize,
    sealed: Timestamp,
    /// What has been decoded so far, counted as [`Block::DECODED_BYTES_MAX`] counts it.
    decoded: usize,
    ints: IntDecoder,
    /// Those of the column before.
    times: Vec<i64>,
    values: Vec<i64>,
    nulls: Vec<bool>,
}

impl Decoder {
    fn column(&mut self, cursor: &mut Cursor<'_>, series: SeriesNumber) -> Result<(), BlockError> {
        let flags = cursor.byte()?;
        if flags & !(TYPE | FLAG_NULLS | FLAG_QUALITIES | FLAG_SAME_TIMES) != 0 {
            return Err(BlockError::Malformed("unknown flag of a column"));
        }
        let value_type = match flags & TYPE {
            0 => None,
            code => Some(ValueType::from_code(code).ok_or(BlockError::Malformed("value type"))?),
        };
        let room = self.count - self.readings.len();
        let rows = if flags & FLAG_SAME_TIMES == 0 {
            let rows = cursor.length("readings of a column", room)?;
            self.ints.decode(cursor, rows, &mut self.times)?;
            rows
        } else {
            check("readings of a column", self.times.len(), room)?;
            self.times.len()
        };
        if rows == 0 {
            return Err(BlockError::Malformed("column without readings"));
        }
        self.nulls.clear();
        match (value_type, flags & FLAG_NULLS) {
            (None, _) => self.nulls.resize(rows, true),
            (Some(_), 0) => self.nulls.resize(rows, false),
            (Some(_), _) => self.nulls.extend(bits(cursor, rows)?),
        }
        let first = self.readings.len();
        let sealed = self.sealed.as_nanos();
        self.readings.extend(self.times.iter().map(|time| Reading {
            series,
            time: Timestamp::from_nanos(sealed.wrapping_add(*time)),
            value: Value::Null,
            quality: Quality::GOOD,
        }));
        if flags & FLAG_QUALITIES != 0 {
            self.qualities(cursor, first)?;
        }
        match value_type {
            Some(value_type) => self.values(cursor, value_type, first),
            None => Ok(()),
        }
    }

    /// Sets the qualities of the readings from `first` on.
    fn qualities(&mut self, cursor: &mut Cursor<'_>, first: usize) -> Result<(), BlockError> {
        let mut rest = &mut self.readings[first..];
        while !rest.is_empty() {
            let quality = Quality::from_code(cursor.byte()?);
            let quality = quality.ok_or(BlockError::Malformed("quality"))?;
            let length = cursor.length("run of qualities", rest.len())?;
            if length == 0 {
                return Err(BlockError::Malformed("run of no qualities"));
            }
            let (run, after) = rest.split_at_mut(length);
            run.iter_mut().for_each(|reading| reading.quality = quality);
            rest = after;
        }
        Ok(())
    }

    /// Sets the values of the readings from `first` on, where they are not null.
    fn values(
        &mut self,
        cursor: &mut Cursor<'_>,
        value_type: ValueType,
        first: usize,
    ) -> Result<(), BlockError> {
        let rows = self.nulls.iter().filter(|null| !**null).count();
        let present = self.readings[first..]
            .iter_mut()
            .zip(&self.nulls)
            .filter_map(|(reading, null)| (!null).then_some(&mut reading.value));
        match value_type {
            ValueType::F64 => {
                let scale = decimal::Scale::from_code(cursor.byte()?)?;
                self.ints.decode(cursor, rows, &mut self.values)?;
                for (value, number) in present.zip(&self.values) {
                    *value = Value::F64(scale.decode(*number));
                }
            }
            ValueType::I64 => {
                self.ints.decode(cursor, rows, &mut self.values)?;
                for (value, number) in present.zip(&self.values) {
                    *value = Value::I64(*number);
                }
            }
            ValueType::Bool => {
                for (value, bit) in present.zip(bits(cursor, rows)?) {
                    *value = Value::Bool(bit);
                }
            }
            ValueType::Text | ValueType::Bytes => {
                let mut before: Option<&[u8]> = None;
                for value in present {
                    let string = string(cursor, before)?;
                    self.decoded += string.len();
                    check("decoded block", self.decoded, Block::DECODED_BYTES_MAX)?;
                    *value = if value_type == ValueType::Text {
                        Value::Text(text(string)?)
                    } else {
                        Value::Bytes(string.to_vec())
                    };
                    before = Some(string);
                }
            }
        }
        Ok(())
    }
}

fn string<'a>(cursor: &mut Cursor<'a>, before: Option<&'a [u8]>) -> Result<&'a [u8], BlockError> {
    match cursor.length("value", Value::BYTES_MAX + 1)? {
        0 => before.ok_or(BlockError::Malformed("nothing to repeat")),
        length => cursor.take(length - 1),
    }
}

fn text(bytes: &[u8]) -> Result<String, BlockError> {
    str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| BlockError::Malformed("text is not UTF-8"))
}

fn bits<'a>(
    cursor: &mut Cursor<'a>,
    count: usize,
) -> Result<impl Iterator<Item = bool> + use<'a>, BlockError> {
    let bytes = cursor.take(count.div_ceil(8))?;
    Ok((0..count).map(|index| bytes[index / 8] & 1 << (index % 8) != 0))
}

const TYPE: u8 = 0b111;
const FLAG_NULLS: u8 = 1 << 3;
const FLAG_QUALITIES: u8 = 1 << 4;
const FLAG_SAME_TIMES: u8 = 1 << 5;
