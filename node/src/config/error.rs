//! What can be wrong with a configuration.

use std::io;
use std::path::PathBuf;

/// What is wrong with a configuration, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file is not there or not readable.
    #[error("cannot read {path}: {source}; `fieldmesh config default` prints one to start from", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("{message}")]
    Syntax {
        /// Where and what, with the nearest known key if one is unknown.
        message: String,
    },
    /// A value that is refused.
    #[error("{key}: {problem}")]
    Value {
        /// The key, with its table.
        key: String,
        /// What is wrong, and what to do.
        problem: String,
    },
}

impl ConfigError {
    /// What the parser said, with the nearest known key if one is unknown.
    pub(super) fn syntax(error: &toml::de::Error) -> Self {
        let mut message = error.to_string().trim_end().to_owned();
        if let Some(nearest) = nearest_key(error.message()) {
            message.push_str(&format!("\ndid you mean `{nearest}`?"));
        }
        Self::Syntax { message }
    }

    /// A value that is refused.
    pub(super) fn value(key: impl Into<String>, problem: impl ToString) -> Self {
        Self::Value {
            key: key.into(),
            problem: problem.to_string(),
        }
    }
}

/// The known key that is nearest to an unknown one, out of a message of `serde`:
/// "unknown field `x`, expected one of `y`, `z`".
fn nearest_key(message: &str) -> Option<String> {
    let rest = message.strip_prefix("unknown field ")?;
    let mut words = rest.split('`').skip(1).step_by(2);
    let unknown = words.next()?;
    words
        .map(|known| (strsim::damerau_levenshtein(unknown, known), known))
        .min()
        .filter(|(distance, known)| *distance <= known.len() / 2 + 1)
        .map(|(_, known)| known.to_owned())
}
