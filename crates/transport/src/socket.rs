//! A UDP socket on which strangers hear nothing, and where a testnet's faults happen to datagrams.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future as _;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::time::{Sleep, sleep_until};

use crate::clock::now;
use crate::datagram::{may_enter, may_leave, short_id};
use crate::known::Known;
use crate::stats::Counters;
use crate::{Passage, SocketLayer};

/// Wraps a socket of quinn's.
pub(crate) struct QuietSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    known: Arc<Known>,
    counters: Arc<Counters>,
    /// With what it holds back.
    layer: Option<(Arc<dyn SocketLayer>, Mutex<Held>)>,
}

impl QuietSocket {
    pub(crate) fn new(
        inner: Arc<dyn AsyncUdpSocket>,
        known: Arc<Known>,
        counters: Arc<Counters>,
        layer: Option<Arc<dyn SocketLayer>>,
    ) -> Self {
        Self {
            inner,
            known,
            counters,
            layer: layer.map(|layer| (layer, Mutex::default())),
        }
    }

    fn may_pass(&self, transmit: &Transmit<'_>) -> bool {
        match &self.layer {
            Some((layer, _)) => {
                let length = transmit.segment_size.unwrap_or(transmit.contents.len());
                layer.is_leaving(transmit.destination.ip(), length)
            }
            None => true,
        }
    }

    /// Gives what was held back for long enough, if the socket has a layer and it holds any.
    fn poll_held(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Option<usize> {
        let (_, held) = self.layer.as_ref()?;
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            let Some((datagram, came)) = held.take_due(now()) else {
                break;
            };
            self.note(&datagram, &came);
            buffer[..datagram.len()].copy_from_slice(&datagram);
            *meta = came;
            count += 1;
        }
        held.wake_when_due(cx);
        (count > 0).then_some(count)
    }

    /// Leaves of what has arrived in one buffer only what may enter, without gaps between.
    ///
    /// The kernel may have put several datagrams of one sender and size into it.
    fn sift(&self, buffer: &mut [u8], meta: &mut RecvMeta) {
        let stride = meta.stride.max(1);
        let (mut from, mut kept) = (0, 0);
        while from < meta.len {
            let length = stride.min(meta.len - from);
            let datagram = from..from + length;
            let bytes = &buffer[datagram];
            let is_ours = may_enter(bytes);
            if !is_ours {
                self.counters.datagrams_foreign.add();
            }
            if is_ours && self.is_let_through(bytes, meta) {
                self.note(bytes, meta);
                buffer.copy_within(from..from + length, kept);
                kept += length;
            }
            from += length;
        }
        meta.len = kept;
    }

    /// Says where a datagram comes from whose connection may turn out to be unknown.
    fn note(&self, datagram: &[u8], meta: &RecvMeta) {
        if let Some(id) = short_id(datagram) {
            self.known.note(meta.addr, id);
        }
    }

    fn send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)?;
        self.counters.bytes_sent.add_all(transmit.contents.len());
        Ok(())
    }

    fn is_let_through(&self, datagram: &[u8], meta: &RecvMeta) -> bool {
        let Some((layer, held)) = &self.layer else {
            return true;
        };
        match layer.arriving(meta.addr.ip()) {
            Passage::Through => true,
            Passage::After(delay) => {
                let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
                held.hold(now() + delay, datagram, meta);
                false
            }
            Passage::Lost => false,
        }
    }
}

impl AsyncUdpSocket for QuietSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if !self.may_pass(transmit) {
            return Ok(());
        }
        let size = transmit.segment_size.unwrap_or(transmit.contents.len());
        let mut datagrams = transmit.contents.chunks(size.max(1));
        if datagrams.all(may_leave) {
            return self.send(transmit);
        }
        let allowed = transmit
            .contents
            .chunks(size.max(1))
            .filter(|d| may_leave(d));
        for contents in allowed {
            self.send(&Transmit {
                contents,
                segment_size: None,
                ..transmit.clone()
            })?;
        }
        Ok(())
    }

    /// What is not for QUIC comes out empty, instead of being waited past: a flood of it must not
    /// keep whoever calls from everything else.
    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.known.start_batch();
        if let Some(count) = self.poll_held(cx, buffers, metas) {
            return Poll::Ready(Ok(count));
        }
        let received = std::task::ready!(self.inner.poll_recv(cx, buffers, metas));
        if let Ok(count) = received {
            for (buffer, meta) in buffers.iter_mut().zip(metas).take(count) {
                self.counters.bytes_received.add_all(meta.len);
                self.sift(buffer, meta);
            }
        }
        Poll::Ready(received)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

impl fmt::Debug for QuietSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("QuietSocket").field(&self.inner).finish()
    }
}

/// Datagrams that a layer holds back.
#[derive(Debug, Default)]
struct Held {
    /// By when they are due, and the order in which they came.
    datagrams: BTreeMap<(Instant, u64), (Vec<u8>, RecvMeta)>,
    count: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Held {
    /// What there is no room for is lost, as on a link with a full buffer.
    fn hold(&mut self, due: Instant, datagram: &[u8], meta: &RecvMeta) {
        if self.datagrams.len() >= HELD_MAX {
            return;
        }
        let meta = RecvMeta {
            len: datagram.len(),
            stride: datagram.len(),
            ..*meta
        };
        self.count += 1;
        self.datagrams
            .insert((due, self.count), (datagram.to_vec(), meta));
    }

    fn take_due(&mut self, now: Instant) -> Option<(Vec<u8>, RecvMeta)> {
        let first = self.datagrams.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    fn wake_when_due(&mut self, cx: &mut Context<'_>) {
        self.timer = self.datagrams.first_key_value().map(|((due, _), _)| {
            let mut timer = Box::pin(sleep_until((*due).into()));
            if timer.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
            timer
        });
    }
}

/// Datagrams that may be held back at a time. Source: guess; 6 MiB.
const HELD_MAX: usize = 4_096;

#[cfg(test)]
mod tests;
