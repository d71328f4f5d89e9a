//! A network in two halves, and whole again.

use std::time::{Duration, Instant};

use ::testnet::description::NodeDescription;
use futures::future::join_all;

use crate::client::Client;
use crate::feed::{self, Feeds, now_nanos};
use crate::testnet::Testnet;
use crate::wait::until;
use crate::{gate, judge};

#[tokio::test]
async fn two_halves_upload_for_a_minute_and_are_whole_five_seconds_after_healing() {
    let _turn = gate::alone();
    let arguments = ["--neighbours", "3", "--quiet-sources", "--window", "5s"];
    let testnet = Testnet::start("127.0.13", 12, &arguments).await;
    let feeds = Feeds::start(&testnet);
    let names: Vec<&str> = testnet
        .nodes()
        .iter()
        .map(|node| node.name.as_str())
        .collect();

    testnet.order("partition", &names[..6]).await;
    let (cut, cut_at) = (Instant::now(), now_nanos());
    for half in [0..6, 6..12] {
        let half: Vec<&String> = testnet.nodes()[half]
            .iter()
            .map(|node| &node.machine_id)
            .collect();
        until(
            "a relay of each half uploads what it alone can know",
            PARTITION,
            async || {
                let records = judge::records(&testnet.sink());
                let is_ours = |record: &judge::Record| {
                    record.start() > cut_at
                        && half.contains(&&record.relay)
                        && half.contains(&&record.machine_id)
                };
                records
                    .iter()
                    .find(|record| is_ours(record))
                    .map(|_| ())
                    .ok_or("none".to_owned())
            },
        )
        .await;
    }
    tokio::time::sleep(PARTITION.saturating_sub(cut.elapsed())).await;
    let fed = feeds.stop().await;

    let healed = Instant::now();
    testnet.order("heal", &[]).await;
    let clients = testnet.clients();
    let ask = async |(client, node): (&Client, &NodeDescription)| {
        let what = format!("{} answers with the readings of both halves", node.name);
        until(&what, WHOLE.saturating_sub(healed.elapsed()), async || {
            let held = client.query(feed::PATTERN).await;
            feed::compare(&fed, &held.map_err(|status| status.to_string())?)
        })
        .await;
    };
    join_all(clients.iter().zip(testnet.nodes()).map(ask)).await;
    eprintln!(
        "every machine was whole {:?} after healing",
        healed.elapsed()
    );
    judge::all_arrive(&fed, Duration::from_secs(5), &testnet.sink()).await;
}

/// Source: "done" of the main job.
const PARTITION: Duration = Duration::from_secs(60);
/// Source: "done" of the main job.
const WHOLE: Duration = Duration::from_secs(5);
