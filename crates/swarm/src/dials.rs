//! The dials that the application asked for, a bounded number of them at a time.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use handshake::HandshakeError;
use libp2p::Multiaddr;
use libp2p::core::transport::TransportError;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError};
use model::MachineId;
use overlay::Contact;

use crate::address::{parse, peer_of};
use crate::ways::Way;

/// Dials under way, and those that wait for their turn.
#[derive(Debug, Default)]
pub(crate) struct Dials {
    active: BTreeMap<MachineId, Active>,
    waiting: VecDeque<Contact>,
}

#[derive(Debug)]
struct Active {
    /// The connection that is being made; `None` once it stands and may still become a link.
    connection: Option<ConnectionId>,
    /// Where the machine is said to listen for QUIC.
    quic: Vec<Multiaddr>,
}

impl Dials {
    /// Takes a request; false if there is no room for it.
    pub(crate) fn request(&mut self, contact: Contact) -> bool {
        let machine = contact.machine;
        let is_known = self.active.contains_key(&machine)
            || self
                .waiting
                .iter()
                .any(|waiting| waiting.machine == machine);
        if is_known {
            return true;
        }
        let is_room = self.waiting.len() < WAITING_MAX;
        if is_room {
            self.waiting.push_back(contact);
        }
        is_room
    }

    /// The next one to start, if it may.
    pub(crate) fn next(&mut self) -> Option<Contact> {
        if self.active.len() >= ACTIVE_MAX {
            return None;
        }
        self.waiting.pop_front()
    }

    pub(crate) fn on_started(&mut self, contact: &Contact, connection: ConnectionId) {
        let addresses = addresses(contact).into_iter();
        let active = Active {
            connection: Some(connection),
            quic: addresses.filter(|its| Way::of(its) == Way::Quic).collect(),
        };
        self.active.insert(contact.machine, active);
    }

    /// The connection that was being made stands, or there is none but others may become the link.
    pub(crate) fn on_undecided(&mut self, machine: MachineId, connection: ConnectionId) {
        if let Some(dial) = self.active.get_mut(&machine)
            && dial.connection == Some(connection)
        {
            dial.connection = None;
        }
    }

    /// Whether a machine is being dialled by this connection.
    pub(crate) fn is_by(&self, machine: MachineId, connection: ConnectionId) -> bool {
        let dial = self.active.get(&machine);
        dial.is_some_and(|dial| dial.connection == Some(connection))
    }

    /// Whether nothing but connections that stand can still make the dial succeed.
    pub(crate) fn is_undecided(&self, machine: MachineId) -> bool {
        let dial = self.active.get(&machine);
        dial.is_some_and(|dial| dial.connection.is_none())
    }

    /// The dial has succeeded or failed. Gives where the machine is said to listen for QUIC, if it
    /// was being dialled.
    pub(crate) fn end(&mut self, machine: MachineId) -> Option<Vec<Multiaddr>> {
        self.waiting.retain(|waiting| waiting.machine != machine);
        Some(self.active.remove(&machine)?.quic)
    }
}

/// Who answered a dial, if it was not who was dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answerer {
    /// This machine.
    Itself,
    /// Another one.
    Other(String),
}

/// Who answered a dial that has failed, if that is why.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else a dial fails for, nobody answered it"
)]
pub(crate) fn answerer(error: &DialError) -> Option<Answerer> {
    match error {
        DialError::LocalPeerId { .. } => Some(Answerer::Itself),
        DialError::WrongPeerId { obtained, .. } => Some(Answerer::Other(obtained.to_string())),
        DialError::Transport(errors) => errors.iter().find_map(|(_, error)| match error {
            TransportError::Other(error) => match handshake_error(error)? {
                HandshakeError::Itself => Some(Answerer::Itself),
                HandshakeError::OtherMachine { shown, .. } => {
                    Some(Answerer::Other(shown.to_string()))
                }
                _ => None,
            },
            TransportError::MultiaddrNotSupported(_) => None,
        }),
        _ => None,
    }
}

/// What ended a handshake over QUIC, out of what boxing the transport has wrapped it in.
fn handshake_error(mut error: &io::Error) -> Option<&HandshakeError> {
    loop {
        let inner = error.get_ref()?;
        match inner.downcast_ref() {
            Some(transport::Error::Refused(refused)) => return Some(refused),
            Some(_) => return None,
            None => error = inner.downcast_ref()?,
        }
    }
}

/// All addresses are tried at once; `None` if none can be.
pub(crate) fn options(contact: &Contact) -> Option<DialOpts> {
    let options = DialOpts::peer_id(peer_of(contact.machine)?)
        .condition(PeerCondition::Always)
        .addresses(addresses(contact));
    Some(options.build())
}

/// Those that name nobody else.
fn addresses(contact: &Contact) -> Vec<Multiaddr> {
    let peer = peer_of(contact.machine);
    let parsed = contact
        .addresses
        .iter()
        .take(Contact::ADDRESSES_MAX)
        .filter_map(parse);
    parsed
        .filter(|(_, named)| named.is_none() || *named == peer)
        .map(|(address, _)| address)
        .collect()
}

/// Most dials at a time. Source: guess.
const ACTIVE_MAX: usize = 16;
/// Most that wait. Source: guess, the largest passive view.
const WAITING_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(number: u16) -> Contact {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&number.to_be_bytes());
        Contact {
            machine: MachineId::from_bytes(key),
            addresses: Vec::new(),
        }
    }

    #[test]
    fn dials_beyond_the_limit_wait_for_their_turn() {
        let mut dials = Dials::default();
        let count = u16::try_from(ACTIVE_MAX).expect("small") + 1;
        assert!((0..count).all(|number| dials.request(contact(number))));

        let mut started = Vec::new();
        while let Some(next) = dials.next() {
            dials.on_started(&next, ConnectionId::new_unchecked(started.len()));
            started.push(next.machine);
        }

        assert_eq!(started.len(), ACTIVE_MAX);
        dials.end(started[0]);
        assert_eq!(dials.next(), Some(contact(count - 1)));
    }

    #[test]
    fn requests_are_bounded_and_a_machine_is_dialled_once() {
        let mut dials = Dials::default();
        let count = u16::try_from(WAITING_MAX).expect("small");

        assert!((0..count).all(|number| dials.request(contact(number))));
        assert!(dials.request(contact(0)));
        assert!(!dials.request(contact(count)));
    }
}
