//! What a member with a QUIC of its own may do: `adversarial.md`, by its numbers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::MachineId;
use quinn::{TransportConfig, VarInt};

use super::node::*;
use super::wire::{Way, Wire};
use crate::endpoint::{CONNECTION_WINDOW_BYTES, STREAMS_MAX, Settings};
use crate::member::{Credentials, Member};

/// Connects a member that sends as much as it is let to, on as many streams as it is let to open.
async fn greedy(to: MachineId, at: SocketAddr) -> quinn::Connection {
    let config = config(1);
    let credentials = Credentials {
        local: Arc::clone(&config.local),
        ring: config.ring.clone(),
    };
    let (judge, clock) = (Arc::clone(&config.judge), Arc::clone(&config.wall_clock));
    let member = Member::new(credentials, judge, clock, config.seen.clone());
    let settings = Settings::new(&config, Arc::new(member));
    let endpoint = settings.dial_only(true).expect("a socket");
    let (mut dial, _) = settings.dial(Some(to), Arc::clone(config.ring.current()));
    let mut transport = TransportConfig::default();
    transport.send_window(u64::from(u32::MAX));
    transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
    dial.transport_config(Arc::new(transport));
    let connecting = endpoint.connect_with(dial, at, "fieldmesh");
    connecting.expect("a dial").await.expect("a member")
}

/// How many streams it opens, and how many bytes are taken of it, before it has to wait.
async fn fill(connection: &quinn::Connection) -> (u32, usize) {
    let (mut streams, mut bytes) = (Vec::new(), 0);
    while let Ok(opened) = tokio::time::timeout(QUIET, connection.open_bi()).await {
        streams.push(opened.expect("it stands").0);
    }
    let count = u32::try_from(streams.len()).expect("few");
    let piece = [7; 16 * 1024];
    let mut full = 0;
    while full < streams.len() {
        full = 0;
        for stream in &mut streams {
            match tokio::time::timeout(QUIET, stream.write(&piece)).await {
                Ok(written) => bytes += written.expect("it stands"),
                Err(_) => full += 1,
            }
        }
    }
    (count, bytes)
}

#[tokio::test]
async fn adversarial_33_streams_with_gaps_held_open_cost_their_windows_and_no_more() {
    let mut machine = Node::new(2);
    let at = machine.listen().await;
    let mut number = 0_u32;
    let wire = Wire::with(at, move |way, datagram| {
        let is_large = way == Way::There && datagram[0] & 0x80 == 0 && datagram.len() > 1_000;
        number += u32::from(is_large);
        // What is sent again may be lost again: there are gaps all the time.
        let is_lost = is_large && number.is_multiple_of(3);
        (!is_lost).then(|| datagram.to_vec()).into_iter().collect()
    })
    .await;
    let dialling = greedy(machine.machine, wire.at);
    let (insider, _reads_nothing) = soon(async { tokio::join!(dialling, machine.accept()) }).await;

    let (streams, bytes) = fill(&insider).await;

    assert_eq!(streams, STREAMS_MAX);
    let window = usize::try_from(CONNECTION_WINDOW_BYTES).expect("small");
    assert_eq!(bytes, window);
    let mut member = Node::new(3);
    let (mut dialler, mut listener) = connect(&mut member, &mut machine, at).await;
    let more = vec![7; 2 * window];
    assert_eq!(ask(&mut dialler, &mut listener, &more).await, more);
}

/// After how long nothing more is taken. Source: guess, some round trips on loopback.
const QUIET: Duration = Duration::from_millis(30);

#[tokio::test]
async fn adversarial_28_many_machines_behind_one_address_are_all_let_in() {
    let mut site = Node::new(0);
    let at = site.listen().await;

    let mut held = Vec::new();
    for seed in 1..=MACHINES {
        let mut machine = Node::new(seed);
        held.push((connect(&mut machine, &mut site, at).await, machine));
    }

    // Each was asked something when it had come; they still are all there.
    for ((dialler, listener), _) in &mut held {
        assert_eq!(ask(listener, dialler, b"still there").await, b"still there");
    }
}

/// Machines behind one address. Source: guess, more than a cell of a plant has.
const MACHINES: u8 = 48;
