//! A newer network key on its way to one machine.
//!
//! The operator seals the key to each member (Noise, one-way pattern X) and signs the result as a
//! state, which every node passes on and only its addressee can open. So a key reaches everyone who
//! is to have it over any path, and a machine that was thrown out learns nothing from its old
//! neighbours, not even from those that have not heard of it yet.

use identity::{EpochKey, Keypair, NetworkKey, NetworkKeyEpoch, Trust, sealing_key_of};
use model::{MachineId, NetworkId, State, StateDraft, StateKey, StateKind, StateVersion};
use zeroize::Zeroizing;

use crate::HandshakeError;
use crate::noise::{self, SEALED_EXTRA};

/// Seals a network key to a machine, as the state that travels. `entropy` is drawn for this alone.
///
/// # Errors
///
/// [`HandshakeError::LowOrder`] or [`HandshakeError::Malformed`] if nobody can hold the machine's
/// id.
pub fn deliver_key(
    operator: &Keypair,
    machine: MachineId,
    key: &EpochKey,
    entropy: [u8; 32],
) -> Result<State, HandshakeError> {
    let network = Trust::new(operator.machine()).network();
    let to = sealing_key_of(machine).ok_or(HandshakeError::Malformed("no machine's id"))?;
    let sealed = noise::seal(
        &operator.sealing_key(),
        &to,
        &prologue(&network, machine, key.epoch),
        key.key.as_bytes(),
        entropy,
    )?;
    let draft = StateDraft {
        key: StateKey {
            origin: operator.machine(),
            kind: StateKind::NetworkKey,
            subject: machine.to_string(),
        },
        version: StateVersion {
            epoch: 0,
            counter: key.epoch.0.into(),
        },
        payload: sealed.into(),
    };
    Ok(draft.seal(&network, |digest| operator.sign(digest)))
}

/// Opens a network key that the operator has sealed to the machine of `own`. That the state's
/// signature holds is the caller's to check.
///
/// # Errors
///
/// [`HandshakeError`] if it is something else, was sealed by somebody else, or to another machine.
pub fn receive_key(
    own: &Keypair,
    trust: &Trust,
    state: &State,
) -> Result<EpochKey, HandshakeError> {
    if state.key().kind != StateKind::NetworkKey || state.payload().len() != SEALED_KEY_BYTES {
        return Err(HandshakeError::Malformed("no sealed network key"));
    }
    let epoch = u32::try_from(state.version().counter)
        .map_err(|_| HandshakeError::Malformed("an epoch beyond every counter"))?;
    let epoch = NetworkKeyEpoch(epoch);
    let prologue = prologue(&trust.network(), own.machine(), epoch);
    let (key, sealer) = noise::open(&own.sealing_key(), &prologue, state.payload())?;
    if sealing_key_of(trust.operator()) != Some(sealer) {
        return Err(HandshakeError::Malformed("sealed by somebody else"));
    }
    let key: Zeroizing<[u8; 32]> = key
        .as_slice()
        .try_into()
        .map(Zeroizing::new)
        .map_err(|_| HandshakeError::Malformed("a network key of another length"))?;
    Ok(EpochKey {
        epoch,
        key: NetworkKey::from_bytes(&key),
    })
}

/// Binds a sealed key to its network, its addressee and its epoch.
fn prologue(network: &NetworkId, machine: MachineId, epoch: NetworkKeyEpoch) -> Vec<u8> {
    [
        PURPOSE,
        network.as_bytes(),
        machine.as_bytes(),
        &epoch.0.to_be_bytes(),
    ]
    .concat()
}

const PURPOSE: &[u8] = b"fieldmesh-network-key-v1";
/// Unit: bytes.
const SEALED_KEY_BYTES: usize = SEALED_EXTRA + 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> Keypair {
        Keypair::from_seed(&[seed; 32])
    }

    fn delivered() -> State {
        let newer = EpochKey {
            epoch: NetworkKeyEpoch(2),
            key: NetworkKey::from_bytes(&[42; 32]),
        };
        deliver_key(&key(1), key(3).machine(), &newer, [9; 32]).expect("sealed")
    }

    #[test]
    fn a_network_key_is_opened_by_its_addressee_and_by_nobody_else() {
        let trust = Trust::new(key(1).machine());

        let received = receive_key(&key(3), &trust, &delivered()).expect("opened");

        assert_eq!(received.epoch, NetworkKeyEpoch(2));
        assert_eq!(received.key.as_bytes(), &[42; 32]);
        assert!(receive_key(&key(4), &trust, &delivered()).is_err());
    }

    #[test]
    fn a_network_key_that_somebody_else_has_sealed_is_refused() {
        let trust = Trust::new(key(2).machine());

        assert!(receive_key(&key(3), &trust, &delivered()).is_err());
    }

    #[test]
    fn a_network_key_shows_neither_in_the_state_nor_as_of_another_epoch() {
        let state = delivered();
        assert!(!state.as_bytes().windows(8).any(|part| part == [42; 8]));

        let later = StateDraft {
            key: state.key().clone(),
            version: StateVersion {
                epoch: 0,
                counter: 3,
            },
            payload: state.payload().clone(),
        };
        let trust = Trust::new(key(1).machine());
        let later = later.seal(&trust.network(), |digest| key(1).sign(digest));

        assert!(receive_key(&key(3), &trust, &later).is_err());
    }
}
