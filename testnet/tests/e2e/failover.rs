//! Relays die, and no window is missing.

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::feed::{Feeds, now_nanos};
use crate::testnet::Testnet;
use crate::wait::until;
use crate::{gate, judge};

#[tokio::test]
async fn no_window_is_missing_after_the_relay_was_killed_five_times_in_a_row() {
    let _turn = gate::alone();
    let arguments = ["--neighbours", "3", "--quiet-sources", "--window", "1s"];
    let testnet = Testnet::start("127.0.12", 12, &arguments).await;
    let feeds = Feeds::start(&testnet);
    let origin = &testnet.node(12).machine_id;
    let mut dead: Vec<String> = Vec::new();
    let mut relay = uploading_relay(&testnet, origin, &dead, 0).await;

    for _ in 0..5 {
        testnet
            .order("kill", &[&testnet.node_of(&relay).name])
            .await;
        let killed = (Instant::now(), now_nanos());
        dead.push(relay);
        relay = uploading_relay(&testnet, origin, &dead, killed.1).await;
        eprintln!(
            "a window that began after the kill arrived {:?} later",
            killed.0.elapsed()
        );
        // The one before comes back, the last one stays away for one more turn.
        while dead.len() > 1 {
            let back = dead.remove(0);
            testnet
                .order("restart", &[&testnet.node_of(&back).name])
                .await;
        }
    }
    testnet
        .order("restart", &[&testnet.node_of(&dead.remove(0)).name])
        .await;

    let fed = feeds.stop().await;
    judge::all_arrive(&fed, Duration::from_secs(1), &testnet.sink()).await;
}

#[tokio::test]
async fn no_window_is_missing_after_a_relay_was_frozen_and_another_one_cut_off() {
    let _turn = gate::alone();
    let arguments = ["--quiet-sources", "--window", "1s"];
    let testnet = Testnet::start("127.0.21", 5, &arguments).await;
    let feeds = Feeds::start(&testnet);
    let origin = &testnet.node(5).machine_id;

    for (fault, end) in [("stop", "continue"), ("partition", "heal")] {
        let relay = uploading_relay(&testnet, origin, &[], 0).await;
        let name = testnet.node_of(&relay).name.as_str();
        testnet.order(fault, &[name]).await;
        uploading_relay(&testnet, origin, std::slice::from_ref(&relay), now_nanos()).await;
        testnet.order(end, &[name]).await;
    }

    let fed = feeds.stop().await;
    judge::all_arrive(&fed, Duration::from_secs(1), &testnet.sink()).await;
}

/// Waits until a relay that is not among the `dead` serves `origin`, and has uploaded a window, of
/// whichever machine, that began after `since`, a time in nanoseconds since the Unix epoch.
async fn uploading_relay(testnet: &Testnet, origin: &str, dead: &[String], since: i64) -> String {
    let lives = |id: &String| !dead.contains(id);
    let asked = testnet
        .nodes()
        .iter()
        .find(|node| lives(&node.machine_id))
        .expect("one lives");
    let client = Client::new(&asked.grpc);
    until("a living relay uploads", TAKE_OVER_TIMEOUT, async || {
        let relay = client.relay_of(origin).await?;
        if !lives(&relay) {
            return Err(format!("{relay} is dead"));
        }
        let records = judge::records(&testnet.sink());
        let has_come = |record: &judge::Record| record.relay == relay && record.start() > since;
        if records.iter().any(has_come) {
            Ok(relay)
        } else {
            Err(format!("{relay} is silent"))
        }
    })
    .await
}

/// Longest time from a relay's death to its successor's first whole window, which lasts a second
/// and begins up to a second later.
const TAKE_OVER_TIMEOUT: Duration = Duration::from_secs(10);
