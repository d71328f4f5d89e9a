//! What a reading can be.

/// The value of one reading. A missing value is [`Value::Null`], never a sentinel number.
#[derive(Clone, Debug)]
pub enum Value {
    /// No value; the quality says why.
    Null,
    /// A double, kept to the bit: NaN payloads and negative zero survive.
    F64(f64),
    /// A signed integer.
    I64(i64),
    /// A truth value.
    Bool(bool),
    /// Text, at most [`Value::BYTES_MAX`] bytes.
    Text(String),
    /// Bytes, at most [`Value::BYTES_MAX`].
    Bytes(Vec<u8>),
}

impl Value {
    /// Longest text or byte string in one reading. Unit: bytes. Source: guess, a quarter of a block
    /// of 256 KiB.
    pub const BYTES_MAX: usize = 64 * 1024;

    /// Its type, `None` for null, which fits every type.
    #[must_use]
    pub fn value_type(&self) -> Option<ValueType> {
        match self {
            Self::Null => None,
            Self::F64(_) => Some(ValueType::F64),
            Self::I64(_) => Some(ValueType::I64),
            Self::Bool(_) => Some(ValueType::Bool),
            Self::Text(_) => Some(ValueType::Text),
            Self::Bytes(_) => Some(ValueType::Bytes),
        }
    }

    /// The value as a double, for aggregation: integers are rounded to the nearest double, truth
    /// is 1 and 0. `None` for null, text and bytes.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::F64(value) => Some(*value),
            #[expect(clippy::cast_precision_loss, reason = "documented: rounded to nearest")]
            Self::I64(value) => Some(*value as f64),
            Self::Bool(value) => Some(if *value { 1.0 } else { 0.0 }),
            Self::Null | Self::Text(_) | Self::Bytes(_) => None,
        }
    }
}

impl PartialEq for Value {
    /// Doubles are equal if their bits are, so that NaN equals itself and -0.0 differs from 0.0.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::F64(a), Self::F64(b)) => a.to_bits() == b.to_bits(),
            (Self::I64(a), Self::I64(b)) => a == b,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

/// The type of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValueType {
    /// Doubles.
    F64,
    /// Signed integers.
    I64,
    /// Truth values.
    Bool,
    /// Text.
    Text,
    /// Bytes.
    Bytes,
}

impl ValueType {
    /// Its number in blocks and states.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::F64 => 1,
            Self::I64 => 2,
            Self::Bool => 3,
            Self::Text => 4,
            Self::Bytes => 5,
        }
    }

    /// The type with this number.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::F64),
            2 => Some(Self::I64),
            3 => Some(Self::Bool),
            4 => Some(Self::Text),
            5 => Some(Self::Bytes),
            _ => None,
        }
    }

    /// Its name in tables and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F64 => "f64",
            Self::I64 => "i64",
            Self::Bool => "bool",
            Self::Text => "string",
            Self::Bytes => "bytes",
        }
    }
}
