//! Renewals: a newer membership on its way to its machine.
//!
//! Whoever has signed it, the operator or an admitter, gives it to any node, as a state whose
//! origin is the signer and whose subject is the machine. Every node passes it on; the machine
//! takes it into use when it arrives.

use model::{State, StateDraft, StateKey, StateKind, Timestamp};

use crate::revocation::version_at;
use crate::{CredentialError, Membership, Signer, Trust};

/// A newer membership for the machine that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The membership.
    pub membership: Membership,
}

impl Renewal {
    /// Signs a renewal, with the key that has signed the membership, as the state that travels.
    #[must_use]
    pub fn sign(
        issuer: &dyn Signer,
        trust: Trust,
        membership: &Membership,
        time: Timestamp,
    ) -> State {
        let draft = StateDraft {
            key: StateKey {
                origin: issuer.machine(),
                kind: StateKind::Renewal,
                subject: membership.machine().to_string(),
            },
            version: version_at(time),
            payload: membership.as_bytes().clone(),
        };
        draft.seal(&trust.network(), |digest| issuer.sign(digest))
    }

    /// Reads a state of kind `Renewal` and checks the membership's signatures. That of the state
    /// itself is the caller's to check.
    ///
    /// # Errors
    ///
    /// [`CredentialError`] if the membership is refused, or is not of the machine and the issuer
    /// that the state names.
    pub fn from_state(trust: &Trust, state: &State) -> Result<Self, CredentialError> {
        let key = state.key();
        if key.kind != StateKind::Renewal {
            return Err(CredentialError::Malformed("no renewal"));
        }
        let membership = trust.read(state.payload().clone())?;
        let machine = membership.machine();
        if membership.issuer() != key.origin || machine.to_string() != key.subject {
            return Err(CredentialError::OtherMachine(machine));
        }
        Ok(Self { membership })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use model::MachineId;

    use super::*;
    use crate::{Grant, Keypair, Role, verify_state};

    fn key(seed: u8) -> Keypair {
        Keypair::from_seed(&[seed; 32])
    }

    fn membership(machine: MachineId) -> Membership {
        let grant = Grant {
            machine,
            name: "press-1".to_owned(),
            site: "hall-3".to_owned(),
            roles: BTreeSet::from([Role::Publish]),
            commands: Vec::new(),
            not_before: Timestamp::from_nanos(5),
            not_after: Timestamp::from_nanos(9),
            delegation: None,
        };
        Membership::issue(&key(1), grant).expect("a membership")
    }

    #[test]
    fn a_renewal_reads_back_as_it_was_signed() {
        let trust = Trust::new(key(1).machine());
        let membership = membership(key(3).machine());

        let state = Renewal::sign(&key(1), trust, &membership, Timestamp::from_nanos(7));

        assert_eq!(verify_state(&trust.network(), &state), Ok(()));
        assert_eq!(
            Renewal::from_state(&trust, &state),
            Ok(Renewal { membership })
        );
    }

    #[test]
    fn a_renewal_by_another_than_the_issuer_is_refused() {
        let trust = Trust::new(key(1).machine());
        let membership = membership(key(3).machine());

        let state = Renewal::sign(&key(2), trust, &membership, Timestamp::from_nanos(7));

        assert!(Renewal::from_state(&trust, &state).is_err());
    }
}
