//! Connections as they come in over every listener, as many as may be open at once.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use futures::stream::{self, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::either::Either;
use tonic::transport::server::Connected;

use crate::Listeners;
use crate::listen::Socket;

/// An open connection, which counts until it is dropped.
pub(crate) struct Connection {
    io: Either<TcpStream, UnixStream>,
    _permit: OwnedSemaphorePermit,
}

/// The connections of all listeners. While [`CONNECTIONS_MAX`] are open, others wait in the
/// operating system's queue. Never ends.
pub(crate) fn connections(
    listeners: Listeners,
) -> impl Stream<Item = io::Result<Connection>> + Send {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let tcp = listeners.tcp.into_iter().map(Listener::Tcp);
    let unix = listeners.unix.into_iter().map(Listener::Unix);
    stream::select_all(tcp.chain(unix).map(|listener| {
        stream::unfold(
            (listener, Arc::clone(&permits)),
            |(listener, permits)| async {
                let permit = Arc::clone(&permits).acquire_owned().await.ok()?;
                let connection = accept(&listener).await.map(|io| Connection {
                    io,
                    _permit: permit,
                });
                Some((connection, (listener, permits)))
            },
        )
        .boxed()
    }))
}

enum Listener {
    Tcp(TcpListener),
    Unix(Socket),
}

async fn accept(listener: &Listener) -> io::Result<Either<TcpStream, UnixStream>> {
    let accepted = match listener {
        Listener::Tcp(tcp) => tcp.accept().await.map(|(io, _)| {
            let _ = io.set_nodelay(true); // Without it answers are only slower.
            Either::Left(io)
        }),
        Listener::Unix(unix) => unix
            .listener
            .accept()
            .await
            .map(|(io, _)| Either::Right(io)),
    };
    if let Err(error) = &accepted {
        tracing::warn!(%error, "cannot accept a connection, trying again");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
    accepted
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Most gRPC connections at once. Source: guess, far above the programs on one machine.
const CONNECTIONS_MAX: usize = 128;

/// How long to wait after a failed accept, which is most often a lack of file descriptors.
/// Unit: milliseconds. Source: guess.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
