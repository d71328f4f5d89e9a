//! A node stops in order, or not, and goes on.

use proto::v1::{PublishRequest, Reading};
use rustix::process::Signal;

use crate::client::{number, reading};
use crate::gate;
use crate::solo::Solo;

#[tokio::test]
async fn a_node_stops_on_sigterm_with_success_and_goes_on_in_the_same_epoch() {
    let _turn = gate::beside_others();
    let mut solo = Solo::new("127.0.31.1").await;
    solo.start().await;
    publish(&solo, 1.0).await;

    assert_eq!(solo.end(Signal::TERM), 0);
    solo.start().await;
    publish(&solo, 2.0).await;

    let held = held(&solo).await;
    assert_eq!(
        held.iter().map(number).collect::<Vec<_>>(),
        [Some(1.0), Some(2.0)]
    );
    assert_eq!(held[0].log_epoch, held[1].log_epoch);
    assert_eq!([held[0].sequence, held[1].sequence], [1, 2]);
}

#[tokio::test]
async fn a_node_that_was_killed_keeps_what_is_durable_and_goes_on_in_another_epoch() {
    let _turn = gate::beside_others();
    let mut solo = Solo::new("127.0.31.2").await;
    solo.start().await;
    publish(&solo, 1.0).await;

    assert_eq!(solo.end(Signal::KILL), -Signal::KILL.as_raw());
    solo.start().await;
    publish(&solo, 2.0).await;

    let held = held(&solo).await;
    assert_eq!(
        held.iter().map(number).collect::<Vec<_>>(),
        [Some(1.0), Some(2.0)]
    );
    assert_ne!(held[0].log_epoch, held[1].log_epoch);
}

async fn publish(solo: &Solo, value: f64) {
    let batch = PublishRequest {
        readings: vec![reading("press/oil", None, value)],
        ..PublishRequest::default()
    };
    solo.client()
        .publish(batch)
        .await
        .expect("it is acknowledged");
}

async fn held(solo: &Solo) -> Vec<Reading> {
    solo.client().query("press/oil").await.expect("it answers")
}
