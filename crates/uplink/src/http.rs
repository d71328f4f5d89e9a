//! HTTP/1.1 to one server over one kept connection, with or without TLS.
//!
//! # Not here
//!
//! Redirects, proxies, cookies, several requests at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::{Host, SinkError};

/// A connection to a server, made again when it is needed.
#[derive(Debug)]
pub(crate) struct Http {
    host: Host,
    tls: Option<Arc<ClientConfig>>,
    sender: SendRequest<Full<Bytes>>,
    /// Reads and writes; ends with the connection.
    driver: JoinSet<()>,
    /// Connections that were made again, or tried, and that nobody has asked for yet.
    reconnects: u64,
}

/// What a server says.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// The beginning of the body.
    pub(crate) text: String,
}

impl Http {
    /// Connects.
    ///
    /// # Errors
    ///
    /// [`SinkError`] if there is no way to the server, or TLS fails.
    pub(crate) async fn connect(
        host: Host,
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<Self, SinkError> {
        let (sender, driver) = connect(&host, tls.as_ref()).await?;
        Ok(Self {
            host,
            tls,
            sender,
            driver,
            reconnects: 0,
        })
    }

    /// How often it has connected again since this was asked last.
    pub(crate) fn take_reconnects(&mut self) -> u64 {
        std::mem::take(&mut self.reconnects)
    }

    /// Sends a request and waits for the answer. A connection that the server has closed while it
    /// was idle is made again first.
    ///
    /// # Errors
    ///
    /// [`SinkError`] if there is no answer in time: nothing is known of the request.
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, SinkError> {
        if self.sender.ready().await.is_err() {
            self.reconnect().await?;
        }
        let sender = &mut self.sender;
        let answered = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            // A body that is too long is cut off; what matters stands at its beginning.
            let body = Limited::new(response.into_body(), BODY_BYTES_MAX)
                .collect()
                .await;
            let bytes = body.map(|body| body.to_bytes()).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes)
                .trim()
                .chars()
                .take(SHOWN_MAX)
                .collect();
            Ok::<_, hyper::Error>(Answer { status, text })
        };
        match timeout(ANSWER_TIMEOUT, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(SinkError(format!("no answer from {}: {error}", self.host))),
            Err(_) => Err(SinkError(format!("{} does not answer in time", self.host))),
        }
    }

    /// Returns when the server cannot be reached any more. May be dropped and called again.
    pub(crate) async fn gone(&mut self) -> SinkError {
        loop {
            while self.driver.join_next().await.is_some() {} // The server may end what is idle.
            if let Err(error) = self.reconnect().await {
                return error;
            }
        }
    }

    async fn reconnect(&mut self) -> Result<(), SinkError> {
        self.reconnects += 1;
        (self.sender, self.driver) = connect(&self.host, self.tls.as_ref()).await?;
        Ok(())
    }
}

async fn connect(
    host: &Host,
    tls: Option<&Arc<ClientConfig>>,
) -> Result<(SendRequest<Full<Bytes>>, JoinSet<()>), SinkError> {
    let connected = async {
        let failed = |error| SinkError(format!("cannot reach {host}: {error}"));
        let tcp = TcpStream::connect((host.name.as_str(), host.port));
        let tcp = tcp.await.map_err(failed)?;
        tcp.set_nodelay(true).map_err(failed)?;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL);
        let kept = SockRef::from(&tcp).set_tcp_keepalive(&keepalive);
        kept.map_err(failed)?;
        let Some(tls) = tls else {
            return handshake(tcp).await;
        };
        let name = ServerName::try_from(host.name.clone())
            .map_err(|_| SinkError(format!("{host} is no name that a certificate can have")))?;
        let tls = TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await;
        handshake(tls.map_err(|error| {
            let advice = "check the certificates of both sides, and ca_file";
            SinkError(format!("TLS with {host} failed: {error}; {advice}"))
        })?)
        .await
    };
    let timed_out = || SinkError(format!("{host} does not answer; check the way to it"));
    timeout(CONNECT_TIMEOUT, connected)
        .await
        .map_err(|_| timed_out())?
}

async fn handshake(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<(SendRequest<Full<Bytes>>, JoinSet<()>), SinkError> {
    let (sender, connection) = http1::handshake(TokioIo::new(io))
        .await
        .map_err(|error| SinkError(format!("HTTP failed: {error}")))?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an HTTP connection ended");
        }
    });
    Ok((sender, driver))
}

/// Source: guess, a cellular modem that has to wake up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take. Source: guess, a store that merges its files meanwhile.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// When an idle connection is first asked whether it is still there. Source: guess.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// How often it is asked again. Source: guess.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Longest body of an answer that is read. Unit: bytes. Source: guess.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How much of an answer is repeated. Unit: characters.
const SHOWN_MAX: usize = 200;
