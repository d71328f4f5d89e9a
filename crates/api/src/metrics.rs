//! `/metrics`, `/healthz` and `/readyz` over plain HTTP/1.1.
//!
//! Liveness (`/healthz`: the process answers) and readiness (`/readyz`: it does what it is
//! configured for) are different answers; the state of an uplink is neither, but a metric.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Answers until `shutdown` is ready; `render` writes the metrics in the Prometheus text format.
pub async fn serve_metrics(
    listener: TcpListener,
    render: Arc<dyn Fn() -> String + Send + Sync>,
    ready: watch::Receiver<bool>,
    shutdown: impl Future<Output = ()>,
) {
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let room = connections.len() < CONNECTIONS_MAX;
        tokio::select! {
            () = &mut shutdown => return, // Drops what is open.
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if room => match accepted {
                Ok((io, _)) => {
                    connections.spawn(connection(io, Arc::clone(&render), ready.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a metrics connection, trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

async fn connection(
    io: TcpStream,
    render: Arc<dyn Fn() -> String + Send + Sync>,
    ready: watch::Receiver<bool>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = answer(&request, &*render, *ready.borrow());
        async { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_MAX)
        .max_buf_size(HEADERS_BYTES_MAX)
        .serve_connection(TokioIo::new(io), service)
        .await;
    if let Err(error) = served {
        tracing::trace!(%error, "a metrics connection broke");
    }
}

fn answer<B>(
    request: &Request<B>,
    render: &(dyn Fn() -> String + Send + Sync),
    ready: bool,
) -> Response<Full<Bytes>> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => (StatusCode::OK, render()),
        (&Method::GET | &Method::HEAD, "/healthz") => (StatusCode::OK, "ok\n".to_owned()),
        (&Method::GET | &Method::HEAD, "/readyz") if ready => {
            (StatusCode::OK, "ready\n".to_owned())
        }
        (&Method::GET | &Method::HEAD, "/readyz") => {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned())
        }
        (&Method::GET | &Method::HEAD, _) => (
            StatusCode::NOT_FOUND,
            "there are /metrics, /healthz and /readyz\n".to_owned(),
        ),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "use GET\n".to_owned()),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(TEXT_FORMAT));
    response
}

/// The Prometheus text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Most connections at once; others wait. Source: guess, far above scrapers and probes of a node.
const CONNECTIONS_MAX: usize = 16;

/// How long a client may take to ask, also for the next time. Unit: seconds. Source: guess.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// Largest request head. Unit: bytes. Source: the least that hyper takes.
const HEADERS_BYTES_MAX: usize = 8 * 1024;

/// How long to wait after a failed accept. Unit: milliseconds. Source: guess.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
