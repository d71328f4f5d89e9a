//! Segment files: finding, loading, sealing and reading them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use model::{BlockId, MachineId, State};

use crate::disk::{Disk, Output};
use crate::footer::{BlockEntry, Contents, StateEntry};
use crate::record::{
    Extent, FILE_HEADER_BYTES, FileHeader, Kind, RECORD_HEADER_BYTES, Spot, TRAILER_BYTES,
    read_file_header, read_record, read_trailer, record_header, trailer,
};
use crate::scan::{Scan, Scanned, as_u64};
use crate::store::lock;
use crate::{Config, IoError, OpenError};

/// The path of a segment.
pub(crate) fn path(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("{number:08}.seg"))
}

/// The numbers of the segments in a directory.
pub(crate) fn list(directory: &Path) -> Result<Vec<u32>, IoError> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory).map_err(IoError::on("list", directory))? {
        let entry = entry.map_err(IoError::on("list", directory))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".seg"));
        match number.and_then(|number| number.parse().ok()) {
            Some(number) if path(directory, number) == entry.path() => numbers.push(number),
            _ => tracing::warn!(path = %entry.path().display(), "not a segment, left alone"),
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// A segment as found at the start.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// What it holds.
    pub(crate) contents: Contents,
    /// Where its records end. Unit: bytes.
    pub(crate) end: u64,
    /// How long the file is. Unit: bytes.
    pub(crate) length: u64,
    /// Whether it has a footer.
    pub(crate) sealed: bool,
    /// Records that do not read back.
    pub(crate) damaged: u64,
}

/// Loads a segment by its footer, or by a scan, before which it is settled: what a crash left in
/// the page cache only must not be taken for durable. After it, it is cut behind its last record.
pub(crate) fn load(disk: &dyn Disk, config: &Config, number: u32) -> Result<Loaded, OpenError> {
    let path = path(&config.segments(), number);
    let file = File::open(&path).map_err(IoError::on("open", &path))?;
    let read = |error| OpenError::Io(IoError::on("read", &path)(error));
    let length = file.metadata().map_err(read)?.len();
    let mut header = [0; FILE_HEADER_BYTES];
    let header =
        &mut header[..FILE_HEADER_BYTES.min(usize::try_from(length).unwrap_or(usize::MAX))];
    file.read_exact_at(header, 0).map_err(read)?;
    match read_file_header(header) {
        FileHeader::Of(network) if network == config.network => {}
        FileHeader::Of(found) => return Err(OpenError::Network { path, found }),
        FileHeader::Version(version) => return Err(OpenError::Version { path, version }),
        FileHeader::Damaged => tracing::warn!(path = %path.display(), "segment header is damaged"),
    }
    if let Some((contents, end)) = by_footer(&file, number, length).map_err(read)? {
        return Ok(Loaded {
            contents,
            end,
            length,
            sealed: true,
            damaged: 0,
        });
    }
    disk.settle(&path).map_err(IoError::on("sync", &path))?;
    let loaded = by_scan(&file, number, length, config.own).map_err(read)?;
    if loaded.end < length {
        let cut = disk
            .reopen(&path, loaded.end)
            .and_then(|mut output| output.sync());
        cut.map_err(IoError::on("repair", &path))?;
    }
    if loaded.end < length || loaded.damaged > 0 {
        tracing::warn!(
            path = %path.display(),
            cut_bytes = length.saturating_sub(loaded.end),
            damaged = loaded.damaged,
            "segment repaired after a stop out of order"
        );
    }
    Ok(loaded)
}

/// What a segment holds, by its footer; `None` if it has none that reads back.
pub(crate) fn read_footer(config: &Config, number: u32) -> Result<Option<Contents>, IoError> {
    let path = path(&config.segments(), number);
    let footer = || -> io::Result<_> {
        let file = File::open(&path)?;
        let length = file.metadata()?.len();
        by_footer(&file, number, length)
    };
    let footer = footer().map_err(IoError::on("read", &path))?;
    Ok(footer.map(|(contents, _)| contents))
}

fn by_footer(file: &File, number: u32, length: u64) -> io::Result<Option<(Contents, u64)>> {
    let least = as_u64(FILE_HEADER_BYTES + RECORD_HEADER_BYTES + TRAILER_BYTES);
    let Some(trailer_at) = length
        .checked_sub(as_u64(TRAILER_BYTES))
        .filter(|_| length >= least)
    else {
        return Ok(None);
    };
    let mut bytes = [0; TRAILER_BYTES];
    file.read_exact_at(&mut bytes, trailer_at)?;
    let Some(offset) = read_trailer(&bytes).filter(|offset| *offset < trailer_at) else {
        return Ok(None);
    };
    let footer_length = usize::try_from(trailer_at - offset).unwrap_or(usize::MAX);
    let mut bytes = vec![0; footer_length];
    file.read_exact_at(&mut bytes, offset)?;
    let spot = Spot {
        segment: number,
        offset,
    };
    let contents = match read_record(spot, &bytes) {
        Some((Kind::Footer, payload)) => Contents::decode(payload),
        Some((Kind::Block | Kind::State | Kind::Kept, _)) | None => None,
    };
    Ok(contents.map(|contents| (contents, offset)))
}

fn by_scan(file: &File, number: u32, length: u64, own: MachineId) -> io::Result<Loaded> {
    let mut contents = Contents::default();
    let mut scan = Scan::new(file, number, length);
    let mut unreadable = 0;
    while let Some(scanned) = scan.next()? {
        if !gather(&mut contents, scanned, own) {
            unreadable += 1;
        }
    }
    Ok(Loaded {
        contents,
        end: scan.end,
        length,
        sealed: false,
        damaged: scan.damaged + unreadable,
    })
}

/// Adds what a record holds to the contents of its segment; `false` if it does not decode.
fn gather(contents: &mut Contents, scanned: Scanned, own: MachineId) -> bool {
    let length = u32::try_from(RECORD_HEADER_BYTES + scanned.payload.len());
    let (Ok(length), Ok(offset)) = (length, u32::try_from(scanned.offset)) else {
        return false;
    };
    match scanned.kind {
        Kind::Block | Kind::Kept => {
            let Some((extent, block)) = Extent::split(scanned.payload) else {
                return false;
            };
            let header = block.header();
            let entry = BlockEntry {
                id: header.id(),
                continues: header.continues,
                offset,
                length,
                extent,
            };
            if scanned.kind == Kind::Kept {
                contents.kept.push(entry);
                return true;
            }
            if header.origin() == own {
                contents.mark(&header.publishers);
            }
            contents.blocks.push(entry);
        }
        Kind::State => {
            let Ok(state) = State::decode(scanned.payload) else {
                return false;
            };
            contents.states.push(StateEntry {
                key: state.key().clone(),
                version: state.version(),
                offset,
                length,
            });
        }
        Kind::Footer => return false,
    }
    true
}

/// Ends a segment with its footer, durably. Returns the length of the file. Unit: bytes.
pub(crate) fn seal(
    output: &mut dyn Output,
    number: u32,
    end: u64,
    contents: &Contents,
) -> io::Result<u64> {
    let payload = contents.encode();
    let spot = Spot {
        segment: number,
        offset: end,
    };
    let header = record_header(spot, Kind::Footer, [&payload, &[]]);
    let trailer = trailer(end);
    let mut slices = [
        IoSlice::new(&header),
        IoSlice::new(&payload),
        IoSlice::new(&trailer),
    ];
    output.append(&mut slices)?;
    output.sync()?;
    Ok(end + as_u64(header.len() + payload.len() + trailer.len()))
}

/// Reads records; keeps the files of the segments that were read last open.
#[derive(Debug)]
pub(crate) struct Reader {
    directory: PathBuf,
    open: Mutex<Handles>,
}

#[derive(Debug, Default)]
struct Handles {
    files: BTreeMap<u32, (Arc<File>, u64)>,
    uses: u64,
}

impl Reader {
    /// Reads from the segments in a directory.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            open: Mutex::default(),
        }
    }

    /// Reads a record of `length` bytes and checks it; `None` if it does not read back.
    pub(crate) fn record(&self, spot: Spot, length: u32) -> Option<(Kind, Bytes)> {
        let length = usize::try_from(length).ok()?;
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = vec![0; length];
            self.file(spot.segment)?
                .read_exact_at(&mut bytes, spot.offset)?;
            Ok(bytes)
        };
        let bytes = match read() {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::warn!(segment = spot.segment, %error, "segment cannot be read");
                return None;
            }
        };
        let (kind, payload) = read_record(spot, &bytes)?;
        let (start, end) = (length - payload.len(), length);
        Some((kind, Bytes::from(bytes).slice(start..end))).filter(|_| start == RECORD_HEADER_BYTES)
    }

    /// Reads a block by its name; `None` if it does not read back.
    pub(crate) fn block(&self, id: BlockId, spot: Spot, length: u32) -> Option<model::Block> {
        let (kind, payload) = self.record(spot, length)?;
        let is_block = matches!(kind, Kind::Block | Kind::Kept);
        let (_, block) = Extent::split(payload).filter(|_| is_block)?;
        (block.id() == id).then_some(block)
    }

    /// Closes the file of a segment that is gone.
    pub(crate) fn forget(&self, number: u32) {
        lock(&self.open).files.remove(&number);
    }

    fn file(&self, number: u32) -> io::Result<Arc<File>> {
        let mut handles = lock(&self.open);
        handles.uses += 1;
        let now = handles.uses;
        if let Some((file, used)) = handles.files.get_mut(&number) {
            *used = now;
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(path(&self.directory, number))?);
        if handles.files.len() >= HANDLES_MAX {
            let oldest = handles.files.iter().min_by_key(|(_, (_, used))| *used);
            let oldest = oldest.map(|(number, _)| *number);
            oldest.and_then(|number| handles.files.remove(&number));
        }
        handles.files.insert(number, (Arc::clone(&file), now));
        Ok(file)
    }
}

/// Most segments kept open for reading. Source: guess, far below the usual limit of 1,024 files.
const HANDLES_MAX: usize = 64;
