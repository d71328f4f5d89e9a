//! Which connection is the link to a machine, when there may be several.
//!
//! Two machines may dial each other at once, and one may come back while the other still holds a
//! connection that died unseen. So that both always mean the same connection, the machine with the
//! smaller id decides: it accepts the first connection that is open, over that connection, and the
//! other reports the link when it reads this. While a link stands, a further connection waits and
//! the link is probed: if it answers, the newcomer is closed; if not, the newcomer takes its place.
//! A link over a circuit gives way to a direct connection at once.
//! A link is never moved from one connection to another unseen: that would lose or reorder frames.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::{ConnectionClosed, FromSwarm};
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, NetworkBehaviour, NotifyHandler, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use model::MachineId;
use wire::Lane;

use crate::Config;
use crate::address::{machine_of, peer_of};
use crate::handler::{Handler, Order, Report, Timing};
use crate::outbox::{Outbox, Sending};
use crate::ways::Way;

/// What happened to links.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    Up(MachineId, Way),
    Down(MachineId),
    Received(MachineId, Bytes),
    Drained(MachineId),
    RoundTrip(MachineId, Duration),
}

/// Every connection, and which of them are links.
pub(crate) struct Links {
    own: MachineId,
    timing: Timing,
    links_max: usize,
    queue_frames_max: usize,
    queue_bytes_max: usize,
    peers: BTreeMap<MachineId, Peer>,
    /// What the swarm is told next. Emptied before the swarm takes anything else in.
    actions: VecDeque<ToSwarm<LinkEvent, Order>>,
    waker: Option<Waker>,
}

/// The connections to one machine.
#[derive(Default)]
struct Peer {
    connections: BTreeMap<ConnectionId, Connection>,
    link: Option<ConnectionId>,
    /// Open, and waiting for the link to prove that it is alive.
    newcomer: Option<ConnectionId>,
}

struct Connection {
    outbox: Arc<Outbox>,
    way: Way,
}

impl Peer {
    /// Whether the link should give way to this connection although it is alive.
    fn is_better(&self, connection: ConnectionId) -> bool {
        let is_circuit = |id| self.way(id) == Some(Way::Circuit);
        self.link.is_some_and(is_circuit) && !is_circuit(connection)
    }

    fn way(&self, connection: ConnectionId) -> Option<Way> {
        self.connections.get(&connection).map(|its| its.way)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("there are too many connections, to this machine or altogether")]
struct TooManyConnections;

impl Links {
    pub(crate) fn new(own: MachineId, config: &Config) -> Self {
        Self {
            own,
            timing: Timing {
                ping_interval: config.ping_interval,
                ping_timeout: config.ping_timeout,
            },
            links_max: config.links_max,
            queue_frames_max: config.queue_frames_max,
            queue_bytes_max: config.queue_bytes_max,
            peers: BTreeMap::new(),
            actions: VecDeque::new(),
            waker: None,
        }
    }

    pub(crate) fn is_linked(&self, machine: MachineId) -> bool {
        self.peers
            .get(&machine)
            .is_some_and(|peer| peer.link.is_some())
    }

    pub(crate) fn is_connected(&self, machine: MachineId) -> bool {
        self.peers.contains_key(&machine)
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.peers.is_empty()
    }

    /// The machines that there is a link to.
    pub(crate) fn linked(&self) -> Vec<MachineId> {
        let linked = self.peers.iter().filter(|(_, peer)| peer.link.is_some());
        linked.map(|(machine, _)| *machine).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.peers
            .values()
            .filter(|peer| peer.link.is_some())
            .count()
    }

    pub(crate) fn send(&mut self, machine: MachineId, lane: Lane, frame: Bytes) -> Sending {
        let Some(peer) = self.peers.get(&machine) else {
            return Sending::NoLink;
        };
        match peer.link.and_then(|link| peer.connections.get(&link)) {
            Some(connection) => connection.outbox.push(lane, frame),
            None => Sending::NoLink,
        }
    }

    /// Ends the link after what is queued has been sent.
    pub(crate) fn release(&mut self, machine: MachineId) {
        let Some(link) = self
            .peers
            .get_mut(&machine)
            .and_then(|peer| peer.link.take())
        else {
            return;
        };
        self.emit(LinkEvent::Down(machine));
        self.order(machine, link, Order::Finish);
        self.promote_newcomer(machine);
    }

    /// Closes every connection to the machine at once.
    pub(crate) fn expel(&mut self, machine: MachineId) {
        let Some(peer) = self.peers.get_mut(&machine) else {
            return;
        };
        peer.newcomer = None;
        if peer.link.take().is_some() {
            self.emit(LinkEvent::Down(machine));
        }
        if let Some(peer_id) = peer_of(machine) {
            self.act(ToSwarm::CloseConnection {
                peer_id,
                connection: CloseConnection::All,
            });
        }
    }

    fn on_open(&mut self, machine: MachineId, connection: ConnectionId) {
        if self.own > machine {
            return; // The other side decides.
        }
        let Some(peer) = self.peers.get_mut(&machine) else {
            return;
        };
        let Some(link) = peer.link else {
            self.accept(machine, connection);
            return;
        };
        let is_better = peer.is_better(connection);
        if let Some(redundant) = peer.newcomer.replace(connection) {
            self.close(machine, redundant);
        }
        if is_better {
            self.release(machine);
        } else {
            self.order(machine, link, Order::Probe);
        }
    }

    fn on_accepted(&mut self, machine: MachineId, connection: ConnectionId) {
        if self.own < machine {
            tracing::debug!(machine = %machine.short(), "accepted a link that is not its to accept");
            self.close(machine, connection);
            return;
        }
        let Some(peer) = self.peers.get_mut(&machine) else {
            return;
        };
        let Some(way) = peer.way(connection) else {
            return;
        };
        if let Some(old) = peer.link.replace(connection) {
            self.emit(LinkEvent::Down(machine));
            self.close(machine, old);
        }
        self.emit(LinkEvent::Up(machine, way));
    }

    fn accept(&mut self, machine: MachineId, connection: ConnectionId) {
        let Some(peer) = self.peers.get_mut(&machine) else {
            return;
        };
        if let Some(way) = peer.way(connection) {
            peer.link = Some(connection);
            self.order(machine, connection, Order::Accept);
            self.emit(LinkEvent::Up(machine, way));
        }
    }

    /// The connection is gone or of no use.
    fn on_lost(&mut self, machine: MachineId, connection: ConnectionId) {
        let Some(peer) = self.peers.get_mut(&machine) else {
            return;
        };
        if peer.newcomer == Some(connection) {
            peer.newcomer = None;
        }
        if peer.link == Some(connection) {
            peer.link = None;
            self.emit(LinkEvent::Down(machine));
            self.promote_newcomer(machine);
        }
    }

    fn promote_newcomer(&mut self, machine: MachineId) {
        let peer = self.peers.get_mut(&machine);
        if let Some(newcomer) = peer.and_then(|peer| peer.newcomer.take()) {
            self.accept(machine, newcomer);
        }
    }

    /// The link is alive, so a newcomer is not needed.
    fn on_alive(&mut self, machine: MachineId) {
        let peer = self.peers.get_mut(&machine);
        if let Some(redundant) = peer.and_then(|peer| peer.newcomer.take()) {
            self.close(machine, redundant);
        }
    }

    fn handler(
        &mut self,
        peer: &PeerId,
        connection: ConnectionId,
        is_dialler: bool,
        way: Way,
    ) -> Result<Handler, ConnectionDenied> {
        let denied = || ConnectionDenied::new(TooManyConnections);
        let machine = machine_of(peer).ok_or_else(denied)?;
        let is_room = match self.peers.get(&machine) {
            Some(peer) => peer.connections.len() < CONNECTIONS_PER_MACHINE_MAX,
            None => self.peers.len() < self.links_max,
        };
        if !is_room {
            return Err(denied());
        }
        let outbox = Arc::new(Outbox::new(self.queue_frames_max, self.queue_bytes_max));
        let peer = self.peers.entry(machine).or_default();
        let known = Connection {
            outbox: Arc::clone(&outbox),
            way,
        };
        peer.connections.insert(connection, known);
        Ok(Handler::new(is_dialler, self.timing, outbox))
    }

    fn emit(&mut self, event: LinkEvent) {
        self.act(ToSwarm::GenerateEvent(event));
    }

    fn order(&mut self, machine: MachineId, connection: ConnectionId, event: Order) {
        if let Some(peer_id) = peer_of(machine) {
            let handler = NotifyHandler::One(connection);
            self.act(ToSwarm::NotifyHandler {
                peer_id,
                handler,
                event,
            });
        }
    }

    fn close(&mut self, machine: MachineId, connection: ConnectionId) {
        if let Some(peer_id) = peer_of(machine) {
            let connection = CloseConnection::One(connection);
            self.act(ToSwarm::CloseConnection {
                peer_id,
                connection,
            });
        }
    }

    fn act(&mut self, action: ToSwarm<LinkEvent, Order>) {
        self.actions.push_back(action);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl NetworkBehaviour for Links {
    type ConnectionHandler = Handler;
    type ToSwarm = LinkEvent;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        self.handler(&peer, connection, false, Way::of(local))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        role: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        // Two that punch through to each other both dial; one of them acts as if it was dialled.
        let is_dialler = role == Endpoint::Dialer;
        self.handler(&peer, connection, is_dialler, Way::of(remote))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        let FromSwarm::ConnectionClosed(ConnectionClosed {
            peer_id,
            connection_id,
            ..
        }) = event
        else {
            return;
        };
        let Some(machine) = machine_of(&peer_id) else {
            return;
        };
        self.on_lost(machine, connection_id);
        if let Some(peer) = self.peers.get_mut(&machine) {
            peer.connections.remove(&connection_id);
            if peer.connections.is_empty() {
                self.peers.remove(&machine);
            }
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        report: Report,
    ) {
        let Some(machine) = machine_of(&peer) else {
            return;
        };
        let link = self.peers.get(&machine).and_then(|peer| peer.link);
        let is_link = link == Some(connection);
        match report {
            Report::Open => self.on_open(machine, connection),
            Report::Accepted => self.on_accepted(machine, connection),
            Report::Received(frame) if is_link => self.emit(LinkEvent::Received(machine, frame)),
            Report::Drained if is_link => self.emit(LinkEvent::Drained(machine)),
            Report::RoundTrip(time) if is_link => {
                self.on_alive(machine);
                self.emit(LinkEvent::RoundTrip(machine, time));
            }
            Report::Received(_) | Report::Drained | Report::RoundTrip(_) => {}
            Report::Finished => self.close(machine, connection),
            Report::Failed(failure) => {
                tracing::debug!(machine = %machine.short(), %failure, is_link, "connection failed");
                self.on_lost(machine, connection);
                self.close(machine, connection);
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<LinkEvent, Order>> {
        if let Some(action) = self.actions.pop_front() {
            return Poll::Ready(action);
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The link, one that may take its place, and two that are closing or being decided on.
const CONNECTIONS_PER_MACHINE_MAX: usize = 4;

#[cfg(test)]
mod tests;
