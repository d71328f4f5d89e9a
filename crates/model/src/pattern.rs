//! Patterns over series names, as Zenoh's key expressions: `*` is one level, `**` any number.

use std::fmt;
use std::str::FromStr;

use crate::series::check_name;
use crate::{NameError, PatternError, SeriesName};

/// A pattern over series names, optionally limited to one machine: `MACHINE:press/*/temperature`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    machine: Option<String>,
    levels: String,
}

impl Pattern {
    /// Longest pattern without its machine. Unit: bytes. Source: any series name fits.
    pub const BYTES_MAX: usize = SeriesName::BYTES_MAX;
    /// Longest machine. Unit: bytes. Source: guess; a machine id has 52.
    pub const MACHINE_BYTES_MAX: usize = 128;

    /// The machine that it is limited to, by display name or id.
    #[must_use]
    pub fn machine(&self) -> Option<&str> {
        self.machine.as_deref()
    }

    /// Whether a series of this name fits; the machine is the caller's to compare.
    ///
    /// Takes time proportional to the levels of the pattern times those of the name, at worst.
    #[must_use]
    pub fn matches(&self, name: &SeriesName) -> bool {
        let mut pattern = self.levels.split('/');
        let mut levels = name.as_str().split('/');
        // After the last `**`: the pattern behind it, and the name that it has not swallowed yet.
        let mut retry = None;
        loop {
            let levels_before = levels.clone();
            let fits = match (pattern.next(), levels.next()) {
                (None, None) => return true,
                (Some(ANY_NUMBER), _) => {
                    retry = Some((pattern.clone(), levels_before.clone()));
                    levels = levels_before;
                    continue;
                }
                (Some(wanted), Some(level)) => wanted == ONE || wanted == level,
                (None, Some(_)) => false,
                (Some(_), None) => return false,
            };
            if fits {
                continue;
            }
            let Some((after, rest)) = &mut retry else {
                return false;
            };
            rest.next();
            (pattern, levels) = (after.clone(), rest.clone());
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (machine, levels) = match text.split_once(':') {
            Some((machine, levels)) => (Some(machine), levels),
            None => (None, text),
        };
        if levels.is_empty() {
            return Err(PatternError::Missing);
        }
        if let Some(machine) = machine {
            check_name("machine of a pattern", machine, Self::MACHINE_BYTES_MAX)?;
        }
        if levels.len() > Self::BYTES_MAX {
            return Err(PatternError::Name(NameError::TooLong {
                what: "pattern",
                length: levels.len(),
                limit: Self::BYTES_MAX,
            }));
        }
        for level in levels.split('/') {
            if level == ONE || level == ANY_NUMBER {
                continue;
            }
            if level.contains('*') {
                let level = level.to_owned();
                return Err(PatternError::MixedLevel { level });
            }
            check_name("pattern", level, Self::BYTES_MAX)?;
        }
        Ok(Self {
            machine: machine.map(str::to_owned),
            levels: levels.to_owned(),
        })
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

/// Stands for exactly one level.
const ONE: &str = "*";
/// Stands for any number of levels, also none.
const ANY_NUMBER: &str = "**";

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        let pattern = pattern.parse::<Pattern>().expect("a pattern");
        pattern.matches(&name.parse().expect("a name"))
    }

    #[test]
    fn one_star_is_exactly_one_level() {
        assert!(matches("press/*/temperature", "press/oil/temperature"));
        assert!(matches("*", "press"));
        assert!(!matches("press/*", "press"));
        assert!(!matches("press/*", "press/oil/temperature"));
    }

    #[test]
    fn two_stars_are_any_number_of_levels_also_none() {
        assert!(matches("**", "press/oil/temperature"));
        assert!(matches("press/**", "press"));
        assert!(matches("press/**/temperature", "press/temperature"));
        assert!(matches("**/b/**/c", "a/b/b/a/c/c"));
        assert!(matches("**/*", "a"));
        assert!(!matches("**/b/**/c", "a/c/b"));
        assert!(!matches("**/oil", "press/oil/temperature"));
    }

    #[test]
    fn many_stars_on_a_long_name_take_no_exponential_time() {
        let pattern = "**/a/".repeat(40) + "b";
        let name = ["a"; 120].join("/");

        assert!(!matches(&pattern, &name));
        assert!(matches(&pattern, &(name + "/b")));
    }

    #[test]
    fn a_machine_before_the_colon_is_kept_and_shown() {
        let pattern = "press-3:oil/**".parse::<Pattern>().expect("a pattern");

        assert_eq!(pattern.machine(), Some("press-3"));
        assert_eq!(pattern.to_string(), "press-3:oil/**");
        assert_eq!("**".parse::<Pattern>().expect("a pattern").machine(), None);
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_the_reason() {
        let refused = |text: &str| text.parse::<Pattern>().expect_err("no pattern");

        assert_eq!(refused(""), PatternError::Missing);
        assert_eq!(refused("press-3:"), PatternError::Missing);
        let level = "oil*".to_owned();
        assert_eq!(refused("press/oil*"), PatternError::MixedLevel { level });
        assert!(matches!(refused("press//oil"), PatternError::Name(_)));
        assert!(matches!(refused(":oil"), PatternError::Name(_)));
        assert!(matches!(refused("a:b:c"), PatternError::Name(_)));
        assert!(matches!(refused(&"a".repeat(256)), PatternError::Name(_)));
    }
}
