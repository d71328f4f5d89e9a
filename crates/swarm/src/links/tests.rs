//! Which connection is the link, decided without a network. The timers of connections need a runtime.

use std::sync::Arc;

use identity::Keypair;
use model::Timestamp;

use super::*;
use crate::WallClock;

/// The connections of one other machine, seen by the one of the two that decides.
struct Pair {
    links: Links,
    other: PeerId,
}

impl Pair {
    fn new() -> Self {
        let mut machines = [7, 8].map(|seed| Keypair::from_seed(&[seed; 32]).machine());
        machines.sort();
        let clock = WallClock(Arc::new(|| Some(Timestamp::from_nanos(0))));
        Self {
            links: Links::new(machines[0], &Config::new(clock)),
            other: peer_of(machines[1]).expect("a point of the curve"),
        }
    }

    /// A connection is made, and both its streams are opened.
    fn open(&mut self, number: usize, local: &str) {
        let connection = ConnectionId::new_unchecked(number);
        let local = local.parse().expect("an address");
        let remote = "/ip4/127.0.1.8/udp/4001/quic/noise".parse();
        let remote = remote.expect("an address");
        let links = &mut self.links;
        let handler =
            links.handle_established_inbound_connection(connection, self.other, &local, &remote);
        handler.expect("there is room");
        links.on_connection_handler_event(self.other, connection, Report::Open);
    }

    /// What was told since, in order, and which connections are to be closed.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a test looks for two kinds of action"
    )]
    fn told(&mut self) -> Vec<String> {
        let actions = self.links.actions.drain(..);
        let told = actions.filter_map(|action| match action {
            ToSwarm::GenerateEvent(LinkEvent::Up(_, way)) => Some(format!("up {}", way.name())),
            ToSwarm::GenerateEvent(LinkEvent::Down(_)) => Some("down".to_owned()),
            ToSwarm::CloseConnection { connection, .. } => Some(format!("close {connection:?}")),
            _ => None,
        });
        told.collect()
    }
}

#[tokio::test]
async fn a_direct_connection_takes_the_place_of_a_circuit_also_while_another_circuit_waits() {
    let mut pair = Pair::new();
    pair.open(1, CIRCUIT);
    assert_eq!(pair.told(), ["up circuit"]);
    pair.open(2, CIRCUIT);
    assert_eq!(pair.told(), [""; 0], "the second one waits");

    pair.open(3, DIRECT);

    assert_eq!(
        pair.told(),
        ["close One(ConnectionId(2))", "down", "up quic"]
    );
}

#[tokio::test]
async fn a_circuit_does_not_take_the_place_of_a_direct_connection() {
    let mut pair = Pair::new();
    pair.open(1, DIRECT);
    pair.open(2, CIRCUIT);

    assert_eq!(pair.told(), ["up quic"]);
}

const DIRECT: &str = "/ip4/127.0.1.7/udp/4001/quic/noise";
const CIRCUIT: &str = "/ip4/127.0.1.9/udp/4001/quic/noise/p2p-circuit";
