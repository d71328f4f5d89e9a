//! Why a frame was refused.

use std::fmt;

use model::{BlockError, StateError};

use crate::FRAME_BYTES_MAX;

/// Why a peer's frame was refused. Every variant is the peer's fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Seen before anything was decoded.
    #[error("frame of {0} bytes exceeds the limit of {limit}", limit = FRAME_BYTES_MAX)]
    TooLong(usize),
    /// Not even version and kind.
    #[error("frame of {0} bytes has no message")]
    TooShort(usize),
    /// Written by a version that this one does not know.
    #[error("frame version {0} is unknown to this version")]
    Version(u8),
    /// A kind of message that this version does not know.
    #[error("message kind {0} is unknown to this version")]
    Kind(u8),
    /// The bytes do not decode as the announced kind.
    #[error("malformed {0} message")]
    Malformed(MessageKind, #[source] prost::DecodeError),
    /// Seen before anything was allocated for them.
    #[error("more than {limit} {what} in one message")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// A field that must be there is not, or its value is none that it may have.
    #[error("{0} is missing or out of range")]
    Field(&'static str),
    /// A block whose header does not decode or claims too much.
    #[error("block refused")]
    Block(#[from] BlockError),
    /// A state that does not decode or is too long.
    #[error("state refused")]
    State(#[from] StateError),
}

/// Which protocol a message belongs to; the second byte of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// `overlay::Message`
    Overlay = 1,
    /// `gossip::Message`
    Gossip = 2,
    /// `election::Message`
    Election = 3,
    /// `command::Message`
    Command = 4,
}

impl MessageKind {
    /// Its number on the wire.
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }

    /// The kind with this number.
    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Overlay),
            2 => Some(Self::Gossip),
            3 => Some(Self::Election),
            4 => Some(Self::Command),
            _ => None,
        }
    }
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Overlay => "overlay",
            Self::Gossip => "gossip",
            Self::Election => "election",
            Self::Command => "command",
        })
    }
}
