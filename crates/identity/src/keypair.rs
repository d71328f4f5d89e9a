//! A machine's key, and what it signs.

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey, Verifier as _, VerifyingKey};
use hkdf::Hkdf;
use model::{Block, MachineId, NetworkId, Signature, State, StateKind};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{Equivocation, EquivocationError, SignatureError};

/// An Ed25519 key: a machine's, or the operator's. Wiped when dropped.
pub struct Keypair(SigningKey);

impl Keypair {
    /// The key of a 32-byte seed, which must come from the operating system's entropy.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed, to be written to a file of mode 0600.
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// A key for another purpose, that nobody else can derive.
    #[must_use]
    pub fn derive(&self, purpose: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, self.0.as_bytes())
            .expand(purpose, key.as_mut())
            .expect("HKDF gives up to 255 times 32 bytes");
        key
    }

    /// The X25519 key that opens what is sealed to this key: the same secret in Montgomery form
    /// (RFC 7748, section 4.1), so that nothing but a machine's id is needed to seal to it.
    ///
    /// That one key does both is sound for a key encapsulation such as sealing: Thormarker, "On using
    /// the same key pair for Ed25519 and an X25519 based KEM" (2021).
    #[must_use]
    pub fn sealing_key(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_scalar_bytes())
    }

    /// The machine that holds this key.
    #[must_use]
    pub fn machine(&self) -> MachineId {
        MachineId::from_bytes(self.0.verifying_key().to_bytes())
    }

    /// Signs a digest; callers bind purpose and network into the digest.
    #[must_use]
    pub fn sign(&self, digest: &[u8; 32]) -> Signature {
        Signature(self.0.sign(digest).to_bytes())
    }
}

impl fmt::Debug for Keypair {
    /// Names the machine, never the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keypair").field(&self.machine()).finish()
    }
}

/// The public half of a machine's [`Keypair::sealing_key`]; `None` if its id is no point of the curve.
#[must_use]
pub fn sealing_key_of(machine: MachineId) -> Option<[u8; 32]> {
    let key = VerifyingKey::from_bytes(machine.as_bytes()).ok()?;
    Some(key.to_montgomery().to_bytes())
}

/// Checks a signature strictly: no small-order keys, no malleable encodings.
///
/// # Errors
///
/// [`SignatureError`] if the key is unusable or the signature is not its own.
pub fn verify_digest(
    machine: MachineId,
    digest: &[u8; 32],
    signature: &Signature,
) -> Result<(), SignatureError> {
    verify_with(&key_of(machine)?, machine, digest, signature)
}

/// A machine's key in the form that a check needs, which costs a square root to make.
///
/// # Errors
///
/// [`SignatureError::Key`] if it is no point of the curve, or one of small order.
pub(crate) fn key_of(machine: MachineId) -> Result<VerifyingKey, SignatureError> {
    let key = VerifyingKey::from_bytes(machine.as_bytes()).ok();
    key.filter(|key| !key.is_weak())
        .ok_or(SignatureError::Key(machine))
}

/// Says of a key that is not of small order what `VerifyingKey::verify_strict` says, without its
/// square root: `verify` computes R and compares encodings, so an R that passes is a point in its one
/// canonical encoding, and what is left of strictness is that it is not of small order.
pub(crate) fn verify_with(
    key: &VerifyingKey,
    machine: MachineId,
    digest: &[u8; 32],
    signature: &Signature,
) -> Result<(), SignatureError> {
    let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
    let mut y = *signature.r_bytes();
    y[31] &= 0x7f; // The highest bit is the sign of x.
    if SMALL_ORDER.contains(&y) || key.verify(digest, &signature).is_err() {
        return Err(SignatureError::Mismatch(machine));
    }
    Ok(())
}

/// Who checks signatures. It says what [`verify_digest`] says, and may remember what that was: the
/// machines of a simulation all check the same ones.
pub trait Signatures: fmt::Debug + Send + Sync {
    /// Checks the signature of a machine on a digest.
    ///
    /// # Errors
    ///
    /// As [`verify_digest`].
    fn verify(
        &self,
        machine: MachineId,
        digest: &[u8; 32],
        signature: &Signature,
    ) -> Result<(), SignatureError>;

    /// Checks that a block was signed by the origin that it names, for this network.
    ///
    /// # Errors
    ///
    /// [`SignatureError`] if it was not.
    fn verify_block(&self, network: &NetworkId, block: &Block) -> Result<(), SignatureError> {
        let origin = block.header().origin();
        self.verify(origin, &block.hash(network).0, &block.signature())
    }

    /// Checks that a state was signed by the origin that it names, for this network; or, of a proof of
    /// an equivocation, that the blocks were.
    ///
    /// # Errors
    ///
    /// [`SignatureError`] if it was not.
    fn verify_state(&self, network: &NetworkId, state: &State) -> Result<(), SignatureError> {
        if state.key().kind == StateKind::Equivocation {
            let proof = Equivocation::from_state(network, state);
            return proof.map(|_| ()).map_err(|error| match error {
                EquivocationError::Signature(error) => error,
                EquivocationError::Malformed => SignatureError::Mismatch(state.key().origin),
            });
        }
        let (signature, digest) = state.signed(network);
        self.verify(state.key().origin, &digest, &signature)
    }
}

/// Checks every signature each time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Strict;

impl Signatures for Strict {
    fn verify(
        &self,
        machine: MachineId,
        digest: &[u8; 32],
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        verify_digest(machine, digest, signature)
    }
}

/// Checks that a block was signed by the origin that it names, for this network.
///
/// # Errors
///
/// [`SignatureError`] if it was not.
pub fn verify_block(network: &NetworkId, block: &Block) -> Result<(), SignatureError> {
    Strict.verify_block(network, block)
}

/// Checks that a state was signed by the origin that it names, for this network; or, of a proof of an
/// equivocation, that the blocks were.
///
/// # Errors
///
/// [`SignatureError`] if it was not.
pub fn verify_state(network: &NetworkId, state: &State) -> Result<(), SignatureError> {
    Strict.verify_state(network, state)
}

/// The y of the eight points of small order: of order 1, 2, 4, and 8 twice, with either sign of x.
/// Source: `curve25519_dalek::constants::EIGHT_TORSION`, which a test holds them against.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [
        1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0,
    ],
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0x7f,
    ],
    [0; 32],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
];

#[cfg(test)]
mod tests {
    use curve25519_dalek::{EdwardsPoint, Scalar, constants::EIGHT_TORSION};
    use sha2::{Digest as _, Sha512};

    use super::*;

    /// R of small order and the S that belongs to it, for whoever knows the scalar of a key but for
    /// what of small order was added to the key.
    fn forged(scalar: &Scalar, key: &[u8; 32], r: &EdwardsPoint, digest: &[u8; 32]) -> Signature {
        let r = r.compress().to_bytes();
        let hash = Sha512::new().chain_update(r).chain_update(key);
        let hash = hash.chain_update(digest).finalize();
        let k = Scalar::from_bytes_mod_order_wide(&hash.into());
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&r);
        signature[32..].copy_from_slice((k * scalar).as_bytes());
        Signature(signature)
    }

    #[test]
    fn every_point_of_small_order_is_known() {
        for point in EIGHT_TORSION {
            let mut y = point.compress().to_bytes();
            y[31] &= 0x7f;
            assert!(SMALL_ORDER.contains(&y), "{y:?}");
        }
    }

    #[test]
    fn an_r_of_small_order_is_refused_where_the_equation_alone_would_hold() {
        let signing = SigningKey::from_bytes(&[7; 32]);
        let scalar = signing.to_scalar();
        let (mut holds, mut strict) = (0, 0);
        for torsion in EIGHT_TORSION {
            let point = EdwardsPoint::mul_base(&scalar) + torsion;
            let key = VerifyingKey::from_bytes(&point.compress().to_bytes()).expect("a point");
            for (byte, r) in (0..32).flat_map(|byte| EIGHT_TORSION.map(|r| (byte, r))) {
                let digest = [byte; 32];
                let signature = forged(&scalar, key.as_bytes(), &r, &digest);
                let machine = MachineId::from_bytes(key.to_bytes());

                let bare = ed25519_dalek::Signature::from_bytes(&signature.0);
                holds += u32::from(key.verify(&digest, &bare).is_ok());
                strict += u32::from(key.verify_strict(&digest, &bare).is_ok());
                let refused = verify_digest(machine, &digest, &signature);
                assert_eq!(refused, Err(SignatureError::Mismatch(machine)));
            }
        }
        assert!(holds > 200, "only {holds} equations hold");
        assert_eq!(strict, 0);
    }

    #[test]
    fn keys_of_small_order_are_unusable() {
        for point in EIGHT_TORSION {
            let machine = MachineId::from_bytes(point.compress().to_bytes());
            let signature = forged(&Scalar::ZERO, machine.as_bytes(), &point, &[1; 32]);

            let refused = verify_digest(machine, &[1; 32], &signature);

            assert_eq!(refused, Err(SignatureError::Key(machine)));
        }
    }
}
