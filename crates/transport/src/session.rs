//! The Noise session where quinn expects TLS.

use std::any::Any;
use std::io::Cursor;
use std::sync::{Arc, Mutex, PoisonError};

use handshake::{
    ALPN, HandshakeError, KeyChange, Peer, Session, UpdateChain, check_retry, initial_keys,
    retry_tag,
};
use identity::LinkKeys;
use model::MachineId;
use quinn::crypto::{
    self, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, UnsupportedVersion,
};
use quinn::{ConnectError, ConnectionId, Side, TransportErrorCode};
use quinn_proto::TransportError;
use quinn_proto::transport_parameters::TransportParameters;

use crate::first_packet::FirstPacketKey;
use crate::keys::{keys, packet_keys};
use crate::member::{Member, random};

/// Why this machine ended a handshake, where whoever waits for it can find it.
pub(crate) type Failure = Arc<Mutex<Option<HandshakeError>>>;

/// Takes out why this machine ended a handshake, if it was this machine.
pub(crate) fn take_failure(failure: &Failure) -> Option<HandshakeError> {
    let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
    failure.take()
}

/// One dial.
pub(crate) struct Dialling {
    pub(crate) member: Arc<Member>,
    pub(crate) keys: Arc<LinkKeys>,
    /// Who must answer, if that is known.
    pub(crate) expected: Option<MachineId>,
    pub(crate) failure: Failure,
}

impl crypto::ClientConfig for Dialling {
    fn start_session(
        self: Arc<Self>,
        _: u32,
        server_name: &str,
        parameters: &TransportParameters,
    ) -> Result<Box<dyn crypto::Session>, ConnectError> {
        let session = Session::initiate(
            self.member.credentials().local,
            &self.keys,
            self.expected,
            &encode(parameters),
            self.member.time(),
            random(),
        );
        let session = session.map_err(|error| {
            remember(&self.failure, error);
            ConnectError::InvalidServerName(server_name.to_owned())
        })?;
        Ok(Box::new(NoiseSession {
            session,
            side: Side::Client,
            member: Arc::clone(&self.member),
            keys: Some(Arc::clone(&self.keys)),
            updates: None,
            is_announced: false,
            failure: Arc::clone(&self.failure),
        }))
    }
}

/// One connection that came in, or all that may.
pub(crate) struct Answering {
    pub(crate) member: Arc<Member>,
    pub(crate) failure: Failure,
}

impl crypto::ServerConfig for Answering {
    /// Nothing is answered to an id that no member made.
    fn initial_keys(&self, _: u32, destination: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        let Some(link_keys) = self.member.find_keys(destination) else {
            self.member.counters.first_flights_foreign.add();
            return Err(UnsupportedVersion);
        };
        let mut keys = keys(&initial_keys(
            &link_keys,
            destination,
            handshake::Side::Responder,
        ));
        keys.packet.remote = Box::new(FirstPacketKey::new(
            keys.packet.remote,
            Arc::clone(&self.member),
            *destination,
        ));
        Ok(keys)
    }

    fn retry_tag(&self, _: u32, original: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        let ring = self.member.credentials().ring;
        let keys = self.member.find_keys(original);
        retry_tag(keys.as_ref().unwrap_or(ring.current()), original, &[packet])
    }

    fn start_session(
        self: Arc<Self>,
        _: u32,
        parameters: &TransportParameters,
    ) -> Box<dyn crypto::Session> {
        let credentials = self.member.credentials();
        let session = Session::respond(
            credentials.local,
            credentials.ring,
            &encode(parameters),
            random(),
        );
        Box::new(NoiseSession {
            session,
            side: Side::Server,
            member: Arc::clone(&self.member),
            keys: None,
            updates: None,
            is_announced: false,
            failure: Arc::clone(&self.failure),
        })
    }
}

/// For sockets that only dial: nobody who comes in is answered.
pub(crate) struct NotAnswering;

impl crypto::ServerConfig for NotAnswering {
    fn initial_keys(&self, _: u32, _: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        Err(UnsupportedVersion)
    }

    fn retry_tag(&self, _: u32, _: &ConnectionId, _: &[u8]) -> [u8; 16] {
        unreachable!("asked for no version that initial_keys has refused")
    }

    fn start_session(self: Arc<Self>, _: u32, _: &TransportParameters) -> Box<dyn crypto::Session> {
        unreachable!("asked for no version that initial_keys has refused")
    }
}

struct NoiseSession {
    session: Session,
    side: Side,
    member: Arc<Member>,
    /// What was dialled with; who answers finds its keys by the destination.
    keys: Option<Arc<LinkKeys>>,
    updates: Option<UpdateChain>,
    /// quinn has been told that handshake data is there.
    is_announced: bool,
    failure: Failure,
}

impl NoiseSession {
    fn keys_for(&self, destination: &ConnectionId) -> Arc<LinkKeys> {
        let dialled_with = self.keys.clone();
        let found = dialled_with.or_else(|| self.member.find_keys(destination));
        found.unwrap_or_else(|| Arc::clone(self.member.credentials().ring.current()))
    }
}

impl crypto::Session for NoiseSession {
    fn initial_keys(&self, destination: &ConnectionId, _: Side) -> Keys {
        let link_keys = self.keys_for(destination);
        keys(&initial_keys(&link_keys, destination, self.session.side()))
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.session.peer_parameters()?;
        Some(Box::new(ALPN))
    }

    /// A [`Peer`].
    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        let peer: Peer = self.session.peer()?.clone();
        Some(Box::new(peer))
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        None
    }

    fn early_data_accepted(&self) -> Option<bool> {
        None
    }

    fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    fn read_handshake(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        if let Err(error) = self.session.read(bytes, &*self.member.judge) {
            let mut refused = TransportError::from(TransportErrorCode::crypto(ALERT));
            refused.reason = error.to_string();
            remember(&self.failure, error);
            return Err(refused);
        }
        let is_there = self.session.peer_parameters().is_some();
        Ok(is_there && !std::mem::replace(&mut self.is_announced, is_there))
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let Some(bytes) = self.session.peer_parameters() else {
            return Ok(None);
        };
        Ok(Some(TransportParameters::read(
            self.side,
            &mut Cursor::new(bytes),
        )?))
    }

    fn write_handshake(&mut self, bytes: &mut Vec<u8>) -> Option<Keys> {
        match self.session.write(bytes)? {
            KeyChange::Handshake(set) => Some(keys(&set)),
            KeyChange::OneRtt(set, updates) => {
                self.updates = Some(updates);
                Some(keys(&set))
            }
        }
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        Some(packet_keys(&self.updates.as_mut()?.advance()))
    }

    fn is_valid_retry(&self, original: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        check_retry(&self.keys_for(original), original, &[header, payload])
    }

    fn export_keying_material(
        &self,
        out: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        let exported = self.session.export(label, context, out);
        exported.map_err(|_| ExportKeyingMaterialError)
    }
}

fn encode(parameters: &TransportParameters) -> Vec<u8> {
    let mut bytes = Vec::new();
    parameters.write(&mut bytes);
    bytes
}

fn remember(failure: &Failure, error: HandshakeError) {
    let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
    failure.get_or_insert(error);
}

/// What the other side is told of a handshake that failed: access denied, RFC 8446 §6.2.
const ALERT: u8 = 49;
