//! Reads a segment record by record when it has no footer: the one that was written last, or one
//! whose footer is damaged.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use bytes::Bytes;

use crate::record::{
    FILE_HEADER_BYTES, Kind, MARKER, RECORD_HEADER_BYTES, Spot, owned, read_claim, read_record,
};

/// Goes through a file; holds one window of it in memory.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    file: &'a File,
    segment: u32,
    length: u64,
    window: Vec<u8>,
    window_at: u64,
    offset: u64,
    /// The end of the last record that reads back, which is where writing can go on.
    pub(crate) end: u64,
    /// Stretches that were skipped with records behind them.
    pub(crate) damaged: u64,
}

/// A record that reads back.
#[derive(Debug)]
pub(crate) struct Scanned {
    /// Where it starts.
    pub(crate) offset: u64,
    /// What it is.
    pub(crate) kind: Kind,
    /// What it holds.
    pub(crate) payload: Bytes,
}

impl<'a> Scan<'a> {
    /// A scan of a file of `length` bytes.
    pub(crate) fn new(file: &'a File, segment: u32, length: u64) -> Self {
        let offset = as_u64(FILE_HEADER_BYTES);
        Self {
            file,
            segment,
            length,
            window: Vec::new(),
            window_at: 0,
            offset,
            end: offset,
            damaged: 0,
        }
    }

    /// Returns the next record that reads back, skipping what does not; `None` at the end of the
    /// file, or at a footer, since nothing follows one.
    pub(crate) fn next(&mut self) -> io::Result<Option<Scanned>> {
        let mut skipped = false;
        while self.offset < self.length {
            if let Some((kind, payload)) = self.record_at(self.offset)? {
                if kind == Kind::Footer {
                    return Ok(None);
                }
                let offset = self.offset;
                self.offset += as_u64(RECORD_HEADER_BYTES + payload.len());
                self.end = self.offset;
                self.damaged += u64::from(skipped);
                return Ok(Some(Scanned {
                    offset,
                    kind,
                    payload,
                }));
            }
            skipped = true;
            self.offset = self.next_marker(self.offset + 1)?;
        }
        Ok(None)
    }

    /// Reads the record at an offset, if there is one.
    fn record_at(&mut self, offset: u64) -> io::Result<Option<(Kind, Bytes)>> {
        let Some(claim) = read_claim(self.bytes(offset, RECORD_HEADER_BYTES)?) else {
            return Ok(None);
        };
        let spot = Spot {
            segment: self.segment,
            offset,
        };
        let bytes = self.bytes(offset, RECORD_HEADER_BYTES + claim.length)?;
        Ok(read_record(spot, bytes).map(|(kind, payload)| (kind, owned(payload))))
    }

    /// Returns the offset of the next marker from `offset` on, or the end of the file.
    fn next_marker(&mut self, mut offset: u64) -> io::Result<u64> {
        while offset < self.length {
            let bytes = self.bytes(offset, WINDOW_BYTES)?;
            if let Some(found) = bytes.windows(MARKER.len()).position(|w| w == MARKER) {
                return Ok(offset + as_u64(found));
            }
            // A marker may begin in the last two bytes.
            let step = bytes.len().saturating_sub(MARKER.len() - 1).max(1);
            offset += as_u64(step);
        }
        Ok(self.length)
    }

    /// Returns the bytes from `offset` on, `count` or as many as there are.
    fn bytes(&mut self, offset: u64, count: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = count.min(left);
        let held = offset >= self.window_at
            && offset + as_u64(count) <= self.window_at + as_u64(self.window.len());
        if !held {
            self.window.resize(count.max(WINDOW_BYTES).min(left), 0);
            self.window_at = offset;
            self.file.read_exact_at(&mut self.window, offset)?;
        }
        let start = usize::try_from(offset - self.window_at).expect("within the window");
        Ok(&self.window[start..start + count])
    }
}

/// Lengths in memory are never longer than 64 bits.
pub(crate) fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// How much is read at once. Unit: bytes. Source: guess, above the largest record.
const WINDOW_BYTES: usize = 1 << 20;
