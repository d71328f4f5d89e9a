//! What an administrator asks of a node: to pass on what was signed elsewhere, and to sign what its
//! own key may.

use gossip::RelayError;
use identity::CredentialError;
use model::{MachineId, State};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminRequest {
    /// Pass on a state that was signed elsewhere.
    Relay(State),
    /// Throw out a machine that this one has admitted.
    Revoke {
        /// The machine.
        machine: MachineId,
        /// Why, in words.
        reason: String,
    },
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminReply {
    /// The state is on its way to every machine, or was known already.
    Relayed {
        /// Whether it was new to this machine.
        news: bool,
    },
}

/// Why it was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The state is not taken.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// The key of this machine may not sign it.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// Somebody else has admitted the machine.
    #[error(
        "machine {machine} was not admitted by this one; \
         let the operator throw it out (`fieldmesh network revoke`)"
    )]
    NotAdmittedHere {
        /// The machine.
        machine: MachineId,
    },
}
