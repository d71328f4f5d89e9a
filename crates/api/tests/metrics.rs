//! Metrics, liveness and readiness, as a scraper and a supervisor see them.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[tokio::test]
async fn each_path_has_its_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let (ready, readiness) = watch::channel(false);
    let render = Arc::new(|| "fieldmesh_neighbours 3\n".to_owned());
    let serving = api::serve_metrics(listener, render, readiness, std::future::pending());
    let asking = async {
        assert_answer(address, "GET /metrics", "200", "fieldmesh_neighbours 3").await;
        assert_answer(address, "GET /healthz", "200", "ok").await;
        assert_answer(address, "GET /readyz", "503", "not ready").await;
        ready.send_replace(true);
        assert_answer(address, "GET /readyz", "200", "ready").await;
        assert_answer(address, "GET /", "404", "/metrics").await;
        assert_answer(address, "POST /metrics", "405", "GET").await;
    };

    tokio::select! {
        () = serving => panic!("never told to stop"),
        () = asking => {}
    }
}

#[tokio::test]
async fn serving_ends_when_told_to_although_a_client_is_connected() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let (_ready, readiness) = watch::channel(true);
    let render = Arc::new(String::new);
    let connected = TcpStream::connect(address);

    let serving = api::serve_metrics(listener, render, readiness, async {
        connected.await.map(drop).expect("connected");
    });

    serving.await;
}

async fn assert_answer(address: std::net::SocketAddr, line: &str, code: &str, text: &str) {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let request = format!("{line} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");

    assert!(
        answer.starts_with(&format!("HTTP/1.1 {code} ")),
        "{line}: {answer}"
    );
    assert!(answer.contains(text), "{line}: {answer}");
}
