//! The few things that are done to files, apart so that tests can make them fail.
//!
//! Everything that must survive a crash is changed through a [`Disk`]: segments, the small files
//! beside them and the notes on commands. sled alone opens its files itself; nothing that must
//! survive rests on it.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::Advice;

use crate::IoError;

/// A place for files.
pub(crate) trait Disk: fmt::Debug + Send + Sync {
    /// Creates a file that does not exist yet.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>>;
    /// Opens a file to append after its first `length` bytes; what follows them is cut off.
    fn reopen(&self, path: &Path, length: u64) -> io::Result<Box<dyn Output>>;
    /// Makes what was written to a file durable. What is read of it afterwards is what the disk
    /// has: a failed sync can have left more in memory, which no later sync would write.
    fn settle(&self, path: &Path) -> io::Result<()>;
    /// Puts a file or directory in the place of whatever has the other name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
    /// Space left for this user. Unit: bytes.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// A file that grows.
pub(crate) trait Output: Send {
    /// Writes all slices at the end.
    fn append(&mut self, slices: &mut [IoSlice<'_>]) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts everything after the first `length` bytes off.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

/// The operating system's.
#[derive(Debug)]
pub(crate) struct SystemDisk;

impl Disk for SystemDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        let file = private().write(true).create_new(true).open(path)?;
        Ok(Box::new(SystemOutput(file)))
    }

    fn reopen(&self, path: &Path, length: u64) -> io::Result<Box<dyn Output>> {
        let mut output = SystemOutput(private().write(true).open(path)?);
        output.cut(length)?;
        Ok(Box::new(output))
    }

    fn settle(&self, path: &Path) -> io::Result<()> {
        let file = private().write(true).open(path)?;
        file.sync_data()?;
        Ok(rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let found = rustix::fs::statvfs(path)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

struct SystemOutput(File);

impl Output for SystemOutput {
    fn append(&mut self, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        while !slices.is_empty() {
            let count = slices.len().min(SLICES_MAX);
            match self.0.write_vectored(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut slices, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)?;
        self.0.seek(SeekFrom::Start(length)).map(drop)
    }
}

/// Puts a new file in place of the old one and returns it to be written on; after any crash one of
/// them is there, whole.
pub(crate) fn replace(
    disk: &dyn Disk,
    path: &Path,
    content: &[u8],
) -> Result<Box<dyn Output>, IoError> {
    let new = path.with_extension("new");
    match disk.remove(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(IoError::on("remove", &new)(error));
        }
        Ok(()) | Err(_) => {}
    }
    let written = disk.create(&new).and_then(|mut file| {
        file.append(&mut [IoSlice::new(content)])?;
        file.sync()?;
        Ok(file)
    });
    let file = written.map_err(IoError::on("write", &new))?;
    disk.rename(&new, path)
        .map_err(IoError::on("replace", path))?;
    let directory = path.parent().unwrap_or(Path::new("."));
    disk.sync_directory(directory)
        .map_err(IoError::on("sync", directory))?;
    Ok(file)
}

/// Options for files that nobody else may read.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// Creates a directory, and those above it, that nobody else may enter.
pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Most slices in one call. Source: `IOV_MAX` of Linux.
const SLICES_MAX: usize = 1_024;
