//! A machine that is killed while its segments roll and its windows go out.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use proto::v1::PublishRequest;
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::{Client, number, reading};
use crate::feed::{self, Feeds};
use crate::solo::Solo;
use crate::{gate, judge};

#[tokio::test]
async fn adversarial_37_killed_while_segments_roll_and_windows_upload_it_loses_nothing() {
    let _turn = gate::beside_others();
    let mut solo = Solo::new("127.0.36.1").await;
    let sink = solo.path("sink");
    solo.configure(&format!(
        "[store]\nsegment_mib = 1\n\
         [[uplink]]\nid = \"files\"\nurl = \"file:{sink}\"\nwindows = [\"1s\"]\n\
         patterns = [\"press/**\"]\n"
    ));
    solo.start().await;
    let machine_id = solo.client().status().await.expect("answers").machine_id;
    let feeds = Feeds::start_at([(machine_id, solo.client())]);
    let (stop, stopped) = watch::channel(false);
    let mut flood = JoinSet::new();
    flood.spawn(publish(solo.client(), stopped));

    for kill in 1..=KILLS {
        // Not always at the same moment of a segment or a window.
        tokio::time::sleep(Duration::from_millis(700 + kill * 137 % 400)).await;
        assert_eq!(solo.end(Signal::KILL), -9);
        solo.start().await;
    }
    let fed = feeds.stop().await;
    stop.send_replace(true);
    let acknowledged = flood.join_all().await.concat();

    let held = solo.client().query(feed::PATTERN).await.expect("answers");
    assert_eq!(feed::compare(&fed, &held), Ok(()));
    let held = solo.client().query(FLOOD).await.expect("answers");
    let mut held_once = BTreeSet::new();
    for reading in &held {
        let value = number(reading).expect("a number");
        assert!(held_once.insert(value.to_bits()), "{value} is held twice");
    }
    let lost = acknowledged.iter().filter(|bits| !held_once.contains(bits));
    assert_eq!(lost.count(), 0, "of {} acknowledged", acknowledged.len());
    let segments = std::fs::read_dir(solo.path("data/segments")).expect("listed");
    assert!(segments.count() > 3, "segments rolled");
    judge::all_arrive(&fed, Duration::from_secs(1), Path::new(&sink)).await;
}

/// Publishes numbers that cannot be packed, each once; returns the bits of those acknowledged.
async fn publish(client: Client, stopped: watch::Receiver<bool>) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    for batch in 0_u64.. {
        if *stopped.borrow() {
            break;
        }
        let values = (0..BATCH_READINGS).map(|index| noise(batch * BATCH_READINGS + index));
        let values: Vec<f64> = values.collect();
        let readings = values.iter().map(|value| reading(FLOOD, None, *value));
        let request = PublishRequest {
            readings: readings.collect(),
            ..PublishRequest::default()
        };
        if client.publish(request).await.is_ok() {
            acknowledged.extend(values.iter().map(|value| value.to_bits()));
        }
        tokio::time::sleep(PAUSE).await;
    }
    acknowledged
}

/// Another number for each `n`, since every step can be undone, that cannot be packed.
fn noise(n: u64) -> f64 {
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) & MANTISSA;
    let mixed = (mixed ^ mixed >> 25).wrapping_mul(0xbf58_476d_1ce4_e5b9) & MANTISSA;
    f64::from_bits((mixed ^ mixed >> 27) | 1.0_f64.to_bits())
}

/// The bits of a double below its exponent.
const MANTISSA: u64 = (1 << 52) - 1;
const FLOOD: &str = "flood/noise";
const KILLS: u64 = 12;
const BATCH_READINGS: u64 = 4_000;
/// Between two batches of 28 KB: as fast as they are acknowledged, so that segments roll.
const PAUSE: Duration = Duration::from_millis(15);
