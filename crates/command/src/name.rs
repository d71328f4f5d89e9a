//! What a command is called.

use std::fmt;
use std::str::FromStr;

use model::{NameError, Pattern, SeriesName};

/// The name of a command: levels separated by `/`, as in `heating/set`, with the characters of
/// series names, so that patterns fit both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandName(SeriesName);

impl CommandName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether a pattern fits; the machine in the pattern is the caller's to compare.
    #[must_use]
    pub fn fits(&self, pattern: &Pattern) -> bool {
        pattern.matches(&self.0)
    }
}

impl FromStr for CommandName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for CommandName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
