//! Who belongs to the network: thrown out, taken in, and what outlives restarts.

use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::gate;
use crate::program;
use crate::testnet::Testnet;
use crate::wait::until;

/// Asks the program `fieldmesh` something about the network of a testnet.
pub(crate) async fn network(testnet: &Testnet, arguments: &[&str]) -> String {
    let dir = testnet.dir().join("operator");
    let dir = dir.to_string_lossy().into_owned();
    let arguments = [
        &["network"],
        arguments,
        &["--dir", &dir, "--output", "json"],
    ]
    .concat();
    program::ask(&arguments).await.done()
}

/// What a node says of a machine in its list of members.
async fn member(testnet: &Testnet, node: usize, name: &str) -> Json {
    let grpc = &testnet.node(node).grpc;
    let listed = program::ask(&["network", "members", "--grpc", grpc, "--output", "json"]).await;
    let members = listed.done();
    let members = members
        .lines()
        .map(|line| serde_json::from_str::<Json>(line).expect("JSON"));
    let found = members.filter(|member| member["name"] == name);
    let mut found: Vec<Json> = found.collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// How many audit records of a type a node has about a machine.
pub(crate) async fn audited(testnet: &Testnet, node: usize, kind: &str, machine: &str) -> usize {
    let grpc = &testnet.node(node).grpc;
    let records = program::ask(&["audit", "--grpc", grpc, "--output", "json"]).await;
    let records = records.done();
    let records = records
        .lines()
        .map(|line| serde_json::from_str::<Json>(line).expect("JSON"));
    let fits = |record: &Json| record["type"] == kind && record["id"] == machine;
    records.filter(fits).count()
}

#[tokio::test]
async fn adversarial_32_a_revoked_machine_loses_all_sessions_within_a_second_and_stays_out() {
    let _turn = gate::alone();
    let testnet = Testnet::start("127.0.41", 5, &["--quiet-sources"]).await;
    let outcast = testnet.node(5).machine_id.clone();
    let (grpc, clients) = (testnet.node(1).grpc.clone(), testnet.clients());
    let neighbours = clients[4].neighbours().await.expect("it answers");
    assert!(!neighbours.is_empty(), "the control: it has neighbours");

    let pushed = Instant::now();
    network(
        &testnet,
        &["revoke", &outcast, "--reason", "stolen", "--grpc", &grpc],
    )
    .await;
    let closed = until(
        "every session is closed",
        Duration::from_secs(1),
        async || {
            let left = clients[4]
                .neighbours()
                .await
                .map_err(|status| status.to_string())?;
            match left.is_empty() {
                true => Ok(pushed.elapsed()),
                false => Err(format!("it still has {left:?}")),
            }
        },
    );
    eprintln!(
        "all sessions closed {:?} after the command began",
        closed.await
    );
    for (number, client) in (1..5).zip(&clients) {
        until("everyone knows", Duration::from_secs(1), async || {
            let neighbours = client
                .neighbours()
                .await
                .map_err(|status| status.to_string())?;
            match neighbours.contains(&outcast) {
                false => Ok(()),
                true => Err(format!("machine-{number} keeps it")),
            }
        })
        .await;
        assert_eq!(member(&testnet, number, "machine-5").await["revoked"], true);
        assert_eq!(
            member(&testnet, number, "machine-4").await["revoked"],
            false
        );
        assert_eq!(client.status().await.expect("it answers").machines, 4);
        assert_eq!(audited(&testnet, number, "revoked", &outcast).await, 1);
    }

    // Nothing that starts again forgets it, neither the others nor the outcast itself.
    testnet.order("restart", &["machine-2", "machine-5"]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let clients = testnet.clients();
    until("machine-2 is back", Duration::from_secs(10), async || {
        let neighbours = clients[1]
            .neighbours()
            .await
            .map_err(|status| status.to_string())?;
        match neighbours.len() {
            0 => Err("alone".to_owned()),
            _ if neighbours.contains(&outcast) => Err("linked to the outcast".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    let left = clients[4].neighbours().await.expect("it answers");
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(member(&testnet, 2, "machine-5").await["revoked"], true);
}
