//! Runs of real nodes, recorded by themselves and replayed in the simulator.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sim::Replayed;

use crate::feed::Feeds;
use crate::gate;
use crate::testnet::Testnet;

#[tokio::test]
async fn runs_of_real_nodes_are_the_same_again_in_the_simulator_also_of_one_that_was_killed() {
    let _turn = gate::beside_others();
    let arguments = ["--quiet-sources", "--window", "1s", "--record"];
    let mut testnet = Testnet::start("127.0.71", 3, &arguments).await;
    let feeds = Feeds::start(&testnet);
    tokio::time::sleep(LIFE).await;

    testnet.order("kill", &["machine-1"]).await;
    testnet.order("restart", &["machine-1"]).await;
    tokio::time::sleep(LIFE).await;
    let fed = feeds.stop().await;
    assert_eq!(testnet.interrupt(), 0);

    let killed = replay(&recording(&testnet, "recording.before", 1));
    assert!(
        killed.summary.steps - killed.summary.checked <= 1,
        "{killed}"
    );
    for machine in 1..=3 {
        let ended = replay(&recording(&testnet, "recording", machine));
        assert_eq!(ended.summary.checked, ended.summary.steps, "{ended}");
        assert_eq!(ended.summary.cut, 0, "{ended}");
        assert_eq!(
            ended.machine.to_string(),
            testnet.node(machine).machine_id,
            "whose run it was"
        );
    }
    assert!(!fed.is_empty(), "readings were published");
}

fn recording(testnet: &Testnet, name: &str, machine: usize) -> PathBuf {
    let home = testnet.dir().join(&testnet.node(machine).name);
    home.join(name)
}

/// The outcome of a replay of which much was whole.
fn replay(path: &Path) -> Replayed {
    let file = File::open(path).expect("a recording");
    let replayed = sim::replay(BufReader::new(file));
    let replayed = replayed.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    eprintln!("{}: {replayed}", path.display());
    assert!(replayed.summary.steps > STEPS_MIN, "{replayed}");
    assert!(
        u128::from(replayed.summary.last.as_nanos()) >= LIFE.as_nanos(),
        "{replayed}"
    );
    replayed
}

/// How long machines run at least before what happens to them.
const LIFE: Duration = Duration::from_secs(4);
/// Fewer steps show nothing. Source: guess, a quarter of what there are.
const STEPS_MIN: u64 = 100;
