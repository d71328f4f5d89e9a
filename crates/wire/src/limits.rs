//! Counts what a message repeats before it is decoded.
//!
//! An empty repeated message costs two bytes on the wire and a hundred in memory, and prost takes
//! any number of them. This walk over the encoded fields allocates nothing, looks only at fields
//! that can multiply, and goes no deeper than the tables below.

use command::Lineage;
use gossip::{FrontierEntry, Interest, Message as Gossip, Sums};
use overlay::{Contact, Message as Overlay};
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::{FrameError, MessageKind};

/// Checks the counts of an encoded message of this kind.
///
/// # Errors
///
/// [`FrameError::TooMany`], or [`FrameError::Malformed`] if the fields cannot be told apart.
pub(crate) fn check(kind: MessageKind, body: &[u8]) -> Result<(), FrameError> {
    let shape = match kind {
        MessageKind::Overlay => &OVERLAY,
        MessageKind::Gossip => &GOSSIP,
        MessageKind::Election => &ELECTION,
        MessageKind::Command => &COMMAND,
    };
    walk(body, shape).map_err(|refusal| match refusal {
        Refusal::TooMany(what, limit) => FrameError::TooMany { what, limit },
        Refusal::Malformed(error) => FrameError::Malformed(kind, error),
    })
}

/// The fields of a message that can multiply.
struct Shape(&'static [Field]);

/// A field that can multiply.
struct Field {
    tag: u32,
    what: &'static str,
    max: usize,
    inside: &'static Shape,
}

enum Refusal {
    TooMany(&'static str, usize),
    Malformed(DecodeError),
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error)
    }
}

fn walk(mut body: &[u8], shape: &Shape) -> Result<(), Refusal> {
    let mut counts = [0; FIELDS_MAX];
    while !body.is_empty() {
        let (tag, wire_type) = decode_key(&mut body)?;
        let known = shape.0.iter().zip(&mut counts).find(|(f, _)| f.tag == tag);
        let Some((field, count)) = known.filter(|_| wire_type == WireType::LengthDelimited) else {
            skip_field(wire_type, tag, &mut body, DecodeContext::default())?;
            continue;
        };
        *count += 1;
        if *count > field.max {
            return Err(Refusal::TooMany(field.what, field.max));
        }
        if field.inside.0.is_empty() {
            skip_field(wire_type, tag, &mut body, DecodeContext::default())?;
            continue;
        }
        let mut rest = body;
        let length = decode_varint(&mut rest)?;
        let inside = usize::try_from(length).ok().and_then(|n| rest.get(..n));
        skip_field(wire_type, tag, &mut body, DecodeContext::default())?;
        walk(inside.unwrap_or_default(), field.inside)?; // Present, or skipping would have failed.
    }
    Ok(())
}

const fn many(tag: u32, what: &'static str, max: usize, inside: &'static Shape) -> Field {
    Field {
        tag,
        what,
        max,
        inside,
    }
}

/// A message that stands alone: were it given twice, prost would merge what it repeats.
const fn one(tag: u32, inside: &'static Shape) -> Field {
    many(tag, "occurrences of a field that stands alone", 1, inside)
}

static FLAT: Shape = Shape(&[]);
static CONTACT: Shape = Shape(&[many(2, "addresses", Contact::ADDRESSES_MAX, &FLAT)]);
static ONE_CONTACT: Shape = Shape(&[one(1, &CONTACT)]);
static SHUFFLE: Shape = Shape(&[
    one(1, &CONTACT),
    many(2, "contacts", Overlay::SAMPLE_MAX, &CONTACT),
]);
static SHUFFLE_REPLY: Shape = Shape(&[many(1, "contacts", Overlay::SAMPLE_MAX, &CONTACT)]);
static OVERLAY: Shape = Shape(&[
    one(1, &ONE_CONTACT),
    one(2, &ONE_CONTACT),
    one(3, &ONE_CONTACT),
    one(4, &FLAT),
    one(5, &FLAT),
    one(6, &SHUFFLE),
    one(7, &SHUFFLE_REPLY),
]);
static ENTRY: Shape = Shape(&[many(4, "islands", FrontierEntry::BEYOND_MAX, &FLAT)]);
static FRONTIER: Shape = Shape(&[
    many(1, "frontier entries", Gossip::FRONTIER_ENTRIES_MAX, &ENTRY),
    many(3, "urgent runs", Gossip::URGENT_MAX, &FLAT),
]);
static INTEREST: Shape = Shape(&[many(2, "patterns of sites", Interest::PATTERNS_MAX, &FLAT)]);
static SUMS: Shape = Shape(&[many(3, "ranges", Sums::RANGES_MAX, &FLAT)]);
static WANT: Shape = Shape(&[many(2, "spans", Gossip::SPANS_MAX, &FLAT)]);
static STATE_WANT: Shape = Shape(&[many(1, "state keys", Gossip::SUMMARY_MAX, &FLAT)]);
static SUMMARY: Shape = Shape(&[many(1, "summary entries", Gossip::SUMMARY_MAX, &FLAT)]);
static STATES: Shape = Shape(&[many(1, "states", Gossip::STATES_MAX, &FLAT)]);
static GOSSIP: Shape = Shape(&[
    one(1, &FRONTIER),
    one(2, &FLAT),
    one(3, &WANT),
    one(4, &FLAT),
    one(5, &FLAT),
    one(6, &SUMMARY),
    one(7, &STATES),
    one(8, &SUMS),
    one(9, &STATE_WANT),
    one(10, &INTEREST),
]);
static ELECTION: Shape = Shape(&[one(1, &FLAT), one(2, &FLAT), one(3, &FLAT), one(4, &FLAT)]);
static CALL: Shape = Shape(&[many(4, "rules", Lineage::RULES_MAX, &FLAT)]);
static COMMAND: Shape = Shape(&[
    one(1, &CALL),
    one(2, &FLAT),
    one(3, &FLAT),
    one(4, &FLAT),
    one(5, &FLAT),
]);

/// Most fields in a table above.
const FIELDS_MAX: usize = 10;
