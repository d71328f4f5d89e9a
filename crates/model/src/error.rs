//! What can be wrong with a name, an id, a block or a state.

/// Why a text is no name, unit, label or address of this project.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing, or an empty level between two slashes.
    #[error("{what} is empty or has an empty level; write levels like press/oil/temperature")]
    Empty {
        /// What was being read.
        what: &'static str,
    },
    /// Longer than its limit.
    #[error("{what} is {length} bytes long; the limit is {limit}")]
    TooLong {
        /// What was being read.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The most it may have, in bytes.
        limit: usize,
    },
    /// A character that brokers, metrics stores or shells would take for syntax.
    #[error("{what} contains {character:?}, which is not allowed there; replace it, e.g. by '_'")]
    Character {
        /// What was being read.
        what: &'static str,
        /// The first one that is refused.
        character: char,
    },
    /// More labels than a series may have.
    #[error("{count} labels are too many; the limit is {limit}")]
    TooManyLabels {
        /// How many were given.
        count: usize,
        /// The most there may be.
        limit: usize,
    },
}

/// Why a text or a byte string is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Not base58, or of the wrong length.
    #[error("{text:?} is no {what}; expected something like {example}")]
    Malformed {
        /// What was expected.
        what: &'static str,
        /// What was given, escaped and shortened.
        text: String,
        /// How it looks when it is right.
        example: &'static str,
    },
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// No pattern at all.
    #[error("a pattern is required; `**` matches every series")]
    Missing,
    /// A wildcard mixed with other characters in one level.
    #[error("level {level:?} mixes a wildcard with text; `*` and `**` stand for whole levels")]
    MixedLevel {
        /// The level as written.
        level: String,
    },
    /// The rest of the pattern is no name.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// Why bytes are no block, or readings fit into none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// Seen before anything was allocated.
    #[error("{what} is {size}; the limit is {limit}")]
    OverLimit {
        /// Which limit.
        what: &'static str,
        /// The size that was claimed or found.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// Written by a version that this one does not know.
    #[error("block format version {0} is unknown to this version; update this node")]
    Version(u8),
    /// The bytes end early, run on, or contradict each other.
    #[error("malformed block: {0}")]
    Malformed(&'static str),
}

/// Why bytes are no state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Larger than a state may be.
    #[error("state of {size} bytes exceeds the limit of {limit}")]
    TooLong {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The bytes do not decode, or a field is missing or out of range.
    #[error("malformed state: {0}")]
    Malformed(&'static str),
}
