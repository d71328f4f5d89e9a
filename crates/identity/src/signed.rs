//! Signed bytes as they are carried: a body, then 64 bytes of signature over all of it.
//!
//! The signature binds purpose and network, and covers every byte before it, so no two byte strings
//! are the same signed object.

use bytes::Bytes;
use model::{MachineId, NetworkId, Signature};
use sha2::{Digest as _, Sha256};

use crate::{CredentialError, Signer, verify_digest};

/// What a signature is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Membership,
    Invitation,
    Claim,
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Membership => b"fieldmesh-membership-v1",
            Self::Invitation => b"fieldmesh-invitation-v1",
            Self::Claim => b"fieldmesh-claim-v1",
        }
    }
}

/// A body with the signature that came behind it, not checked yet.
pub(crate) struct Unverified<'a> {
    pub(crate) body: &'a [u8],
    signature: Signature,
}

/// Signs a body; refuses one that would be longer than `bytes_max` with its signature.
pub(crate) fn sign(
    purpose: Purpose,
    network: &NetworkId,
    key: &dyn Signer,
    body: &[u8],
    bytes_max: usize,
) -> Result<Bytes, CredentialError> {
    if body.len() + SIGNATURE_BYTES > bytes_max {
        return Err(CredentialError::Malformed(TOO_LONG));
    }
    let signature = key.sign(&digest(purpose, network, body));
    Ok([body, &signature.0].concat().into())
}

/// Splits signed bytes of at most `bytes_max`.
pub(crate) fn split(bytes: &[u8], bytes_max: usize) -> Result<Unverified<'_>, CredentialError> {
    if bytes.len() > bytes_max {
        return Err(CredentialError::Malformed(TOO_LONG));
    }
    let (body, signature) = bytes
        .split_last_chunk::<SIGNATURE_BYTES>()
        .ok_or(CredentialError::Malformed("shorter than a signature"))?;
    Ok(Unverified {
        body,
        signature: Signature(*signature),
    })
}

impl Unverified<'_> {
    /// Whether the signature is this signer's, for this purpose, in this network.
    pub(crate) fn is_signed_by(
        &self,
        purpose: Purpose,
        network: &NetworkId,
        signer: MachineId,
    ) -> bool {
        let digest = digest(purpose, network, self.body);
        verify_digest(signer, &digest, &self.signature).is_ok()
    }
}

fn digest(purpose: Purpose, network: &NetworkId, body: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(purpose.label())
        .chain_update(network.as_bytes())
        .chain_update(body)
        .finalize()
        .into()
}

/// Unit: bytes. Source: RFC 8032.
pub(crate) const SIGNATURE_BYTES: usize = 64;
const TOO_LONG: &str = "longer than allowed";
