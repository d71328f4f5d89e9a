//! The key of a node that is recorded, and what stands for it in a replay.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use engine::MachineKey;
use identity::{EpochKey, NetworkKey, NetworkKeyEpoch, Signer, Trust};
use model::{MachineId, NetworkId, Signature, State};
use serde::{Deserialize, Serialize};

/// What a key answered, in the order of the questions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// A signature.
    Signature(Bytes),
    /// A sealed letter.
    Sealed(Option<Bytes>),
    /// What was in a letter.
    Opened(Option<Bytes>),
    /// A network key: its epoch alone, or why it could not be opened.
    NetworkKey(Result<u32, String>),
}

/// The answers of one step, shared by the key in the node and whoever writes or reads them.
#[derive(Clone, Default)]
pub(crate) struct Answers(Arc<Mutex<Option<VecDeque<Answer>>>>);

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answers")
    }
}

impl Answers {
    /// Puts these in the place of all that are left.
    pub(crate) fn set(&self, answers: Vec<Answer>) {
        *self.lock() = Some(answers.into());
    }

    /// Takes what was answered since.
    pub(crate) fn take(&self) -> Vec<Answer> {
        let taken = self.lock().replace(VecDeque::new());
        taken.unwrap_or_default().into()
    }

    /// Nobody wants them any more.
    pub(crate) fn close(&self) {
        *self.lock() = None;
    }

    fn add(&self, answer: impl FnOnce() -> Answer) {
        if let Some(answers) = &mut *self.lock() {
            answers.push_back(answer());
        }
    }

    fn next(&self) -> Option<Answer> {
        self.lock().as_mut()?.pop_front()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<VecDeque<Answer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A key whose answers are written down.
#[derive(Debug)]
pub(crate) struct Witnessed<K> {
    pub(crate) key: K,
    pub(crate) answers: Answers,
}

impl<K: Signer> Signer for Witnessed<K> {
    fn machine(&self) -> MachineId {
        self.key.machine()
    }

    fn sign(&self, digest: &[u8; 32]) -> Signature {
        let signature = self.key.sign(digest);
        self.answers
            .add(|| Answer::Signature(Bytes::copy_from_slice(&signature.0)));
        signature
    }
}

impl<K: MachineKey> MachineKey for Witnessed<K> {
    fn seal_letter(
        &self,
        network: &NetworkId,
        to: MachineId,
        context: &[u8],
        content: &[u8],
    ) -> Option<Vec<u8>> {
        let sealed = self.key.seal_letter(network, to, context, content);
        self.answers
            .add(|| Answer::Sealed(sealed.clone().map(Bytes::from)));
        sealed
    }

    fn open_letter(
        &self,
        network: &NetworkId,
        from: MachineId,
        context: &[u8],
        sealed: &[u8],
    ) -> Option<Vec<u8>> {
        let opened = self.key.open_letter(network, from, context, sealed);
        self.answers
            .add(|| Answer::Opened(opened.clone().map(Bytes::from)));
        opened
    }

    fn receive_key(&self, trust: &Trust, state: &State) -> Result<EpochKey, String> {
        let key = self.key.receive_key(trust, state);
        let epoch = key.as_ref().map(|key| key.epoch.0);
        self.answers
            .add(|| Answer::NetworkKey(epoch.map_err(Clone::clone)));
        key
    }
}

/// Gives the answers that a key gave. Where there is none, or one to another question, what it
/// gives is wrong, and the step differs from the recorded one.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) machine: MachineId,
    pub(crate) answers: Answers,
}

impl Signer for Played {
    fn machine(&self) -> MachineId {
        self.machine
    }

    fn sign(&self, _: &[u8; 32]) -> Signature {
        let Some(Answer::Signature(bytes)) = self.answers.next() else {
            return Signature([0; 64]);
        };
        Signature(bytes.as_ref().try_into().unwrap_or([0; 64]))
    }
}

impl MachineKey for Played {
    fn seal_letter(&self, _: &NetworkId, _: MachineId, _: &[u8], _: &[u8]) -> Option<Vec<u8>> {
        let Some(Answer::Sealed(sealed)) = self.answers.next() else {
            return None;
        };
        sealed.map(Vec::from)
    }

    fn open_letter(&self, _: &NetworkId, _: MachineId, _: &[u8], _: &[u8]) -> Option<Vec<u8>> {
        let Some(Answer::Opened(opened)) = self.answers.next() else {
            return None;
        };
        opened.map(Vec::from)
    }

    /// The key itself is no part of a recording; a node only hands it on.
    fn receive_key(&self, _: &Trust, _: &State) -> Result<EpochKey, String> {
        let Some(Answer::NetworkKey(epoch)) = self.answers.next() else {
            return Err("no answer of the key is recorded here".to_owned());
        };
        epoch.map(|epoch| EpochKey {
            epoch: NetworkKeyEpoch(epoch),
            key: NetworkKey::from_bytes(&[0; 32]),
        })
    }
}
