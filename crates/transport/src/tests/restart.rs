//! A machine that restarts, and what its peers and those who listened learn of it.

use std::time::Duration;

use futures::AsyncWriteExt as _;
use futures::future::poll_fn;
use libp2p::core::muxing::StreamMuxerExt as _;

use super::node::*;
use super::wire::{Stranger, Way, Wire};

#[tokio::test]
async fn a_peer_learns_at_once_that_a_machine_has_restarted_when_that_dials_it() {
    let (mut peer, mut machine) = (Node::new(1), Node::new(2));
    let (of_peer, of_machine) = (peer.listen().await, machine.listen().await);
    let (mut old, _) = connect(&mut peer, &mut machine, of_machine).await;

    let mut machine = machine.crash_and_restart(config(2), of_machine).await;
    let _new = connect(&mut machine, &mut peer, of_peer).await;
    let mut stream = soon(poll_fn(|cx| old.poll_outbound_unpin(cx)))
        .await
        .expect("a stream");
    stream
        .write_all(b"are you there?")
        .await
        .expect("it is taken");

    let ended = soon(poll_fn(|cx| old.poll_inbound_unpin(cx))).await;
    assert_eq!(ended.err(), Some(quinn::ConnectionError::Reset));
}

#[tokio::test]
async fn who_recorded_datagrams_does_not_learn_whether_the_machine_has_restarted() {
    let (mut peer, mut machine) = (Node::new(1), Node::new(2));
    let at = machine.listen().await;
    let wire = Wire::to(at).await;
    let (mut old, mut other) = connect(&mut peer, &mut machine, wire.at).await;
    assert_eq!(ask(&mut old, &mut other, b"more").await, b"more");
    drop(other);
    let later = Clock::at(NOW + 1);
    let restarted = machine.crash_and_restart(config_by(2, &later), at);
    let mut machine = restarted.await;
    let (mut member, stranger) = (Node::with(config_by(3, &later)), Stranger::new().await);

    let recorded = wire.passed(Way::There);
    assert!(
        recorded
            .iter()
            .filter(|datagram| datagram[0] & 0x80 == 0)
            .count()
            > 3
    );
    for datagram in &recorded {
        stranger.send(at, datagram).await;
    }
    let _kept = connect(&mut member, &mut machine, at).await;

    assert_eq!(
        stranger.heard(Duration::from_millis(300)).await,
        Vec::<Vec<u8>>::new()
    );
}
