//! What an administrator asks of a node: to pass on what was signed elsewhere, and to sign what its
//! own key may. A machine that redeems an invitation asks for the latter too.

use std::collections::BTreeSet;
use std::time::Duration;

use gossip::RelayError;
use identity::{Claim, CredentialError, Invitation, InvitationId, Membership, Role};
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
    /// Sign a membership.
    Admit {
        /// The machine.
        machine: MachineId,
        /// Its display name.
        name: String,
        /// What it may do.
        rights: Rights,
    },
    /// Sign an invitation.
    Invite {
        /// Which one: the public half of its secret.
        id: InvitationId,
        /// What its redeemer gets.
        rights: Rights,
        /// For how long it can be redeemed from now on.
        open_for: Duration,
    },
    /// Make the machine a member that has signed this with the secret of an invitation.
    Redeem(Box<Claim>),
}

/// What a machine of this machine's site is to be allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Its roles.
    pub roles: BTreeSet<Role>,
    /// Names of commands that it may send, as patterns.
    pub commands: Vec<String>,
    /// For how long. Whole seconds; cut to what this machine may grant.
    pub lifetime: Duration,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminReply {
    /// The state is on disk here, and on its way to every machine or known already.
    Relayed {
        /// Whether it was new to this machine.
        news: bool,
    },
    /// The membership of a machine, for that machine to show.
    Admitted(Membership),
    /// An invitation, for whoever knows its secret.
    Invited(Invitation),
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
    /// Another machine has become a member by the invitation.
    #[error(
        "this invitation has been redeemed by machine {by} already; \
         ask for another one (`fieldmesh network invite`)"
    )]
    Redeemed {
        /// That machine.
        by: MachineId,
    },
    /// Names are to tell machines apart.
    #[error("machine {by} is called {name} already; choose another name")]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        by: MachineId,
    },
    /// What must not be forgotten could not be written.
    #[error("the disk of the machine that was asked takes nothing; see its log, then try again")]
    NotPersisted,
}
