//! Candidacies: what a machine says about its way to an uplink.

use std::fmt;
use std::str::FromStr;

use model::{NameError, SeriesName, StateError};
use prost::Message as _;

/// The name of an uplink in the configuration, equal on all machines that share it.
/// Characters as in one level of a series name; at most [`UplinkId::BYTES_MAX`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UplinkId(String);

impl UplinkId {
    /// Longest id. Unit: bytes.
    pub const BYTES_MAX: usize = 64;

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UplinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for UplinkId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let what = "uplink id";
        if text.len() > Self::BYTES_MAX {
            let (length, limit) = (text.len(), Self::BYTES_MAX);
            return Err(NameError::TooLong {
                what,
                length,
                limit,
            });
        }
        if text.is_empty() {
            return Err(NameError::Empty { what });
        }
        if text.contains('/') {
            let character = '/';
            return Err(NameError::Character { what, character });
        }
        match text.parse::<SeriesName>() {
            Err(NameError::Character { character, .. }) => {
                Err(NameError::Character { what, character })
            }
            Err(other) => Err(other),
            Ok(_) => Ok(Self(text.to_owned())),
        }
    }
}

/// A machine's way to one uplink, as it tells everyone in a state of kind `Candidacy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidacy {
    /// It can reach the uplink and stands for election; false withdraws.
    pub standing: bool,
    /// What the way costs: 0 wired, 1 wireless, 2 metered. Lower is better.
    pub cost_class: u8,
    /// The operator's preference. Higher is better.
    pub priority: u8,
    /// How busy the machine is. Unit: percent.
    pub load: u8,
    /// How well the uplink has worked lately. Unit: percent. Higher is better.
    pub health: u8,
    /// The machine is a relay of this uplink in its own eyes. Set by its election; ignored in
    /// [`Input::OwnCandidacy`](crate::Input::OwnCandidacy).
    pub serving: bool,
    /// The machine has stood without a break for a while. Set by its election, like `serving`.
    pub settled: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawCandidacy {
    #[prost(bool, tag = "1")]
    standing: bool,
    #[prost(uint32, tag = "2")]
    cost_class: u32,
    #[prost(uint32, tag = "3")]
    priority: u32,
    #[prost(uint32, tag = "4")]
    load: u32,
    #[prost(uint32, tag = "5")]
    health: u32,
    #[prost(bool, tag = "6")]
    serving: bool,
    #[prost(bool, tag = "7")]
    settled: bool,
}

impl Candidacy {
    /// Highest cost class.
    pub const COST_CLASS_MAX: u8 = 2;
    /// Highest load and health. Unit: percent.
    pub const PERCENT_MAX: u8 = 100;

    /// The payload of its state.
    #[must_use]
    pub fn to_payload(&self) -> Vec<u8> {
        RawCandidacy {
            standing: self.standing,
            cost_class: self.cost_class.into(),
            priority: self.priority.into(),
            load: self.load.into(),
            health: self.health.into(),
            serving: self.serving,
            settled: self.settled,
        }
        .encode_to_vec()
    }

    /// Reads the payload of a state of kind `Candidacy`.
    ///
    /// # Errors
    ///
    /// [`StateError::Malformed`] if it does not decode or a field is out of range.
    pub fn from_payload(payload: &[u8]) -> Result<Self, StateError> {
        let raw = RawCandidacy::decode(payload).map_err(|_| StateError::Malformed("candidacy"))?;
        Ok(Self {
            standing: raw.standing,
            cost_class: within(raw.cost_class, Self::COST_CLASS_MAX, "cost class")?,
            priority: within(raw.priority, u8::MAX, "priority")?,
            load: within(raw.load, Self::PERCENT_MAX, "load")?,
            health: within(raw.health, Self::PERCENT_MAX, "health")?,
            serving: raw.serving,
            settled: raw.settled,
        })
    }

    /// How good the way is. Unit: points; higher is better.
    ///
    /// A step of priority makes 100 points, so the operator's word comes first; a cost class makes
    /// 150, which health can outweigh (a wired way that fails half the time loses against a
    /// wireless one that works); a percent of health makes 4; two percent of load take one away.
    #[must_use]
    pub fn score(&self) -> u32 {
        let cheapness = Self::COST_CLASS_MAX.saturating_sub(self.cost_class);
        let idleness = Self::PERCENT_MAX.saturating_sub(self.load);
        u32::from(self.priority) * PRIORITY_POINTS
            + u32::from(cheapness) * COST_CLASS_POINTS
            + u32::from(self.health) * HEALTH_POINTS
            + u32::from(idleness) / IDLENESS_PERCENTS
    }
}

fn within(value: u32, max: u8, what: &'static str) -> Result<u8, StateError> {
    u8::try_from(value)
        .ok()
        .filter(|value| *value <= max)
        .ok_or(StateError::Malformed(what))
}

/// Unit: points for a step of priority. Source: definition of a point.
const PRIORITY_POINTS: u32 = 100;
/// Unit: points for a cost class. Source: guess, see [`Candidacy::score`].
const COST_CLASS_POINTS: u32 = 150;
/// Unit: points for a percent of health. Source: guess, see [`Candidacy::score`].
const HEALTH_POINTS: u32 = 4;
/// Unit: percent of idleness for a point. Source: guess, see [`Candidacy::score`].
const IDLENESS_PERCENTS: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const WIRED: Candidacy = Candidacy {
        standing: true,
        cost_class: 0,
        priority: 10,
        load: 20,
        health: 100,
        serving: false,
        settled: true,
    };

    #[test]
    fn a_candidacy_reads_back_from_its_payload_and_out_of_range_is_refused() {
        assert_eq!(Candidacy::from_payload(&WIRED.to_payload()), Ok(WIRED));

        for broken in [
            Candidacy { load: 101, ..WIRED },
            Candidacy {
                health: 101,
                ..WIRED
            },
            Candidacy {
                cost_class: 3,
                ..WIRED
            },
        ] {
            assert!(Candidacy::from_payload(&broken.to_payload()).is_err());
        }
        assert!(Candidacy::from_payload(b"\xff\xff").is_err());
    }

    #[test]
    fn health_outweighs_cost_and_priority_outweighs_both() {
        let sick = Candidacy {
            health: 50,
            ..WIRED
        };
        let wireless = Candidacy {
            cost_class: 1,
            ..WIRED
        };
        let preferred = Candidacy {
            priority: 18,
            cost_class: 2,
            health: 0,
            ..WIRED
        };

        assert!(WIRED.score() > wireless.score());
        assert!(wireless.score() > sick.score());
        assert!(preferred.score() > WIRED.score());
    }

    #[test]
    fn an_uplink_id_is_one_level_of_a_name() {
        let character = |character| NameError::Character {
            what: "uplink id",
            character,
        };

        assert!("cloud-1".parse::<UplinkId>().is_ok());
        assert_eq!("a/b".parse::<UplinkId>(), Err(character('/')));
        assert_eq!("a b".parse::<UplinkId>(), Err(character(' ')));
        assert!("".parse::<UplinkId>().is_err());
        assert!("x".repeat(65).parse::<UplinkId>().is_err());
    }
}
