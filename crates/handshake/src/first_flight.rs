//! The first message: what a stranger cannot write and what an observer can only repeat.
//!
//! [`FirstFlight::open`] reads it without a session, so that a datagram can be judged before
//! anything is kept of it or answered to it; it costs hashing and one AEAD, no Diffie-Hellman.

use identity::NetworkKeyEpoch;
use model::{NetworkId, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::codec::{Fields, put_bytes};
use crate::frame::Frame;
use crate::noise::{Noise, Secrets};
use crate::{ALPN, HandshakeError, KeyRing, Side, VERSION};

/// Names one first flight: a hash of its message, so a repetition has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlightId(pub [u8; 16]);

/// What a client said first, proved by the network key and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstFlight {
    /// Which one.
    pub id: FlightId,
    /// When the client sent it, by its clock in whole milliseconds; `None` if it trusts no clock.
    pub time: Option<Timestamp>,
    /// The epoch of its network key.
    pub epoch: NetworkKeyEpoch,
}

impl FirstFlight {
    /// Opens the CRYPTO bytes of a client's first datagram.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`] if they are not exactly one first message of this network.
    pub fn open(ring: &KeyRing, network: &NetworkId, bytes: &[u8]) -> Result<Self, HandshakeError> {
        let mut rest = bytes;
        let message = Frame::default().take(&mut rest)?;
        let message = message.ok_or(HandshakeError::Malformed("cut short"))?;
        if !rest.is_empty() {
            return Err(HandshakeError::OutOfTurn);
        }
        let opened = Opened::read(ring, network, &message, &Secrets::none())?;
        Ok(opened.flight)
    }
}

/// A first message, read.
pub(crate) struct Opened {
    pub(crate) noise: Noise,
    pub(crate) flight: FirstFlight,
    pub(crate) parameters: Vec<u8>,
}

impl Opened {
    /// Reads the message under each key of the ring in turn.
    pub(crate) fn read(
        ring: &KeyRing,
        network: &NetworkId,
        message: &[u8],
        secrets: &Secrets,
    ) -> Result<Self, HandshakeError> {
        let mut refused = HandshakeError::Decrypt;
        for keys in ring.iter() {
            let prologue = prologue(network, keys.epoch());
            let mut noise = Noise::new(Side::Responder, &prologue, keys.psk(), secrets);
            match noise.read(message) {
                Ok(payload) => {
                    let id = FlightId::of(message);
                    let (flight, parameters) = parse(&payload, network, keys.epoch(), id)?;
                    return Ok(Self {
                        noise,
                        flight,
                        parameters,
                    });
                }
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }
}

impl FlightId {
    fn of(message: &[u8]) -> Self {
        let hash: [u8; 32] = Sha256::digest(message).into();
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        Self(id)
    }
}

/// What both sides hash before the first message.
pub(crate) fn prologue(network: &NetworkId, epoch: NetworkKeyEpoch) -> Vec<u8> {
    [
        &VERSION.to_be_bytes()[..],
        network.as_bytes(),
        &epoch.0.to_be_bytes(),
    ]
    .concat()
}

/// The payload of the first message.
pub(crate) fn payload(
    network: &NetworkId,
    epoch: NetworkKeyEpoch,
    time: Option<Timestamp>,
    parameters: &[u8],
) -> Vec<u8> {
    let mut payload = prologue(network, epoch);
    let millis = time.map_or(0, |time| time.as_nanos() / NANOS_PER_MILLI);
    let millis = u64::try_from(millis).unwrap_or(0);
    payload.extend_from_slice(&millis.to_be_bytes());
    put_bytes(&mut payload, ALPN.as_bytes());
    put_bytes(&mut payload, parameters);
    payload
}

fn parse(
    payload: &[u8],
    network: &NetworkId,
    epoch: NetworkKeyEpoch,
    id: FlightId,
) -> Result<(FirstFlight, Vec<u8>), HandshakeError> {
    let mut fields = Fields::new(payload);
    let is_as_hashed = fields.u32()? == VERSION
        && fields.array()? == *network.as_bytes()
        && fields.u32()? == epoch.0;
    if !is_as_hashed {
        return Err(HandshakeError::Malformed("it contradicts its prologue"));
    }
    let time = match fields.u64()? {
        0 => None,
        millis => Some(timestamp(millis)?),
    };
    if fields.bytes()? != ALPN.as_bytes() {
        return Err(HandshakeError::OtherProtocol);
    }
    let parameters = fields.parameters()?;
    fields.finish()?;
    Ok((FirstFlight { id, time, epoch }, parameters))
}

fn timestamp(millis: u64) -> Result<Timestamp, HandshakeError> {
    i64::try_from(millis)
        .ok()
        .and_then(|millis| millis.checked_mul(NANOS_PER_MILLI))
        .map(Timestamp::from_nanos)
        .ok_or(HandshakeError::Malformed("a time after the year 2262"))
}

const NANOS_PER_MILLI: i64 = 1_000_000;
