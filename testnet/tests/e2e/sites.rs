//! Two sites in one network: each holds its own readings, and one machine those of both.

use std::time::Duration;

use crate::client::{Client, number};
use crate::program;
use crate::testnet::Testnet;
use crate::wait::until;

#[tokio::test]
async fn a_site_holds_its_own_readings_and_who_subscribes_those_of_the_other_too() {
    let testnet = Testnet::start("127.0.66", 6, &["--sites", "2", "--quiet-sources"]).await;
    let clients = testnet.clients();

    for (machine, value) in [(2, "21.5"), (3, "-4")] {
        let grpc = &testnet.node(machine).grpc;
        let publish = ["publish", "--series", SERIES, value, "--grpc", grpc];
        program::ask(&publish).await.done();
    }

    for (machine, values) in [
        (1, &[-4.0, 21.5][..]),
        (3, &[-4.0]),
        (5, &[-4.0]),
        (2, &[21.5]),
        (4, &[21.5]),
        (6, &[21.5]),
    ] {
        let client = &clients[machine - 1];
        holds(client, machine, values).await;
    }
    for machine in [3, 4, 5, 6] {
        let status = clients[machine - 1].status().await.expect("it answers");
        assert_eq!(status.machines, 3, "machine-{machine} knows its own site");
    }
    let of_other = testnet.node(2);
    let relay = until("machine-2 has a relay", PATIENCE, async || {
        clients[3].relay_of(&of_other.machine_id).await
    });
    let relay = relay.await;
    let near = [2, 4, 6].map(|n| testnet.node(n).machine_id.clone());
    assert!(near.contains(&relay), "{relay} is of the other site");
    let elsewhere = clients[0].relay_of(&of_other.machine_id).await;
    assert!(elsewhere.is_err(), "another site serves it: {elsewhere:?}");
}

#[tokio::test]
async fn a_command_crosses_sites_by_the_machines_id_and_a_name_of_another_site_is_not_known() {
    let testnet = Testnet::start("127.0.67", 4, &["--sites", "2", "--quiet-sources"]).await;
    let send = async |from: usize, to: &str| {
        let grpc = &testnet.node(from).grpc;
        program::ask(&["send", "--grpc", grpc, to, "ping"]).await
    };

    let subscriber = send(1, "machine-2").await;
    let stranger = send(3, "machine-4").await;
    let letter = [
        "send",
        "--grpc",
        &testnet.node(3).grpc,
        &testnet.node(4).machine_id,
        "ping",
        "--when-reachable",
        "--deadline",
        "60s",
    ];
    let letter = program::ask(&letter).await;

    subscriber.done();
    let refused = stranger.failed(4);
    assert!(refused.contains("no machine named machine-4"), "{refused}");
    letter.done();
}

async fn holds(client: &Client, machine: usize, values: &[f64]) {
    let what = format!("machine-{machine} holds {values:?}");
    until(&what, PATIENCE, async || {
        let held = client
            .query(SERIES)
            .await
            .map_err(|error| error.to_string())?;
        let mut held = held.iter().filter_map(number).collect::<Vec<_>>();
        held.sort_by(f64::total_cmp);
        (held == values).then_some(()).ok_or(format!("{held:?}"))
    })
    .await;
}

const SERIES: &str = "press/temperature";
/// How long a site may take to find the other one.
const PATIENCE: Duration = Duration::from_secs(60);
