//! The bytes of a recording: a header, then entries, each with its length and CRC32C before it.
//!
//! A process that is killed leaves a last entry that is not whole; that one is cut off and said so.
//! Anything else that does not read is damage.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use crate::error::{Damaged, ReplayError, Unrecordable};
use crate::event::Event;
use crate::held::{Held, Start};
use crate::key::Answer;

/// One entry. First comes the start, then what was held, then the outcome of the start; then a step
/// and its outcome by turns.
#[derive(Serialize, Deserialize)]
pub(crate) enum Entry {
    Start(Box<Start>),
    Held(Held),
    /// The node is given something, at this many nanoseconds after its start.
    Step(u64, Event),
    Outcome(Outcome),
}

/// What a node did in a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// How many outputs it gave.
    pub(crate) outputs: u32,
    /// The digest of all outputs so far.
    pub(crate) digest: [u8; 16],
    /// What its key answered in this step.
    pub(crate) answers: Vec<Answer>,
}

/// What a file begins with.
pub(crate) fn header() -> Vec<u8> {
    [MAGIC.as_slice(), &FORMAT.to_le_bytes()].concat()
}

impl Entry {
    /// Its bytes with what stands before them.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, Unrecordable> {
        let body = postcard::to_stdvec(self)?;
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        if body.len() > ENTRY_BYTES_MAX {
            return Err(Unrecordable::TooLarge(body.len()));
        }
        let sum = crc32c::crc32c(&body);
        let before = [length.to_le_bytes(), sum.to_le_bytes()].concat();
        Ok([before, body].concat())
    }

    fn decode(body: &[u8]) -> Result<Self, Damaged> {
        match postcard::take_from_bytes(body) {
            Ok((entry, [])) => Ok(entry),
            Ok(_) => Err(Damaged("an entry with something behind it")),
            Err(_) => Err(Damaged("an entry that does not decode")),
        }
    }
}

/// Reads entries one after the other.
#[derive(Debug)]
pub(crate) struct Entries<R> {
    from: R,
    /// Where the next entry begins.
    offset: u64,
    /// How many bytes at the end are no whole entry.
    cut: u64,
}

impl<R: Read> Entries<R> {
    /// Reads the header.
    pub(crate) fn open(mut from: R) -> Result<Self, ReplayError> {
        let mut header = Vec::new();
        let length = u64::try_from(HEADER_BYTES).unwrap_or(u64::MAX);
        (&mut from).take(length).read_to_end(&mut header)?;
        let format = header.strip_prefix(MAGIC).map(<[u8; 4]>::try_from);
        match format {
            Some(Ok(format)) if u32::from_le_bytes(format) == FORMAT => Ok(Self {
                from,
                offset: length,
                cut: 0,
            }),
            Some(Ok(format)) => {
                let found = u32::from_le_bytes(format);
                Err(ReplayError::Format { found })
            }
            Some(Err(_)) | None => Err(ReplayError::NoRecording),
        }
    }

    /// The next entry; `None` at the end and where the last one is cut off.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, EntryError> {
        let mut before = [0; 8];
        let got = self.fill(&mut before)?;
        if got < before.len() {
            return Ok(self.end(got));
        }
        let (length, sum) = before.split_at(4);
        let number = |bytes: &[u8]| bytes.try_into().map_or(u32::MAX, u32::from_le_bytes);
        let (length, sum) = (number(length), number(sum));
        if usize::try_from(length).map_or(true, |length| length > ENTRY_BYTES_MAX) {
            return Err(Damaged("an entry longer than there are").into());
        }
        let mut body = Vec::new();
        let limit = u64::from(length);
        let got = (&mut self.from).take(limit).read_to_end(&mut body)?;
        if u64::try_from(got).unwrap_or(u64::MAX) < limit {
            return Ok(self.end(before.len() + got));
        }
        if crc32c::crc32c(&body) != sum {
            return Err(Damaged("an entry whose sum is wrong").into());
        }
        let entry = Entry::decode(&body)?;
        self.offset += limit + 8;
        Ok(Some(entry))
    }

    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) const fn cut(&self) -> u64 {
        self.cut
    }

    /// Nothing follows, however often somebody asks.
    fn end(&mut self, rest: usize) -> Option<Entry> {
        self.cut = self.cut.max(u64::try_from(rest).unwrap_or(u64::MAX));
        None
    }

    fn fill(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut got = 0;
        while got < into.len() {
            match self.from.read(&mut into[got..]) {
                Ok(0) => break,
                Ok(read) => got += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(got)
    }
}

/// Why there is no next entry.
pub(crate) enum EntryError {
    Read(io::Error),
    Damaged(Damaged),
}

impl From<io::Error> for EntryError {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

impl From<Damaged> for EntryError {
    fn from(what: Damaged) -> Self {
        Self::Damaged(what)
    }
}

/// What stands before all entries. Unit: bytes.
pub const HEADER_BYTES: usize = MAGIC.len() + 4;
/// Largest entry. Unit: bytes. Source: four times what an answer of the store, or a request over
/// gRPC, has at most.
pub const ENTRY_BYTES_MAX: usize = 4 * 1024 * 1024;
const MAGIC: &[u8; 20] = b"fieldmesh recording\n";
/// How entries are written; counts up with every change of them.
pub(crate) const FORMAT: u32 = 1;
