//! A reading reaches every machine, over several hops, also when its publisher dies at once.

use std::time::Duration;

use futures::future::join_all;
use proto::v1::PublishRequest;
use rustix::process::Signal;

use crate::client::{Client, number, reading};
use crate::testnet::Testnet;
use crate::wait::until;
use crate::{gate, program};

#[tokio::test]
async fn a_reading_is_answered_by_all_twelve_machines_within_a_second_also_if_its_publisher_dies() {
    let _turn = gate::alone();
    let testnet = Testnet::start("127.0.11", 12, &["--neighbours", "3", "--quiet-sources"]).await;
    most_pairs_are_no_neighbours(&testnet).await;

    for (number, value) in [(1, "21.5"), (7, "-3.25"), (12, "1e9")] {
        let grpc = &testnet.node(number).grpc;
        let publish = [
            "publish", "--series", SERIES, "--unit", "Cel", value, "--grpc", grpc,
        ];
        let said = program::ask(&publish).await.done();
        let value = value.parse().expect("a number");
        is_answered(&testnet, number, value, (1..=12).collect(), SECOND).await;
        assert!(said.starts_with('1'), "one is acknowledged: {said}");
    }

    for (number, value) in [(3, 1.0), (5, 2.0), (10, 3.0)] {
        let name = format!("machine-{number}");
        let pid = testnet.pid(&name);
        let batch = PublishRequest {
            readings: vec![reading(SERIES, None, value)],
            ..PublishRequest::default()
        };
        let client = Client::new(&testnet.node(number).grpc);
        client.publish(batch).await.expect("it is acknowledged");
        program::signal_process(pid, Signal::KILL);
        let others = (1..=12).filter(|other| *other != number).collect();
        is_answered(&testnet, number, value, others, SECOND).await;

        testnet.order("restart", &[&name]).await;
        is_answered(&testnet, number, value, vec![number], RESTART_TIMEOUT).await;
    }
}

/// With three places for neighbours, and one more while a machine looks for a place, at most 24 of
/// 66 pairs are neighbours, so that all others are two hops or more apart.
async fn most_pairs_are_no_neighbours(testnet: &Testnet) {
    let clients = testnet.clients();
    until(
        "every machine has few neighbours",
        SETTLE_TIMEOUT,
        async || {
            let mut ends = 0;
            for client in &clients {
                let neighbours = client.neighbours().await;
                let count = neighbours.map_err(|status| status.to_string())?.len();
                if !(1..=4).contains(&count) {
                    return Err(format!("{count} neighbours"));
                }
                ends += count;
            }
            let pairs = clients.len() * (clients.len() - 1) / 2;
            if ends < pairs {
                Ok(())
            } else {
                Err(format!("{ends} ends of links among {pairs} pairs"))
            }
        },
    )
    .await;
}

/// Asks the machines at the same time until each gives the value as machine `origin`'s latest and
/// in its history.
async fn is_answered(
    testnet: &Testnet,
    origin: usize,
    value: f64,
    machines: Vec<usize>,
    limit: Duration,
) {
    let pattern = format!("machine-{origin}:{SERIES}");
    let ask = async |machine: usize| {
        let client = Client::new(&testnet.node(machine).grpc);
        let what = format!("machine-{machine} answers {value} of machine-{origin}");
        until(&what, limit, async || {
            let latest = client
                .latest(&pattern)
                .await
                .map_err(|status| status.to_string())?;
            let all = client
                .query(&pattern)
                .await
                .map_err(|status| status.to_string())?;
            let is_latest = latest.iter().any(|reading| number(reading) == Some(value));
            let is_held = all.iter().any(|reading| number(reading) == Some(value));
            if is_latest && is_held {
                Ok(())
            } else {
                Err(format!("it has {latest:?}"))
            }
        })
        .await;
    };
    join_all(machines.into_iter().map(ask)).await;
}

const SERIES: &str = "press/oil/temperature";
/// Source: "done" of the main job.
const SECOND: Duration = Duration::from_secs(1);
/// Longest time until the overlay has settled. Source: guess.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest time until a machine that was started again answers from its disk. Source: guess.
const RESTART_TIMEOUT: Duration = Duration::from_secs(5);
