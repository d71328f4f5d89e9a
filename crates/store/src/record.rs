//! The bytes of a segment file.
//!
//! ```text
//! file    header, records, and once it is sealed: a record of kind footer and the trailer
//! header  magic 8 | version 4 | number 4 | network 32 | CRC32C of the 48 before 4
//! record  marker 3 | kind 1 | length of the payload 4 | CRC32C 4 | payload
//! trailer offset of the footer 8 | magic 8
//! ```
//!
//! Integers are little-endian. A record's CRC also covers the number of its segment and its offset
//! there, so that bytes that were meant for another place never pass for a record of this one. The
//! marker is what a scan looks for behind damage.
//!
//! A block's payload is its extent (times, series, count; length-delimited protobuf) and then its
//! bytes as carried; a state's is its bytes as carried.

use bytes::{Bytes, BytesMut};
use model::{Block, NetworkId, State, Timestamp};
use prost::Message as _;

use crate::series_set::{RANGES_MAX, SeriesSet};

/// Length of the header of a file. Unit: bytes.
pub(crate) const FILE_HEADER_BYTES: usize = 52;
/// Length of the trailer of a sealed file. Unit: bytes.
pub(crate) const TRAILER_BYTES: usize = 16;
/// Length of what stands before a payload. Unit: bytes.
pub(crate) const RECORD_HEADER_BYTES: usize = 12;
/// The first bytes of every record.
pub(crate) const MARKER: [u8; 3] = [0xF1, 0xE1, 0x6D];

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A block.
    Block = 1,
    /// A state of a kind that blocks depend on.
    State = 2,
    /// The index of a sealed segment.
    Footer = 3,
    /// A block that outlives the part of its log that was given up; as [`Kind::Block`].
    Kept = 4,
}

impl Kind {
    fn from_code(code: u8) -> Option<Self> {
        [Self::Block, Self::State, Self::Footer, Self::Kept]
            .into_iter()
            .find(|kind| *kind as u8 == code)
    }

    /// Longest payload. Unit: bytes.
    const fn payload_max(self) -> usize {
        match self {
            Self::Block | Self::Kept => EXTENT_BYTES_MAX + Block::ENCODED_BYTES_MAX,
            Self::State => State::BYTES_MAX,
            Self::Footer => FOOTER_BYTES_MAX,
        }
    }
}

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    /// The number of the segment.
    pub(crate) segment: u32,
    /// From the start of the file. Unit: bytes.
    pub(crate) offset: u64,
}

/// What the first bytes of a record claim, before its CRC is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// What it is.
    pub(crate) kind: Kind,
    /// How long its payload is, within the limit of its kind. Unit: bytes.
    pub(crate) length: usize,
}

/// Makes the bytes that go before a payload given in two parts.
pub(crate) fn record_header(
    spot: Spot,
    kind: Kind,
    payload: [&[u8]; 2],
) -> [u8; RECORD_HEADER_BYTES] {
    let length = payload[0].len() + payload[1].len();
    assert!(length <= kind.payload_max(), "our own record is too long");
    let length = u32::try_from(length).expect("payload limits fit into 32 bits");
    let mut header = [0; RECORD_HEADER_BYTES];
    header[..3].copy_from_slice(&MARKER);
    header[3] = kind as u8;
    header[4..8].copy_from_slice(&length.to_le_bytes());
    let crc = record_crc(spot, &header[3..8], payload);
    header[8..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Reads what the first [`RECORD_HEADER_BYTES`] claim.
pub(crate) fn read_claim(bytes: &[u8]) -> Option<Claim> {
    let header: &[u8; RECORD_HEADER_BYTES] = bytes.get(..RECORD_HEADER_BYTES)?.try_into().ok()?;
    if header[..3] != MARKER {
        return None;
    }
    let kind = Kind::from_code(header[3])?;
    let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let length = usize::try_from(length).ok()?;
    (length <= kind.payload_max()).then_some(Claim { kind, length })
}

/// Checks a whole record and returns its kind and payload.
pub(crate) fn read_record(spot: Spot, bytes: &[u8]) -> Option<(Kind, &[u8])> {
    let claim = read_claim(bytes)?;
    let payload = bytes.get(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + claim.length)?;
    let crc = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
    (record_crc(spot, &bytes[3..8], [payload, &[]]) == crc).then_some((claim.kind, payload))
}

fn record_crc(spot: Spot, header: &[u8], payload: [&[u8]; 2]) -> u32 {
    let mut crc = crc32c::crc32c(&spot.segment.to_le_bytes());
    crc = crc32c::crc32c_append(crc, &spot.offset.to_le_bytes());
    crc = crc32c::crc32c_append(crc, header);
    for part in payload {
        crc = crc32c::crc32c_append(crc, part);
    }
    crc
}

/// Makes the header of a file.
pub(crate) fn file_header(segment: u32, network: &NetworkId) -> [u8; FILE_HEADER_BYTES] {
    let mut header = [0; FILE_HEADER_BYTES];
    header[..8].copy_from_slice(FILE_MAGIC);
    header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&segment.to_le_bytes());
    header[16..48].copy_from_slice(network.as_bytes());
    let crc = crc32c::crc32c(&header[..48]);
    header[48..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// What the header of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileHeader {
    /// It is torn or damaged.
    Damaged,
    /// Of a version that this one does not know.
    Version(u32),
    /// Readable, and of this network.
    Of(NetworkId),
}

/// Reads the header of a file.
pub(crate) fn read_file_header(bytes: &[u8]) -> FileHeader {
    let Some(header) = bytes.first_chunk::<FILE_HEADER_BYTES>() else {
        return FileHeader::Damaged;
    };
    let crc = u32::from_le_bytes([header[48], header[49], header[50], header[51]]);
    if crc32c::crc32c(&header[..48]) != crc || &header[..8] != FILE_MAGIC {
        return FileHeader::Damaged;
    }
    let version = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
    if version != FORMAT_VERSION {
        return FileHeader::Version(version);
    }
    let mut network = [0; 32];
    network.copy_from_slice(&header[16..48]);
    FileHeader::Of(NetworkId::from_bytes(network))
}

/// Makes the trailer of a sealed file.
pub(crate) fn trailer(footer: u64) -> [u8; TRAILER_BYTES] {
    let mut trailer = [0; TRAILER_BYTES];
    trailer[..8].copy_from_slice(&footer.to_le_bytes());
    trailer[8..].copy_from_slice(TRAILER_MAGIC);
    trailer
}

/// Returns where the footer of a sealed file lies.
pub(crate) fn read_trailer(bytes: &[u8; TRAILER_BYTES]) -> Option<u64> {
    let offset = bytes.first_chunk::<8>()?;
    (&bytes[8..] == TRAILER_MAGIC).then(|| u64::from_le_bytes(*offset))
}

/// What a query wants to know of a block before it decodes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The time of the oldest reading; later than `last` if there is none.
    pub(crate) first: Timestamp,
    /// The time of the newest reading.
    pub(crate) last: Timestamp,
    /// How many readings there are.
    pub(crate) readings: u32,
    /// Of which series; possibly more than there are.
    pub(crate) series: SeriesSet,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawExtent {
    #[prost(sfixed64, tag = "1")]
    first: i64,
    #[prost(sfixed64, tag = "2")]
    last: i64,
    #[prost(uint32, tag = "3")]
    readings: u32,
    #[prost(uint32, repeated, tag = "4")]
    ranges: Vec<u32>,
}

impl Extent {
    /// Decodes a block to find its extent.
    pub(crate) fn of(block: &Block) -> Result<Self, model::BlockError> {
        let readings = block.readings()?;
        let times = || readings.iter().map(|reading| reading.time);
        Ok(Self {
            first: times().min().unwrap_or(Timestamp::MAX),
            last: times().max().unwrap_or(Timestamp::MIN),
            readings: block.header().count,
            series: SeriesSet::of(&readings),
        })
    }

    /// What goes before the block in its record.
    pub(crate) fn encode(&self) -> Vec<u8> {
        RawExtent {
            first: self.first.as_nanos(),
            last: self.last.as_nanos(),
            readings: self.readings,
            ranges: flatten(&self.series),
        }
        .encode_length_delimited_to_vec()
    }

    /// Splits the payload of a block's record into extent and block.
    pub(crate) fn split(mut payload: Bytes) -> Option<(Self, Block)> {
        let raw = RawExtent::decode_length_delimited(&mut payload).ok()?;
        let extent = Self {
            first: Timestamp::from_nanos(raw.first),
            last: Timestamp::from_nanos(raw.last),
            readings: raw.readings,
            series: unflatten(&raw.ranges),
        };
        Some((extent, Block::parse(payload).ok()?))
    }
}

/// First numbers and lengths of the ranges, alternating.
pub(crate) fn flatten(series: &SeriesSet) -> Vec<u32> {
    let ranges = series.ranges().iter();
    ranges
        .flat_map(|&(first, last)| [first, last - first])
        .collect()
}

/// The inverse of [`flatten`].
pub(crate) fn unflatten(ranges: &[u32]) -> SeriesSet {
    let pairs = ranges.chunks_exact(2);
    SeriesSet::from_ranges(
        pairs
            .map(|pair| (pair[0], pair[0].saturating_add(pair[1])))
            .collect(),
    )
}

/// Copies a payload out of a buffer that is used again.
pub(crate) fn owned(payload: &[u8]) -> Bytes {
    BytesMut::from(payload).freeze()
}

const FILE_MAGIC: &[u8; 8] = b"fmsegmnt";
const TRAILER_MAGIC: &[u8; 8] = b"fmfooter";
/// Grows when a reader of the version before could misread a file.
const FORMAT_VERSION: u32 = 1;
/// Longest extent: two times, a count, and ranges of two numbers. Unit: bytes.
const EXTENT_BYTES_MAX: usize = 64 + RANGES_MAX * 10;
/// Longest footer. Unit: bytes. Source: a segment of 1 GiB full of the smallest blocks of about 150
/// bytes, at 16 bytes each in the footer.
const FOOTER_BYTES_MAX: usize = 128 << 20;
