//! Serves gRPC until told to stop.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use proto::v1::admin_server::AdminServer;
use proto::v1::commands_server::CommandsServer;
use proto::v1::mesh_server::MeshServer;
use proto::v1::readings_server::ReadingsServer;
use proto::v1::rules_server::RulesServer;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::admin::AdminService;
use crate::commands::CommandsService;
use crate::mesh::MeshService;
use crate::readings::ReadingsService;
use crate::rules::RulesService;
use crate::{Backend, Listeners, ServeError, incoming};

/// Serves `Readings`, `Mesh`, `Commands`, health and reflection (v1 and v1alpha) until `shutdown`
/// is ready.
///
/// The health of the whole and of each service follows `ready`. On shutdown no more requests are
/// taken, streams end with `UNAVAILABLE`, and clients have two seconds to read what is on its way.
///
/// # Errors
///
/// [`ServeError`] if the server gives up by itself.
pub async fn serve(
    listeners: Listeners,
    backend: Arc<dyn Backend>,
    ready: watch::Receiver<bool>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let stop = CancellationToken::new();
    let reporter = HealthReporter::new();
    let server = server()
        .add_routes(routes(backend, &stop, &reporter)?)
        .serve_with_incoming_shutdown(
            incoming::connections(listeners),
            stop.clone().cancelled_owned(),
        );
    let mut server = pin!(server);
    tokio::select! {
        ended = &mut server => return Ok(ended?),
        () = follow(ready, &reporter) => {}
        () = shutdown => {}
    }
    report(&reporter, false).await;
    stop.cancel();
    // Whoever still does not read after the grace is cut off with the runtime.
    tokio::time::timeout(GRACE, server)
        .await
        .unwrap_or(Ok(()))?;
    Ok(())
}

fn server() -> Server {
    Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(RESETS_MAX))
}

fn routes(
    backend: Arc<dyn Backend>,
    stop: &CancellationToken,
    reporter: &HealthReporter,
) -> Result<Routes, ServeError> {
    let readings = ReadingsService {
        backend: Arc::clone(&backend),
        stop: stop.clone(),
    };
    let commands = CommandsService {
        backend: Arc::clone(&backend),
        stop: stop.clone(),
    };
    let commands = CommandsServer::new(commands).max_decoding_message_size(REQUEST_BYTES_MAX);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let health = tonic_health::server::HealthService::from_health_reporter(reporter.clone());
    let readings = ReadingsServer::new(readings).max_decoding_message_size(REQUEST_BYTES_MAX);
    let admin = AdminService {
        backend: Arc::clone(&backend),
    };
    let admin = AdminServer::new(admin).max_decoding_message_size(REQUEST_BYTES_MAX);
    let rules = RulesService {
        backend: Arc::clone(&backend),
    };
    let rules = RulesServer::new(rules).max_decoding_message_size(REQUEST_BYTES_MAX);
    let mesh =
        MeshServer::new(MeshService { backend }).max_decoding_message_size(REQUEST_BYTES_MAX);
    Ok(Routes::new(readings)
        .add_service(mesh)
        .add_service(admin)
        .add_service(commands)
        .add_service(rules)
        .add_service(tonic_health::pb::health_server::HealthServer::new(health))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?))
}

/// Reports health as `ready` says; returns when nobody can say so any more.
async fn follow(mut ready: watch::Receiver<bool>, reporter: &HealthReporter) {
    loop {
        let now = *ready.borrow_and_update();
        report(reporter, now).await;
        if ready.changed().await.is_err() {
            return;
        }
    }
}

async fn report(reporter: &HealthReporter, ready: bool) {
    let status = match ready {
        true => ServingStatus::Serving,
        false => ServingStatus::NotServing,
    };
    for service in [
        "",
        ReadingsServer::<ReadingsService>::NAME,
        MeshServer::<MeshService>::NAME,
        AdminServer::<AdminService>::NAME,
        CommandsServer::<CommandsService>::NAME,
        RulesServer::<RulesService>::NAME,
    ] {
        reporter.set_service_status(service, status).await;
    }
}

/// Largest request. Unit: bytes. Source: 4,096 readings of 256 bytes; more is another request.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// Most requests of one connection at once. Source: guess.
const STREAMS_PER_CONNECTION_MAX: u32 = 128;

/// What a client may send on one stream before it is read. Unit: bytes. Source: one request.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;

/// What a client may send on all streams before it is read. Unit: bytes. Source: guess.
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// How often a silent client is asked whether it is there. Unit: seconds. Source: guess.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Largest set of headers. Unit: bytes. Source: guess, what nginx takes.
const HEADERS_BYTES_MAX: u32 = 16 * 1024;

/// Most streams that a client may open and reset before the connection is closed. Source: what h2
/// chose against CVE-2023-44487.
const RESETS_MAX: usize = 20;

/// How long clients may read on after a stop. Unit: seconds. Source: guess.
const GRACE: Duration = Duration::from_secs(2);
