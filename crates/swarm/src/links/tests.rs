//! Which connection is the link, decided without a network. The timers of connections need a
//! runtime.

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

    /// A connection says something.
    fn report(&mut self, number: usize, report: Report) {
        let connection = ConnectionId::new_unchecked(number);
        let links = &mut self.links;
        links.on_connection_handler_event(self.other, connection, report);
    }

    /// What was told since, in order, and which connections are to be dialled or closed.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a test looks for some kinds of action"
    )]
    fn told(&mut self) -> Vec<String> {
        let actions = self.links.actions.drain(..);
        let told = actions.filter_map(|action| match action {
            ToSwarm::GenerateEvent(LinkEvent::Up(_, way)) => Some(format!("up {}", way.name())),
            ToSwarm::GenerateEvent(LinkEvent::Moved(_, way)) => {
                Some(format!("moved {}", way.name()))
            }
            ToSwarm::GenerateEvent(LinkEvent::Down(_)) => Some("down".to_owned()),
            ToSwarm::Dial { .. } => Some("dial".to_owned()),
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

#[tokio::test(start_paused = true)]
async fn a_link_moves_when_it_is_old_and_goes_down_only_if_its_rest_is_lost() {
    let answer = || Report::RoundTrip(Duration::from_millis(1));
    for (has_yielded, lost) in [(true, &[][..]), (false, &["down", "up quic"])] {
        let mut pair = Pair::new();
        pair.open(1, DIRECT);
        tokio::time::advance(Duration::from_secs(24 * 3_600)).await;
        pair.open(2, DIRECT);
        assert_eq!(pair.told(), ["up quic"], "the link has to answer first");

        pair.report(1, answer());
        assert_eq!(pair.told(), ["moved quic"]);
        if has_yielded {
            pair.report(1, Report::Yielded);
        }
        pair.report(1, Report::Finished);

        assert_eq!(
            pair.told(),
            [lost, &["close One(ConnectionId(1))"]].concat()
        );
        pair.open(3, DIRECT);
        pair.report(2, answer());
        assert_eq!(
            pair.told(),
            ["close One(ConnectionId(3))"],
            "the link is young"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_has_dialled_an_old_link_dials_again_and_the_other_side_does_not() {
    let address: Multiaddr = "/ip4/127.0.1.8/udp/4001/quic/noise".parse().expect("one");
    for (is_dialler, told) in [(true, &["up quic", "dial"][..]), (false, &["up quic"])] {
        let mut pair = Pair::new();
        let (connection, other) = (ConnectionId::new_unchecked(1), pair.other);
        if is_dialler {
            let made = pair.links.handle_established_outbound_connection(
                connection,
                other,
                &address,
                Endpoint::Dialer,
                PortUse::Reuse,
            );
            made.expect("there is room");
            pair.report(1, Report::Open);
        } else {
            pair.open(1, DIRECT);
        }
        tokio::time::advance(Duration::from_secs(24 * 3_600)).await;

        pair.report(1, Report::RoundTrip(Duration::from_millis(1)));
        pair.report(1, Report::RoundTrip(Duration::from_millis(1)));

        assert_eq!(pair.told(), told);
    }
}

const DIRECT: &str = "/ip4/127.0.1.7/udp/4001/quic/noise";
const CIRCUIT: &str = "/ip4/127.0.1.9/udp/4001/quic/noise/p2p-circuit";
