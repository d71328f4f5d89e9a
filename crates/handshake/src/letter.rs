//! What travels sealed from one machine to another over any path: commands for a machine that is
//! not there, and their answers.
//!
//! Noise, one-way pattern X, from one machine's sealing key to another's. The ephemeral key is
//! derived from the sealer's key and all that is sealed (as RFC 6979 does for signatures), so that
//! it needs no entropy and never serves two letters.

use hkdf::hmac::Mac as _;
use identity::{Keypair, sealing_key_of};
use model::{MachineId, NetworkId};
use zeroize::Zeroizing;

use crate::HandshakeError;
use crate::connection_id::keyed;
use crate::noise;

/// Seals `content` to a machine. `context` is what everybody can read of it; the letter opens with
/// the same context only.
///
/// # Errors
///
/// [`HandshakeError`] if nobody can hold the machine's id.
pub fn seal_letter(
    own: &Keypair,
    network: &NetworkId,
    to: MachineId,
    context: &[u8],
    content: &[u8],
) -> Result<Vec<u8>, HandshakeError> {
    let key = sealing_key_of(to).ok_or(HandshakeError::Malformed("no machine's id"))?;
    let prologue = prologue(network, to, context);
    let secret = own.sealing_key();
    let mut mac = keyed(&secret);
    for part in [EPHEMERAL, prologue.as_slice(), content] {
        mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        mac.update(part);
    }
    let ephemeral = mac.finalize().into_bytes().into();
    noise::seal(&secret, &key, &prologue, content, ephemeral)
}

/// Opens a letter that `from` has sealed to the machine of `own`.
///
/// # Errors
///
/// [`HandshakeError`] if it was sealed by somebody else, to another machine, in another context, or
/// is something else.
pub fn open_letter(
    own: &Keypair,
    network: &NetworkId,
    from: MachineId,
    context: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, HandshakeError> {
    let prologue = prologue(network, own.machine(), context);
    let (content, sealer) = noise::open(&own.sealing_key(), &prologue, sealed)?;
    if sealing_key_of(from) != Some(sealer) {
        return Err(HandshakeError::Malformed("sealed by somebody else"));
    }
    Ok(content)
}

/// Binds a letter to its network, its addressee and its context, which comes last.
fn prologue(network: &NetworkId, to: MachineId, context: &[u8]) -> Vec<u8> {
    [PURPOSE, network.as_bytes(), to.as_bytes(), context].concat()
}

const PURPOSE: &[u8] = b"fieldmesh-letter-v1";
const EPHEMERAL: &[u8] = b"fieldmesh-letter-ephemeral-v1";

#[cfg(test)]
mod tests {
    use identity::Trust;

    use super::*;
    use crate::noise::SEALED_EXTRA;

    fn key(seed: u8) -> Keypair {
        Keypair::from_seed(&[seed; 32])
    }

    fn network() -> NetworkId {
        Trust::new(key(1).machine()).network()
    }

    fn sealed() -> Vec<u8> {
        let to = key(3).machine();
        seal_letter(&key(2), &network(), to, b"until noon", b"stop").expect("sealed")
    }

    #[test]
    fn a_letter_is_opened_by_its_addressee_and_names_its_sealer() {
        let from = key(2).machine();

        let opened = open_letter(&key(3), &network(), from, b"until noon", &sealed());

        assert_eq!(**opened.expect("opened"), *b"stop");
        assert_eq!(sealed().len(), b"stop".len() + SEALED_EXTRA);
    }

    #[test]
    fn nobody_else_opens_it_and_nothing_about_it_can_be_changed() {
        let (from, other) = (key(2).machine(), key(4).machine());
        let network = network();
        let mut flipped = sealed();
        *flipped.last_mut().expect("a byte") ^= 1;

        let cases = [
            open_letter(&key(4), &network, from, b"until noon", &sealed()),
            open_letter(&key(3), &network, other, b"until noon", &sealed()),
            open_letter(&key(3), &network, from, b"until night", &sealed()),
            open_letter(&key(3), &network, from, b"until noon", &flipped),
            open_letter(&key(3), &network, from, b"until noon", &[]),
        ];

        assert!(cases.iter().all(Result::is_err));
    }

    #[test]
    fn two_letters_never_share_an_ephemeral_key() {
        let to = key(3).machine();
        let seal = |context: &[u8], content: &[u8]| {
            seal_letter(&key(2), &network(), to, context, content).expect("sealed")
        };
        let letters = [seal(b"a", b"bc"), seal(b"ab", b"c"), seal(b"a", b"bd")];

        let ephemerals: std::collections::BTreeSet<_> =
            letters.iter().map(|letter| &letter[..32]).collect();

        assert_eq!(ephemerals.len(), letters.len());
    }
}
