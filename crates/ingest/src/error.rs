//! What can be wrong with a source, and what to do about it.

use std::io;
use std::path::PathBuf;

use model::NameError;

/// Why a source cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The file cannot be opened or read.
    #[error("cannot read {path}: {source}; check the path and who may read it", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The first line lacks a column that is needed.
    #[error("{path} has no column `{column}`; its first line must name the columns, `time` among them", path = .path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// The missing column.
        column: String,
    },
    /// The prefix and the name of a column make no name of a series.
    #[error("column `{column}` makes no series: {source}; change the prefix or the column")]
    Name {
        /// The column.
        column: String,
        /// What is wrong with it.
        #[source]
        source: NameError,
    },
    /// Not one row could be read, or none is of the machine that is asked for.
    #[error("{path} has no row to replay ({malformed} are malformed); check the machine filter and the column `time`", path = .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// How many rows were malformed.
        malformed: u64,
    },
    /// A setting that cannot be.
    #[error("{0}")]
    Setting(&'static str),
    /// The operating system tells nothing about this machine.
    #[error(
        "the host's metrics cannot be read: {0}; remove the source, or run where /proc is readable"
    )]
    Host(String),
}

/// A line that is left out. The others are kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct LineError {
    /// Which one; the first is 1.
    pub line: u64,
    /// What is wrong with it.
    pub fault: LineFault,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineFault {
    /// Seen before the whole line was read.
    #[error("longer than {limit} bytes; split it")]
    TooLong {
        /// The limit. Unit: bytes.
        limit: usize,
    },
    /// Not text.
    #[error("not UTF-8; convert the input")]
    NotUtf8,
    /// Not in the format at all.
    #[error("{what}; expected {expected}")]
    Malformed {
        /// What was found.
        what: String,
        /// How it looks when it is right.
        expected: &'static str,
    },
    /// A field that must be there.
    #[error("`{0}` is missing; add it")]
    Missing(&'static str),
    /// A field that cannot be read.
    #[error("`{field}` is {found}; give {expected}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What was found, shortened.
        found: String,
        /// What it can be.
        expected: &'static str,
    },
    /// A name, unit or label that cannot be.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl LineFault {
    /// The fault of a field, with what was found cut short.
    pub(crate) fn field(field: &'static str, found: &str, expected: &'static str) -> Self {
        Self::Field {
            field,
            found: shorten(found),
            expected,
        }
    }
}

/// The first characters of a text, escaped, so that it can be shown.
pub(crate) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short.escape_debug().collect()
}

/// Most characters of the input in an error. Source: guess.
const SHOWN_CHARS_MAX: usize = 60;
