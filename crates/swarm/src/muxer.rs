//! A connection that closes in time, whatever the other side does.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use tokio::time::{Sleep, sleep};

/// Gives an orderly close a deadline, after which the connection is dropped: a peer that reads
/// nothing, or a cut cable, would otherwise keep its socket and its buffers for ever.
pub(crate) struct ClosingInTime<M> {
    inner: M,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<M> ClosingInTime<M> {
    pub(crate) const fn new(inner: M) -> Self {
        Self {
            inner,
            deadline: None,
        }
    }
}

impl<M: StreamMuxer + Unpin> StreamMuxer for ClosingInTime<M> {
    type Substream = M::Substream;
    type Error = M::Error;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        Pin::new(&mut self.inner).poll_inbound(cx)
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        Pin::new(&mut self.inner).poll_outbound(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if let Poll::Ready(closed) = Pin::new(&mut self.inner).poll_close(cx) {
            return Poll::Ready(closed);
        }
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(sleep(CLOSING_TIME_MAX)));
        deadline.as_mut().poll(cx).map(Ok)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

/// Source: guess.
const CLOSING_TIME_MAX: Duration = Duration::from_secs(2);
