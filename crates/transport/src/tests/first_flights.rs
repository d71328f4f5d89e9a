//! First flights that are not to be answered, or not all of them: `adversarial.md`, by its numbers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use handshake::{KeyRing, ReplayGuard};
use identity::{NetworkKey, NetworkKeyEpoch};

use super::node::*;
use super::wire::{Stranger, Way, Wire};
use crate::Config;
use crate::gate::HALF_OPEN_MAX;

/// Keys of one epoch, or of two.
fn epochs(current: u32, previous: Option<u32>) -> KeyRing {
    let key = NetworkKey::from_bytes(&[NETWORK_KEY; 32]);
    let keys = |epoch| key.link(&network(), NetworkKeyEpoch(epoch));
    KeyRing::new(keys(current), previous.map(keys))
}

#[tokio::test]
async fn adversarial_06_a_first_flight_under_an_old_network_key_gets_no_answer() {
    for (server, is_answered) in [
        (epochs(2, None), false),
        (epochs(2, Some(1)), true),
        (epochs(1, None), true),
    ] {
        let mut to_config = config(2);
        to_config.ring = server;
        let mut from_config = config(1);
        from_config.ring = epochs(1, None);
        let (mut from, mut to) = (Node::with(from_config), Node::with(to_config));
        let at = to.listen().await;
        let wire = Wire::to(at).await;

        let dialling = from.dial(wire.at, Some(to.machine));
        let connected = soon(async {
            tokio::select! {
                failed = dialling => failed.is_ok(),
                _ = to.accept() => true,
            }
        })
        .await;

        assert_eq!(connected, is_answered);
        assert_eq!(wire.bytes(Way::Back) > 0, is_answered);
    }
}

/// What somebody on the way has recorded of a member's dial.
async fn recorded(machine: &mut Node, at: SocketAddr) -> Vec<u8> {
    let wire = Wire::to(at).await;
    let _kept = connect(&mut Node::new(1), machine, wire.at).await;
    wire.passed(Way::There)[0].clone()
}

/// What a machine answers when a stranger repeats it, while a member gets through.
async fn answers(
    machine: &mut Node,
    at: SocketAddr,
    recorded: &[u8],
    member: Config,
) -> Vec<Vec<u8>> {
    let stranger = Stranger::new().await;
    for _ in 0..3 {
        stranger.send(at, recorded).await;
        let poll = tokio::time::timeout(Duration::from_millis(50), machine.incoming());
        assert!(poll.await.is_err(), "a handshake has begun");
    }
    let _kept = connect(&mut Node::with(member), machine, at).await;
    stranger.heard(Duration::from_millis(300)).await
}

const NOTHING: &[Vec<u8>] = &[];

#[tokio::test]
async fn adversarial_07_a_recorded_first_flight_gets_no_answer_from_elsewhere() {
    let mut machine = Node::new(2);
    let at = machine.listen().await;
    let recorded = recorded(&mut machine, at).await;

    assert_eq!(
        answers(&mut machine, at, &recorded, config(3)).await,
        NOTHING
    );
}

#[tokio::test]
async fn adversarial_07_a_recorded_first_flight_gets_no_answer_after_a_restart() {
    for is_seen_kept in [true, false] {
        let clock = Clock::at(NOW);
        let mut machine = Node::with(config_by(2, &clock));
        let at = machine.listen().await;
        let recorded = recorded(&mut machine, at).await;
        let seen = machine.handle.seen();
        // Without what was seen, the time at which the process started keeps it out.
        clock.set(if is_seen_kept { NOW } else { NOW + 1 });
        let mut config = config_by(2, &clock);
        if is_seen_kept {
            config.seen = ReplayGuard::from_bytes(&seen).expect("just written");
        }
        let mut machine = machine.crash_and_restart(config, at).await;

        let member = config_by(3, &clock);
        assert_eq!(answers(&mut machine, at, &recorded, member).await, NOTHING);
    }
}

#[tokio::test]
async fn adversarial_07_a_recorded_first_flight_gets_no_answer_after_a_clock_was_set() {
    for hours in [-24, -1, 1, 24] {
        let clock = Clock::at(NOW);
        let mut machine = Node::with(config_by(2, &clock));
        let at = machine.listen().await;
        let recorded = recorded(&mut machine, at).await;

        clock.set(NOW + hours * 3_600);
        let stranger = Stranger::new().await;
        stranger.send(at, &recorded).await;
        let handshake = tokio::time::timeout(Duration::from_millis(100), machine.incoming());
        assert!(handshake.await.is_err(), "a handshake has begun");
        assert_eq!(stranger.heard(Duration::from_millis(300)).await, NOTHING);

        clock.set(NOW);
        let _kept = connect(&mut Node::new(3), &mut machine, at).await;
    }
}

#[tokio::test]
async fn a_machine_without_a_clock_lets_a_repetition_show_its_address_and_members_in() {
    let mut machine = Node::new(2);
    let at = machine.listen().await;
    let recorded = recorded(&mut machine, at).await;
    let mut without_clock = config(2);
    without_clock.wall_clock = std::sync::Arc::new(|| None);
    let mut machine = machine.crash_and_restart(without_clock, at).await;

    let answers = answers(&mut machine, at, &recorded, config(3)).await;

    // A Retry each, and nothing else: the one exception to silence.
    assert_eq!(answers.len(), 3);
    assert!(
        answers
            .iter()
            .all(|answer| answer[0] & 0xb0 == 0xb0 && answer.len() < 200)
    );
}

#[tokio::test]
async fn a_member_without_a_clock_is_let_in_after_it_has_shown_its_address() {
    let mut from_config = config(1);
    from_config.wall_clock = std::sync::Arc::new(|| None);
    let (mut from, mut to) = (Node::with(from_config), Node::new(2));
    let at = to.listen().await;
    let wire = Wire::to(at).await;

    let _kept = connect(&mut from, &mut to, wire.at).await;

    assert_eq!(wire.passed(Way::Back)[0][0] & 0xb0, 0xb0, "no Retry");
}

#[tokio::test]
async fn adversarial_08_a_flood_of_first_flights_is_bounded_and_links_go_on() {
    let (mut member, mut machine) = (Node::new(1), Node::new(2));
    let at = machine.listen().await;
    let (mut link, mut other) = connect(&mut member, &mut machine, at).await;
    // Thieves of the network key, from several addresses, who never finish a handshake.
    let mut thieves = Vec::new();
    for host in 3..=8 {
        let mut thief = Node::new(host);
        thief
            .listen_at(SocketAddr::from(([127, 0, 0, host], 0)))
            .await;
        thief.deafen();
        thieves.push(thief);
    }

    let dials: Vec<_> = thieves
        .iter_mut()
        .flat_map(|thief| (0..200).map(|_| thief.dial(at, None)).collect::<Vec<_>>())
        .collect();
    let count = dials.len();
    let mut half_open = Vec::new();
    let accepting = async {
        loop {
            half_open.push(machine.incoming().await);
        }
    };
    let asking = async {
        let (mut slowest, until) = (Duration::ZERO, now() + Duration::from_secs(2));
        while now() < until {
            let asked = now();
            assert_eq!(
                ask(&mut link, &mut other, b"still there?").await,
                b"still there?"
            );
            slowest = slowest.max(now() - asked);
        }
        slowest
    };
    let slowest = tokio::select! {
        _ = futures::future::join_all(dials) => panic!("they do not give up so soon"),
        () = accepting => panic!("it never ends"),
        slowest = asking => slowest,
    };

    assert_eq!(count, 1_200);
    assert!(
        half_open.len() <= HALF_OPEN_MAX,
        "{} are under way",
        half_open.len()
    );
    assert!(
        half_open.len() > HALF_OPEN_MAX / 2,
        "{} are under way",
        half_open.len()
    );
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
}

#[expect(clippy::disallowed_methods, reason = "a test of time that passes")]
fn now() -> Instant {
    Instant::now()
}
