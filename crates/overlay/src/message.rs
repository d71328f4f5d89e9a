//! What overlays say to each other.

use model::MachineId;

/// How a machine can be dialled: a multiaddress as text. Opaque here; `swarm` reads it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(String);

impl Address {
    /// Longest address. Unit: bytes.
    pub const BYTES_MAX: usize = 192;

    /// Takes a text of at most [`Self::BYTES_MAX`] bytes; `None` if it is longer or empty.
    #[must_use]
    pub fn new(text: String) -> Option<Self> {
        (!text.is_empty() && text.len() <= Self::BYTES_MAX).then_some(Self(text))
    }

    /// The address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A machine and where it may be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The machine.
    pub machine: MachineId,
    /// Its addresses, best first; at most [`Contact::ADDRESSES_MAX`].
    pub addresses: Vec<Address>,
}

impl Contact {
    /// Most addresses of one machine. Source: guess.
    pub const ADDRESSES_MAX: usize = 8;
}

/// How many more times a message may be forwarded. Unit: hops. Zero means keep, do not forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hops(pub u8);

impl Hops {
    /// Longest random walk that is accepted from a peer. Unit: hops. Source: guess, above
    /// HyParView's active random walk length of 6.
    pub const MAX: Self = Self(8);

    /// One hop fewer, or `None` when the walk ends here.
    #[must_use]
    pub fn step(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }
}

/// HyParView's messages. Each travels over an open link to its receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A new machine asks for a place: the receiver takes it if it can, sends it a sample of what
    /// it knows (`ShuffleReply`) and walks it through the network.
    Join {
        /// Where the sender may be reached.
        contact: Contact,
    },
    /// A joiner on its random walk.
    ForwardJoin {
        /// Who joins.
        joiner: Contact,
        /// How much further it may walk.
        ttl: Hops,
    },
    /// The sender wants the receiver as neighbour.
    Neighbour {
        /// Where the sender may be reached.
        contact: Contact,
        /// The sender has no neighbour at all, or has found the receiver again after it was lost,
        /// so the receiver must make room.
        urgent: bool,
    },
    /// The answer to `Neighbour`.
    NeighbourReply {
        /// Whether the receiver took the sender in.
        accepted: bool,
    },
    /// The sender does not keep the receiver as neighbour.
    Disconnect,
    /// A sample of what the walk's origin knows, on its random walk.
    Shuffle {
        /// Who started the walk.
        origin: Contact,
        /// What it knows; at most [`Message::SAMPLE_MAX`].
        sample: Vec<Contact>,
        /// How much further it may walk.
        ttl: Hops,
    },
    /// What the machine at the walk's end knows, sent back one hop to whoever handed the walk over.
    ShuffleReply {
        /// At most [`Message::SAMPLE_MAX`].
        sample: Vec<Contact>,
    },
}

impl Message {
    /// Most contacts in a shuffle. Source: HyParView, section 5.1: 3 active, 4 passive, itself.
    pub const SAMPLE_MAX: usize = 8;
}
