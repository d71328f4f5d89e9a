//! A disk that forgets: what it damages comes back from a neighbour.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use proto::v1::PublishRequest;
use rustix::process::Signal;

use crate::client::{Client, reading};
use crate::gate;
use crate::solo::Solo;
use crate::testnet::Testnet;
use crate::wait::until;

#[tokio::test]
async fn adversarial_39_bits_that_flip_are_repaired_from_a_neighbour_while_the_machine_runs() {
    let _turn = gate::beside_others();
    let testnet = Testnet::start("127.0.35", 2, &["--quiet-sources"]).await;
    let clients = testnet.clients();
    for batch in 0..BATCHES {
        publish(&clients[0], batch).await;
    }
    for client in &clients {
        all_are_held(client, "before any damage").await;
    }

    // Its own blocks on the one machine; on the other, other ones, and nobody asks for them.
    flip_a_bit(segment(&testnet, 1), 4);
    let damaged = held(&clients[0]).await.expect("answers");
    assert!(damaged < READINGS, "the control: there was damage");
    all_are_held(&clients[0], "once a neighbour was asked").await;
    flip_a_bit(segment(&testnet, 2), 8);
    testnet.order("kill", &["machine-2"]).await;
    testnet.order("restart", &["machine-2"]).await;
    all_are_held(&clients[1], "after a start that found the damage").await;

    let log = fs::read_to_string(&testnet.node(1).log).expect("a log");
    assert!(log.contains("a stored block is damaged"), "it is said");
    assert!(
        log.contains("a damaged block is stored again"),
        "and that it is over"
    );
}

#[tokio::test]
async fn adversarial_39_a_machine_whose_index_does_not_open_says_so_and_has_everything() {
    let _turn = gate::beside_others();
    let mut solo = Solo::new("127.0.38.1").await;
    solo.configure("");
    solo.start().await;
    publish(&solo.client(), 0).await;
    assert_eq!(solo.end(Signal::TERM), 0);
    let index = PathBuf::from(solo.path("data/index"));
    let mut damaged = 0;
    for entry in fs::read_dir(&index).expect("an index") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            fs::write(&path, b"no database").expect("written");
            damaged += 1;
        }
    }
    assert!(damaged > 0, "there was something to damage");

    solo.start().await;

    let held = solo.client().query(SERIES).await.expect("answers");
    assert_eq!(held.len(), READINGS / BATCHES_COUNT);
    assert!(index.with_extension("broken-1").is_dir(), "it is set aside");
    let log = fs::read_to_string(solo.path("log")).expect("a log");
    assert!(
        log.contains("the index did not open; it was set aside"),
        "{log}"
    );
    assert_eq!(solo.end(Signal::TERM), 0);
}

/// Where a machine's first segment lies.
fn segment(testnet: &Testnet, number: usize) -> PathBuf {
    let config = &testnet.node(number).config;
    config.with_file_name("data").join("segments/00000001.seg")
}

fn flip_a_bit(path: PathBuf, tenths: u64) {
    use std::os::unix::fs::FileExt as _;
    let file = fs::File::options().read(true).write(true).open(path);
    let file = file.expect("a segment");
    let length = file.metadata().expect("its length").len();
    let offset = length / 10 * tenths;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("read");
    byte[0] ^= 0x10;
    file.write_all_at(&byte, offset).expect("written");
}

async fn publish(client: &Client, batch: u32) {
    let readings = (0..BATCH_READINGS).map(|index| {
        let noise = (u64::from(batch) << 32 | u64::from(index)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        reading(
            SERIES,
            None,
            f64::from_bits(noise >> 12 | 1.0_f64.to_bits()),
        )
    });
    let request = PublishRequest {
        readings: readings.collect(),
        ..PublishRequest::default()
    };
    client.publish(request).await.expect("durable");
}

async fn held(client: &Client) -> Result<usize, String> {
    let found = client.query(SERIES).await;
    found
        .map(|found| found.len())
        .map_err(|status| status.to_string())
}

async fn all_are_held(client: &Client, when: &str) {
    until(
        &format!("every reading is held, {when}"),
        REPAIR_TIMEOUT,
        async || {
            let count = held(client).await?;
            (count == READINGS)
                .then_some(())
                .ok_or_else(|| format!("{count} of {READINGS}"))
        },
    )
    .await;
}

const SERIES: &str = "damage/noise";
const BATCHES: u32 = 20;
const BATCH_READINGS: u32 = 2_000;
const READINGS: usize = 40_000;
const BATCHES_COUNT: usize = 20;
/// Longest time until a neighbour has given back what was lost.
const REPAIR_TIMEOUT: Duration = Duration::from_secs(20);
