//! The Noise state machine, with entropy handed in and bad keys refused.
//!
//! Wraps `snow`. Its default resolver draws entropy by itself and accepts public keys of small
//! order, under which every shared secret is zero; ours does neither.

use std::cell::Cell;
use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use snow::params::{CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState};
use zeroize::Zeroizing;

use crate::{HandshakeError, MESSAGE_BYTES_MAX, Side};

/// Own private keys of one handshake.
pub(crate) struct Secrets {
    static_key: Zeroizing<[u8; 32]>,
    ephemeral: Zeroizing<[u8; 32]>,
}

impl Secrets {
    /// No secrets: enough to read a first message, into which nothing of the reader's goes.
    pub(crate) fn none() -> Self {
        Self {
            static_key: Zeroizing::new(UNSET),
            ephemeral: Zeroizing::new(UNSET),
        }
    }

    /// Draws them from 32 bytes of the operating system, which are used for nothing else.
    pub(crate) fn draw(entropy: [u8; 32]) -> Self {
        let entropy = Zeroizing::new(entropy);
        let hkdf = Hkdf::<Sha256>::new(None, &*entropy);
        let key = |purpose: &[u8]| {
            let mut key = Zeroizing::new([0; 32]);
            hkdf.expand(purpose, key.as_mut())
                .expect("HKDF gives up to 255 times 32 bytes");
            key
        };
        Self {
            static_key: key(b"static"),
            ephemeral: key(b"ephemeral"),
        }
    }
}

#[cfg(test)]
impl Secrets {
    /// The private static key, for tests that steal it.
    pub(crate) fn static_key(&self) -> [u8; 32] {
        *self.static_key
    }
}

/// One handshake of one side.
pub(crate) struct Noise {
    state: HandshakeState,
    static_key: [u8; 32],
}

impl Noise {
    /// A handshake that has not started. Its static key is drawn for it alone: who a machine is,
    /// its signature says.
    pub(crate) fn new(side: Side, prologue: &[u8], psk: &[u8; 32], secrets: &Secrets) -> Self {
        let mut own = GuardedDh::new();
        own.set(&*secrets.static_key);
        let mut static_key = [0; 32];
        static_key.copy_from_slice(own.pubkey());
        let resolver = Resolver {
            own: Cell::new(Some(own)),
            ephemeral: secrets.ephemeral.clone(),
        };
        let params: NoiseParams = PROTOCOL.parse().expect("snow knows the protocol");
        let state = Builder::with_resolver(params, Box::new(resolver))
            .prologue(prologue)
            .and_then(|builder| builder.psk(0, psk))
            .and_then(|builder| builder.local_private_key(&*secrets.static_key))
            .and_then(|builder| match side {
                Side::Initiator => builder.build_initiator(),
                Side::Responder => builder.build_responder(),
            })
            .expect("every key that the protocol asks for is set once");
        Self { state, static_key }
    }

    /// The hash of everything so far.
    pub(crate) fn transcript(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(self.state.get_handshake_hash());
        hash
    }

    /// Own static public key.
    pub(crate) const fn static_key(&self) -> &[u8; 32] {
        &self.static_key
    }

    /// The peer's static public key, once it was read.
    pub(crate) fn peer_static_key(&self) -> Option<[u8; 32]> {
        self.state.get_remote_static()?.try_into().ok()
    }

    /// What `split` gives at this point: the two keys, one after the other.
    pub(crate) fn split(&mut self) -> Zeroizing<[u8; 64]> {
        let (first, second) = self.state.dangerously_get_raw_split();
        let mut both = Zeroizing::new([0; 64]);
        both[..32].copy_from_slice(&first);
        both[32..].copy_from_slice(&second);
        both
    }

    /// The next message, with its payload.
    pub(crate) fn write(&mut self, payload: &[u8]) -> Result<Vec<u8>, HandshakeError> {
        let mut message = vec![0; MESSAGE_BYTES_MAX];
        let length = self.state.write_message(payload, &mut message);
        message.truncate(length.map_err(failed)?);
        Ok(message)
    }

    /// The payload of the peer's next message.
    pub(crate) fn read(&mut self, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, HandshakeError> {
        let mut payload = Zeroizing::new(vec![0; message.len()]);
        let length = self.state.read_message(message, &mut payload);
        payload.truncate(length.map_err(failed)?);
        Ok(payload)
    }
}

impl fmt::Debug for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Noise(secret)")
    }
}

/// A message of the one-way pattern X: sealed by `own` to the holder of `to`.
pub(crate) fn seal(
    own: &[u8; 32],
    to: &[u8; 32],
    prologue: &[u8],
    content: &[u8],
    entropy: [u8; 32],
) -> Result<Vec<u8>, HandshakeError> {
    let resolver = Resolver {
        own: Cell::new(None),
        ephemeral: Zeroizing::new(entropy),
    };
    let mut state = one_way(resolver, own, prologue)
        .and_then(|builder| builder.remote_public_key(to))
        .and_then(Builder::build_initiator)
        .expect("every key that the pattern asks for is set once");
    let mut message = vec![0; SEALED_EXTRA + content.len()];
    let length = state.write_message(content, &mut message).map_err(failed)?;
    message.truncate(length);
    Ok(message)
}

/// Opens what was sealed to `own`; gives the content and the sealer's public key.
pub(crate) fn open(
    own: &[u8; 32],
    prologue: &[u8],
    message: &[u8],
) -> Result<(Zeroizing<Vec<u8>>, [u8; 32]), HandshakeError> {
    let resolver = Resolver {
        own: Cell::new(None),
        ephemeral: Zeroizing::new(UNSET),
    };
    let mut state = one_way(resolver, own, prologue)
        .and_then(Builder::build_responder)
        .expect("every key that the pattern asks for is set once");
    let mut content = Zeroizing::new(vec![0; message.len()]);
    let length = state.read_message(message, &mut content).map_err(failed)?;
    content.truncate(length);
    let sealer = state
        .get_remote_static()
        .and_then(|key| key.try_into().ok());
    let sealer = sealer.ok_or(HandshakeError::Malformed("no sealer"))?;
    Ok((content, sealer))
}

fn one_way<'a>(
    resolver: Resolver,
    own: &'a [u8; 32],
    prologue: &'a [u8],
) -> Result<Builder<'a>, snow::Error> {
    let params: NoiseParams = SEAL_PROTOCOL.parse().expect("snow knows the protocol");
    let builder = Builder::with_resolver(params, Box::new(resolver));
    builder.prologue(prologue)?.local_private_key(own)
}

/// What `snow` says about a message. Its other errors are about the order of calls, which is ours.
fn failed(error: snow::Error) -> HandshakeError {
    if error == snow::Error::Dh {
        HandshakeError::LowOrder
    } else if error == snow::Error::Input {
        HandshakeError::Malformed("cut short or too long")
    } else {
        HandshakeError::Decrypt
    }
}

/// `snow`'s primitives, but for entropy and for keys of small order.
struct Resolver {
    /// The static key with its public key, which `snow` would compute anew. It asks for it first;
    /// if it asked otherwise, it would set another key and lose nothing but time.
    own: Cell<Option<GuardedDh>>,
    ephemeral: Zeroizing<[u8; 32]>,
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Drawn(Some(self.ephemeral.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        let is_known = matches!(choice, DHChoice::Curve25519);
        is_known
            .then(|| -> Box<dyn Dh> { Box::new(self.own.take().unwrap_or_else(GuardedDh::new)) })
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// The ephemeral key, given out once.
struct Drawn(Option<Zeroizing<[u8; 32]>>);

impl Random for Drawn {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), snow::Error> {
        let key = self.0.take().ok_or(snow::Error::Rng)?;
        if out.len() != key.len() {
            return Err(snow::Error::Rng);
        }
        out.copy_from_slice(&*key);
        Ok(())
    }
}

/// X25519 that refuses an all-zero result (RFC 7748, section 6.1).
struct GuardedDh(Box<dyn Dh>);

impl GuardedDh {
    /// Its private key is [`UNSET`].
    fn new() -> Self {
        let plain = DefaultResolver.resolve_dh(&DHChoice::Curve25519);
        Self(plain.expect("snow is built with Curve25519"))
    }
}

impl Dh for GuardedDh {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn pub_len(&self) -> usize {
        self.0.pub_len()
    }

    fn priv_len(&self) -> usize {
        self.0.priv_len()
    }

    fn set(&mut self, private: &[u8]) {
        if self.0.privkey() != private {
            self.0.set(private);
        }
    }

    fn generate(&mut self, entropy: &mut dyn Random) -> Result<(), snow::Error> {
        self.0.generate(entropy)
    }

    fn pubkey(&self) -> &[u8] {
        self.0.pubkey()
    }

    fn privkey(&self) -> &[u8] {
        self.0.privkey()
    }

    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        self.0.dh(public, out)?;
        let shared = &out[..self.0.dh_len()];
        if shared.iter().fold(0, |any, byte| any | byte) == 0 {
            return Err(snow::Error::Dh);
        }
        Ok(())
    }

    fn dh_len(&self) -> usize {
        self.0.dh_len()
    }
}

/// The private key of `snow`'s X25519 before one is set.
const UNSET: [u8; 32] = [0; 32];

/// One suite; another one would be another version of the link.
const PROTOCOL: &str = "Noise_XXpsk0_25519_ChaChaPoly_SHA256";
/// What is sealed without a connection: one message, from a known sender.
const SEAL_PROTOCOL: &str = "Noise_X_25519_ChaChaPoly_SHA256";
/// What sealing adds: an ephemeral key, a static key with its tag, a tag. Unit: bytes.
pub(crate) const SEALED_EXTRA: usize = 32 + 48 + 16;
