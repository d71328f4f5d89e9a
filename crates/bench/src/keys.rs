//! Keys of machines that exist for a benchmark only.

use std::time::Duration;

use engine::NodeIdentity;
use fieldmesh::clock;
use identity::{
    EpochKey, Grant, Keypair, Membership, NetworkKey, NetworkKeyEpoch, NetworkKeys, Role, Trust,
};

/// The identity of machine `number`. Keys are drawn from small numbers: they protect nothing.
pub(crate) fn identity(number: u8) -> anyhow::Result<NodeIdentity> {
    let operator = Keypair::from_seed(&[200; 32]);
    let keypair = Keypair::from_seed(&[number; 32]);
    let now = clock::wall_time();
    let grant = Grant {
        machine: keypair.machine(),
        name: format!("machine-{number}"),
        site: "bench".to_owned(),
        roles: [Role::Publish, Role::Command].into(),
        commands: vec!["**".to_owned()],
        not_before: now.saturating_sub(LIFETIME),
        not_after: now.saturating_add(LIFETIME),
        delegation: None,
    };
    Ok(NodeIdentity {
        keypair,
        membership: Membership::issue(&operator, grant)?,
        trust: Trust::new(operator.machine()),
    })
}

/// The network key of all of them.
pub(crate) fn network_keys() -> NetworkKeys {
    NetworkKeys::new(EpochKey {
        epoch: NetworkKeyEpoch::FIRST,
        key: NetworkKey::from_bytes(&[201; 32]),
    })
}

/// Longer than any benchmark.
const LIFETIME: Duration = Duration::from_secs(86_400);
