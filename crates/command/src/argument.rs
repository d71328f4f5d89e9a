//! What a command is given, and what it answers: a value as in JSON, with integers and bytes.
//!
//! As carried, a value is one byte of type and its content: integers and lengths as variable-length
//! integers (LEB128, zigzag where signed), doubles as eight bytes, little-endian. A list or map is
//! its count and its values; keys of a map ascend. So no two byte strings are the same value.

use std::collections::BTreeMap;

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::ArgumentError;

/// One value.
#[derive(Clone, Debug, Default)]
pub enum Argument {
    /// Nothing.
    #[default]
    Null,
    /// A truth value.
    Bool(bool),
    /// A signed integer.
    I64(i64),
    /// A double, kept to the bit.
    F64(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Values in order.
    List(Vec<Argument>),
    /// Values by name.
    Map(BTreeMap<String, Argument>),
}

impl Argument {
    /// Longest encoded value. Unit: bytes. Source: guess; what is larger belongs into readings or
    /// files.
    pub const BYTES_MAX: usize = 256 * 1024;
    /// Deepest nesting of lists and maps. Source: guess.
    pub const DEPTH_MAX: usize = 16;
    /// Most values inside one value, itself included. Source: guess; bounds memory to about 2 MiB.
    pub const VALUES_MAX: usize = 16_384;

    /// Its encoding.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] if it exceeds a limit.
    pub fn encode(&self) -> Result<Bytes, ArgumentError> {
        let mut out = BytesMut::new();
        let mut values = 0;
        self.write(&mut out, 0, &mut values)?;
        Ok(out.freeze())
    }

    /// Reads a value. Every count is held against the bytes that are left before anything is
    /// allocated for it.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] if the bytes are no value or exceed a limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, ArgumentError> {
        check_length(bytes.len())?;
        let mut reader = Reader {
            rest: bytes,
            values: 0,
        };
        let value = reader.value(0)?;
        match reader.rest {
            [] => Ok(value),
            [..] => Err(ArgumentError::Malformed("bytes behind the value")),
        }
    }

    /// The member of a map.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(members) => members.get(key),
            Self::Null
            | Self::Bool(_)
            | Self::I64(_)
            | Self::F64(_)
            | Self::Text(_)
            | Self::Bytes(_)
            | Self::List(_) => None,
        }
    }

    fn write(
        &self,
        out: &mut BytesMut,
        depth: usize,
        values: &mut usize,
    ) -> Result<(), ArgumentError> {
        *values += 1;
        check_values(*values)?;
        check_depth(depth)?;
        match self {
            Self::Null => out.put_u8(NULL),
            Self::Bool(value) => out.put_u8(if *value { TRUE } else { FALSE }),
            Self::I64(value) => {
                out.put_u8(I64);
                write_varint(out, zigzag(*value));
            }
            Self::F64(value) => {
                out.put_u8(F64);
                out.put_u64_le(value.to_bits());
            }
            Self::Text(text) => {
                out.put_u8(TEXT);
                write_bytes(out, text.as_bytes())?;
            }
            Self::Bytes(bytes) => {
                out.put_u8(BYTES);
                write_bytes(out, bytes)?;
            }
            Self::List(items) => {
                out.put_u8(LIST);
                write_varint(out, count(items.len()));
                for item in items {
                    item.write(out, depth + 1, values)?;
                }
            }
            Self::Map(members) => {
                out.put_u8(MAP);
                write_varint(out, count(members.len()));
                for (key, member) in members {
                    write_bytes(out, key.as_bytes())?;
                    member.write(out, depth + 1, values)?;
                }
            }
        }
        check_length(out.len())
    }
}

impl PartialEq for Argument {
    /// Doubles are equal if their bits are.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::I64(a), Self::I64(b)) => a == b,
            (Self::F64(a), Self::F64(b)) => a.to_bits() == b.to_bits(),
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Argument {}

/// What is left of an encoded value.
struct Reader<'a> {
    rest: &'a [u8],
    values: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Argument, ArgumentError> {
        self.values += 1;
        check_values(self.values)?;
        check_depth(depth)?;
        Ok(match self.byte()? {
            NULL => Argument::Null,
            FALSE => Argument::Bool(false),
            TRUE => Argument::Bool(true),
            I64 => Argument::I64(unzigzag(self.varint()?)),
            F64 => {
                let bits = self.take(8)?.try_into();
                let bits = bits.map_err(|_| ArgumentError::Malformed("a double"))?;
                Argument::F64(f64::from_bits(u64::from_le_bytes(bits)))
            }
            TEXT => Argument::Text(self.text()?),
            BYTES => Argument::Bytes(self.bytes()?.to_vec()),
            LIST => {
                let count = self.count(1)?;
                let items = (0..count).map(|_| self.value(depth + 1));
                Argument::List(items.collect::<Result<_, _>>()?)
            }
            MAP => self.map(depth)?,
            _ => return Err(ArgumentError::Malformed("an unknown type of value")),
        })
    }

    fn map(&mut self, depth: usize) -> Result<Argument, ArgumentError> {
        let mut members = BTreeMap::new();
        for _ in 0..self.count(2)? {
            let key = self.text()?;
            if members
                .last_key_value()
                .is_some_and(|(last, _)| *last >= key)
            {
                return Err(ArgumentError::Malformed("keys that do not ascend"));
            }
            let member = self.value(depth + 1)?;
            members.insert(key, member);
        }
        Ok(Argument::Map(members))
    }

    /// A count of things that take at least `least` bytes each.
    fn count(&mut self, least: usize) -> Result<usize, ArgumentError> {
        let count = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        if count > self.rest.len() / least {
            return Err(ArgumentError::Malformed("a count beyond the bytes"));
        }
        check_values(self.values.saturating_add(count))?;
        Ok(count)
    }

    fn text(&mut self) -> Result<String, ArgumentError> {
        let text = std::str::from_utf8(self.bytes()?);
        text.map(str::to_owned)
            .map_err(|_| ArgumentError::Malformed("text that is not UTF-8"))
    }

    fn bytes(&mut self) -> Result<&'a [u8], ArgumentError> {
        let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        self.take(length)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ArgumentError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(ArgumentError::Malformed("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, ArgumentError> {
        let &[byte] = self.take(1)? else {
            return Err(ArgumentError::Malformed("it ends too early"));
        };
        Ok(byte)
    }

    /// The shortest encoding only.
    fn varint(&mut self) -> Result<u64, ArgumentError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 || byte == 0 && shift > 0 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ArgumentError::Malformed("an integer"))
    }
}

fn write_bytes(out: &mut BytesMut, bytes: &[u8]) -> Result<(), ArgumentError> {
    check_length(bytes.len())?;
    write_varint(out, count(bytes.len()));
    out.put_slice(bytes);
    Ok(())
}

fn write_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    out.put_u8(u8::try_from(value).unwrap_or(0));
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

const fn check_length(size: usize) -> Result<(), ArgumentError> {
    if size > Argument::BYTES_MAX {
        let limit = Argument::BYTES_MAX;
        return Err(ArgumentError::TooLong { size, limit });
    }
    Ok(())
}

const fn check_depth(depth: usize) -> Result<(), ArgumentError> {
    if depth > Argument::DEPTH_MAX {
        let limit = Argument::DEPTH_MAX;
        return Err(ArgumentError::TooDeep { limit });
    }
    Ok(())
}

const fn check_values(values: usize) -> Result<(), ArgumentError> {
    if values > Argument::VALUES_MAX {
        let limit = Argument::VALUES_MAX;
        return Err(ArgumentError::TooMany { limit });
    }
    Ok(())
}

// Types of values as carried.
const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const I64: u8 = 3;
const F64: u8 = 4;
const TEXT: u8 = 5;
const BYTES: u8 = 6;
const LIST: u8 = 7;
const MAP: u8 = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> impl Strategy<Value = Argument> {
        let leaf = prop_oneof![
            Just(Argument::Null),
            any::<bool>().prop_map(Argument::Bool),
            any::<i64>().prop_map(Argument::I64),
            any::<u64>().prop_map(|bits| Argument::F64(f64::from_bits(bits))),
            ".{0,9}".prop_map(Argument::Text),
            proptest::collection::vec(any::<u8>(), 0..9).prop_map(Argument::Bytes),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Argument::List),
                proptest::collection::btree_map(".{0,3}", inner, 0..5).prop_map(Argument::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_value_reads_back_as_it_was_written(value in values()) {
            let bytes = value.encode().expect("within limits");

            prop_assert_eq!(Argument::decode(&bytes), Ok(value));
        }

        #[test]
        fn bytes_that_read_are_the_only_bytes_of_their_value(
            bytes in proptest::collection::vec(0_u8..12, 0..24),
        ) {
            if let Ok(value) = Argument::decode(&bytes) {
                prop_assert_eq!(value.encode().expect("within limits"), bytes);
            }
        }
    }

    #[test]
    fn a_value_as_deep_as_may_be_reads_and_a_deeper_one_is_refused() {
        let nested = |depth| (0..depth).fold(Argument::Null, |v, _| Argument::List(vec![v]));
        let deepest = nested(Argument::DEPTH_MAX)
            .encode()
            .expect("as deep as may be");
        let limit = Argument::DEPTH_MAX;

        assert!(Argument::decode(&deepest).is_ok());
        let deeper = [&[LIST, 1], &deepest[..]].concat();
        assert_eq!(
            Argument::decode(&deeper),
            Err(ArgumentError::TooDeep { limit })
        );
        let deeper = nested(limit + 1).encode();
        assert_eq!(deeper, Err(ArgumentError::TooDeep { limit }));
    }

    #[test]
    fn a_count_beyond_the_bytes_is_refused_before_anything_is_allocated() {
        let claims = [LIST, 0xff, 0xff, 0xff, 0xff, 0x0f, NULL];
        let many = [&[LIST, 0x81, 0x80, 0x01], &[NULL; 16_385][..]].concat();
        let limit = Argument::VALUES_MAX;

        let refused = Argument::decode(&claims);
        assert_eq!(
            refused,
            Err(ArgumentError::Malformed("a count beyond the bytes"))
        );
        assert_eq!(
            Argument::decode(&many),
            Err(ArgumentError::TooMany { limit })
        );
    }

    #[test]
    fn the_largest_value_is_written_and_a_larger_one_is_refused() {
        let text = |length| Argument::Text("x".repeat(length)).encode();

        assert!(text(Argument::BYTES_MAX - 4).is_ok());
        assert!(matches!(
            text(Argument::BYTES_MAX),
            Err(ArgumentError::TooLong { .. })
        ));
    }
}
