//! A connection between two members, as libp2p drives it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use identity::Credential;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use quinn::{ConnectionError, RecvStream, SendStream};
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use crate::Stream;
use crate::clock::now;

type Opening = BoxFuture<'static, Result<(SendStream, RecvStream), ConnectionError>>;

/// A connection: any number of streams, and keys that are renewed.
pub struct Connection {
    inner: quinn::Connection,
    credential: Credential,
    inbound: Option<Opening>,
    outbound: Option<Opening>,
    closing: Option<BoxFuture<'static, ConnectionError>>,
    /// With this cipher QUIC updates its keys once, soon after the start, and never again by
    /// itself.
    key_updates: Interval,
}

impl Connection {
    pub(crate) fn new(
        inner: quinn::Connection,
        credential: Credential,
        key_update_interval: Duration,
    ) -> Self {
        let first = now() + key_update_interval;
        let mut key_updates = interval_at(first.into(), key_update_interval);
        key_updates.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            inner,
            credential,
            inbound: None,
            outbound: None,
            closing: None,
            key_updates,
        }
    }

    pub(crate) fn update_keys(&self) {
        self.inner.force_key_update();
    }

    /// What the other side has shown.
    #[must_use]
    pub const fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Counters, round trip and path of the connection.
    #[must_use]
    pub fn stats(&self) -> quinn::ConnectionStats {
        self.inner.stats()
    }
}

impl StreamMuxer for Connection {
    type Substream = Stream;
    type Error = ConnectionError;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Stream, ConnectionError>> {
        let this = &mut *self;
        let opening = this.inbound.get_or_insert_with(|| {
            let connection = this.inner.clone();
            async move { connection.accept_bi().await }.boxed()
        });
        let opened = ready!(opening.poll_unpin(cx));
        this.inbound = None;
        Poll::Ready(opened.map(Stream::new))
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Stream, ConnectionError>> {
        let this = &mut *self;
        let opening = this.outbound.get_or_insert_with(|| {
            let connection = this.inner.clone();
            async move { connection.open_bi().await }.boxed()
        });
        let opened = ready!(opening.poll_unpin(cx));
        this.outbound = None;
        Poll::Ready(opened.map(Stream::new))
    }

    fn poll_close(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ConnectionError>> {
        let this = &mut *self;
        let closing = this.closing.get_or_insert_with(|| {
            this.inner.close(CLOSED_IN_ORDER.into(), &[]);
            let connection = this.inner.clone();
            async move { connection.closed().await }.boxed()
        });
        let closed = ready!(closing.poll_unpin(cx));
        if let ConnectionError::LocallyClosed | ConnectionError::ApplicationClosed(_) = closed {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(Err(closed))
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, ConnectionError>> {
        while self.key_updates.poll_tick(cx).is_ready() {
            self.update_keys();
        }
        Poll::Pending
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection").field(&self.inner).finish()
    }
}

/// What a close in order says to the other side.
const CLOSED_IN_ORDER: u32 = 0;
