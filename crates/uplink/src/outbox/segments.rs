//! The outbox on disk: append-only files of records and of marks that a record is done.
//!
//! Files are named by a number that grows. Each holds frames: length and CRC32C (both 32 bits,
//! little endian), then the bytes of a [`Frame`]. A file goes when neither it nor any older one
//! holds a record that still waits, so a mark never goes before its record.
//!
//! Nothing is synced: what a power loss takes from here the origin's log can give again, and
//! progress has not moved past it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use prost::Message as _;

/// A record as it is kept.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Stored {
    /// Its number in the outbox.
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
    /// When it was submitted, in nanoseconds since the Unix epoch.
    #[prost(sfixed64, tag = "2")]
    pub(crate) submitted: i64,
    /// The code of its priority.
    #[prost(uint32, tag = "3")]
    pub(crate) priority: u32,
    /// The record, packed.
    #[prost(bytes = "bytes", tag = "7")]
    pub(crate) item: bytes::Bytes,
}

/// What one frame says.
#[derive(Clone, PartialEq, prost::Message)]
struct Frame {
    #[prost(message, optional, tag = "1")]
    stored: Option<Stored>,
    /// Records that are done.
    #[prost(uint64, repeated, tag = "2")]
    done: Vec<u64>,
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    /// The file.
    pub(crate) segment: u64,
    offset: u64,
    length: u32,
}

/// The files of an outbox.
#[derive(Debug)]
pub(crate) struct Segments {
    dir: PathBuf,
    segments: BTreeMap<u64, Segment>,
    /// The last segment, while it may be appended to.
    current: Option<(u64, File)>,
}

#[derive(Debug, Default)]
struct Segment {
    bytes: u64,
    /// Records that still wait. Unit: records.
    waiting: u64,
}

impl Segments {
    /// Reads what is there: records that wait, with their places. Bytes that are torn or damaged
    /// end the reading of their file.
    pub(crate) fn open(dir: PathBuf) -> io::Result<(Self, Vec<(Stored, Location)>)> {
        fs::create_dir_all(&dir)?;
        let mut segments = Self {
            dir,
            segments: BTreeMap::new(),
            current: None,
        };
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&segments.dir)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".outbox"));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        let mut waiting = BTreeMap::new();
        for number in numbers {
            segments.replay(number, &mut waiting)?;
        }
        for (_, location) in waiting.values() {
            segments.count(*location, true);
        }
        segments.drop_done();
        Ok((segments, waiting.into_values().collect()))
    }

    fn replay(
        &mut self,
        segment: u64,
        waiting: &mut BTreeMap<u64, (Stored, Location)>,
    ) -> io::Result<()> {
        let mut content = Vec::new();
        File::open(self.path(segment))?.read_to_end(&mut content)?;
        let mut offset = 0;
        while let Some((frame, length)) = read_frame(&content[offset..]) {
            if let Some(stored) = frame.stored {
                let location = Location {
                    segment,
                    offset: offset as u64,
                    length,
                };
                waiting.insert(stored.number, (stored, location));
            }
            for number in frame.done {
                waiting.remove(&number);
            }
            offset += HEADER_BYTES + usize::try_from(length).unwrap_or(usize::MAX);
        }
        if offset < content.len() {
            let bytes = content.len() - offset;
            tracing::warn!(
                segment,
                bytes,
                "the end of an outbox file is torn and was left out"
            );
        }
        let bytes = content.len() as u64;
        self.segments.insert(segment, Segment { bytes, waiting: 0 });
        Ok(())
    }

    /// Appends a record; returns its place.
    pub(crate) fn append(&mut self, stored: &Stored) -> io::Result<Location> {
        let location = self.write(&Frame {
            stored: Some(stored.clone()),
            done: Vec::new(),
        })?;
        self.count(location, true);
        Ok(location)
    }

    /// Writes down that records are done, then deletes files that hold nothing else.
    pub(crate) fn done(&mut self, records: &[(u64, Location)]) -> io::Result<()> {
        self.release(records);
        if self.segments.is_empty() || records.is_empty() {
            return Ok(()); // Marks for what is not there any more.
        }
        let done = records.iter().map(|(number, _)| *number).collect();
        self.write(&Frame { stored: None, done }).map(|_| ())
    }

    /// Records have left their places; files in which none waits go.
    pub(crate) fn release(&mut self, records: &[(u64, Location)]) {
        records
            .iter()
            .for_each(|(_, location)| self.count(*location, false));
        self.drop_done();
    }

    /// Reads a record back.
    pub(crate) fn read(&self, location: Location) -> io::Result<Stored> {
        let file = File::open(self.path(location.segment))?;
        let length = usize::try_from(location.length).map_err(io::Error::other)?;
        let mut content = vec![0; HEADER_BYTES + length];
        file.read_exact_at(&mut content, location.offset)?;
        let stored = read_frame(&content).and_then(|(frame, _)| frame.stored);
        stored.ok_or_else(|| io::Error::other("the record is damaged"))
    }

    /// What the files take. Unit: bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }

    /// The oldest file.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.segments.keys().next().copied()
    }

    /// Appends one frame to the last file, or to a new one.
    fn write(&mut self, frame: &Frame) -> io::Result<Location> {
        let body = frame.encode_to_vec();
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        bytes.extend_from_slice(&body);

        let (number, mut file) = self.current()?;
        let segment = self.segments.entry(number).or_default();
        let offset = segment.bytes;
        if let Err(error) = file.write_all(&bytes) {
            // A part may have been written; if it cannot be taken back, the file is left alone.
            if file.set_len(offset).is_ok() {
                self.current = Some((number, file));
            }
            return Err(error);
        }
        segment.bytes += bytes.len() as u64;
        if segment.bytes < SEGMENT_BYTES_MAX {
            self.current = Some((number, file));
        }
        Ok(Location {
            segment: number,
            offset,
            length,
        })
    }

    fn current(&mut self) -> io::Result<(u64, File)> {
        if let Some(current) = self.current.take() {
            return Ok(current);
        }
        let number = self.segments.keys().next_back().map_or(1, |last| last + 1);
        let path = self.path(number);
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(path)?;
        Ok((number, file))
    }

    fn count(&mut self, location: Location, waits: bool) {
        if let Some(segment) = self.segments.get_mut(&location.segment) {
            let waiting = segment.waiting;
            segment.waiting = if waits {
                waiting + 1
            } else {
                waiting.saturating_sub(1)
            };
        }
    }

    /// Deletes files, oldest first, up to the first in which a record waits.
    fn drop_done(&mut self) {
        while let Some(entry) = self.segments.first_entry()
            && entry.get().waiting == 0
        {
            let (number, _) = entry.remove_entry();
            if self
                .current
                .as_ref()
                .is_some_and(|(current, _)| *current == number)
            {
                self.current = None;
            }
            if let Err(error) = fs::remove_file(self.path(number)) {
                tracing::warn!(%error, segment = number, "an outbox file could not be deleted");
            }
        }
    }

    fn path(&self, segment: u64) -> PathBuf {
        self.dir.join(format!("{segment:012}.outbox"))
    }
}

/// The first frame of some bytes, and the length of its body; `None` if it is torn or damaged.
fn read_frame(bytes: &[u8]) -> Option<(Frame, u32)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length);
    let body = rest.get(..usize::try_from(length).ok()?)?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*sum) {
        return None;
    }
    Some((Frame::decode(body).ok()?, length))
}

/// Length and checksum. Unit: bytes.
const HEADER_BYTES: usize = 8;
/// When a file is full. Unit: bytes. Source: guess, small against the backlog's limit.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 4 * 1024 * 1024;
