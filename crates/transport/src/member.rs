//! This machine as a member: what it shows, whom it answers, and what it has seen.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use handshake::{
    ConnectionIdKind, FirstFlight, Freshness, HandshakeError, Judge, KeyRing, Local, ReplayGuard,
    connection_id,
};
use identity::LinkKeys;
use model::Timestamp;
use quinn::ConnectionId;

use crate::clock::Monotonic;
use crate::config::WallClock;
use crate::gate::HALF_OPEN_MAX;
use crate::known::Known;
use crate::stats::Counters;

/// Shared by all endpoints and connections of a transport.
pub(crate) struct Member {
    credentials: RwLock<Credentials>,
    pub(crate) judge: Arc<dyn Judge + Send + Sync>,
    wall_clock: WallClock,
    seen: Mutex<ReplayGuard>,
    /// Destinations of first datagrams that are to be answered with a Retry when they come again.
    challenged: Mutex<VecDeque<ConnectionId>>,
    pub(crate) known: Arc<Known>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Monotonic,
}

/// What may be replaced while the machine runs.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) local: Arc<Local>,
    pub(crate) ring: KeyRing,
}

impl Member {
    pub(crate) fn new(
        credentials: Credentials,
        judge: Arc<dyn Judge + Send + Sync>,
        wall_clock: WallClock,
        seen: ReplayGuard,
    ) -> Self {
        Self {
            credentials: RwLock::new(credentials),
            judge,
            wall_clock,
            seen: Mutex::new(seen),
            challenged: Mutex::default(),
            known: Arc::default(),
            counters: Arc::default(),
            clock: Monotonic::start(),
        }
    }

    pub(crate) fn credentials(&self) -> Credentials {
        let credentials = self.credentials.read();
        credentials.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn replace(&self, credentials: Credentials) {
        let current = self.credentials.write();
        *current.unwrap_or_else(PoisonError::into_inner) = credentials;
    }

    pub(crate) fn time(&self) -> Option<Timestamp> {
        (self.wall_clock)()
    }

    /// Draws an id for a first datagram, with the keys that it was made with.
    pub(crate) fn first_id(keys: &LinkKeys) -> ConnectionId {
        draw_id(keys, ConnectionIdKind::First)
    }

    /// Draws an id that peers are to use.
    pub(crate) fn issue_id(&self) -> ConnectionId {
        let Credentials { local, ring } = self.credentials();
        draw_id(ring.current(), ConnectionIdKind::Issued(local.machine()))
    }

    /// The keys under which the destination of a first datagram was made, if a member made it: by
    /// drawing it, or by following this machine's Retry.
    pub(crate) fn find_keys(&self, destination: &[u8]) -> Option<Arc<LinkKeys>> {
        let Credentials { local, ring } = self.credentials();
        let issued = ConnectionIdKind::Issued(local.machine());
        let keys = ring.find(ConnectionIdKind::First, destination);
        keys.or_else(|| ring.find(issued, destination)).cloned()
    }

    /// Whether peers are told that a connection with this id of theirs is not known any more.
    pub(crate) fn may_reset(&self, id: &[u8]) -> bool {
        let Credentials { local, ring } = self.credentials();
        let issued = ConnectionIdKind::Issued(local.machine());
        ring.find(issued, id).is_some() && self.known.may_reset(id)
    }

    /// Judges the CRYPTO bytes of a client's first datagram, and remembers them if it is to be
    /// answered.
    pub(crate) fn judge_first(
        &self,
        crypto: &[u8],
        is_address_validated: bool,
    ) -> Result<Freshness, HandshakeError> {
        let Credentials { local, ring } = self.credentials();
        let flight = FirstFlight::open(&ring, &local.network(), crypto)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.time();
        Ok(seen.judge(&flight, now, self.clock.elapsed(), is_address_validated))
    }

    /// Has a first datagram answered with a Retry when the client sends it again; QUIC cannot do
    /// so any more while it decrypts it.
    pub(crate) fn challenge(&self, destination: &ConnectionId) {
        let challenged = self.challenged.lock();
        let mut challenged = challenged.unwrap_or_else(PoisonError::into_inner);
        if challenged.len() >= HALF_OPEN_MAX {
            challenged.pop_front();
        }
        challenged.push_back(*destination);
    }

    /// Whether a first datagram is to be answered with a Retry, which validates the address.
    pub(crate) fn must_challenge(&self, destination: &ConnectionId) -> bool {
        let challenged = self.challenged.lock();
        let challenged = challenged.unwrap_or_else(PoisonError::into_inner);
        self.time().is_none() || challenged.contains(destination)
    }

    pub(crate) fn with_seen<T>(&self, then: impl FnOnce(&mut ReplayGuard) -> T) -> T {
        then(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn draw_id(keys: &LinkKeys, kind: ConnectionIdKind) -> ConnectionId {
    ConnectionId::new(&connection_id(keys, kind, random()))
}

/// Bytes from the operating system.
///
/// # Panics
///
/// If it has no entropy to give; no key would be worth anything then.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has entropy");
    bytes
}
