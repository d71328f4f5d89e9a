//! What can be wrong with a signature, a key or a membership.

use model::MachineId;

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

/// Why a membership is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// The bytes do not decode, or a field is missing or refused.
    #[error("malformed membership: {0}")]
    Malformed(String),
    /// Signed by somebody else than this network's operator.
    #[error("membership was signed by another network's operator; ask this network's operator")]
    OtherOperator,
    /// Before its window.
    #[error("membership is not valid yet; check the clock of this machine")]
    NotYetValid,
    /// After its window.
    #[error("membership has expired; ask the operator for a new one (`fieldmesh network admit`)")]
    Expired,
}
