//! Faults below the nodes' connections: cut links and slow ones.
//!
//! A [`FaultLayer`] stands between a node's sockets and everything above. What it does, a
//! [`FaultTable`] says, which the testnet sends to the machine's process as a line of JSON whenever
//! it changes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use fieldmesh::run::{BoxedStream, Passage, SocketLayer};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

/// What is wrong with a machine's links to others, by their addresses.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct FaultTable {
    /// Nothing passes to or from these.
    pub cut: BTreeSet<IpAddr>,
    /// What arrives from these is held back for as long. Unit: milliseconds.
    pub delay_ms: BTreeMap<IpAddr, u64>,
}

/// The layer that applies the newest table.
#[derive(Clone, Debug)]
pub struct FaultLayer {
    table: watch::Receiver<FaultTable>,
}

impl FaultLayer {
    /// A layer that follows the tables that are sent.
    #[must_use]
    pub const fn new(table: watch::Receiver<FaultTable>) -> Self {
        Self { table }
    }
}

impl SocketLayer for FaultLayer {
    fn admit_dial(&self, remote: IpAddr) -> BoxFuture<'static, io::Result<()>> {
        mended(self.table.clone(), remote).map(Ok).boxed()
    }

    fn wrap(&self, remote: IpAddr, stream: BoxedStream) -> BoxedStream {
        Box::new(FaultyStream {
            inner: stream,
            remote,
            table: self.table.clone(),
            mended: None,
            held: VecDeque::new(),
            held_bytes: 0,
            ended: false,
            due: Box::pin(tokio::time::sleep(Duration::ZERO)),
        })
    }

    fn arriving(&self, remote: IpAddr) -> Passage {
        let table = self.table.borrow();
        if table.cut.contains(&remote) {
            return Passage::Lost;
        }
        match table.delay_ms.get(&remote) {
            Some(0) | None => Passage::Through,
            Some(delay) => Passage::After(Duration::from_millis(*delay)),
        }
    }

    fn is_leaving(&self, remote: IpAddr, _: usize) -> bool {
        !self.table.borrow().cut.contains(&remote)
    }
}

/// Resolves when the link to `remote` is not cut (any more).
async fn mended(mut table: watch::Receiver<FaultTable>, remote: IpAddr) {
    if table
        .wait_for(|table| !table.cut.contains(&remote))
        .await
        .is_err()
    {
        std::future::pending::<()>().await; // The testnet has gone: stay as it was.
    }
}

/// A connection with its faults.
struct FaultyStream {
    inner: BoxedStream,
    remote: IpAddr,
    table: watch::Receiver<FaultTable>,
    mended: Option<BoxFuture<'static, ()>>,
    /// What has arrived, and when it may be read.
    held: VecDeque<(Instant, Vec<u8>)>,
    held_bytes: usize,
    ended: bool,
    due: Pin<Box<Sleep>>,
}

impl FaultyStream {
    /// Ready while the link is whole.
    fn poll_mended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.table.borrow().cut.contains(&self.remote) {
            self.mended = None;
            return Poll::Ready(());
        }
        let (table, remote) = (self.table.clone(), self.remote);
        let waiting = self
            .mended
            .get_or_insert_with(|| mended(table, remote).boxed());
        waiting.as_mut().poll(cx).map(|()| self.mended = None)
    }

    fn delay(&self) -> Duration {
        let table = self.table.borrow();
        Duration::from_millis(table.delay_ms.get(&self.remote).copied().unwrap_or(0))
    }

    /// Takes in what has arrived, to be read later.
    fn hold(&mut self, cx: &mut Context<'_>, delay: Duration) -> io::Result<()> {
        let mut bytes = [0; 4_096];
        while !self.ended && self.held_bytes < HELD_BYTES_MAX {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.inner).poll_read(cx, &mut buffer) {
                Poll::Pending => break,
                Poll::Ready(result) => result?,
            }
            let filled = buffer.filled().to_vec();
            self.ended = filled.is_empty();
            self.held_bytes += filled.len();
            self.held.push_back((now() + delay, filled));
        }
        Ok(())
    }
}

impl AsyncRead for FaultyStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.poll_mended(cx).is_pending() {
            return Poll::Pending;
        }
        let delay = self.delay();
        if delay.is_zero() && self.held.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buffer);
        }
        self.hold(cx, delay)?;
        let Some((at, _)) = self.held.front() else {
            return Poll::Pending;
        };
        let at = *at;
        if at > now() {
            self.due.as_mut().reset(at);
            if self.due.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        if let Some((at, mut bytes)) = self.held.pop_front() {
            let rest = bytes.split_off(bytes.len().min(buffer.remaining()));
            self.held_bytes -= bytes.len();
            buffer.put_slice(&bytes);
            if !rest.is_empty() {
                self.held.push_front((at, rest));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for FaultyStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.poll_mended(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Pin::new(&mut self.inner).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_mended(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Pin::new(&mut self.inner).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_mended(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Pin::new(&mut self.inner).poll_shutdown(cx),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "delays of real sockets need the real time"
)]
fn now() -> Instant {
    Instant::now()
}

/// Bytes held back on one connection; beyond it the sender feels it.
const HELD_BYTES_MAX: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const REMOTE: &str = "127.0.1.2";

    fn layered() -> (
        watch::Sender<FaultTable>,
        BoxedStream,
        tokio::io::DuplexStream,
    ) {
        let (tables, table) = watch::channel(FaultTable::default());
        let (near, far) = tokio::io::duplex(1024);
        let remote = REMOTE.parse().expect("an address");
        (
            tables,
            FaultLayer::new(table).wrap(remote, Box::new(near)),
            far,
        )
    }

    #[test]
    fn a_datagram_is_lost_on_a_cut_link_late_on_a_slow_one_and_otherwise_as_before() {
        let (tables, table) = watch::channel(FaultTable::default());
        let layer = FaultLayer::new(table);
        let [cut, slow, whole] = [2, 3, 4].map(|n| IpAddr::from([127, 0, 1, n]));
        tables.send_replace(FaultTable {
            cut: [cut].into(),
            delay_ms: [(slow, 250)].into(),
        });

        let late = Passage::After(Duration::from_millis(250));
        let arriving = [cut, slow, whole].map(|remote| layer.arriving(remote));
        assert_eq!(arriving, [Passage::Lost, late, Passage::Through]);
        let leaving = [cut, slow, whole].map(|remote| layer.is_leaving(remote, 1_200));
        assert_eq!(leaving, [false, true, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_passes_a_cut_link_and_everything_after_it_is_mended() {
        let (tables, mut near, mut far) = layered();
        let remote = REMOTE.parse().expect("an address");
        tables.send_replace(FaultTable {
            cut: [remote].into(),
            ..FaultTable::default()
        });
        far.write_all(b"hello").await.expect("the far end takes it");
        let mut bytes = [0; 5];

        let hour = Duration::from_secs(3_600);
        let cut = tokio::time::timeout(hour, near.read_exact(&mut bytes)).await;
        assert!(cut.is_err(), "read through a cut link");
        let cut = tokio::time::timeout(hour, near.write_all(b"hello")).await;
        assert!(cut.is_err(), "wrote through a cut link");

        tables.send_replace(FaultTable::default());
        near.read_exact(&mut bytes).await.expect("it passes");
        assert_eq!(&bytes, b"hello");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_link_delivers_late_and_in_order() {
        let (tables, mut near, mut far) = layered();
        let remote = REMOTE.parse().expect("an address");
        tables.send_replace(FaultTable {
            delay_ms: [(remote, 250)].into(),
            ..FaultTable::default()
        });
        let start = now();
        far.write_all(b"one").await.expect("the far end takes it");
        far.write_all(b"two").await.expect("the far end takes it");

        let mut bytes = [0; 6];
        near.read_exact(&mut bytes).await.expect("it passes");

        assert_eq!(&bytes, b"onetwo");
        assert!(start.elapsed() >= Duration::from_millis(250));
    }
}
