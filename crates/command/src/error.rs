//! Why something is no argument, no id, no note or no range.

/// Why an argument was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArgumentError {
    /// Longer than an argument may be.
    #[error("an argument of {size} bytes exceeds the limit of {limit}")]
    TooLong {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Lists or maps inside each other beyond the limit.
    #[error("lists and maps nest deeper than {limit}")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// More values than one argument may hold.
    #[error("an argument holds more than {limit} values")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The bytes are no argument.
    #[error("malformed argument: {0}")]
    Malformed(&'static str),
}

/// Why a text is no command id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a command id: a ULID has 26 characters of Crockford's base 32")]
pub struct IdError;

/// Why bytes are no note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed note: {0}")]
pub struct NoteError(pub &'static str);

/// Why a range can never be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a range needs min, max or one_of, with min not above max, and not numbers beside words")]
pub struct RangeError;
