//! Revocations: who was thrown out, and by whom.

use model::MachineId;

/// A machine is thrown out, for good: it is named by its key, and a key never comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Who is thrown out.
    pub machine: MachineId,
    /// Who says so: the operator, or an admitter of those that it has admitted itself.
    pub signer: MachineId,
}
