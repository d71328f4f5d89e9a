//! Revocations: who was thrown out, by whom, when and why.
//!
//! A revocation travels as a state whose origin is the signer and whose subject is the machine, so
//! two signers never overwrite each other. Every version of it counts and none is ever removed.

use model::{
    MachineId, NetworkId, State, StateDraft, StateKey, StateKind, StateVersion, Timestamp,
};
use prost::Message as _;

use crate::{CredentialError, Signer};

/// A machine is thrown out, for good: it is named by its key, and a key never comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Who is thrown out.
    pub machine: MachineId,
    /// Who says so: the operator, or an admitter of those that it has admitted itself.
    pub signer: MachineId,
    /// When it was signed, by the signer's clock.
    pub time: Timestamp,
    /// Why, in words; at most [`Revocation::REASON_BYTES_MAX`], no control characters.
    pub reason: String,
}

impl Revocation {
    /// Longest reason. Unit: bytes. Source: guess.
    pub const REASON_BYTES_MAX: usize = 256;

    /// Signs a revocation as the state that travels.
    ///
    /// # Errors
    ///
    /// [`CredentialError::Malformed`] if the reason is too long or holds control characters.
    pub fn sign(
        key: &dyn Signer,
        network: &NetworkId,
        machine: MachineId,
        time: Timestamp,
        reason: &str,
    ) -> Result<State, CredentialError> {
        check_reason(reason)?;
        let payload = RevocationMessage {
            time: time.as_nanos(),
            reason: reason.to_owned(),
        };
        let draft = StateDraft {
            key: StateKey {
                origin: key.machine(),
                kind: StateKind::Revocation,
                subject: machine.to_string(),
            },
            version: version_at(time),
            payload: payload.encode_to_vec().into(),
        };
        Ok(draft.seal(network, |digest| key.sign(digest)))
    }

    /// Reads a state of kind `Revocation`. Whether its signature holds, and whether its signer may,
    /// is the caller's to check.
    ///
    /// # Errors
    ///
    /// [`CredentialError::Malformed`] if it is of another kind or does not decode.
    pub fn from_state(state: &State) -> Result<Self, CredentialError> {
        let malformed = || CredentialError::Malformed("no revocation");
        let key = state.key();
        if key.kind != StateKind::Revocation {
            return Err(malformed());
        }
        let message = RevocationMessage::decode(state.payload().clone());
        let message = message.map_err(|_| malformed())?;
        check_reason(&message.reason)?;
        Ok(Self {
            machine: key.subject.parse().map_err(|_| malformed())?,
            signer: key.origin,
            time: Timestamp::from_nanos(message.time),
            reason: message.reason,
        })
    }
}

/// The version of a state that is signed away from a running node: what was signed later wins.
pub(crate) fn version_at(time: Timestamp) -> StateVersion {
    StateVersion {
        epoch: 0,
        counter: u64::try_from(time.as_nanos()).unwrap_or(0),
    }
}

fn check_reason(reason: &str) -> Result<(), CredentialError> {
    if reason.len() > Revocation::REASON_BYTES_MAX || reason.contains(char::is_control) {
        return Err(CredentialError::Malformed(
            "a reason longer than 256 bytes or with control characters",
        ));
    }
    Ok(())
}

#[derive(Clone, PartialEq, prost::Message)]
struct RevocationMessage {
    /// Unit: nanoseconds since the Unix epoch.
    #[prost(sfixed64, tag = "1")]
    time: i64,
    #[prost(string, tag = "2")]
    reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Keypair, Trust, verify_state};

    fn signed(reason: &str) -> Result<State, CredentialError> {
        let key = Keypair::from_seed(&[1; 32]);
        let network = Trust::new(key.machine()).network();
        let machine = MachineId::from_bytes([3; 32]);
        Revocation::sign(&key, &network, machine, Timestamp::from_nanos(7), reason)
    }

    #[test]
    fn a_revocation_reads_back_as_it_was_signed() {
        let signer = Keypair::from_seed(&[1; 32]).machine();

        let state = signed("stolen from hall 3").expect("a good reason");

        assert_eq!(verify_state(&Trust::new(signer).network(), &state), Ok(()));
        let read = Revocation::from_state(&state).expect("a revocation");
        assert_eq!(read.machine, MachineId::from_bytes([3; 32]));
        assert_eq!(
            (read.signer, read.reason.as_str()),
            (signer, "stolen from hall 3")
        );
    }

    #[test]
    fn adversarial_35_a_reason_with_control_characters_is_refused() {
        assert!(signed("\u{1b}[2J").is_err());
        assert!(signed(&"x".repeat(Revocation::REASON_BYTES_MAX + 1)).is_err());
        assert!(signed(&"x".repeat(Revocation::REASON_BYTES_MAX)).is_ok());
    }
}
