//! Machines that have a network namespace each.

use std::process::Command;
use std::time::Duration;

use crate::testnet::Testnet;
use crate::wait::until;
use crate::{gate, program};

/// Runs `ip`, which must do what it is told, and returns what it says.
fn ip(arguments: &[&str]) -> String {
    let output = Command::new("ip").args(arguments).output().expect("ip");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments:?}: {complaint}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn publish(testnet: &Testnet, number: usize, value: &str) {
    let grpc = &testnet.node(number).grpc;
    let arguments = ["publish", "--series", "water", value, "--grpc", grpc];
    program::ask(&arguments).await.done();
}

/// Waits until a machine says that the newest value is this.
async fn shows(testnet: &Testnet, number: usize, value: &str) {
    let grpc = &testnet.node(number).grpc;
    let arguments = ["latest", "water", "--grpc", grpc, "--output", "json"];
    until("the reading arrives", PATIENCE, async || {
        let said = program::ask(&arguments).await.done();
        let wanted = format!("\"value\":{value}");
        said.contains(&wanted).then_some(()).ok_or(said)
    })
    .await;
}

#[tokio::test]
async fn machines_with_namespaces_of_their_own_are_a_mesh_whose_cables_can_be_pulled() {
    let _turn = gate::beside_others();
    let interfaces = ip(&["-o", "link"]);
    let mut testnet = Testnet::start_on(&["--netns"], 3, &["--quiet-sources"]).await;
    let namespace = |number: usize| {
        let netns = testnet.node(number).netns.clone();
        netns.expect("it has a namespace")
    };
    let (first, third) = (namespace(1), namespace(3));

    publish(&testnet, 1, "1.5").await;
    shows(&testnet, 3, "1.5").await;
    assert_eq!(
        ip(&["-o", "link"]),
        interfaces,
        "this computer has no part in it"
    );

    ip(&["-n", &third, "link", "set", "lan", "down"]);
    publish(&testnet, 1, "2.5").await;
    shows(&testnet, 2, "2.5").await;
    shows(&testnet, 3, "1.5").await;
    ip(&["-n", &third, "link", "set", "lan", "up"]);
    shows(&testnet, 3, "2.5").await;

    assert!(ip(&["netns", "list"]).contains(&first));
    assert_eq!(testnet.interrupt(), 0);
    assert!(!ip(&["netns", "list"]).contains(&first));
}

/// How long a reading may take, also after a cable is back.
const PATIENCE: Duration = Duration::from_secs(20);
