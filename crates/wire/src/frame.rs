//! The envelope: version, kind, message.

use bytes::{Bytes, BytesMut};
use model::Block;
use prost::Message as _;
use proto::wire::v1 as pb;

use crate::{FrameError, MessageKind, limits, read, write};

/// One message between neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Which neighbours to keep.
    Overlay(overlay::Message),
    /// Blocks and states.
    Gossip(gossip::Message),
    /// Who is a relay.
    Election(election::Message),
    /// Direct commands.
    Command(command::Message),
}

/// Which of a link's streams a frame takes, so that the past never blocks the present, nor a flood
/// of readings a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Everything that is small or new.
    Live,
    /// Blocks in answer to wants, but for alarms.
    Bulk,
    /// Commands and their answers, and alarms as they are raised.
    Command,
}

impl Frame {
    /// The lane it belongs on.
    #[must_use]
    pub fn lane(&self) -> Lane {
        match self {
            Self::Gossip(gossip::Message::Block { block, pushed }) => {
                match (*pushed, block.header().urgent) {
                    (true, true) => Lane::Command,
                    (true, false) | (false, true) => Lane::Live,
                    (false, false) => Lane::Bulk,
                }
            }
            Self::Command(_) => Lane::Command,
            Self::Overlay(_) | Self::Gossip(_) | Self::Election(_) => Lane::Live,
        }
    }
}

/// Encodes a frame. A block is copied once, into the frame.
///
/// # Panics
///
/// If the frame exceeds [`FRAME_BYTES_MAX`], which no message within its documented limits does.
#[must_use]
pub fn encode(frame: &Frame) -> Bytes {
    match frame {
        Frame::Overlay(message) => wrap(MessageKind::Overlay, &write::overlay(message)),
        Frame::Gossip(message) => wrap(MessageKind::Gossip, &write::gossip(message)),
        Frame::Election(message) => wrap(MessageKind::Election, &write::election(message)),
        Frame::Command(message) => wrap(MessageKind::Command, &write::command(message)),
    }
}

/// Decodes a frame. A block shares the frame's memory unless most of that would be kept for
/// nothing; states are copied, because they outlive the frames that bring several of them.
///
/// # Errors
///
/// [`FrameError`] if the bytes are no frame of this version or break a documented limit. Counts
/// are checked before anything is allocated for what is counted.
pub fn decode(bytes: Bytes) -> Result<Frame, FrameError> {
    if bytes.len() > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(bytes.len()));
    }
    let &[version, kind, ..] = &bytes[..] else {
        return Err(FrameError::TooShort(bytes.len()));
    };
    if version != VERSION {
        return Err(FrameError::Version(version));
    }
    let kind = MessageKind::from_code(kind).ok_or(FrameError::Kind(kind))?;
    let body = bytes.slice(ENVELOPE_BYTES..);
    limits::check(kind, &body)?;
    let malformed = |error| FrameError::Malformed(kind, error);
    Ok(match kind {
        MessageKind::Overlay => {
            let raw = pb::Overlay::decode(body).map_err(malformed)?;
            Frame::Overlay(read::overlay(raw)?)
        }
        MessageKind::Gossip => {
            let raw = pb::Gossip::decode(body).map_err(malformed)?;
            Frame::Gossip(read::gossip(raw, bytes.len())?)
        }
        MessageKind::Election => {
            let raw = pb::Election::decode(body).map_err(malformed)?;
            Frame::Election(read::election(raw)?)
        }
        MessageKind::Command => {
            let raw = pb::Command::decode(body).map_err(malformed)?;
            Frame::Command(read::command(raw)?)
        }
    })
}

fn wrap(kind: MessageKind, message: &impl prost::Message) -> Bytes {
    let length = ENVELOPE_BYTES + message.encoded_len();
    assert!(
        length <= FRAME_BYTES_MAX,
        "our own {kind} message of {length} bytes exceeds a frame"
    );
    let mut bytes = BytesMut::with_capacity(length);
    bytes.extend_from_slice(&[VERSION, kind.code()]);
    message.encode_raw(&mut bytes);
    bytes.freeze()
}

/// Largest frame. Unit: bytes. Source: the largest block and what stands around it (11 bytes); the
/// largest of the other messages, a frontier of 512 entries with 16 islands each, has 248 KiB.
pub const FRAME_BYTES_MAX: usize = Block::ENCODED_BYTES_MAX + 64;

/// The version of the package `fieldmesh.wire.v1`.
const VERSION: u8 = 1;

/// Version and kind. Unit: bytes.
const ENVELOPE_BYTES: usize = 2;
