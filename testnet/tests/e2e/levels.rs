//! What `publish` promises at each level, as an operator meets it.

use crate::gate;
use crate::program::{Ended, fieldmesh, run};
use crate::testnet::Testnet;

#[tokio::test]
async fn a_reading_is_acknowledged_at_the_level_that_was_asked_or_the_failure_says_what_to_do() {
    let _turn = gate::beside_others();
    let testnet = Testnet::start("127.0.37", 2, &["--quiet-sources"]).await;

    for level in ["accepted", "durable", "replicated:1"] {
        let said = publish(&testnet, level, "10s").await.done();
        assert!(said.contains("1 acknowledged"), "{level}: {said}");
    }
    let too_few = publish(&testnet, "replicated:2", "2s").await.failed(1);
    let too_many = publish(&testnet, "replicated:60", "2s").await.failed(4);

    assert!(
        too_few.contains("not replicated:2 within 2s") && too_few.contains("fieldmesh peers"),
        "there is one neighbour: {too_few}"
    );
    assert!(
        too_many.contains("60"),
        "more than neighbours are kept: {too_many}"
    );
    let held = testnet.clients()[1].query(SERIES).await.expect("answers");
    assert_eq!(
        held.len(),
        4,
        "what was promised less than asked is there all the same"
    );
}

async fn publish(testnet: &Testnet, level: &str, timeout: &str) -> Ended {
    let arguments = [
        "publish",
        "--series",
        SERIES,
        "21.5",
        "--ack",
        level,
        "--timeout",
        timeout,
        "--grpc",
        &testnet.node(1).grpc,
    ];
    run(&fieldmesh(), &arguments, "").await
}

const SERIES: &str = "levels/one";
