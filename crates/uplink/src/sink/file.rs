//! NDJSON files in a directory: the sink that needs nothing else.
//!
//! `DAY-PART-MACHINE.ndjson`, as in `2026-11-23-001-12D3KooW….ndjson`: one file a day (UTC), or
//! more when it grows large; every machine that uploads to a shared directory has its own. A
//! record counts as delivered when it is synced. A line that a crash tore is cut off when its file
//! is opened again; its record was never acknowledged, so it comes again.
//!
//! Writing blocks the uplink's own thread, which has nothing else to do.

use std::fs::{self, File, OpenOptions};
use std::future::{Future, pending, ready};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use model::{MachineId, Timestamp};

use super::{Outcome, Sink};
use crate::{Item, SinkError, clock};

/// Appends to files.
#[derive(Debug)]
pub(crate) struct FileSink {
    dir: PathBuf,
    machine: MachineId,
    part_bytes_max: u64,
    open: Option<Part>,
}

/// The file that is written now.
#[derive(Debug)]
struct Part {
    file: File,
    path: PathBuf,
    day: String,
    bytes: u64,
}

impl FileSink {
    pub(crate) fn new(dir: PathBuf, machine: MachineId) -> Self {
        Self {
            dir,
            machine,
            part_bytes_max: PART_BYTES_MAX,
            open: None,
        }
    }

    fn write(&mut self, now: Timestamp, batch: &[Item]) -> io::Result<()> {
        let mut part = self.part(now)?;
        let mut lines = Vec::new();
        for item in batch {
            lines.extend_from_slice(&item.json());
            lines.push(b'\n');
        }
        // On an error the file is closed; opening it again cuts off what was written in part.
        part.file.write_all(&lines)?;
        part.file.sync_data()?;
        part.bytes += lines.len() as u64;
        self.open = Some(part);
        Ok(())
    }

    /// Takes the file to write to: the open one if it still has its name, its day and room.
    fn part(&mut self, now: Timestamp) -> io::Result<Part> {
        let day = day(now);
        if let Some(part) = self.open.take()
            && part.day == day
            && part.bytes < self.part_bytes_max
            && is_same(&part.file, &part.path)
        {
            return Ok(part);
        }
        fs::create_dir_all(&self.dir)?;
        let mut number = self.last_part(&day)?;
        if fs::metadata(self.path(&day, number)).is_ok_and(|f| f.len() >= self.part_bytes_max) {
            number += 1;
        }
        let path = self.path(&day, number);
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(&path)?;
        let bytes = cut_torn_line(&mut file)?;
        File::open(&self.dir)?.sync_all()?;
        Ok(Part {
            file,
            path,
            day,
            bytes,
        })
    }

    fn path(&self, day: &str, part: u32) -> PathBuf {
        self.dir
            .join(format!("{day}-{part:03}-{}.ndjson", self.machine))
    }

    /// The greatest number of this machine's files of a day, 1 if there is none.
    fn last_part(&self, day: &str) -> io::Result<u32> {
        let (prefix, suffix) = (format!("{day}-"), format!("-{}.ndjson", self.machine));
        let mut last = 1;
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| {
                let number = name.strip_prefix(&prefix)?.strip_suffix(&suffix)?;
                number.parse::<u32>().ok()
            });
            last = last.max(number.unwrap_or(1));
        }
        Ok(last)
    }

    fn explain(&self, error: &io::Error) -> SinkError {
        use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let (dir, kind) = (self.dir.display(), error.kind());
        SinkError(if matches!(kind, StorageFull | QuotaExceeded) {
            format!("the disk under {dir} is full ({error}); free some space")
        } else if matches!(kind, ReadOnlyFilesystem | PermissionDenied) {
            format!("{dir} cannot be written ({error}); check mount and permissions")
        } else {
            format!("cannot write into {dir}: {error}")
        })
    }
}

impl Sink for FileSink {
    const IDLE_COST: u64 = 0; // A disk is no line.

    fn connect_cost(&self) -> u64 {
        0
    }

    fn cost(&self, _: &Item) -> u64 {
        0
    }

    fn take_traffic(&mut self) -> u64 {
        0
    }

    fn connect(&mut self) -> impl Future<Output = Result<(), SinkError>> {
        let part = self.part(clock::wall());
        let connected = part.map(|part| self.open = Some(part));
        ready(connected.map_err(|error| self.explain(&error)))
    }

    fn gone(&mut self) -> impl Future<Output = SinkError> {
        pending()
    }

    fn deliver(&mut self, batch: &[Item]) -> impl Future<Output = Vec<Outcome>> {
        let outcome = match self.write(clock::wall(), batch) {
            Ok(()) => Outcome::Delivered,
            Err(error) => Outcome::Failed(self.explain(&error).0),
        };
        ready(vec![outcome; batch.len()])
    }

    fn close(&mut self) -> impl Future<Output = ()> {
        self.open = None;
        ready(())
    }
}

/// Whether a path still leads to an open file: it may have been moved away or deleted.
fn is_same(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// Cuts off what follows the last line break; returns the length that is left.
fn cut_torn_line(file: &mut File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut end = length;
    let mut chunk = [0; 4_096];
    while end > 0 {
        let start = end.saturating_sub(chunk.len() as u64);
        let size = usize::try_from(end - start).unwrap_or(chunk.len());
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut chunk[..size])?;
        if let Some(found) = chunk[..size].iter().rposition(|byte| *byte == b'\n') {
            end = start + found as u64 + 1;
            break;
        }
        end = start;
    }
    if end < length {
        tracing::info!(
            bytes = length - end,
            "cut off a line that was torn by a crash"
        );
        file.set_len(end)?;
        file.sync_data()?;
    }
    Ok(end)
}

/// The date in UTC.
fn day(now: Timestamp) -> String {
    let now = jiff::Timestamp::from_nanosecond(now.as_nanos().into());
    let now = now.expect("jiff's range is wider than nanoseconds in 64 bits");
    now.to_zoned(jiff::tz::TimeZone::UTC).date().to_string()
}

/// When a part is full. Unit: bytes. Source: guess, what an editor still opens.
const PART_BYTES_MAX: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::samples::item;

    const MACHINE: MachineId = MachineId::from_bytes([2; 32]);
    const DAY: Timestamp = Timestamp::from_nanos(1_767_225_600_000_000_000);

    /// The series of the records in a file.
    fn series(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).expect("readable");
        let series = |line| {
            let record: serde_json::Value = serde_json::from_str(line).expect("JSON");
            record["series"].as_str().expect("text").to_owned()
        };
        text.lines().map(series).collect()
    }

    #[test]
    fn a_torn_line_is_cut_off_and_whole_ones_are_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut sink = FileSink::new(dir.path().to_owned(), MACHINE);
        sink.write(DAY, &[item("a")]).expect("written");
        let path = sink.path("2026-01-01", 1);
        let torn = format!("{{\"key\":\"{}", "x".repeat(10_000));
        let mut file = OpenOptions::new().append(true).open(&path).expect("open");
        file.write_all(torn.as_bytes()).expect("written");

        let mut again = FileSink::new(dir.path().to_owned(), MACHINE);
        again.write(DAY, &[item("b")]).expect("written");

        assert_eq!(series(&path), ["a", "b"]);
    }

    #[test]
    fn a_full_part_and_a_new_day_begin_a_file_and_names_have_no_colon() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut sink = FileSink::new(dir.path().to_owned(), MACHINE);
        sink.part_bytes_max = 1;

        sink.write(DAY, &[item("a")]).expect("written");
        sink.write(DAY, &[item("b")]).expect("written");
        let tomorrow = DAY.saturating_add(std::time::Duration::from_secs(86_400));
        sink.write(tomorrow, &[item("c")]).expect("written");

        let names = ["2026-01-01-001", "2026-01-01-002", "2026-01-02-001"];
        for (name, key) in names.iter().zip(["a", "b", "c"]) {
            let path = dir.path().join(format!("{name}-{MACHINE}.ndjson"));
            assert_eq!(series(&path), [key]);
            assert!(
                !path
                    .file_name()
                    .and_then(std::ffi::OsStr::to_str)
                    .expect("text")
                    .contains(':')
            );
        }
    }

    #[test]
    fn a_file_that_was_moved_away_is_begun_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut sink = FileSink::new(dir.path().to_owned(), MACHINE);
        sink.write(DAY, &[item("a")]).expect("written");
        let path = sink.path("2026-01-01", 1);
        fs::rename(&path, dir.path().join("taken-away")).expect("renamed");

        sink.write(DAY, &[item("b")]).expect("written");

        assert_eq!(series(&path), ["b"]);
    }

    #[test]
    fn a_full_disk_is_an_error_that_says_so_and_passes() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut sink = FileSink::new(dir.path().to_owned(), MACHINE);
        let path = sink.path("2026-01-01", 1);
        std::os::unix::fs::symlink("/dev/full", &path).expect("linked");

        let full = sink.write(DAY, &[item("a")]).expect_err("no space");
        fs::remove_file(&path).expect("removed");
        sink.write(DAY, &[item("a")]).expect("written");

        assert!(sink.explain(&full).0.contains("is full"), "{full}");
        assert_eq!(series(&path), ["a"]);
    }
}
