//! How machines find each other without mDNS: by the bootstrap list, and by whom they have met.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::gate;
use crate::program::{self, Running};
use crate::solo::Solo;
use crate::wait::until;

/// A second machine of the first one's network, with mDNS off and this bootstrap list.
async fn second(first: &Solo, bootstrap: &str) -> Running {
    let home = first.path("second");
    let init = ["init", "--dir", &home, "--output", "json"];
    let machine = program::ask(&init).await.done();
    let machine: serde_json::Value = serde_json::from_str(&machine).expect("JSON");
    let machine = machine["machine_id"].as_str().expect("its id");
    let (operator, membership) = (first.path("operator"), first.path("second/membership"));
    if !Path::new(&membership).exists() {
        let names = ["--name", "press-2", "--site", "hall-3"];
        let files = ["--dir", &operator, "--out", &membership];
        let admit = [&["network", "admit", machine], &names[..], &files].concat();
        program::ask(&admit).await.done();
    }
    let config = first.path("second/fieldmesh.toml");
    let text = format!(
        "[node]\ndata_dir = \"data\"\n\
         [network]\nnetwork_key_file = \"{operator}/network.key\"\n\
         operator_file = \"{operator}/operator.pub\"\nbootstrap = [{bootstrap}]\n\
         [listen]\nquic = [\"{SECOND}:4001\"]\ntcp = [\"{SECOND}:4001\"]\nmdns = false\n\
         [api]\ngrpc = \"{SECOND}:50051\"\nmetrics = \"\"\n"
    );
    std::fs::write(&config, text).expect("a configuration");
    let mut command = Command::new(program::fieldmesh());
    command.args(["run", "--config", &config]);
    Running::start(&mut command, Path::new(&first.path("second/log")))
}

/// Waits until the first machine has a neighbour.
async fn meets(first: &Solo, limit: Duration) -> bool {
    let met = until("they are neighbours", limit, async || {
        let neighbours = first.client().neighbours().await;
        match neighbours.map_err(|status| status.to_string())?.len() {
            0 => Err("nobody".to_owned()),
            _ => Ok(()),
        }
    });
    tokio::time::timeout(limit / 2, met).await.is_ok()
}

#[tokio::test]
async fn without_mdns_the_bootstrap_list_links_machines_and_after_that_their_address_books() {
    let _turn = gate::beside_others();
    let mut first = Solo::new(FIRST).await;
    first.start().await;

    let node = second(&first, "").await;
    assert!(!meets(&first, 2 * QUIET).await, "there is another way");
    stop(node);
    let bootstrap = format!("\"/ip4/{FIRST}/udp/4001/quic/noise\"");
    let node = second(&first, &bootstrap).await;
    assert!(meets(&first, 2 * PATIENCE).await, "not by the list");
    tokio::time::sleep(QUIET).await; // The address books reach the disk.
    stop(node);
    assert_eq!(first.end(Signal::TERM), 0);

    first.start().await;
    let node = second(&first, "").await;
    assert!(meets(&first, 2 * PATIENCE).await, "not by the address book");
    stop(node);
}

fn stop(mut node: Running) {
    node.signal(Signal::TERM);
    assert_eq!(node.wait(), 0);
}

const FIRST: &str = "127.0.44.1";
const SECOND: &str = "127.0.44.2";
/// Longest time until machines that can find each other have. Source: guess.
const PATIENCE: Duration = Duration::from_secs(30);
/// In which they would have. Source: guess.
const QUIET: Duration = Duration::from_secs(3);
