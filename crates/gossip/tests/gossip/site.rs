//! A site's operator and machines, and what they sign.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use gossip::{Config, FrontierEntry, Gossip, Recovered, Span};
use identity::{Grant, Keypair, Membership, Role, Roll, Trust};
use model::{
    Block, BlockHash, BlockHeader, BlockId, Draft, Epoch, LogId, MachineId, Quality, Reading,
    Sequence, SeriesNumber, State, StateDraft, StateKey, StateKind, StateVersion, Timestamp, Value,
};
use statemachine::Rng;

/// The number of the operator's key.
pub(crate) const OPERATOR: u8 = 31;

/// The keys of all machines, and the operator's.
static KEYS: LazyLock<Vec<Keypair>> = LazyLock::new(|| {
    (0..=OPERATOR)
        .map(|n| Keypair::from_seed(&[n; 32]))
        .collect()
});

/// The number of each machine.
static NUMBERS: LazyLock<BTreeMap<MachineId, u8>> =
    LazyLock::new(|| (0..=OPERATOR).map(|n| (id(n), n)).collect());

pub(crate) fn trust() -> Trust {
    Trust::new(id(OPERATOR))
}

/// Nobody is thrown out.
pub(crate) fn roll() -> Roll {
    Roll::new(trust(), Duration::ZERO)
}

/// The key of machine `n`.
pub(crate) fn key(n: u8) -> &'static Keypair {
    &KEYS[usize::from(n)]
}

/// The number of a machine.
pub(crate) fn number(machine: MachineId) -> u8 {
    NUMBERS[&machine]
}

/// The id of machine `n`.
pub(crate) fn id(n: u8) -> MachineId {
    key(n).machine()
}

/// The log of machine `n` in its epoch `counter`.
pub(crate) fn log(n: u8, counter: u64) -> LogId {
    let epoch = Epoch { counter, tag: 7 };
    let machine = id(n);
    LogId { machine, epoch }
}

/// The name of a block of machine `n` in its first epoch.
pub(crate) fn block_id(n: u8, sequence: Sequence) -> BlockId {
    let log = log(n, 1);
    BlockId { log, sequence }
}

/// A block of machine `n` in its first epoch.
pub(crate) fn block(n: u8, sequence: Sequence) -> Block {
    seal(key(n), log(n, 1), sequence)
}

/// The block of the same name as [`block`] that differs in what it holds.
pub(crate) fn another_block(n: u8, sequence: Sequence) -> Block {
    seal_value(key(n), log(n, 1), sequence, 21.5, false)
}

/// A block of machine `n` that holds an alarm.
pub(crate) fn urgent_block(n: u8, sequence: Sequence) -> Block {
    seal_value(key(n), log(n, 1), sequence, 20.5, true)
}

/// A block of any log, signed by `key`.
pub(crate) fn seal(key: &Keypair, log: LogId, sequence: Sequence) -> Block {
    seal_value(key, log, sequence, 20.5, false)
}

fn seal_value(key: &Keypair, log: LogId, sequence: Sequence, value: f64, urgent: bool) -> Block {
    let reading = Reading {
        series: SeriesNumber(1),
        time: Timestamp::from_nanos(1_000),
        value: Value::F64(value),
        quality: Quality::GOOD,
    };
    let header = BlockHeader {
        log,
        sequence,
        previous: BlockHash([0; 32]).prefix(),
        continues: None,
        sealed: Timestamp::from_nanos(2_000),
        watermark: Timestamp::from_nanos(1_000),
        count: 1,
        urgent,
        publishers: Vec::new(),
    };
    let readings = vec![reading];
    let draft = Draft { header, readings };
    (draft.seal(&trust().network(), |hash| key.sign(hash))).expect("one reading fits")
}

/// A block of machine `n` that is signed well but whose columns do not decode.
pub(crate) fn block_with_bad_columns(n: u8, sequence: Sequence) -> Block {
    let mut bytes = block(n, sequence).as_bytes().to_vec();
    let signature_at = bytes.len() - 64;
    bytes[signature_at - 1] ^= 0xff;
    bytes.splice(signature_at..signature_at, [0xff; 8]);
    let signature_at = bytes.len() - 64;
    let unsigned = Block::parse(bytes.clone().into()).expect("the header is as it was");
    let signature = key(n).sign(&unsigned.hash(&trust().network()).0);
    bytes[signature_at..].copy_from_slice(&signature.0);
    let block = Block::parse(bytes.into()).expect("the header is as it was");
    assert!(block.readings().is_err(), "the columns are still good");
    block
}

pub(crate) fn state_key(n: u8, kind: StateKind, subject: &str) -> StateKey {
    let origin = id(n);
    let subject = subject.to_owned();
    StateKey {
        origin,
        kind,
        subject,
    }
}

/// A state of machine `n` in its first epoch.
pub(crate) fn state(n: u8, kind: StateKind, subject: &str, counter: u64) -> State {
    sign_state(
        key(n),
        state_key(n, kind, subject),
        counter,
        b"payload".to_vec(),
    )
}

fn sign_state(key: &Keypair, state: StateKey, counter: u64, payload: Vec<u8>) -> State {
    let draft = StateDraft {
        key: state,
        version: StateVersion { epoch: 1, counter },
        payload: payload.into(),
    };
    draft.seal(&trust().network(), |digest| key.sign(digest))
}

/// The state that carries a membership of `grantee`, said by machine `n`.
pub(crate) fn membership_of(n: u8, grantee: u8, role: Role) -> State {
    membership_at("hall", OPERATOR, n, grantee, role)
}

/// The same, signed by whoever claims to be the operator.
pub(crate) fn membership_by(operator: u8, n: u8, grantee: u8, role: Role) -> State {
    membership_at("hall", operator, n, grantee, role)
}

/// The membership of machine `n`, which may publish, at a site.
pub(crate) fn membership_in(site: &str, n: u8) -> State {
    membership_at(site, OPERATOR, n, n, Role::Publish)
}

fn membership_at(site: &str, operator: u8, n: u8, grantee: u8, role: Role) -> State {
    let grant = Grant {
        machine: id(grantee),
        name: format!("machine-{grantee}"),
        site: site.to_owned(),
        roles: BTreeSet::from([role]),
        commands: Vec::new(),
        not_before: Timestamp::from_nanos(0),
        not_after: Timestamp::MAX,
        delegation: None,
    };
    let membership = Membership::issue(key(operator), grant).expect("a plain grant");
    let kind = StateKind::Membership;
    let payload = membership.as_bytes().to_vec();
    sign_state(key(n), state_key(n, kind, ""), 1, payload)
}

/// The membership of machine `n`, which may publish.
pub(crate) fn membership(n: u8) -> State {
    membership_of(n, n, Role::Publish)
}

/// An entry of a log of machine `n`: everything up to `end`, and some spans.
pub(crate) fn entry(log: LogId, end: Sequence, beyond: &[(Sequence, Sequence)]) -> FrontierEntry {
    let span = |(first, last): &(Sequence, Sequence)| Span {
        first: *first,
        last: *last,
    };
    FrontierEntry {
        log,
        floor: 1,
        end,
        beyond: beyond.iter().map(span).collect(),
    }
}

/// Machine `n` as it starts with the memberships of `members` and a frontier.
pub(crate) fn gossip(n: u8, members: &[u8], frontier: Vec<FrontierEntry>) -> Gossip {
    let states = members.iter().map(|member| membership(*member)).collect();
    let recovered = Recovered { frontier, states };
    gossip_with(n, Config::default(), recovered)
}

pub(crate) fn gossip_with(n: u8, config: Config, recovered: Recovered) -> Gossip {
    let rng = Rng::from_u64(u64::from(n)).fork("gossip");
    Gossip::new(id(n), roll(), config, recovered, rng)
}
