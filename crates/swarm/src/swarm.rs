//! The swarm as the node drives it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use identity::{Credential, Keypair, Membership, NetworkKeys, Roll};
use libp2p::core::transport::TransportError;
use libp2p::mdns;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{self as p2p, DialError, NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, autonat, dcutr, identify, relay};
use model::MachineId;
use overlay::{Address, Contact};
use statemachine::Rng;
use transport::Quic;
use wire::Lane;

use crate::address::{machine_of, parse, split_peer, to_ours};
use crate::admission::Admission;
use crate::bootstrap::Bootstrap;
use crate::compose::{Transports, quic_config};
use crate::dials::{self, Answerer, Dials, answerer};
use crate::enrolment::{Answer, EnrolmentId, Knocks};
use crate::event::{Event, Stats};
use crate::gate::Gate;
use crate::links::{LinkEvent, Links};
use crate::outbox::Sending;
use crate::own::{self, Own};
use crate::reach::{Circuits, Reach, ReachEvent};
use crate::refusals::{Refusal, Refusals};
use crate::tcp::Tcp;
use crate::ways::Ways;
use crate::{Config, Credentials, ListenError, StartError};

/// Links to other machines, and the search for them.
pub struct Swarm {
    inner: p2p::Swarm<Behaviour>,
    machine: MachineId,
    own: Own,
    ways: Arc<Ways>,
    refusals: Refusals,
    knocks: Knocks,
    bootstrap: Bootstrap,
    dials: Dials,
    circuits: Circuits,
    own_addresses: BTreeSet<Multiaddr>,
    /// What the caller is told next. Emptied before anything else is taken in.
    events: VecDeque<Event>,
    stats: Stats,
}

/// What runs on every connection.
#[derive(NetworkBehaviour)]
struct Behaviour {
    links: Links,
    mdns: Toggle<mdns::tokio::Behaviour>,
    reach: Reach,
}

impl Swarm {
    /// A swarm that listens nowhere yet. Must be called within a tokio runtime.
    ///
    /// `rng` draws the jitter of repeated dials; keys of connections come from the operating
    /// system.
    ///
    /// # Errors
    ///
    /// [`StartError`] if credentials or settings do not fit together.
    pub fn new(
        credentials: &Credentials<'_>,
        config: &Config,
        rng: Rng,
    ) -> Result<Self, StartError> {
        let own = credentials.machine_key.machine();
        let membership = credentials.membership.machine();
        if membership != own {
            return Err(StartError::OtherMachine {
                membership,
                key: own,
            });
        }
        Self::start(credentials, config, rng)
    }

    /// [`Self::new`] without a look at whose membership it is.
    pub(crate) fn start(
        credentials: &Credentials<'_>,
        config: &Config,
        rng: Rng,
    ) -> Result<Self, StartError> {
        let own = credentials.machine_key.machine();
        let keypair = to_libp2p(credentials.machine_key)?;
        let peer = keypair.public().to_peer_id();
        let (shown, keys) = (credentials.membership.clone(), credentials.keys());
        let shown = Credential::Membership(shown);
        let gate = Gate::new(&shown, credentials.roll.clone(), config.wall_clock.clone());
        let gate = Arc::new(gate);
        let (refuser, refusals) = Refusals::new();
        let (door, knocks) = Knocks::new();
        let admission = Arc::new(Admission::new(
            &keys,
            &keypair,
            Arc::clone(&gate),
            config.admission_timeout,
            refuser.clone(),
            door.clone(),
        )?);
        let (quic, handle) = Quic::new(quic_config(&keys, config, Arc::clone(&gate)));
        let (circuit_transport, circuit_client) = relay::client::new(peer);
        let behaviour = Behaviour {
            links: Links::new(own, config),
            mdns: start_mdns(config.mdns, peer)?,
            reach: Reach::new(&keypair, circuit_client),
        };
        let ways = Arc::new(Ways::default());
        let transports = Transports {
            circuits: circuit_transport,
            quic,
            tcp: Tcp::new(config.socket_layer.clone()),
        };
        let transport = transports.compose(
            Arc::clone(&admission),
            refuser,
            door,
            Arc::clone(&ways),
            config.dial_timeout,
        );
        let settings = p2p::Config::with_tokio_executor()
            .with_dial_concurrency_factor(DIAL_ADDRESSES_MAX)
            .with_max_negotiating_inbound_streams(NEGOTIATING_MAX);
        Ok(Self {
            inner: p2p::Swarm::new(transport, behaviour, peer, settings),
            machine: own,
            own: Own {
                machine_key: own::copy(credentials.machine_key),
                network: credentials.roll.trust().network(),
                network_keys: credentials.network_keys.clone(),
                gate,
                admission,
                quic: handle,
            },
            ways,
            refusals,
            knocks,
            bootstrap: Bootstrap::new(&config.bootstrap, rng)?,
            dials: Dials::default(),
            circuits: Circuits::new(),
            own_addresses: BTreeSet::new(),
            events: VecDeque::new(),
            stats: Stats::default(),
        })
    }

    /// Listens on an address, besides those before; port 0 lets the system choose.
    ///
    /// # Errors
    ///
    /// [`ListenError`] says what is wrong with the address and what to do.
    pub fn listen(&mut self, address: &Address) -> Result<(), ListenError> {
        let unsupported = || ListenError::Unsupported(address.clone());
        let (multiaddr, _) = parse(address).ok_or_else(unsupported)?;
        match self.inner.listen_on(multiaddr) {
            Ok(_) => Ok(()),
            Err(TransportError::MultiaddrNotSupported(_)) => Err(unsupported()),
            Err(TransportError::Other(error)) => Err(ListenError::of(address.clone(), error)),
        }
    }

    /// Opens a link; its end is [`Event::LinkUp`] or [`Event::DialFailed`]. Does nothing while
    /// there is a link or a dial to the machine.
    pub fn dial(&mut self, contact: Contact) {
        let machine = contact.machine;
        if self.links().is_linked(machine) {
            return;
        }
        if machine == self.machine || !self.dials.request(contact) {
            self.fail_dial(machine);
        }
        self.start_dials();
    }

    /// Queues a frame; never waits.
    ///
    /// # Panics
    ///
    /// If the frame is longer than [`wire::FRAME_BYTES_MAX`].
    pub fn send(&mut self, machine: MachineId, lane: Lane, frame: Bytes) -> Sending {
        assert!(
            frame.len() <= wire::FRAME_BYTES_MAX,
            "a frame of {} bytes exceeds the limit",
            frame.len()
        );
        let sending = self.inner.behaviour_mut().links.send(machine, lane, frame);
        if sending == Sending::Full {
            self.stats.frames_dropped += 1;
        }
        sending
    }

    /// Closes the link when the other side has read what is queued, a second later at most.
    pub fn release(&mut self, machine: MachineId) {
        self.inner.behaviour_mut().links.release(machine);
    }

    /// Closes every connection to a machine at once, whatever is queued for it.
    pub fn expel(&mut self, machine: MachineId) {
        self.inner.behaviour_mut().links.expel(machine);
    }

    /// Judges every connection that is made from now on by this.
    pub fn set_roll(&self, roll: Roll) {
        self.own.gate.set_roll(roll);
    }

    /// Shows this membership from the next handshake on.
    pub fn show(&mut self, membership: Membership) {
        self.own.show(membership);
    }

    /// Goes by these network keys from the next handshake on; links that are open stay.
    ///
    /// # Errors
    ///
    /// [`StartError::Keys`] if this machine's own key is of no use, in which case nothing changes.
    pub fn set_network_keys(&mut self, keys: &NetworkKeys) -> Result<(), StartError> {
        self.own.set_network_keys(keys)
    }

    /// Tells a machine what came of its claim ([`Event::Claimed`]).
    pub fn answer(&mut self, enrolment: EnrolmentId, answer: Answer) {
        self.knocks.answer(enrolment, answer);
    }

    /// Releases every link, waits until the other sides have read what was queued, and stops.
    ///
    /// Takes three seconds at most, and that long only if one of them does not read.
    pub async fn close(mut self) {
        for machine in self.links().linked() {
            self.release(machine);
        }
        let closing = async {
            while !self.links().is_alone() {
                self.inner.select_next_some().await;
            }
        };
        if tokio::time::timeout(STOPPING_TIME_MAX, closing)
            .await
            .is_err()
        {
            tracing::debug!("a peer did not let its connection close in time");
        }
    }

    /// What was counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            tcp_fallbacks: self.ways.fallbacks(),
            quic: self.own.quic.stats(),
            ..self.stats
        }
    }

    /// First messages of handshakes that were seen, for [`Config::seen`] of the next start.
    #[must_use]
    pub fn seen(&self) -> Vec<u8> {
        self.own.quic.seen()
    }

    /// Whether [`Self::seen`] should be written soon.
    #[must_use]
    pub fn must_save_seen(&self) -> bool {
        self.own.quic.must_save_seen()
    }

    /// Waits for the next event. Losing the future loses nothing.
    ///
    /// Sockets are read only as fast as this is called.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            tokio::select! {
                event = self.inner.select_next_some() => self.on_swarm_event(event),
                refusal = self.refusals.next() => self.on_refusal(refusal),
                (enrolment, claim, address) = self.knocks.next() => {
                    return Event::Claimed {
                        enrolment,
                        claim: Box::new(claim),
                        address: to_ours(&address),
                    };
                }
                () = self.bootstrap.due() => self.start_round(),
                () = self.circuits.due() => self.update_circuits(),
            }
        }
    }

    fn links(&self) -> &Links {
        &self.inner.behaviour().links
    }

    fn start_dials(&mut self) {
        while let Some(contact) = self.dials.next() {
            let machine = contact.machine;
            let Some(options) = dials::options(&contact) else {
                self.fail_dial(machine);
                continue;
            };
            let connection = options.connection_id();
            match self.inner.dial(options) {
                Ok(()) => self.dials.on_started(&contact, connection),
                Err(error) => {
                    tracing::debug!(machine = %machine.short(), %error, "cannot dial");
                    self.fail_dial(machine);
                }
            }
        }
    }

    fn fail_dial(&mut self, machine: MachineId) {
        let _ = self.dials.end(machine); // Nobody needs to know where it was dialled.
        self.stats.dials_failed += 1;
        self.events.push_back(Event::DialFailed(machine));
    }

    fn start_round(&mut self) {
        for (address, peer) in self.bootstrap.start_round() {
            let options = match peer {
                Some(peer) => DialOpts::peer_id(peer)
                    .condition(PeerCondition::Always)
                    .addresses(vec![address.clone()])
                    .build(),
                None => DialOpts::unknown_peer_id().address(address.clone()).build(),
            };
            let connection = options.connection_id();
            match self.inner.dial(options) {
                Ok(()) => self.bootstrap.on_dialled(connection, address),
                Err(error) => tracing::debug!(%address, %error, "cannot dial bootstrap address"),
            }
        }
    }

    fn on_refusal(&mut self, refusal: Refusal) {
        self.stats.refusals += 1;
        self.events.push_back(Event::Refused {
            machine: refusal.machine,
            address: to_ours(&refusal.address),
            reason: refusal.reason,
        });
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the other events, and those to come, are of interest to libp2p only"
    )]
    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Links(event)) => self.on_link_event(event),
            SwarmEvent::Behaviour(BehaviourEvent::Mdns(mdns::Event::Discovered(found))) => {
                self.on_mdns(found);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Reach(event)) => self.on_reach_event(event),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                ..
            } => {
                if let Some(machine) = machine_of(&peer_id) {
                    self.on_established(machine, connection_id);
                }
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                num_established: 0,
                ..
            } => {
                self.circuits.on_disconnected(&peer_id);
                if let Some(machine) = machine_of(&peer_id)
                    && self.dials.is_undecided(machine)
                {
                    self.fail_dial(machine);
                    self.start_dials();
                }
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                peer_id,
                error,
            } => self.on_dial_error(connection_id, peer_id, &error),
            SwarmEvent::NewListenAddr { address, .. } => {
                self.own_addresses.insert(split_peer(address).0);
                self.tell_own_addresses();
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.own_addresses.remove(&split_peer(address).0);
                self.tell_own_addresses();
            }
            SwarmEvent::ListenerClosed { listener_id, .. } => {
                self.circuits.on_closed(listener_id);
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "cannot accept connections for a moment");
            }
            _ => {}
        }
    }

    fn on_reach_event(&mut self, event: ReachEvent) {
        match event {
            ReachEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                self.circuits.on_identified(peer_id, &info);
            }
            ReachEvent::Autonat(autonat::v1::Event::StatusChanged { new, .. }) => {
                tracing::info!(status = ?new, "others tried to dial this machine");
                self.circuits.on_status(new);
                self.tell_own_addresses();
            }
            ReachEvent::Punch(dcutr::Event {
                remote_peer_id,
                result,
            }) => match result {
                Ok(_) => tracing::info!(peer = %remote_peer_id, "a circuit became direct"),
                Err(error) => tracing::debug!(peer = %remote_peer_id, %error, "no direct way"),
            },
            ReachEvent::Identify(_)
            | ReachEvent::Autonat(_)
            | ReachEvent::Relay(_)
            | ReachEvent::Circuits(_) => return,
        }
        self.update_circuits();
    }

    /// Listens on circuits while this machine cannot be dialled, and on none otherwise.
    fn update_circuits(&mut self) {
        for listener in self.circuits.needless() {
            self.inner.remove_listener(listener);
        }
        while let Some((relay, address)) = self.circuits.next() {
            match self.inner.listen_on(address.clone()) {
                Ok(listener) => self.circuits.on_listening(listener, relay),
                Err(error) => {
                    tracing::debug!(%address, %error, "cannot listen on a circuit");
                    self.circuits.on_failed();
                }
            }
        }
    }

    fn on_link_event(&mut self, event: LinkEvent) {
        let event = match event {
            LinkEvent::Up(machine, way) => {
                self.stats.links_made += 1;
                if let Some(quic) = self.dials.end(machine) {
                    self.inner.behaviour_mut().links.on_addresses(machine, quic);
                }
                let membership = self.membership(machine);
                Event::LinkUp {
                    machine,
                    membership,
                    way,
                }
            }
            LinkEvent::Moved(machine, way) => {
                self.stats.links_moved += 1;
                let membership = self.membership(machine);
                Event::LinkMoved {
                    machine,
                    membership,
                    way,
                }
            }
            LinkEvent::Down(machine) => Event::LinkDown(machine),
            LinkEvent::Received(machine, frame) => Event::Received(machine, frame),
            LinkEvent::Drained(machine) => Event::Drained(machine),
            LinkEvent::RoundTrip(machine, time) => Event::RoundTrip(machine, time),
        };
        let is_change = matches!(event, Event::LinkUp { .. } | Event::LinkDown(_));
        self.events.push_back(event);
        if is_change {
            self.bootstrap
                .on_links(self.inner.behaviour().links.count());
            self.start_dials();
        }
    }

    fn membership(&self, machine: MachineId) -> Box<identity::Membership> {
        let membership = self.own.gate.member(machine);
        Box::new(membership.expect("whoever has a link has shown a membership"))
    }

    fn on_mdns(&mut self, found: Vec<(PeerId, Multiaddr)>) {
        let mut contacts: BTreeMap<MachineId, Vec<Address>> = BTreeMap::new();
        for (peer, address) in found {
            let machine = machine_of(&peer).filter(|machine| *machine != self.machine);
            let address = to_ours(&split_peer(address).0);
            if let (Some(machine), Some(address)) = (machine, address) {
                let addresses = contacts.entry(machine).or_default();
                if addresses.len() < Contact::ADDRESSES_MAX {
                    addresses.push(address);
                }
            }
        }
        let contacts = contacts
            .into_iter()
            .map(|(machine, addresses)| Contact { machine, addresses });
        self.events.extend(contacts.map(Event::Discovered));
    }

    fn on_established(&mut self, machine: MachineId, connection: p2p::ConnectionId) {
        self.dials.on_undecided(machine, connection);
        let address = self.bootstrap.on_dial_ended(connection);
        if let Some(address) = address.as_ref().and_then(to_ours) {
            self.events.push_back(Event::Discovered(Contact {
                machine,
                addresses: vec![address],
            }));
        }
    }

    fn on_dial_error(
        &mut self,
        connection: p2p::ConnectionId,
        peer: Option<PeerId>,
        error: &DialError,
    ) {
        tracing::debug!(?peer, %error, "dial failed");
        if let Some(address) = self.bootstrap.on_dial_ended(connection) {
            match answerer(error) {
                Some(Answerer::Itself) => self.bootstrap.forget(&address),
                Some(Answerer::Other(obtained)) => tracing::warn!(
                    %address, expected = ?peer, %obtained,
                    "another machine answers at a bootstrap address; correct its /p2p/ part"
                ),
                None => {}
            }
        }
        let Some(machine) = peer.as_ref().and_then(machine_of) else {
            return;
        };
        if !self.dials.is_by(machine, connection) {
            return;
        }
        if self.links().is_connected(machine) {
            self.dials.on_undecided(machine, connection);
        } else {
            self.fail_dial(machine);
        }
        self.start_dials();
    }

    fn tell_own_addresses(&mut self) {
        let seen = self.circuits.public_address();
        let seen = seen.filter(|address| !self.own_addresses.contains(*address));
        let addresses = seen.into_iter().chain(&self.own_addresses);
        let addresses = addresses.filter_map(to_ours).take(Contact::ADDRESSES_MAX);
        let addresses = addresses.collect();
        self.events.push_back(Event::OwnAddresses(addresses));
    }
}

impl fmt::Debug for Swarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Swarm")
            .field("machine", &self.machine)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

pub(crate) fn to_libp2p(key: &Keypair) -> Result<libp2p::identity::Keypair, StartError> {
    // Wipes the copy of the seed that it is given.
    libp2p::identity::Keypair::ed25519_from_bytes(key.seed())
        .map_err(|error| StartError::Keys(error.to_string()))
}

fn start_mdns(is_wanted: bool, own: PeerId) -> Result<Toggle<mdns::tokio::Behaviour>, StartError> {
    let config = mdns::Config::default();
    let mdns = is_wanted.then(|| mdns::tokio::Behaviour::new(config, own));
    Ok(mdns.transpose().map_err(StartError::Mdns)?.into())
}

/// Addresses of one machine that are dialled at a time.
const DIAL_ADDRESSES_MAX: NonZeroU8 = NonZeroU8::new(8).expect("not zero");
const _: () = assert!(Contact::ADDRESSES_MAX == 8);
/// Source: what releasing and closing may take each.
const STOPPING_TIME_MAX: Duration = Duration::from_secs(3);
/// Streams of one connection that may be negotiating: ours are two, those of `reach` some more.
const NEGOTIATING_MAX: usize = 16;
