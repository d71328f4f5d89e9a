//! The Noise state machine, with entropy handed in and bad keys refused.
//!
//! Wraps `snow`. Its default resolver draws entropy by itself and accepts public keys of small
//! order, under which every shared secret is zero; ours does neither.

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use snow::params::{CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState};
use zeroize::Zeroizing;

use crate::{HandshakeError, MESSAGE_BYTES_MAX, Side};

/// What a session draws its keys from: 32 bytes from the operating system, used once.
pub(crate) struct Entropy(Zeroizing<[u8; 32]>);

impl Entropy {
    pub(crate) fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    fn draw(&self, purpose: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, &*self.0)
            .expand(purpose, key.as_mut())
            .expect("HKDF gives up to 255 times 32 bytes");
        key
    }
}

/// One handshake of one side.
pub(crate) struct Noise {
    state: HandshakeState,
    static_key: [u8; 32],
}

impl Noise {
    /// A handshake that has not started. Its static key is drawn for it alone: who a machine is, its
    /// signature says.
    pub(crate) fn new(side: Side, prologue: &[u8], psk: &[u8; 32], entropy: &Entropy) -> Self {
        let mut own = GuardedDh(plain_dh());
        let private = entropy.draw(b"static");
        own.set(&*private);
        let mut static_key = [0; 32];
        static_key.copy_from_slice(own.pubkey());
        let resolver = Resolver {
            ephemeral: entropy.draw(b"ephemeral"),
        };
        let params: NoiseParams = PROTOCOL.parse().expect("snow knows the protocol");
        let state = Builder::with_resolver(params, Box::new(resolver))
            .prologue(prologue)
            .and_then(|builder| builder.psk(0, psk))
            .and_then(|builder| builder.local_private_key(&*private))
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
    ephemeral: Zeroizing<[u8; 32]>,
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Drawn(Some(self.ephemeral.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        let inner = DefaultResolver.resolve_dh(choice)?;
        Some(Box::new(GuardedDh(inner)))
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

fn plain_dh() -> Box<dyn Dh> {
    DefaultResolver
        .resolve_dh(&DHChoice::Curve25519)
        .expect("snow is built with Curve25519")
}

/// X25519 that refuses an all-zero result (RFC 7748, section 6.1).
struct GuardedDh(Box<dyn Dh>);

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
        self.0.set(private);
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

/// One suite; another one would be another version of the link.
const PROTOCOL: &str = "Noise_XXpsk0_25519_ChaChaPoly_SHA256";
