//! Names of devices, columns and other systems as names of series.
//!
//! Letters, digits, `_` and `-` stay as they are; every other character becomes `_`; underscores at
//! the ends are dropped. So `/var/lib` is `var_lib`, `coretemp Core 0` is `coretemp_Core_0`.

use model::{NameError, SeriesName};

/// Makes one level of a name out of any text: at most 64 bytes, and `unnamed` if nothing is left.
#[must_use]
pub fn level(text: &str) -> String {
    let mut level = String::new();
    for character in text.chars() {
        let kept = character.is_alphanumeric() || matches!(character, '_' | '-');
        let character = if kept { character } else { '_' };
        if level.len() + character.len_utf8() > LEVEL_BYTES_MAX {
            break;
        }
        level.push(character);
    }
    match level.trim_matches('_') {
        "" => "unnamed".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

/// Makes the name of a series out of another system's: `/` and `:` separate levels, each of which
/// is made by [`level`].
///
/// # Errors
///
/// [`NameError`] if it is empty or too long.
pub fn foreign_name(text: &str) -> Result<SeriesName, NameError> {
    let levels = text.split(['/', ':']).filter(|part| !part.is_empty());
    let levels: Vec<String> = levels.map(level).collect();
    levels.join("/").parse()
}

/// Longest level that is made. Unit: bytes. Source: guess, a third of a name.
const LEVEL_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn device_names_become_readable_levels() {
        assert_eq!(level("/var/lib"), "var_lib");
        assert_eq!(level("coretemp Core 0"), "coretemp_Core_0");
        assert_eq!(level("eth0.100"), "eth0_100");
        assert_eq!(level("/"), "unnamed");
    }

    #[test]
    fn a_urn_becomes_a_path() {
        let name = foreign_name("urn:dev:ow:10e2073a01080063:temp").expect("a name");

        assert_eq!(name.as_str(), "urn/dev/ow/10e2073a01080063/temp");
        assert!(foreign_name("::").is_err());
    }

    proptest! {
        #[test]
        fn every_text_makes_a_valid_level(text in any::<String>()) {
            prop_assert!(level(&text).parse::<SeriesName>().is_ok());
        }
    }
}
