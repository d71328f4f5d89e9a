//! One network: Alice dials, Bob answers, Mallory has the network key and a membership, and bad
//! intent, and one machine may admit others.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use handshake::{Judge, KeyRing, Local, Session};
use identity::{
    Credential, Delegation, Grant, Keypair, LinkKeys, Membership, NetworkKey, NetworkKeyEpoch,
    Role, Roll, Trust,
};
use model::{MachineId, NetworkId, Timestamp};

/// Who is who, as seeds of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Operator = 1,
    Alice = 2,
    Bob = 3,
    Mallory = 4,
    Admitter = 5,
}

impl Who {
    pub(crate) fn keypair(self) -> Keypair {
        Keypair::from_seed(&[self as u8; 32])
    }

    pub(crate) fn machine(self) -> MachineId {
        self.keypair().machine()
    }

    pub(crate) fn grant(self) -> Grant {
        let mut roles = BTreeSet::from([Role::Publish, Role::Command]);
        let commands = vec!["press/*/set".to_owned(), "light/**".to_owned()];
        let delegation = (self == Self::Admitter).then(|| Delegation {
            roles: roles.clone(),
            commands: commands.clone(),
            lifetime: Duration::MAX,
        });
        if delegation.is_some() {
            roles.insert(Role::Admit);
        }
        Grant {
            machine: self.machine(),
            name: format!("press-{}", self as u8),
            site: "hall-north".to_owned(),
            roles,
            commands,
            not_before: Timestamp::from_nanos(0),
            not_after: Timestamp::MAX,
            delegation,
        }
    }

    pub(crate) fn membership(self) -> Membership {
        Membership::issue(&Self::Operator.keypair(), self.grant()).expect("within its bounds")
    }

    /// What it shows.
    pub(crate) fn credential(self) -> Credential {
        Credential::Membership(self.membership())
    }

    fn local(self) -> Arc<Local> {
        let credential = self.credential().to_bytes();
        Arc::new(Local::new(self.keypair(), WORLD.network, credential))
    }
}

/// What is costly to make and the same in every run.
pub(crate) struct World {
    pub(crate) trust: Trust,
    pub(crate) network: NetworkId,
    pub(crate) keys: LinkKeys,
    pub(crate) ring: KeyRing,
}

pub(crate) static WORLD: LazyLock<World> = LazyLock::new(|| {
    let trust = Trust::new(Who::Operator.machine());
    let network = trust.network();
    let network_key = NetworkKey::from_bytes(&[9; 32]);
    let [previous, keys] = [1, 2].map(|epoch| network_key.link(&network, NetworkKeyEpoch(epoch)));
    World {
        trust,
        network,
        ring: KeyRing::new(keys.clone(), Some(previous)),
        keys,
    }
});

static ALICE: LazyLock<Arc<Local>> = LazyLock::new(|| Who::Alice.local());
static BOB: LazyLock<Arc<Local>> = LazyLock::new(|| Who::Bob.local());

/// Alice, who dials this machine or whoever answers.
pub(crate) fn alice(expected: Option<MachineId>) -> Session {
    let (local, keys) = (Arc::clone(&ALICE), &WORLD.keys);
    Session::initiate(local, keys, expected, PARAMETERS, Some(NOW), [0xa1; 32])
        .expect("parameters within their bounds")
}

/// Bob, who answers.
pub(crate) fn bob() -> Session {
    Session::respond(Arc::clone(&BOB), WORLD.ring.clone(), PARAMETERS, [0xb0; 32])
}

/// Lets in whoever has a genuine credential of its own.
pub(crate) struct Lenient;

impl Judge for Lenient {
    fn judge(
        &self,
        machine: MachineId,
        shown: Bytes,
    ) -> Result<Credential, Box<dyn Error + Send + Sync>> {
        Ok(Roll::new(WORLD.trust, Duration::ZERO).admit(machine, shown, Some(NOW))?)
    }
}

/// Transport parameters, which are the peer's to read.
pub(crate) const PARAMETERS: &[u8] = b"transport parameters";

/// Some day in May 2024. Unit: nanoseconds since the Unix epoch.
pub(crate) const NOW: Timestamp = Timestamp::from_nanos(1_714_608_000_000_000_000);
