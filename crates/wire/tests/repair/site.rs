//! Machines, what they sign, and the two of them that the link joins.

use std::collections::BTreeSet;
use std::time::Duration;

use gossip::{Config, FrontierEntry, Gossip, Recovered};
use identity::{Grant, Keypair, Membership, Role, Roll, Trust};
use model::{
    Block, BlockHeader, Draft, Epoch, HashPrefix, LogId, MachineId, Quality, Reading, Sequence,
    SeriesNumber, State, StateDraft, StateKey, StateKind, StateVersion, Timestamp, Value,
};
use statemachine::Rng;

/// The ends of the link, and the neighbour that the first end has besides.
pub(crate) const ENDS: [u16; 2] = [60_000, 60_001];
pub(crate) const OTHER: u16 = 60_002;
const OPERATOR: u16 = 60_003;

pub(crate) struct Site {
    memberships: Vec<State>,
    origins: u16,
}

impl Site {
    /// A site with so many origins, and the ends of the link.
    pub(crate) fn new(origins: u16) -> Self {
        let machines = (0..origins).chain(ENDS);
        Self {
            memberships: machines.map(membership).collect(),
            origins,
        }
    }

    /// An end of the link that holds the log of every origin up to `end`, and these blocks.
    pub(crate) fn gossip(
        &self,
        which: usize,
        end: Sequence,
        blocks: &[Block],
        config: &Config,
    ) -> Gossip {
        let entry = |n| FrontierEntry {
            end,
            ..FrontierEntry::new(log(n))
        };
        let mut frontier = (0..self.origins).map(entry).collect::<Vec<_>>();
        for block in blocks {
            let entry = frontier
                .iter_mut()
                .find(|entry| entry.log == block.header().log);
            entry
                .expect("a log of the site")
                .insert(block.header().sequence);
        }
        let recovered = Recovered {
            frontier,
            states: self.memberships.clone(),
        };
        let roll = Roll::new(trust(), Duration::ZERO);
        let rng = Rng::from_u64(7).fork("gossip");
        Gossip::new(id(ENDS[which]), roll, config.clone(), recovered, rng)
    }
}

pub(crate) fn id(n: u16) -> MachineId {
    key(n).machine()
}

/// A block of an origin; about 1 kB.
pub(crate) fn block(n: u16, sequence: Sequence, urgent: bool) -> Block {
    let reading = |i: u32| Reading {
        series: SeriesNumber(i),
        time: Timestamp::from_nanos(1_000),
        value: Value::Text(format!(
            "{sequence} {i} {}",
            "about twenty bytes!!".repeat(4)
        )),
        quality: Quality::GOOD,
    };
    let header = BlockHeader {
        log: log(n),
        sequence,
        previous: HashPrefix::NONE,
        continues: None,
        sealed: Timestamp::from_nanos(2_000),
        watermark: Timestamp::from_nanos(1_000),
        count: 0,
        urgent,
        publishers: Vec::new(),
    };
    let readings = (0..10).map(reading).collect();
    let sealed = Draft { header, readings }.seal(&trust().network(), |hash| key(n).sign(hash));
    sealed.expect("a small block")
}

fn key(n: u16) -> Keypair {
    let mut seed = [1; 32];
    seed[..2].copy_from_slice(&n.to_le_bytes());
    Keypair::from_seed(&seed)
}

fn trust() -> Trust {
    Trust::new(id(OPERATOR))
}

fn log(n: u16) -> LogId {
    let epoch = Epoch { counter: 3, tag: 7 };
    let machine = id(n);
    LogId { machine, epoch }
}

fn membership(n: u16) -> State {
    let grant = Grant {
        machine: id(n),
        name: format!("machine-{n}"),
        site: "hall".to_owned(),
        roles: BTreeSet::from([Role::Publish]),
        commands: Vec::new(),
        not_before: Timestamp::from_nanos(0),
        not_after: Timestamp::MAX,
        delegation: None,
    };
    let membership = Membership::issue(&key(OPERATOR), grant).expect("a plain grant");
    let draft = StateDraft {
        key: StateKey {
            origin: id(n),
            kind: StateKind::Membership,
            subject: String::new(),
        },
        version: StateVersion {
            epoch: 1,
            counter: 1,
        },
        payload: membership.as_bytes().to_vec().into(),
    };
    draft.seal(&trust().network(), |digest| key(n).sign(digest))
}
