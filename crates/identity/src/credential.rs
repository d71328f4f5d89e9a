//! What a machine shows in the handshake of a link: its membership, or a claim to become a member.

use bytes::Bytes;
use model::MachineId;

use crate::{Claim, CredentialError, Membership, Trust};

/// What a machine shows in the handshake of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// It is a member.
    Membership(Membership),
    /// It wants to become one; such a link can do nothing but enrol.
    Claim(Claim),
}

impl Credential {
    /// Largest credential. Unit: bytes.
    pub const BYTES_MAX: usize = 1 + Membership::BYTES_MAX;

    /// The machine that it is for.
    #[must_use]
    pub const fn machine(&self) -> MachineId {
        match self {
            Self::Membership(membership) => membership.machine(),
            Self::Claim(claim) => claim.machine(),
        }
    }

    /// The bytes that travel: a byte for the kind, then the signed bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let (kind, bytes) = match self {
            Self::Membership(membership) => (MEMBERSHIP, membership.as_bytes()),
            Self::Claim(claim) => (CLAIM, claim.as_bytes()),
        };
        [&[kind], bytes.as_ref()].concat().into()
    }
}

impl Trust {
    /// Reads a credential and checks its signatures; whether it counts now, [`crate::Roll`] says.
    ///
    /// # Errors
    ///
    /// [`CredentialError`] if it is too long, does not decode or is not signed.
    pub fn read_credential(&self, mut bytes: Bytes) -> Result<Credential, CredentialError> {
        if bytes.is_empty() {
            return Err(CredentialError::Malformed("empty"));
        }
        let rest = bytes.split_off(1);
        match bytes[0] {
            MEMBERSHIP => self.read(rest).map(Credential::Membership),
            CLAIM => self.read_claim(rest).map(Credential::Claim),
            _ => Err(CredentialError::Malformed("of a kind that is not known")),
        }
    }
}

const MEMBERSHIP: u8 = 1;
const CLAIM: u8 = 2;
const _: () = assert!(Claim::BYTES_MAX <= Membership::BYTES_MAX);
