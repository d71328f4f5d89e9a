//! Equivocations: proofs that an origin has signed two different blocks of one number.
//!
//! A proof is the name of the blocks and, of each, the hash of its content with the origin's
//! signature over both: 212 bytes, however large the blocks are. It travels as a state in the name
//! of the origin that it convicts. Nobody signs that state: whoever has seen both blocks can make
//! it, and everyone can check it. There is one of an origin; which one does not matter.
//!
//! # Not here
//!
//! What follows from it: readings stay as they came first everywhere, and the operator is told.

use model::{
    Block, BlockHash, BlockId, ContentHash, Epoch, LogId, NetworkId, Signature, State, StateDraft,
    StateKey, StateKind, StateVersion,
};

use crate::{SignatureError, verify_digest};

/// A machine has signed two different blocks of one number: its key is used twice, or it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Equivocation {
    id: BlockId,
    /// Two different contents with the signature of each, the lesser hash first.
    signed: [(ContentHash, Signature); 2],
}

/// Why a state proves no equivocation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EquivocationError {
    /// It is not written as a proof is.
    #[error("malformed proof of an equivocation")]
    Malformed,
    /// One of the two blocks is not the origin's.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

impl Equivocation {
    /// What two blocks prove; `None` if they differ in name, or do not differ in content. Their
    /// signatures must have been checked.
    #[must_use]
    pub fn between(one: &Block, other: &Block) -> Option<Self> {
        let mut signed = [one, other].map(|block| (block.content(), block.signature()));
        signed.sort_by_key(|(content, _)| *content);
        let differ = signed[0].0 != signed[1].0;
        (one.id() == other.id() && differ).then(|| Self {
            id: one.id(),
            signed,
        })
    }

    /// The name that two blocks have; its machine is the one convicted.
    #[must_use]
    pub const fn block(&self) -> BlockId {
        self.id
    }

    /// The state that travels. It bears no signature of its own.
    #[must_use]
    pub fn to_state(&self) -> State {
        let mut payload = Vec::with_capacity(PAYLOAD_BYTES);
        payload.extend(self.id.log.epoch.counter.to_le_bytes());
        payload.extend(self.id.log.epoch.tag.to_le_bytes());
        payload.extend(self.id.sequence.to_le_bytes());
        for (content, signature) in &self.signed {
            payload.extend(content.0);
            payload.extend(signature.0);
        }
        let draft = StateDraft {
            key: StateKey {
                origin: self.id.log.machine,
                kind: StateKind::Equivocation,
                subject: String::new(),
            },
            version: VERSION,
            payload: payload.into(),
        };
        draft.seal(&NO_NETWORK, |_| Signature([0; 64]))
    }

    /// Reads and checks a state of kind `Equivocation`.
    ///
    /// # Errors
    ///
    /// [`EquivocationError`] if it proves nothing, or is written differently than it must be: what
    /// no signature covers could be changed by anyone on its way.
    pub fn from_state(network: &NetworkId, state: &State) -> Result<Self, EquivocationError> {
        let payload = state.payload().as_ref();
        let proof = Self::read(state, payload).ok_or(EquivocationError::Malformed)?;
        let [(first, _), (second, _)] = &proof.signed;
        if first >= second || proof.to_state() != *state {
            return Err(EquivocationError::Malformed);
        }
        for (content, signature) in &proof.signed {
            let hash = BlockHash::of(network, &proof.id, content);
            verify_digest(proof.id.log.machine, &hash.0, signature)?;
        }
        Ok(proof)
    }

    fn read(state: &State, mut payload: &[u8]) -> Option<Self> {
        let counter = u64::from_le_bytes(take(&mut payload)?);
        let tag = u32::from_le_bytes(take(&mut payload)?);
        let sequence = u64::from_le_bytes(take(&mut payload)?);
        let mut signed = || {
            let content = ContentHash(take(&mut payload)?);
            Some((content, Signature(take(&mut payload)?)))
        };
        let signed = [signed()?, signed()?];
        let log = LogId {
            machine: state.key().origin,
            epoch: Epoch { counter, tag },
        };
        let id = BlockId { log, sequence };
        payload.is_empty().then_some(Self { id, signed })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

/// Every proof has the same version: the one that is known stays.
const VERSION: StateVersion = StateVersion {
    epoch: 0,
    counter: 1,
};
/// Stands where no signature needs a network: those of the blocks cover it.
const NO_NETWORK: NetworkId = NetworkId::from_bytes([0; 32]);
/// Unit: bytes. Source: the fields above.
const PAYLOAD_BYTES: usize = 8 + 4 + 8 + 2 * (32 + 64);

#[cfg(test)]
mod tests {
    use model::{BlockHeader, Draft, HashPrefix, MachineId, Timestamp};

    use super::*;
    use crate::{Keypair, Trust, verify_state};

    const SEED: [u8; 32] = [4; 32];

    fn network() -> NetworkId {
        Trust::new(Keypair::from_seed(&[1; 32]).machine()).network()
    }

    fn block(machine: MachineId, sequence: u64, sealed: i64) -> Block {
        let epoch = Epoch { counter: 3, tag: 9 };
        let header = BlockHeader {
            log: LogId { machine, epoch },
            sequence,
            previous: HashPrefix::NONE,
            continues: None,
            sealed: Timestamp::from_nanos(sealed),
            watermark: Timestamp::from_nanos(0),
            count: 0,
            urgent: false,
            publishers: Vec::new(),
        };
        let readings = Vec::new();
        let key = Keypair::from_seed(&SEED);
        let sealed = Draft { header, readings }.seal(&network(), |hash| key.sign(hash));
        sealed.expect("an empty block")
    }

    fn own() -> MachineId {
        Keypair::from_seed(&SEED).machine()
    }

    #[test]
    fn adversarial_23_two_blocks_of_one_number_are_a_proof_that_anyone_can_check() {
        let [one, other] = [1, 2].map(|sealed| block(own(), 7, sealed));
        let proof = Equivocation::between(&other, &one).expect("they differ");

        let state = State::decode(proof.to_state().as_bytes().clone()).expect("it decodes");

        assert_eq!(Equivocation::from_state(&network(), &state), Ok(proof));
        assert_eq!(Equivocation::between(&one, &other), Some(proof));
        assert_eq!(verify_state(&network(), &state), Ok(()));
        assert_eq!(proof.block(), one.id());
    }

    #[test]
    fn adversarial_23_honest_blocks_prove_nothing() {
        let [one, again, next] = [(7, 1), (7, 1), (8, 2)].map(|(n, at)| block(own(), n, at));

        assert_eq!(Equivocation::between(&one, &again), None);
        assert_eq!(Equivocation::between(&one, &next), None);
    }

    #[test]
    fn adversarial_23_a_proof_that_was_made_up_or_changed_is_refused() {
        let [one, other] = [1, 2].map(|sealed| block(own(), 7, sealed));
        let genuine = Equivocation::between(&one, &other).expect("they differ");
        let another_network = Trust::new(own()).network();
        let mut renamed = genuine;
        renamed.id.sequence = 8;
        let mut same = genuine;
        same.signed[1] = same.signed[0];
        let mut swapped = genuine;
        swapped.signed.reverse();

        let verdict = |proof: Equivocation| Equivocation::from_state(&network(), &proof.to_state());

        let mismatch = EquivocationError::Signature(SignatureError::Mismatch(own()));
        assert_eq!(verdict(renamed), Err(mismatch.clone()));
        assert_eq!(verdict(same), Err(EquivocationError::Malformed));
        assert_eq!(verdict(swapped), Err(EquivocationError::Malformed));
        let elsewhere = Equivocation::from_state(&another_network, &genuine.to_state());
        assert_eq!(elsewhere, Err(mismatch));
    }
}
