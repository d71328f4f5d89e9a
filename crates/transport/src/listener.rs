//! One listening socket, and who comes in on it.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use libp2p::core::transport::ListenerId;
use quinn::Incoming;

use crate::endpoint::Settings;
use crate::gate::Gate;
use crate::interfaces::{AddressChange, Interfaces};
use crate::transport::Establishing;
use crate::upgrade::{Timing, establish};

/// The listener.
pub(crate) struct Listener {
    pub(crate) id: ListenerId,
    pub(crate) endpoint: quinn::Endpoint,
    /// Where it is bound.
    pub(crate) bound: SocketAddr,
    /// The same socket, to punch holes from.
    socket: Arc<UdpSocket>,
    interfaces: Interfaces,
    accepting: BoxFuture<'static, Option<Incoming>>,
}

/// What a listener says.
pub(crate) enum Arrival {
    /// Somebody has begun a handshake that is to be finished.
    Handshake(SocketAddr, Establishing),
    /// The socket is of no use any more.
    Closed,
}

impl Listener {
    pub(crate) fn new(
        id: ListenerId,
        settings: &Settings,
        address: SocketAddr,
    ) -> io::Result<Self> {
        let (endpoint, socket) = settings.listen(address)?;
        let bound = socket.local_addr()?;
        Ok(Self {
            id,
            accepting: accept(endpoint.clone()),
            endpoint,
            bound,
            socket: Arc::new(socket),
            interfaces: Interfaces::new(bound.ip())?,
        })
    }

    /// Whether a dial to `remote` may start here: who listens on a loopback address dials loopback
    /// addresses from it, so that machines on one host can be told apart, and nothing else.
    pub(crate) fn reaches(&self, remote: SocketAddr) -> bool {
        let ip = self.bound.ip();
        let is_near = remote.ip().is_loopback();
        ip.is_ipv4() == remote.is_ipv4() && (ip.is_unspecified() || ip.is_loopback() == is_near)
    }

    pub(crate) fn socket(&self) -> Arc<UdpSocket> {
        Arc::clone(&self.socket)
    }

    pub(crate) fn poll_addresses(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<AddressChange>> {
        self.interfaces.poll(cx)
    }

    pub(crate) fn poll_arrival(
        &mut self,
        cx: &mut Context<'_>,
        settings: &Settings,
        gate: &mut Gate,
        timing: Timing,
    ) -> Poll<Arrival> {
        loop {
            let Some(incoming) = ready!(self.accepting.poll_unpin(cx)) else {
                return Poll::Ready(Arrival::Closed);
            };
            self.accepting = accept(self.endpoint.clone());
            let from = incoming.remote_address();
            if let Some(establishing) = let_in(incoming, settings, gate, timing) {
                return Poll::Ready(Arrival::Handshake(from, establishing));
            }
        }
    }
}

fn accept(endpoint: quinn::Endpoint) -> BoxFuture<'static, Option<Incoming>> {
    async move { endpoint.accept().await }.boxed()
}

/// Begins a handshake with whoever has shown an id that a member made, or says nothing.
fn let_in(
    incoming: Incoming,
    settings: &Settings,
    gate: &mut Gate,
    timing: Timing,
) -> Option<Establishing> {
    let member = &settings.member;
    let from = incoming.remote_address();
    let first = incoming.orig_dst_cid();
    let is_validated = incoming.remote_address_validated();
    if !is_validated && !Settings::is_first(&first) {
        incoming.ignore(); // An id that this machine issued, without the Retry that it goes with.
        return None;
    }
    let Some(permit) = gate.admit(member.clock.elapsed(), from.ip()) else {
        member.counters.handshakes_over_limit.add();
        gate.say(
            member.clock.elapsed(),
            from,
            "too many handshakes at a time",
        );
        incoming.ignore();
        return None;
    };
    if !is_validated && member.must_challenge(&first) {
        member.counters.retries.add();
        if let Err(refused) = incoming.retry() {
            refused.into_incoming().ignore();
        }
        return None;
    }
    let (config, failure) = settings.answer();
    let known = Arc::clone(&member.known);
    match incoming.accept_with(config) {
        Ok(connecting) => Some(establish(connecting, failure, known, timing, Some(permit)).boxed()),
        Err(_) => {
            gate.say(
                member.clock.elapsed(),
                from,
                "repeated, or under another key",
            );
            None
        }
    }
}
