//! Series: what is measured, in which unit, and how it is named.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use prost::Message as _;

use crate::{NameError, StateError, ValueType};

/// The number of a series within an epoch of its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesNumber(pub u32);

/// The name of a series: levels separated by `/`, as in `press/oil/temperature`.
///
/// At most [`SeriesName::BYTES_MAX`] bytes; no `: . , # + * ? " < >`, no white space and no control
/// characters, which brokers, metrics stores or file systems would take for syntax.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesName(String);

impl SeriesName {
    /// Longest name. Unit: bytes. Source: guess, ten levels of 20 characters and some more.
    pub const BYTES_MAX: usize = 255;

    /// Where alarms stand among the series of a machine.
    pub const ALARM_PREFIX: &str = "alarm/";

    /// Whether the series is an alarm.
    #[must_use]
    pub fn is_alarm(&self) -> bool {
        self.0.starts_with(Self::ALARM_PREFIX)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SeriesName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_name("series name", text, Self::BYTES_MAX)?;
        if text.split('/').any(str::is_empty) {
            return Err(NameError::Empty {
                what: "series name",
            });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for SeriesName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A unit as a case-sensitive UCUM code (`Cel`, `kW`, `m/s`); empty for a bare number.
///
/// Only the characters are checked, not whether UCUM knows the unit: a plant's own unit is better
/// carried than refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unit(String);

impl Unit {
    /// Longest code. Unit: bytes.
    pub const BYTES_MAX: usize = 32;

    /// The code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Unit {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > Self::BYTES_MAX {
            let (length, limit) = (text.len(), Self::BYTES_MAX);
            return Err(NameError::TooLong {
                what: "unit",
                length,
                limit,
            });
        }
        match text.chars().find(|c| !c.is_ascii_graphic() || *c == '"') {
            Some(character) => Err(NameError::Character {
                what: "unit",
                character,
            }),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Labels of a series: at most [`Labels::COUNT_MAX`] keys with values.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// Most labels of one series. Source: guess.
    pub const COUNT_MAX: usize = 16;
    /// Longest key or value. Unit: bytes.
    pub const BYTES_MAX: usize = 128;
    /// Most bytes in all keys and values together. Source: a series definition must fit into a
    /// state's payload.
    pub const TOTAL_BYTES_MAX: usize = 2 * 1024;

    /// Checks keys (characters as in names, without `/` levels being empty) and values (no control
    /// characters).
    ///
    /// # Errors
    ///
    /// [`NameError`] naming the first key or value that is refused.
    pub fn new(labels: BTreeMap<String, String>) -> Result<Self, NameError> {
        if labels.len() > Self::COUNT_MAX {
            let (count, limit) = (labels.len(), Self::COUNT_MAX);
            return Err(NameError::TooManyLabels { count, limit });
        }
        let length = labels.iter().map(|(key, value)| key.len() + value.len());
        let (length, limit) = (length.sum(), Self::TOTAL_BYTES_MAX);
        if length > limit {
            return Err(NameError::TooLong {
                what: "all labels",
                length,
                limit,
            });
        }
        for (key, value) in &labels {
            check_name("label key", key, Self::BYTES_MAX)?;
            if value.len() > Self::BYTES_MAX {
                let (length, limit) = (value.len(), Self::BYTES_MAX);
                return Err(NameError::TooLong {
                    what: "label value",
                    length,
                    limit,
                });
            }
            if let Some(character) = value.chars().find(|c| c.is_control()) {
                return Err(NameError::Character {
                    what: "label value",
                    character,
                });
            }
        }
        Ok(Self(labels))
    }

    /// Keys and values in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a series number means. Never changes within an epoch of its origin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeriesDefinition {
    /// Its name.
    pub name: SeriesName,
    /// Its unit.
    pub unit: Unit,
    /// The type of its values.
    pub value_type: ValueType,
    /// Its labels.
    pub labels: Labels,
}

/// [`SeriesDefinition`] as the payload of a state of kind `Series`; the subject is the number.
#[derive(Clone, PartialEq, prost::Message)]
struct SeriesPayload {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    unit: String,
    #[prost(uint32, tag = "3")]
    value_type: u32,
    #[prost(btree_map = "string, string", tag = "4")]
    labels: BTreeMap<String, String>,
}

impl SeriesDefinition {
    /// The payload of the state that announces it.
    #[must_use]
    pub fn to_payload(&self) -> Vec<u8> {
        SeriesPayload {
            name: self.name.as_str().to_owned(),
            unit: self.unit.as_str().to_owned(),
            value_type: self.value_type.code().into(),
            labels: self.labels.0.clone(),
        }
        .encode_to_vec()
    }

    /// Reads the payload of a state of kind `Series`.
    ///
    /// # Errors
    ///
    /// [`StateError::Malformed`] if a field is missing or refused.
    pub fn from_payload(payload: &[u8]) -> Result<Self, StateError> {
        let raw = SeriesPayload::decode(payload)
            .map_err(|_| StateError::Malformed("series definition"))?;
        let code = u8::try_from(raw.value_type).unwrap_or(0);
        Ok(Self {
            name: raw
                .name
                .parse()
                .map_err(|_| StateError::Malformed("series name"))?,
            unit: raw
                .unit
                .parse()
                .map_err(|_| StateError::Malformed("series unit"))?,
            value_type: ValueType::from_code(code).ok_or(StateError::Malformed("value type"))?,
            labels: Labels::new(raw.labels).map_err(|_| StateError::Malformed("series labels"))?,
        })
    }
}

/// Characters that brokers, metrics stores, shells or file systems would take for syntax.
const REFUSED: &str = ":.,#+*?\"<>";

/// Checks length and characters of a name.
pub(crate) fn check_name(what: &'static str, text: &str, limit: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { what });
    }
    if text.len() > limit {
        return Err(NameError::TooLong {
            what,
            length: text.len(),
            limit,
        });
    }
    let refused = |c: &char| REFUSED.contains(*c) || c.is_whitespace() || c.is_control();
    match text.chars().find(refused) {
        Some(character) => Err(NameError::Character { what, character }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::State;

    #[test]
    fn a_name_with_syntax_of_a_broker_is_refused_with_the_character() {
        let refused = "press/oil.temperature".parse::<SeriesName>();

        assert_eq!(
            refused,
            Err(NameError::Character {
                what: "series name",
                character: '.'
            })
        );
        assert!("press//oil".parse::<SeriesName>().is_err());
        assert!("".parse::<SeriesName>().is_err());
        assert!("a".repeat(256).parse::<SeriesName>().is_err());
        assert!("press/oil/temperature".parse::<SeriesName>().is_ok());
    }

    #[test]
    fn the_largest_definition_fits_into_a_state() {
        let most = Labels::TOTAL_BYTES_MAX / Labels::COUNT_MAX - 2;
        let labels = |length: usize| {
            let pairs = (0..Labels::COUNT_MAX).map(|n| (format!("{n:02}"), "v".repeat(length)));
            Labels::new(pairs.collect())
        };
        let definition = SeriesDefinition {
            name: "n".repeat(SeriesName::BYTES_MAX).parse().expect("a name"),
            unit: "u".repeat(Unit::BYTES_MAX).parse().expect("a unit"),
            value_type: ValueType::F64,
            labels: labels(most).expect("as many as may be"),
        };

        assert!(definition.to_payload().len() <= State::PAYLOAD_BYTES_MAX);
        assert!(labels(most + 1).is_err());
    }

    #[test]
    fn a_definition_reads_back_from_its_payload() {
        let definition = SeriesDefinition {
            name: "press/oil/temperature".parse().expect("a name"),
            unit: "Cel".parse().expect("a unit"),
            value_type: ValueType::F64,
            labels: Labels::new([("line".to_owned(), "3".to_owned())].into()).expect("labels"),
        };

        assert_eq!(
            SeriesDefinition::from_payload(&definition.to_payload()),
            Ok(definition)
        );
        assert!(SeriesDefinition::from_payload(b"\xff\xff").is_err());
    }
}
