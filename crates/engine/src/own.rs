//! What this machine tells everyone about itself: its own states and their versions.

use std::collections::BTreeMap;

use identity::Signer;
use model::{MachineId, NetworkId, State, StateDraft, StateKey, StateKind, StateVersion};

/// Versions and seals this machine's states.
///
/// **Invariant:** no version is used twice for different payloads, as long as epochs are not.
#[derive(Debug)]
pub(crate) struct OwnStates {
    machine: MachineId,
    network: NetworkId,
    version: StateVersion,
    said: BTreeMap<(StateKind, String), Vec<u8>>,
}

impl OwnStates {
    /// Goes on after `version`, the last one that was used.
    pub(crate) fn new(machine: MachineId, network: NetworkId, version: StateVersion) -> Self {
        Self {
            machine,
            network,
            version,
            said: BTreeMap::new(),
        }
    }

    /// Seals a state in the place of the one before it.
    pub(crate) fn say(
        &mut self,
        signer: &dyn Signer,
        kind: StateKind,
        subject: String,
        payload: Vec<u8>,
    ) -> State {
        self.said.insert((kind, subject.clone()), payload.clone());
        self.version.counter += 1;
        let key = StateKey {
            origin: self.machine,
            kind,
            subject,
        };
        let draft = StateDraft {
            key,
            version: self.version,
            payload: payload.into(),
        };
        draft.seal(&self.network, |digest| signer.sign(digest))
    }

    /// Forgets states that nobody needs to hear again, e.g. series of an epoch that has ended.
    pub(crate) fn forget(&mut self, kind: StateKind) {
        self.said.retain(|(said, _), _| *said != kind);
    }

    /// Whether a state of this kind was sealed, and is not forgotten.
    pub(crate) fn has_said(&self, kind: StateKind) -> bool {
        self.said.keys().any(|(said, _)| *said == kind)
    }

    /// Whether others hold states of this machine that it does not remember.
    pub(crate) fn is_behind(&self, version: StateVersion) -> bool {
        version > self.version
    }

    /// Moves to another epoch and seals everything that was said anew.
    pub(crate) fn move_to(&mut self, signer: &dyn Signer, epoch: u64) -> Vec<State> {
        self.version = StateVersion { epoch, counter: 0 };
        let said = std::mem::take(&mut self.said);
        said.into_iter()
            .map(|((kind, subject), payload)| self.say(signer, kind, subject, payload))
            .collect()
    }

    /// The last version that was used.
    pub(crate) fn version(&self) -> StateVersion {
        self.version
    }
}
