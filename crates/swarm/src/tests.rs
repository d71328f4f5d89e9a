//! Real sockets on loopback; whatever is awaited has a deadline.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for one kind of event"
)]

mod admission;
mod discovery;
mod enrolment;
mod expulsion;
mod faults;
mod keys;
mod links;
mod renewal;
mod ways;
mod yamux;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::select_all;
use identity::{
    EpochKey, Grant, Keypair, Membership, NetworkKey, NetworkKeyEpoch, NetworkKeys, Role, Roll,
    Trust,
};
use model::{MachineId, Timestamp};
use overlay::{Address, Contact};
use statemachine::Rng;

use crate::{Config, Credentials, Event, Lane, Sending, Swarm, WallClock, Way};

/// The time of every wall clock in these tests: in January 2027, Unix time 1.8 thousand million.
const NOW: Timestamp = Timestamp::from_nanos(1_800_000_000_000_000_000);

/// What a machine has on its disk.
struct Disk {
    machine_key: Keypair,
    membership: Membership,
    roll: Roll,
    network_keys: NetworkKeys,
}

impl Disk {
    fn of(seed: u8) -> Self {
        let machine_key = Keypair::from_seed(&[seed; 32]);
        let membership = admit(&operator(), machine_key.machine(), NOW.saturating_add(HOUR));
        Self {
            machine_key,
            membership,
            roll: Roll::new(Trust::new(operator().machine()), Duration::ZERO),
            network_keys: network_keys(200),
        }
    }

    fn start(&self, change: impl FnOnce(&mut Config)) -> Node {
        let mut config = Config::new(WallClock(Arc::new(|| Some(NOW))));
        change(&mut config);
        let credentials = Credentials {
            machine_key: &self.machine_key,
            membership: &self.membership,
            roll: &self.roll,
            network_keys: &self.network_keys,
        };
        Node {
            machine: self.machine_key.machine(),
            swarm: Swarm::start(&credentials, &config, Rng::from_u64(1)).expect("good settings"),
            seen: Vec::new(),
        }
    }
}

/// What every test of links holds for.
const WAYS: [Way; 2] = [Way::Quic, Way::Tcp];

const HOUR: Duration = Duration::from_secs(3_600);

fn network_keys(seed: u8) -> NetworkKeys {
    NetworkKeys::new(EpochKey {
        epoch: NetworkKeyEpoch::FIRST,
        key: NetworkKey::from_bytes(&[seed; 32]),
    })
}

fn operator() -> Keypair {
    Keypair::from_seed(&[100; 32])
}

fn admit(operator: &Keypair, machine: MachineId, not_after: Timestamp) -> Membership {
    let grant = Grant {
        machine,
        name: "press-3".to_owned(),
        site: "hall-b".to_owned(),
        roles: [Role::Publish].into(),
        commands: Vec::new(),
        not_before: Timestamp::from_nanos(0),
        not_after,
        delegation: None,
    };
    Membership::issue(operator, grant).expect("a good grant")
}

/// A running swarm and what it said.
struct Node {
    machine: MachineId,
    swarm: Swarm,
    seen: Vec<Event>,
}

impl Node {
    /// Listens on a free port of 127.0.0.1, and tells how it can be reached.
    async fn listen(&mut self, way: Way) -> Contact {
        self.listen_at(anywhere(way)).await
    }

    async fn listen_at(&mut self, text: &str) -> Contact {
        self.swarm.listen(&address(text)).expect("a free port");
        run(&mut [self], |nodes| nodes[0].own_addresses().is_some()).await;
        Contact {
            machine: self.machine,
            addresses: self.own_addresses().expect("just seen"),
        }
    }

    fn own_addresses(&self) -> Option<Vec<Address>> {
        self.seen.iter().rev().find_map(|event| match event {
            Event::OwnAddresses(addresses) => Some(addresses.clone()),
            _ => None,
        })
    }

    fn count(&self, is_meant: impl Fn(&Event) -> bool) -> usize {
        self.seen.iter().filter(|event| is_meant(event)).count()
    }

    fn ups(&self, peer: MachineId) -> usize {
        self.count(|event| matches!(event, Event::LinkUp { machine, .. } if *machine == peer))
    }

    fn downs(&self, peer: MachineId) -> usize {
        self.count(|event| matches!(event, Event::LinkDown(machine) if *machine == peer))
    }

    fn failed_dials(&self, peer: MachineId) -> usize {
        self.count(|event| matches!(event, Event::DialFailed(machine) if *machine == peer))
    }

    fn round_trips(&self) -> usize {
        self.count(|event| matches!(event, Event::RoundTrip(..)))
    }

    fn received(&self, peer: MachineId) -> Vec<Bytes> {
        let frames = self.seen.iter().filter_map(|event| match event {
            Event::Received(machine, frame) if *machine == peer => Some(frame.clone()),
            _ => None,
        });
        frames.collect()
    }

    fn send(&mut self, peer: MachineId, lane: Lane, frame: &[u8]) -> Sending {
        self.swarm.send(peer, lane, Bytes::copy_from_slice(frame))
    }
}

/// A free port of 127.0.0.1.
fn anywhere(way: Way) -> &'static str {
    match way {
        Way::Quic => "/ip4/127.0.0.1/udp/0/quic/noise",
        Way::Tcp => "/ip4/127.0.0.1/tcp/0",
        Way::Circuit => panic!("no address of its own"),
    }
}

fn address(text: &str) -> Address {
    Address::new(text.to_owned()).expect("short")
}

/// Runs all nodes until the condition holds after one of their events.
async fn run(nodes: &mut [&mut Node], is_done: impl Fn(&[&mut Node]) -> bool) {
    let running = async {
        while !is_done(nodes) {
            let events = nodes.iter_mut().map(|node| node.swarm.next().boxed_local());
            let (event, index, _) = select_all(events).await;
            nodes[index].seen.push(event);
        }
    };
    if tokio::time::timeout(Duration::from_secs(20), running)
        .await
        .is_err()
    {
        let seen: Vec<_> = nodes
            .iter()
            .map(|node| (node.machine, &node.seen))
            .collect();
        panic!("did not happen in time; seen: {seen:#?}");
    }
}

/// Two machines with a link that the first one dialled; the first has the smaller id if so wished.
async fn linked(
    way: Way,
    is_first_smaller: bool,
    change: impl Fn(&mut Config),
) -> (Node, Node, Contact) {
    let mut disks = [Disk::of(1), Disk::of(2)];
    disks.sort_by_key(|disk| disk.machine_key.machine());
    if !is_first_smaller {
        disks.reverse();
    }
    let [mut first, mut second] = disks.map(|disk| disk.start(&change));
    let contact = second.listen(way).await;
    first.swarm.dial(contact.clone());
    run(&mut [&mut first, &mut second], |nodes| {
        nodes[0].ups(nodes[1].machine) == 1 && nodes[1].ups(nodes[0].machine) == 1
    })
    .await;
    (first, second, contact)
}
