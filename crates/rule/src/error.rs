//! Why a rule was refused, and why an expression has no value.

use std::fmt;

/// Where in an expression; both count from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The character in it.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Why a rule was refused when it was loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule `{rule}`, {field}{}: {message}", at(.place.as_ref()))]
pub struct CheckError {
    /// The rule.
    pub rule: String,
    /// The setting.
    pub field: &'static str,
    /// Where in it, if it is an expression.
    pub place: Option<Place>,
    /// What is wrong, and what to do.
    pub message: String,
}

fn at(place: Option<&Place>) -> String {
    place.map_or_else(String::new, |place| format!(", {place}"))
}

/// Why an expression has no value now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum EvalError {
    /// A series that it needs is stale, bad or was never there.
    #[error("no good and fresh reading of {0}")]
    Blind(String),
    /// Its values do not fit each other.
    #[error("{0}")]
    Failed(String),
}
