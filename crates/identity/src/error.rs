//! What can be wrong with a signature, a key or a membership.

use model::{MachineId, NameError};

use crate::FileKind;

/// Why a signature does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The bytes of the machine id are no usable Ed25519 public key.
    #[error("machine id {} is no usable public key", .0.short())]
    Key(MachineId),
    /// The signature is not the machine's over these bytes.
    #[error("signature is not of machine {}", .0.short())]
    Mismatch(MachineId),
}

/// Why a membership, an invitation or a claim is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The bytes do not decode, or a field is missing or out of bounds.
    #[error("malformed credential: {0}")]
    Malformed(&'static str),
    /// The name of the machine or of its site is none.
    #[error("{what} must be one level of a series name: {source}")]
    Name {
        /// Which of the two.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: NameError,
    },
    /// Signed by somebody else than this network's operator or its admitters, or changed since.
    #[error("not signed by this network's operator or an admitter; ask this network's operator")]
    OtherOperator,
    /// An admitter grants more than the operator lets it.
    #[error("an admitter may not grant this: {0}; ask the operator")]
    BeyondDelegation(&'static str),
    /// Signed by a machine that may not admit, or to be signed by one.
    #[error("a machine that may not admit others cannot sign this; ask the operator")]
    NotAdmitter,
    /// A claim that is not signed with the secret of its invitation.
    #[error("not signed with the secret of the invitation; copy the whole token")]
    OtherSecret,
    /// Another machine's.
    #[error("of machine {0}, whose key was not proved; put the files of one machine together")]
    OtherMachine(MachineId),
    /// Before its window.
    #[error("membership is not valid yet; check the clock of this machine")]
    NotYetValid,
    /// After its window.
    #[error("membership has expired; ask the operator for a new one (`fieldmesh network admit`)")]
    Expired,
    /// Thrown out, or signed by an admitter that was.
    #[error("membership was revoked; a machine that is to come back needs a new key")]
    Revoked,
    /// An invitation that is redeemed too late.
    #[error("invitation has expired; ask for a new one (`fieldmesh network invite`)")]
    InvitationExpired,
    /// Without the time nobody can tell whether an invitation still holds.
    #[error("this machine has no trusted clock to judge an invitation by; ask another one")]
    NoClock,
}

/// Why a text is not the key or membership that it should be. Never quotes the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// A file of this project, but another one.
    #[error("this is {found}, but {expected} is needed here")]
    OtherKind {
        /// What it is.
        found: FileKind,
        /// What it should be.
        expected: FileKind,
    },
    /// No file of this project.
    #[error("this is not {expected}; its only line would start with `{label}`", label = .expected.label())]
    Unknown {
        /// What it should be.
        expected: FileKind,
    },
    /// The right file, but damaged.
    #[error("this is {0}, but a damaged one; copy it again")]
    Damaged(FileKind),
    /// A whole file that this network does not accept.
    #[error(transparent)]
    Credential(#[from] CredentialError),
}
