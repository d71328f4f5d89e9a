//! A machine's key, and what it signs.

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
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
    /// That one key does both is sound for a key encapsulation such as sealing: Thormarker, "On
    /// using the same key pair for Ed25519 and an X25519 based KEM" (2021).
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

/// Who signs for a machine: its key, or whatever stands for it.
pub trait Signer: fmt::Debug + Send + Sync {
    /// The machine that is signed for.
    fn machine(&self) -> MachineId;

    /// Signs a digest; callers bind purpose and network into the digest.
    fn sign(&self, digest: &[u8; 32]) -> Signature;
}

impl Signer for Keypair {
    fn machine(&self) -> MachineId {
        self.machine()
    }

    fn sign(&self, digest: &[u8; 32]) -> Signature {
        self.sign(digest)
    }
}

impl fmt::Debug for Keypair {
    /// Names the machine, never the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keypair").field(&self.machine()).finish()
    }
}

/// The public half of a machine's [`Keypair::sealing_key`]; `None` if its id is no point of the
/// curve.
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
/// [`SignatureError::Key`] if it is no point of the curve.
pub(crate) fn key_of(machine: MachineId) -> Result<VerifyingKey, SignatureError> {
    VerifyingKey::from_bytes(machine.as_bytes()).map_err(|_| SignatureError::Key(machine))
}

pub(crate) fn verify_with(
    key: &VerifyingKey,
    machine: MachineId,
    digest: &[u8; 32],
    signature: &Signature,
) -> Result<(), SignatureError> {
    let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
    key.verify_strict(digest, &signature)
        .map_err(|_| SignatureError::Mismatch(machine))
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

    /// Checks that a state was signed by the origin that it names, for this network; or, of a proof
    /// of an equivocation, that the blocks were.
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

/// Checks with keys that are read anew: for whoever checks too seldom to keep them.
#[derive(Debug)]
struct Afresh;

impl Signatures for Afresh {
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
    Afresh.verify_block(network, block)
}

/// Checks that a state was signed by the origin that it names, for this network; or, of a proof of
/// an equivocation, that the blocks were.
///
/// # Errors
///
/// [`SignatureError`] if it was not.
pub fn verify_state(network: &NetworkId, state: &State) -> Result<(), SignatureError> {
    Afresh.verify_state(network, state)
}
