//! Every method and every error code, through a real client over loopback.

mod admin;
mod asking;
mod commands;
mod hostile;
mod publishing;
mod support;

use std::time::Duration;

use api::{ListenError, Listeners};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use proto::v1 as pb;
use support::{Memory, Running, series};
use tonic::Code;

#[tokio::test]
async fn series_are_listed_all_or_by_pattern() {
    let node = Running::start().await;
    node.memory.hold(series("a", 1));
    node.memory.hold(series("b", 1));

    let names = async |pattern: &str| {
        let request = pb::ListSeriesRequest {
            pattern: pattern.to_owned(),
        };
        let answer = node.readings().list_series(request).await?;
        let parts: Vec<_> = answer.into_inner().try_collect().await?;
        let series = parts.into_iter().flat_map(|part| part.series);
        Ok::<_, tonic::Status>(series.map(|s| s.series).collect::<Vec<_>>())
    };

    assert_eq!(names("").await.expect("all"), ["a", "b"]);
    assert_eq!(names("b").await.expect("one"), ["b"]);
    assert_eq!(names("c").await.expect("none"), Vec::<String>::new());
    assert_eq!(
        names("a*").await.expect_err("wrong").code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn the_mesh_answers_what_the_node_says() {
    let node = Running::start().await;
    let mut mesh = node.mesh();

    let status = mesh.get_status(pb::GetStatusRequest {}).await;
    let topology = mesh.get_topology(pb::GetTopologyRequest {}).await;
    let relays = mesh.list_relays(pb::ListRelaysRequest {}).await;

    assert_eq!(status.expect("answered").into_inner().name, "machine-1");
    assert_eq!(topology.expect("answered").into_inner().links.len(), 1);
    assert_eq!(
        relays.expect("answered").into_inner().relays[0].uplink,
        "cloud"
    );
}

#[tokio::test]
async fn health_follows_readiness_for_the_whole_and_each_service() {
    use tonic_health::pb::health_check_response::ServingStatus;
    let node = Running::start().await;

    for ready in [true, false, true] {
        node.ready.send_replace(ready);
        for service in ["", "fieldmesh.v1.Readings", "fieldmesh.v1.Mesh"] {
            let expected = match ready {
                true => ServingStatus::Serving,
                false => ServingStatus::NotServing,
            };
            node.health_becomes(service, expected).await;
        }
    }
}

#[tokio::test]
async fn reflection_names_every_service_in_both_versions() {
    let node = Running::start().await;
    let expected = [
        "fieldmesh.v1.Mesh",
        "fieldmesh.v1.Readings",
        "grpc.health.v1.Health",
    ];

    let v1 = node.reflected_v1().await;
    let v1alpha = node.reflected_v1alpha().await;

    for service in expected {
        assert!(v1.iter().any(|name| name == service), "{v1:?}");
        assert!(v1alpha.iter().any(|name| name == service), "{v1alpha:?}");
    }
}

#[tokio::test]
async fn a_stop_ends_open_streams_and_the_server() {
    let mut node = Running::start().await;
    let watching = pb::WatchRequest {
        pattern: "**".to_owned(),
        since: None,
    };
    let mut watched = node
        .readings()
        .watch(watching)
        .await
        .expect("watching")
        .into_inner();
    let forever = stream::pending::<pb::PublishRequest>();
    let mut published = node
        .readings()
        .publish(forever)
        .await
        .expect("publishing")
        .into_inner();

    let stopped = node.stop();
    let ends = tokio::join!(watched.next(), published.next());

    for end in [ends.0.map(|r| r.map(drop)), ends.1.map(|r| r.map(drop))] {
        let status = end.expect("an end").expect_err("a reason");
        assert_eq!(status.code(), Code::Unavailable);
    }
    tokio::time::timeout(Duration::from_secs(10), stopped)
        .await
        .expect("the server ends")
        .expect("in order");
}

#[tokio::test]
async fn the_unix_socket_answers_and_only_its_owner_may_use_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("grpc.sock");

    let listeners = Listeners::bind(&[], Some(&path)).await.expect("bound");
    let node = Running::serve(listeners, Memory::new());
    let endpoint = format!("unix:{}", path.display());
    let channel = tonic::transport::Endpoint::from_shared(endpoint)
        .expect("an address")
        .connect()
        .await
        .expect("connected");
    let mut mesh = pb::mesh_client::MeshClient::new(channel);
    let status = mesh.get_status(pb::GetStatusRequest {}).await;

    assert_eq!(status.expect("answered").into_inner().name, "machine-1");
    let mode = std::fs::metadata(&path)
        .expect("a socket")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(node);
}

#[tokio::test]
async fn an_address_that_cannot_be_had_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let listening = Listeners::bind(&["127.0.0.1:0".parse().expect("an address")], None)
        .await
        .expect("bound");
    let taken = listening.addresses()[0];
    let running = dir.path().join("running.sock");
    let _running = Listeners::bind(&[], Some(&running)).await.expect("bound");
    let file = dir.path().join("file");
    std::fs::write(&file, "kept").expect("written");
    let nowhere = dir.path().join("nowhere/grpc.sock");
    let bind = async |tcp: &[std::net::SocketAddr], unix: Option<&std::path::Path>| {
        Listeners::bind(tcp, unix).await.expect_err("refused")
    };

    let refused = bind(&[taken], None).await;
    assert!(matches!(refused, ListenError::Taken(address) if address == taken));
    assert!(refused.to_string().contains(&taken.to_string()));
    let open = "0.0.0.0:0".parse().expect("an address");
    assert!(matches!(
        bind(&[open], None).await,
        ListenError::NotLoopback(_)
    ));
    assert!(matches!(
        bind(&[], Some(&running)).await,
        ListenError::SocketTaken(_)
    ));
    assert!(matches!(
        bind(&[], Some(&file)).await,
        ListenError::NoSocket(_)
    ));
    assert!(matches!(
        bind(&[], Some(&nowhere)).await,
        ListenError::Path { .. }
    ));
    assert_eq!(std::fs::read_to_string(&file).expect("a file"), "kept");
}

#[tokio::test]
async fn a_socket_that_a_dead_node_left_behind_is_taken_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("grpc.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
    assert!(path.exists(), "a dead socket stays");

    let listeners = Listeners::bind(&[], Some(&path)).await;

    assert!(listeners.is_ok());
    drop(listeners);
    assert!(!path.exists(), "a stop in order removes it");
}
