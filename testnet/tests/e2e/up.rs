//! The program `testnet` itself.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ::testnet::description::{Description, NodeDescription};
use rustix::process::Signal;

use crate::client::Client;
use crate::program::{self, Running};
use crate::testnet::Testnet;
use crate::wait::until;
use crate::{gate, judge};

#[tokio::test]
async fn a_testnet_says_what_runs_where_ends_when_its_time_is_up_and_leaves_nothing_behind() {
    let _turn = gate::alone();
    let mut child = tokio::process::Command::new(program::testnet())
        .args(["up", "--nodes", "5", "--for", "15s", "--subnet", "127.0.16"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut stdout = tokio::io::BufReader::new(child.stdout.take().expect("it is piped"));
    let mut line = String::new();
    let read = tokio::io::AsyncBufReadExt::read_line(&mut stdout, &mut line);
    tokio::time::timeout(START_TIMEOUT, read)
        .await
        .expect("in time")
        .expect("it is read");
    let ready = Instant::now();
    let description: Description = serde_json::from_str(&line).expect("testnet.json in one line");

    assert_eq!(description.nodes.len(), 5);
    let written = Description::read(&description.dir).expect("testnet.json");
    assert_eq!(
        serde_json::to_value(&written).ok(),
        serde_json::from_str(&line).ok()
    );
    for (number, node) in (1..).zip(&description.nodes) {
        assert_eq!(node.name, format!("machine-{number}"));
        assert_eq!(node.grpc, format!("127.0.16.{number}:{}", 50_100 + number));
        let status = Client::new(&node.grpc).status().await.expect("it answers");
        assert_eq!(
            (status.machine_id, status.machines),
            (node.machine_id.clone(), 5)
        );
        assert_eq!(transports(node).await, ["quic"]);
    }
    let output = tokio::time::timeout(Duration::from_secs(40), child.wait()).await;
    assert!(output.expect("in time").expect("it ends").success());
    assert!(
        ready.elapsed() >= Duration::from_secs(14),
        "it ended after {:?}",
        ready.elapsed()
    );
    let mut rest = String::new();
    let _ = tokio::io::AsyncReadExt::read_to_string(&mut stdout, &mut rest).await;
    assert_eq!(rest, "", "one line is all");
    assert!(
        !description.dir.exists(),
        "{} stays behind",
        description.dir.display()
    );
    assert!(
        description
            .nodes
            .iter()
            .all(|node| !program::exists(node.pid)),
        "one still runs"
    );
}

/// What the links of a machine are made of, without repetition.
async fn transports(node: &NodeDescription) -> Vec<String> {
    let topology = Client::new(&node.grpc)
        .topology()
        .await
        .expect("it answers");
    let own = topology
        .links
        .iter()
        .filter(|link| link.from == node.machine_id);
    let transports: BTreeSet<_> = own.map(|link| link.transport.clone()).collect();
    transports.into_iter().collect()
}

#[tokio::test]
async fn two_testnets_run_side_by_side_with_turbines_and_an_uplink_until_they_are_interrupted() {
    let _turn = gate::alone();
    let mut one = Testnet::start("127.0.17", 4, &[]).await;
    let mut other = Testnet::start("127.0.18", 2, &[]).await;

    for (testnet, machines) in [(&one, 4), (&other, 2)] {
        let status = testnet.clients()[0].status().await.expect("it answers");
        assert_eq!(status.machines, machines);
        for turbine in ["machine-1", "machine-2"] {
            let client = testnet.clients().pop().expect("it has machines");
            until(
                "turbines are heard everywhere",
                WINDOW_TIMEOUT,
                async || {
                    let pattern = format!("{turbine}:turbine/*");
                    let latest = client
                        .latest(&pattern)
                        .await
                        .map_err(|status| status.to_string())?;
                    if latest.len() == 7 {
                        Ok(())
                    } else {
                        Err(format!("{} series", latest.len()))
                    }
                },
            )
            .await;
        }
        until(
            "windows of the turbines are uploaded",
            WINDOW_TIMEOUT,
            async || {
                let ids = [1, 2].map(|number| testnet.node(number).machine_id.as_str());
                let uploaded = judge::records(&testnet.sink());
                let uploaded: BTreeSet<_> = uploaded
                    .iter()
                    .filter(|record| record.series == "turbine/active_power")
                    .map(|record| record.machine_id.as_str())
                    .collect();
                if uploaded == ids.into() {
                    Ok(())
                } else {
                    Err(format!("{uploaded:?}"))
                }
            },
        )
        .await;
    }
    let host = one.clients()[0]
        .latest("machine-3:host/**")
        .await
        .expect("it answers");
    assert!(!host.is_empty(), "the others publish the host's metrics");

    let processes: Vec<u32> = [&one, &other]
        .map(Testnet::nodes)
        .concat()
        .iter()
        .map(|n| n.pid)
        .collect();
    assert_eq!([one.interrupt(), other.interrupt()], [0, 0]);
    assert!(
        !processes.iter().any(|pid| program::exists(*pid)),
        "one still runs"
    );
}

#[tokio::test]
async fn machines_are_killed_frozen_cut_off_and_brought_back_by_command() {
    let _turn = gate::alone();
    let testnet = Testnet::start("127.0.19", 3, &["--quiet-sources"]).await;
    let name = "machine-3";
    let (pid, client) = (testnet.pid(name), Client::new(&testnet.node(3).grpc));
    let watcher = Client::new(&testnet.node(1).grpc);
    let id = &testnet.node(3).machine_id;
    let sees = async |expected: bool| {
        until(
            &format!("machine-1 has machine-3 as neighbour: {expected}"),
            SEE_TIMEOUT,
            async || {
                let neighbours = watcher
                    .neighbours()
                    .await
                    .map_err(|status| status.to_string())?;
                let sees = neighbours.contains(id);
                if sees == expected {
                    Ok(())
                } else {
                    Err(format!("{neighbours:?}"))
                }
            },
        )
        .await;
    };

    testnet.order("kill", &[name]).await;
    assert!(!program::exists(pid) && testnet.pid(name) == 0);
    sees(false).await;
    testnet.order("restart", &[name]).await;
    assert!(program::exists(testnet.pid(name)));
    sees(true).await;

    testnet.order("stop", &[name]).await;
    let answer = tokio::time::timeout(FROZEN_FOR, client.status()).await;
    assert!(answer.is_err(), "a frozen machine answers");
    testnet.order("continue", &[name]).await;
    client.status().await.expect("it goes on");

    testnet.order("partition", &[name]).await;
    sees(false).await;
    client.status().await.expect("it is cut off, not dead");
    testnet.order("heal", &[]).await;
    sees(true).await;

    let dir = testnet.dir().display().to_string();
    let unknown = ["kill", "--dir", &dir, "machine-9"];
    let unknown = program::run(program::testnet(), &unknown, "")
        .await
        .failed(1);
    assert!(unknown.contains("machine-9"), "{unknown}");
}

#[tokio::test]
async fn machines_end_with_their_testnet_also_if_that_is_killed() {
    let _turn = gate::alone();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(program::testnet());
    command.args([
        "--subnet",
        "127.0.20",
        "--nodes",
        "2",
        "--quiet-sources",
        "--dir",
    ]);
    command.arg(dir.path());
    let mut program = Running::start(&mut command, &dir.path().join("testnet.log"));
    let description = until("it is ready", START_TIMEOUT, async || {
        Description::read(dir.path()).map_err(|error| error.to_string())
    })
    .await;

    program.signal(Signal::KILL);
    program.wait();

    until("its machines end", END_TIMEOUT, async || {
        let left = description
            .nodes
            .iter()
            .filter(|node| program::exists(node.pid))
            .count();
        if left == 0 {
            Ok(())
        } else {
            Err(format!("{left} are left"))
        }
    })
    .await;
}

/// Longest time until a testnet is ready. Source: guess.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time until a machine notices that another came or went.
const SEE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a frozen machine must stay silent.
const FROZEN_FOR: Duration = Duration::from_secs(1);
/// Longest time until a window of ten seconds has ended and is uploaded.
const WINDOW_TIMEOUT: Duration = Duration::from_secs(25);
/// Longest time until a machine has ended in order.
const END_TIMEOUT: Duration = Duration::from_secs(15);
