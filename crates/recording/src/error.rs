//! Why something is not written down, and why a recording does not replay.

use std::fmt;
use std::io;

use statemachine::Instant;

use crate::file::ENTRY_BYTES_MAX;

/// Why an input cannot be written down. The recording ends before it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unrecordable {
    /// It is larger than anything that a replay reads.
    #[error("{0} bytes at once are more than an entry holds ({ENTRY_BYTES_MAX})")]
    TooLarge(usize),
    /// The argument of a command that is refused.
    #[error("the argument of a command has no encoding")]
    Argument(#[from] command::ArgumentError),
    /// It has no encoding.
    #[error("no encoding for it")]
    Encoding(#[from] postcard::Error),
}

/// What was read is not what a recorder writes: which part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damaged(pub(crate) &'static str);

/// Why a recording does not replay.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// It cannot be read.
    #[error("the recording cannot be read")]
    Read(#[from] io::Error),
    /// It is something else.
    #[error("this is no recording of a node; `fieldmesh run --record FILE` makes one")]
    NoRecording,
    /// It was written in another way.
    #[error(
        "the recording has format {found}, this program reads format {read}; replay it with the \
         `sim` of the version that recorded it",
        read = crate::file::FORMAT
    )]
    Format {
        /// Its format.
        found: u32,
    },
    /// Another program made it.
    #[error(
        "recorded by version {recorded:?}, this is version {here}; replay it with the `sim` of the \
         version that recorded it",
        here = crate::settings::PROGRAM
    )]
    Program {
        /// The version of that program.
        recorded: String,
    },
    /// It ends before the node begins.
    #[error("the recording ends before its node has started; nothing of it can be replayed")]
    TooShort,
    /// It is not what a recorder writes.
    #[error("the recording is damaged at byte {offset}, in step {step}: {what}")]
    Damaged {
        /// Where its entry begins.
        offset: u64,
        /// The step that it would have been.
        step: u64,
        /// What is wrong with it.
        what: Damaged,
    },
    /// The node did something else than the recorded one.
    #[error("{0}")]
    Differs(Box<Difference>),
}

/// The first step after which a replayed node did something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which one; 0 is the start itself.
    pub step: u64,
    /// When it was, on the recorded node's clock.
    pub at: Instant,
    /// What the node was given.
    pub input: String,
    /// How many outputs the recorded node gave.
    pub outputs_recorded: u32,
    /// The outputs that the replayed node gave.
    pub outputs: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (step, at, replayed) = (self.step, self.at, self.outputs.len());
        let recorded = self.outputs_recorded;
        writeln!(f, "step {step} at {at} differs from the recorded one")?;
        writeln!(f, "  input: {}", cut(&self.input))?;
        write!(
            f,
            "  outputs: {recorded} were recorded, {replayed} replayed"
        )?;
        for output in self.outputs.iter().take(OUTPUTS_SHOWN) {
            write!(f, "\n    {}", cut(output))?;
        }
        match replayed.checked_sub(OUTPUTS_SHOWN) {
            Some(more @ 1..) => write!(f, "\n    and {more} more"),
            Some(0) | None => Ok(()),
        }
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_SHOWN)]
}

/// Outputs of a step that are shown. Source: guess.
const OUTPUTS_SHOWN: usize = 16;
/// Longest text that is shown of an input or output. Unit: bytes. Source: guess.
const TEXT_SHOWN: usize = 400;
