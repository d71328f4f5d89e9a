//! Patterns over series names, as Zenoh's key expressions: `*` is one level, `**` any number.

use std::fmt;
use std::str::FromStr;

use crate::{PatternError, SeriesName};

/// A pattern over series names, optionally limited to one machine: `MACHINE:press/*/temperature`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    machine: Option<String>,
    levels: String,
}

impl Pattern {
    /// The machine that it is limited to, by display name or id.
    #[must_use]
    pub fn machine(&self) -> Option<&str> {
        self.machine.as_deref()
    }

    /// Whether a series of this name fits; the machine is the caller's to compare.
    #[must_use]
    pub fn matches(&self, name: &SeriesName) -> bool {
        let _ = name;
        unimplemented!()
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let _ = text;
        unimplemented!()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.machine {
            Some(machine) => write!(f, "{machine}:{}", self.levels),
            None => f.write_str(&self.levels),
        }
    }
}
