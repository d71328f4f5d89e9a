//! What the operator gives to machines that run: newer memberships, a newer network key.

use std::fs;
use std::time::Duration;

use crate::admission::{audited, network};
use crate::gate;
use crate::testnet::Testnet;
use crate::wait::until;

/// The epochs of the network keys in a machine's own file, the current one first.
fn epochs(testnet: &Testnet, number: usize) -> Vec<String> {
    let file = testnet.dir().join(format!("machine-{number}/network.key"));
    let text = fs::read_to_string(file).expect("a key file");
    let epoch_of = |line: &str| line.rsplit(' ').next().map(str::to_owned);
    text.lines().filter_map(epoch_of).collect()
}

async fn until_it_has(testnet: &Testnet, number: usize, wanted: &[&str]) {
    let what = format!("machine-{number} has the network keys {wanted:?}");
    until(&what, Duration::from_secs(10), async || {
        let epochs = epochs(testnet, number);
        match epochs == wanted {
            true => Ok(()),
            false => Err(format!("{epochs:?}")),
        }
    })
    .await;
}

/// Waits until a machine has one neighbour or more, or none.
async fn until_linked(testnet: &Testnet, number: usize) {
    let what = format!("machine-{number} has a neighbour");
    until(&what, Duration::from_secs(20), async || {
        let client = &testnet.clients()[number - 1];
        let neighbours = client.neighbours().await;
        match neighbours.map_err(|status| status.to_string())?.len() {
            0 => Err("alone".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
}

#[tokio::test]
async fn a_newer_network_key_reaches_members_also_those_that_were_away_and_nobody_else() {
    let _turn = gate::alone();
    let testnet = Testnet::start("127.0.45", 5, &["--quiet-sources"]).await;
    let grpc = testnet.node(1).grpc.clone();
    testnet.order("kill", &["machine-4"]).await;
    let outcast = testnet.node(5).machine_id.clone();
    network(&testnet, &["revoke", &outcast, "--grpc", &grpc]).await;

    let rotated = network(&testnet, &["rotate-key", "--grpc", &grpc]).await;

    assert!(rotated.contains("\"machines\":4"), "{rotated}");
    for number in 1..=3 {
        until_it_has(&testnet, number, &["2", "1"]).await;
        let machine = &testnet.node(number).machine_id;
        assert_eq!(audited(&testnet, number, "network-key", machine).await, 1);
    }
    // A link of the new key alone: both ends hold it, and begin anew.
    testnet.order("restart", &["machine-2", "machine-3"]).await;
    until_linked(&testnet, 2).await;
    until_linked(&testnet, 3).await;
    // Whoever was away finds its way back with the key before, and is given the newer one.
    assert_eq!(epochs(&testnet, 4), ["1"]);
    testnet.order("restart", &["machine-4"]).await;
    until_linked(&testnet, 4).await;
    until_it_has(&testnet, 4, &["2", "1"]).await;
    assert_eq!(epochs(&testnet, 5), ["1"], "it was thrown out before");
}

#[tokio::test]
async fn a_renewed_membership_is_in_use_at_once_and_after_a_restart() {
    let _turn = gate::alone();
    let testnet = Testnet::start("127.0.46", 3, &["--quiet-sources"]).await;
    let grpc = testnet.node(1).grpc.clone();
    let end_of = async |number: usize| {
        let status = testnet.clients()[number - 1].status().await;
        let membership = status.expect("it answers").membership;
        membership
            .and_then(|it| it.not_after)
            .expect("an end")
            .seconds
    };
    let (before, others) = (end_of(2).await, end_of(3).await);

    let renew = ["renew", "machine-2", "--valid", "400d", "--grpc", &grpc];
    network(&testnet, &renew).await;

    let after = until(
        "machine-2 has it",
        Duration::from_secs(5),
        async || match end_of(2).await {
            end if end > before => Ok(end),
            end => Err(format!("still {end}")),
        },
    )
    .await;
    assert!(after - before > 30 * 24 * 3_600, "{before} {after}");
    assert_eq!(end_of(3).await, others, "the control");
    until_linked(&testnet, 2).await;
    testnet.order("restart", &["machine-2"]).await;
    assert_eq!(end_of(2).await, after);
    until_linked(&testnet, 2).await;
}
