//! Candidacies: what a machine says about its way to an uplink.

use std::fmt;
use std::str::FromStr;

use model::{NameError, StateError};

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
        let _ = text;
        unimplemented!()
    }
}

/// A machine's way to one uplink, as it tells everyone in a state of kind `Candidacy`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
}

impl Candidacy {
    /// The payload of its state.
    #[must_use]
    pub fn to_payload(&self) -> Vec<u8> {
        unimplemented!()
    }

    /// Reads the payload of a state of kind `Candidacy`.
    ///
    /// # Errors
    ///
    /// [`StateError::Malformed`] if it does not decode or a field is out of range.
    pub fn from_payload(payload: &[u8]) -> Result<Self, StateError> {
        let _ = payload;
        unimplemented!()
    }
}
