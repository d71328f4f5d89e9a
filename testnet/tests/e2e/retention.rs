//! A store that may not grow without end.

use std::time::Duration;

use proto::v1::{NewReading, PublishRequest, StoreStatus};
use rustix::process::Signal;

use crate::client::reading;
use crate::gate;
use crate::solo::Solo;
use crate::wait::until;

#[tokio::test]
async fn adversarial_37_killed_while_it_gives_up_old_readings_a_machine_keeps_the_newest() {
    let _turn = gate::beside_others();
    let mut solo = Solo::new("127.0.34.1").await;
    solo.configure("[store]\nsegment_mib = 1\n");
    solo.start().await;
    publish(&solo, 0..BATCHES).await;
    let full = store(&solo).await;
    assert!(
        full.bytes > 6 * MIB,
        "there is something to give up: {full:?}"
    );
    assert_eq!(full.readings, BATCHES * BATCH_READINGS);
    assert_eq!(solo.end(Signal::TERM), 0);

    // With every start a pass begins; it is killed at another moment each time.
    solo.configure("[store]\nsegment_mib = 1\nretention_mib = 4\n");
    for kill in 0..6_u64 {
        solo.start().await;
        tokio::time::sleep(Duration::from_millis(kill * 7)).await;
        solo.end(Signal::KILL);
    }
    solo.start().await;

    until("the store fits", PASS_TIMEOUT, async || {
        let held = store(&solo).await;
        let fits = held.bytes <= 4 * MIB;
        fits.then_some(()).ok_or_else(|| format!("{held:?}"))
    })
    .await;
    let held = store(&solo).await;
    assert!(held.bytes > 2 * MIB, "no more than needed goes: {held:?}");
    let of = async |batch: u64| solo.client().query(&series(batch)).await;
    assert_eq!(of(0).await.expect("answers").len(), 0, "the oldest is gone");
    let newest = of(BATCHES - 1).await.expect("answers");
    assert_eq!(newest.len() as u64, BATCH_READINGS, "the newest is whole");
    publish(&solo, BATCHES..BATCHES + 1).await;
    let published = of(BATCHES).await.expect("answers");
    assert_eq!(published.len() as u64, BATCH_READINGS, "and it goes on");
    assert_eq!(solo.end(Signal::TERM), 0);
}

#[tokio::test]
async fn what_is_old_stays_while_an_uplink_waits_and_goes_once_no_uplink_does() {
    let _turn = gate::beside_others();
    let mut solo = Solo::new("127.0.34.2").await;
    let keep_short = "[store]\nsegment_mib = 1\nretention_age = \"1s\"\n";
    // Nobody listens there.
    let unreachable =
        "[[uplink]]\nid = \"away\"\nurl = \"mqtt://127.0.34.2:9\"\nwindows = [\"1s\"]\n";
    solo.configure(&format!("{keep_short}{unreachable}"));
    solo.start().await;
    publish(&solo, 0..100).await; // Three segments, of which the last is written to.
    assert_eq!(solo.end(Signal::TERM), 0);

    solo.start().await;
    tokio::time::sleep(Duration::from_secs(4)).await; // Two passes could have ended.
    let waiting = store(&solo).await;
    assert_eq!(waiting.readings, 100 * BATCH_READINGS);
    assert_eq!(solo.end(Signal::TERM), 0);
    solo.configure(keep_short);
    solo.start().await;

    until("what is too old is gone", PASS_TIMEOUT, async || {
        let held = store(&solo).await;
        let is_less = held.readings < waiting.readings;
        is_less.then_some(()).ok_or_else(|| format!("{held:?}"))
    })
    .await;
    assert_eq!(solo.end(Signal::TERM), 0);
}

#[tokio::test]
async fn a_store_that_may_hold_less_than_four_segments_is_refused_with_the_least_it_may() {
    let _turn = gate::beside_others();
    let solo = Solo::new("127.0.34.3").await;
    solo.configure("[store]\nsegment_mib = 8\nretention_mib = 31\n");

    let refused = solo.run().await.failed(1);

    assert!(
        refused.contains("retention_mib") && refused.contains("at least 32"),
        "{refused}"
    );
}

async fn store(solo: &Solo) -> StoreStatus {
    let status = solo.client().status().await.expect("answers");
    status.store.expect("a store")
}

fn series(batch: u64) -> String {
    format!("kept/{batch}")
}

/// Publishes batches of numbers that cannot be packed.
async fn publish(solo: &Solo, batches: std::ops::Range<u64>) {
    let client = solo.client();
    for batch in batches {
        let readings = (0..BATCH_READINGS).map(|index| noise(batch, index));
        let request = PublishRequest {
            readings: readings.collect(),
            ..PublishRequest::default()
        };
        client.publish(request).await.expect("durable");
    }
}

fn noise(batch: u64, index: u64) -> NewReading {
    let seed = (batch << 32 | index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let bits = (seed ^ seed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    reading(
        &series(batch),
        None,
        f64::from_bits(bits >> 12 | 1.0_f64.to_bits()),
    )
}

const MIB: u64 = 1 << 20;
/// Readings in a batch, which make one block.
const BATCH_READINGS: u64 = 4_000;
/// How many make more than the store may hold.
const BATCHES: u64 = 260;
/// Longest time until a pass has ended; one begins every minute.
const PASS_TIMEOUT: Duration = Duration::from_secs(75);
