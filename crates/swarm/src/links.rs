//! Which connection is the link to a machine, when there may be several.
//!
//! Two machines may dial each other at once, and one may come back while the other still holds a
//! connection that died unseen. So that both always mean the same connection, the machine with the
//! smaller id decides: it accepts the first connection that is open, over that connection, and the
//! other reports the link when it reads this. While a link stands, a further connection waits and
//! the link is probed: if it answers, the newcomer is closed; if not, the newcomer takes its place.
//! A link over a circuit gives way to a direct connection at once.
//!
//! A link that is alive moves to the newcomer if it has become old (`renewal`), or if it is over
//! TCP and the newcomer over QUIC. Each side says the rest on the old connection, and reads the new
//! one when the other side has said the rest; so no frame is lost or reordered, and the link does
//! not go down. If the old connection is lost before that, it does.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::{ConnectionClosed, FromSwarm};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, NetworkBehaviour, NotifyHandler, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use model::MachineId;
use wire::Lane;

use crate::Config;
use crate::address::{machine_of, peer_of, quic_beside};
use crate::handler::{Handler, Order, Report, Timing};
use crate::outbox::{Outbox, Sending};
use crate::renewal::{Ages, Dial, Renewal};
use crate::ways::Way;

/// What happened to links.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    Up(MachineId, Way),
    /// It goes on over another connection; nothing was lost or reordered.
    Moved(MachineId, Way),
    Down(MachineId),
    Received(MachineId, Bytes),
    Drained(MachineId),
    RoundTrip(MachineId, Duration),
}

/// Every connection, and which of them are links.
pub(crate) struct Links {
    own: MachineId,
    timing: Timing,
    ages: Ages,
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
    /// What the link was before, as long as the other side may have something to say on it.
    predecessor: Option<ConnectionId>,
    /// Where it is said to listen for QUIC.
    quic: Vec<Multiaddr>,
}

struct Connection {
    outbox: Arc<Outbox>,
    way: Way,
    /// Where it was dialled, if this side has.
    dialled: Option<Multiaddr>,
    renewal: Renewal,
    /// The other side has said the rest.
    has_yielded: bool,
}

impl Peer {
    /// Whether the link should give way to this connection although it is alive.
    fn is_better(&self, connection: ConnectionId) -> bool {
        let is_circuit = |id| self.way(id) == Some(Way::Circuit);
        self.link.is_some_and(is_circuit) && !is_circuit(connection)
    }

    /// Whether the link, which is alive, should move to this connection.
    fn is_successor(&self, connection: ConnectionId, ages: Ages) -> bool {
        let Some(link) = self.link.and_then(|link| self.connections.get(&link)) else {
            return false;
        };
        let is_quic_back = link.way == Way::Tcp && self.way(connection) == Some(Way::Quic);
        is_quic_back || link.renewal.may_succeed(ages, link.outbox.is_empty())
    }

    /// Whether the link goes on after what this connection still brings.
    fn is_predecessor(&self, connection: ConnectionId) -> bool {
        self.link.is_some() && self.predecessor == Some(connection)
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
            ages: Ages::new(config),
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

    /// Moves the link, on the side that decides.
    fn succeed(&mut self, machine: MachineId, successor: ConnectionId) {
        let Some(peer) = self.peers.get_mut(&machine) else {
            return;
        };
        if let (Some(way), Some(old)) = (peer.way(successor), peer.link.replace(successor)) {
            peer.predecessor = Some(old);
            self.order(machine, successor, Order::Succeed);
            self.order(machine, old, Order::Yield);
            self.emit(LinkEvent::Moved(machine, way));
        }
    }

    /// Moves the link, on the other side.
    fn on_succeeds(&mut self, machine: MachineId, successor: ConnectionId) {
        if self.own < machine {
            tracing::debug!(machine = %machine.short(), "moved a link that is not its to move");
            self.close(machine, successor);
            return;
        }
        let Some(peer) = self.peers.get_mut(&machine) else {
            return;
        };
        let Some(way) = peer.way(successor) else {
            return;
        };
        let Some(old) = peer.link.replace(successor) else {
            // It went down meanwhile.
            self.order(machine, successor, Order::Proceed);
            self.emit(LinkEvent::Up(machine, way));
            return;
        };
        let has_yielded = |its: &Connection| its.has_yielded;
        let is_read = peer.connections.get(&old).is_some_and(has_yielded);
        let early = std::mem::replace(&mut peer.predecessor, (!is_read).then_some(old));
        if let Some(early) = early {
            self.close(machine, early); // Its rest is lost.
            self.emit(LinkEvent::Down(machine));
            self.emit(LinkEvent::Up(machine, way));
        } else {
            self.emit(LinkEvent::Moved(machine, way));
        }
        if is_read {
            self.order(machine, successor, Order::Proceed);
        }
        self.order(machine, old, Order::Yield);
    }

    /// The other side has said the rest on this connection.
    fn on_yielded(&mut self, machine: MachineId, connection: ConnectionId) {
        let Some(peer) = self.peers.get_mut(&machine) else {
            return;
        };
        if let Some(its) = peer.connections.get_mut(&connection) {
            its.has_yielded = true;
        }
        if peer.predecessor == Some(connection) {
            peer.predecessor = None;
            if let Some(link) = peer.link {
                self.order(machine, link, Order::Proceed);
            }
        }
    }

    /// What the predecessor still had to say is lost, and so is the link as it was.
    fn on_predecessor_lost(&mut self, machine: MachineId) {
        let Some(peer) = self.peers.get_mut(&machine) else {
            return;
        };
        peer.predecessor = None;
        if let Some(link) = peer.link
            && let Some(way) = peer.way(link)
        {
            self.order(machine, link, Order::Proceed);
            self.emit(LinkEvent::Down(machine));
            self.emit(LinkEvent::Up(machine, way));
        }
    }

    /// The connection is gone or of no use.
    fn on_lost(&mut self, machine: MachineId, connection: ConnectionId) {
        let Some(peer) = self.peers.get_mut(&machine) else {
            return;
        };
        if peer.predecessor == Some(connection) {
            self.on_predecessor_lost(machine);
            return;
        }
        if peer.newcomer == Some(connection) {
            peer.newcomer = None;
        }
        if peer.link == Some(connection) {
            peer.link = None;
            peer.predecessor = None;
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

    /// The link is alive, so a newcomer is its successor or not needed.
    fn on_alive(&mut self, machine: MachineId) {
        let Some(peer) = self.peers.get_mut(&machine) else {
            return;
        };
        match peer.newcomer.take() {
            Some(successor) if peer.is_successor(successor, self.ages) => {
                self.succeed(machine, successor);
            }
            Some(redundant) => self.close(machine, redundant),
            None => self.renew_in_time(machine),
        }
    }

    /// Dials the successor of the link if it is time, and this side's turn.
    fn renew_in_time(&mut self, machine: MachineId) {
        let Some(peer) = self.peers.get_mut(&machine) else {
            return;
        };
        let link = peer.link.and_then(|link| peer.connections.get_mut(&link));
        let Some((link, address)) = link.and_then(|link| {
            let address = link.dialled.clone()?;
            Some((link, address))
        }) else {
            return;
        };
        let is_quiet = link.outbox.is_empty();
        let addresses = match link.renewal.due(self.ages, link.way, is_quiet) {
            Some(Dial::Same) => vec![address],
            Some(Dial::Quic) if peer.quic.is_empty() => quic_beside(&address).into_iter().collect(),
            Some(Dial::Quic) => peer.quic.clone(),
            None => return,
        };
        if let Some(peer_id) = peer_of(machine)
            && !addresses.is_empty()
        {
            let options = DialOpts::peer_id(peer_id)
                .condition(PeerCondition::Always)
                .addresses(addresses);
            self.act(ToSwarm::Dial {
                opts: options.build(),
            });
        }
    }

    /// The machine is said to listen for QUIC there.
    pub(crate) fn on_addresses(&mut self, machine: MachineId, quic: Vec<Multiaddr>) {
        if let Some(peer) = self.peers.get_mut(&machine) {
            peer.quic = quic;
        }
    }

    fn handler(
        &mut self,
        peer: &PeerId,
        connection: ConnectionId,
        way: Way,
        dialled: Option<Multiaddr>,
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
        let is_dialler = dialled.is_some();
        let known = Connection {
            outbox: Arc::clone(&outbox),
            way,
            dialled,
            renewal: Renewal::new(),
            has_yielded: false,
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
        self.handler(&peer, connection, Way::of(local), None)
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
        let dialled = (role == Endpoint::Dialer).then(|| remote.clone());
        self.handler(&peer, connection, Way::of(remote), dialled)
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
        let peer = self.peers.get(&machine);
        let is_link = peer.is_some_and(|peer| peer.link == Some(connection));
        let is_heard = is_link || peer.is_some_and(|peer| peer.is_predecessor(connection));
        match report {
            Report::Open => self.on_open(machine, connection),
            Report::Accepted => self.on_accepted(machine, connection),
            Report::Succeeds => self.on_succeeds(machine, connection),
            Report::Yielded => self.on_yielded(machine, connection),
            Report::Received(frame) if is_heard => self.emit(LinkEvent::Received(machine, frame)),
            Report::Drained if is_heard => self.emit(LinkEvent::Drained(machine)),
            Report::RoundTrip(time) if is_link => {
                self.on_alive(machine);
                self.emit(LinkEvent::RoundTrip(machine, time));
            }
            Report::Received(_) | Report::Drained | Report::RoundTrip(_) => {}
            Report::Finished => {
                self.on_lost(machine, connection);
                self.close(machine, connection);
            }
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
