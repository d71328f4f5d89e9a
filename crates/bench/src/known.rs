//! What it costs a node to know ten thousand machines: their memberships and presences, as they
//! come over a link, signed, decoded and checked, with 16 neighbours.

use std::time::Duration;

use engine::{Config, Input, Neighbour, Node, NodeIdentity, Output, Presence, Recovered};
use identity::{Grant, Keypair, Membership, Role, Trust};
use model::{
    ClockState, MachineId, State, StateDraft, StateKey, StateKind, StateVersion, Timestamp,
};
use overlay::{Address, Contact};
use statemachine::{Instant, Rng, StateMachine as _};
use wire::Frame;

use crate::process::Process;

/// Lets a node hear of so many machines. Returns how much more memory this process has then, for
/// the node alone and with them. Unit: bytes.
pub(crate) fn memory_of(machines: u32) -> anyhow::Result<(u64, u64)> {
    let before = Process::Own.resident()?;
    let (mut node, from) = with_neighbours()?;
    let alone = Process::Own.resident()?.saturating_sub(before);
    for number in 0..machines {
        let states = Frame::Gossip(gossip::Message::States(said_by(number)?));
        let frame = wire::decode(wire::encode(&states))?;
        node.handle(Instant::ZERO, Input::Received(from, frame));
        settle(&mut node);
    }
    let known = node.catalogue().members().count();
    let all = usize::try_from(machines)? + 1;
    anyhow::ensure!(
        known == all,
        "the node knows {known} machines instead of {all}"
    );
    Ok((alone, Process::Own.resident()?.saturating_sub(before)))
}

/// Does what the node wants done: everything it writes is safe at once, and nobody hears it.
fn settle(node: &mut Node) {
    while let Some(output) = node.poll_output() {
        if let Output::Persist(ticket, _) = output {
            node.handle(Instant::ZERO, Input::Persisted(ticket));
        }
    }
}

/// A node with as many neighbours as it keeps, and one of them.
fn with_neighbours() -> anyhow::Result<(Node, MachineId)> {
    let own = keypair(OWN);
    let identity = NodeIdentity {
        membership: membership(&own, OWN)?,
        keypair: own,
        trust: Trust::new(operator().machine()),
    };
    let mut config = Config::default();
    config.overlay.active_max = NEIGHBOURS;
    let mut node = Node::new(identity, config, Recovered::default(), Rng::from_u64(1));
    let noon = Timestamp::from_nanos(1_800_000_000_000_000_000);
    let clock = Input::WallClock(noon, ClockState::Synchronised);
    node.handle(Instant::ZERO, clock);
    for number in (OWN + 1..).take(NEIGHBOURS) {
        let key = keypair(number);
        let shown = membership(&key, number)?;
        let machine = key.machine();
        let question = overlay::Message::Neighbour {
            contact: Contact {
                machine,
                addresses: addresses(number)?,
            },
            urgent: true,
        };
        node.handle(Instant::ZERO, Input::LinkUp(Box::new(shown)));
        let frame = Frame::Overlay(question);
        node.handle(Instant::ZERO, Input::Received(machine, frame));
        settle(&mut node);
    }
    let neighbours = node.neighbours();
    anyhow::ensure!(
        neighbours.len() == NEIGHBOURS,
        "{} neighbours instead of {NEIGHBOURS}",
        neighbours.len()
    );
    Ok((node, neighbours[0].machine))
}

/// What a machine tells everyone of itself: that it is a member, and where.
fn said_by(number: u32) -> anyhow::Result<Vec<State>> {
    let key = keypair(number);
    let neighbours = (1..=5).map(|step| Neighbour {
        machine: keypair(number + step).machine(),
        round_trip: Some(Duration::from_micros(300)),
    });
    let presence = Presence {
        addresses: addresses(number)?,
        neighbours: neighbours.collect(),
    };
    let membership = membership(&key, number)?.as_bytes().clone();
    let said = [
        (StateKind::Membership, 1, membership),
        (StateKind::Presence, 2, presence.to_payload().into()),
    ];
    let network = Trust::new(operator().machine()).network();
    let states = said.map(|(kind, counter, payload)| {
        let draft = StateDraft {
            key: StateKey {
                origin: key.machine(),
                kind,
                subject: String::new(),
            },
            version: StateVersion { epoch: 1, counter },
            payload,
        };
        draft.seal(&network, |digest| key.sign(digest))
    });
    Ok(states.into())
}

fn membership(key: &Keypair, number: u32) -> anyhow::Result<Membership> {
    let grant = Grant {
        machine: key.machine(),
        name: format!("machine-{number}"),
        site: "bench".to_owned(),
        roles: [Role::Publish, Role::Command].into(),
        commands: vec!["**".to_owned()],
        not_before: Timestamp::MIN,
        not_after: Timestamp::MAX,
        delegation: None,
    };
    Ok(Membership::issue(&operator(), grant)?)
}

fn addresses(number: u32) -> anyhow::Result<Vec<Address>> {
    let ip = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number);
    let texts = [
        format!("/ip4/{ip}/udp/4001/quic/noise"),
        format!("/ip4/{ip}/tcp/4001"),
    ];
    let addresses = texts.into_iter().map(Address::new);
    (addresses.collect::<Option<Vec<_>>>()).ok_or_else(|| anyhow::anyhow!("an address is too long"))
}

fn operator() -> Keypair {
    Keypair::from_seed(&[200; 32])
}

fn keypair(number: u32) -> Keypair {
    let mut seed = [202; 32];
    seed[..4].copy_from_slice(&number.to_le_bytes());
    Keypair::from_seed(&seed)
}

/// Source: design, section 14, row l.
const NEIGHBOURS: usize = 16;
/// Numbers of the node and its neighbours, beyond those that it hears of.
const OWN: u32 = 1_000_000;
