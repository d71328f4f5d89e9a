//! A disk on which one operation goes wrong, and that knows what a power cut would leave.
//!
//! Files are real ones; beside them stands what is durable: of each file what it held at its last
//! sync, of each directory the names at its own. A power cut puts that back, with some of what was
//! not synced: a beginning of what was appended, perhaps with a bit wrong, and a beginning of what
//! was done to names.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use statemachine::Rng;

use crate::disk::{Disk, Output, SystemDisk};
use crate::store::lock;

/// How an operation goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It does nothing, once.
    Refused,
    /// Half of it is done, or all of it, and it says that it failed, once.
    Half,
    /// The disk is full from now on: what needs room fails, half done.
    Full,
    /// The disk is read-only from now on.
    ReadOnly,
    /// The process is killed: what was written stays.
    Killed,
    /// The power is cut: what was not synced is lost, or some of it.
    PowerCut,
}

/// The disk. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct FragileDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    rng: Rng,
    /// Syncs say that they are done, and are not.
    lies: bool,
    /// Operations that change something, so far.
    count: u64,
    /// The operation that goes wrong, by its number, and how.
    plan: Option<(u64, Fault)>,
    /// What has gone wrong.
    struck: Option<Fault>,
    /// By their names, what a power cut would leave of files.
    durable: BTreeMap<PathBuf, Kept>,
    /// The files that there are.
    live: BTreeMap<PathBuf, Kept>,
    /// What was done to names and is not durable.
    names: Vec<(PathBuf, Option<Kept>)>,
}

/// What is durable of a file.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Synced>>);

#[derive(Debug, Default)]
struct Synced {
    content: Vec<u8>,
    /// What failed syncs have forgotten, so that no later one writes it.
    forgotten: Vec<std::ops::Range<usize>>,
}

/// What is done, as far as it matters for going wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It needs room.
    Grow,
    Sync,
    Other,
}

/// What becomes of an operation.
enum Verdict {
    Done,
    /// It is done in part, then fails.
    Part(io::ErrorKind),
    Nothing(io::ErrorKind),
}

struct FragileOutput {
    inner: Box<dyn Output>,
    kept: Kept,
    disk: FragileDisk,
}

impl FragileDisk {
    /// A disk on which nothing goes wrong yet.
    pub(super) fn new(rng: Rng) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng,
            lies: false,
            count: 0,
            plan: None,
            struck: None,
            durable: BTreeMap::new(),
            live: BTreeMap::new(),
            names: Vec::new(),
        })))
    }

    /// From now on syncs of files say that they are done, and are not.
    pub(super) fn lie(&self) {
        lock(&self.0).lies = true;
    }

    /// The operation after the next `after` goes wrong.
    pub(super) fn plan(&self, after: u64, fault: Fault) {
        let mut state = lock(&self.0);
        state.plan = Some((state.count + after, fault));
    }

    /// It goes wrong now.
    pub(super) fn strike(&self, fault: Fault) {
        lock(&self.0).struck = Some(fault);
    }

    /// How many operations there were.
    pub(super) fn count(&self) -> u64 {
        lock(&self.0).count
    }

    /// What has gone wrong since the last [`Self::restart`].
    pub(super) fn struck(&self) -> Option<Fault> {
        lock(&self.0).struck
    }

    /// Nothing goes wrong any more; after a power cut only what is durable is there. Whoever used
    /// the files must be gone.
    pub(super) fn restart(&self) {
        let mut state = lock(&self.0);
        if state.struck == Some(Fault::PowerCut) {
            state.cut_power();
        } else {
            state.settle_names(|_| true);
        }
        (state.plan, state.struck) = (None, None);
    }

    fn judge(&self, kind: Kind) -> Verdict {
        let mut state = lock(&self.0);
        state.count += 1;
        let strikes = state.plan.is_some_and(|(number, _)| number == state.count);
        if strikes {
            state.struck = state.plan.map(|(_, fault)| fault);
        }
        match state.struck {
            Some(Fault::Refused) if strikes => Verdict::Nothing(io::ErrorKind::Other),
            Some(Fault::Half) if strikes => Verdict::Part(io::ErrorKind::Other),
            None | Some(Fault::Refused | Fault::Half) => Verdict::Done,
            Some(Fault::Full) if kind == Kind::Grow => Verdict::Part(io::ErrorKind::StorageFull),
            Some(Fault::Full) => Verdict::Done,
            Some(Fault::ReadOnly) => Verdict::Nothing(io::ErrorKind::ReadOnlyFilesystem),
            // Whoever is dead does nothing more; the test waits for its thread all the same.
            Some(Fault::Killed | Fault::PowerCut) if strikes => Verdict::Part(io::ErrorKind::Other),
            Some(Fault::Killed | Fault::PowerCut) => Verdict::Nothing(io::ErrorKind::Other),
        }
    }

    /// Does something to names, as judged.
    fn rename_or_remove(
        &self,
        names: Vec<(PathBuf, Option<Kept>)>,
        act: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let verdict = self.judge(Kind::Other);
        if let Verdict::Nothing(kind) = verdict {
            return Err(kind.into());
        }
        act()?;
        let mut state = lock(&self.0);
        for (path, kept) in names {
            match &kept {
                Some(kept) => _ = state.live.insert(path.clone(), kept.clone()),
                None => _ = state.live.remove(&path),
            }
            state.names.push((path, kept));
        }
        match verdict {
            Verdict::Part(kind) => Err(kind.into()),
            Verdict::Done | Verdict::Nothing(_) => Ok(()),
        }
    }

    /// What is durable of a file; all that there is if it was there before this disk.
    fn kept(&self, path: &Path) -> Kept {
        let mut state = lock(&self.0);
        if let Some(kept) = state.live.get(path) {
            return kept.clone();
        }
        let kept = Kept::default();
        lock(&kept.0).content = fs::read(path).unwrap_or_default();
        state.live.insert(path.to_owned(), kept.clone());
        state.durable.insert(path.to_owned(), kept.clone());
        kept
    }

    fn wrap(&self, inner: Box<dyn Output>, kept: Kept) -> Box<dyn Output> {
        let disk = self.clone();
        Box::new(FragileOutput { inner, kept, disk })
    }
}

impl Kept {
    /// What is written behind `length` from now on is not forgotten.
    fn cut(&self, length: u64) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        for range in &mut lock(&self.0).forgotten {
            range.end = range.end.min(length);
        }
    }
}

impl Synced {
    /// What was written is durable, but for what was forgotten.
    fn take_in(&mut self, mut written: Vec<u8>) {
        for range in &self.forgotten {
            let end = range.end.min(written.len());
            written[range.start.min(end)..end].fill(0);
        }
        self.content = written;
    }
}

impl State {
    /// Makes what was done to the names for which `is_meant` holds durable.
    fn settle_names(&mut self, is_meant: impl Fn(&Path) -> bool) {
        for (path, kept) in self.names.extract_if(.., |(path, _)| is_meant(path)) {
            match kept {
                Some(kept) => _ = self.durable.insert(path, kept),
                None => _ = self.durable.remove(&path),
            }
        }
    }

    fn cut_power(&mut self) {
        let done = self.rng.index(self.names.len() + 1).unwrap_or(0);
        self.names.truncate(done);
        self.settle_names(|_| true);
        let live = std::mem::take(&mut self.live);
        let mut left = BTreeMap::new();
        for (path, kept) in &self.durable {
            // By whichever name it goes, its bytes are those of one file.
            let name = live.iter().find(|(_, l)| Arc::ptr_eq(&l.0, &kept.0));
            let written = name.and_then(|(name, _)| fs::read(name).ok());
            left.insert(path.clone(), survivor(&mut self.rng, kept, written));
        }
        for path in live.keys() {
            let _ = fs::remove_file(path);
        }
        for (path, content) in left {
            fs::write(&path, &content).expect("written");
            let kept = Kept::default();
            lock(&kept.0).content = content;
            self.live.insert(path, kept);
        }
        self.durable = self.live.clone();
    }
}

/// What a power cut leaves of a file that held `written`: what was synced, and a beginning of the
/// rest, the last bit of which may be wrong.
fn survivor(rng: &mut Rng, kept: &Kept, written: Option<Vec<u8>>) -> Vec<u8> {
    let mut content = lock(&kept.0).content.clone();
    let Some(written) = written else {
        return content;
    };
    if written.starts_with(&content) {
        let more = rng.index(written.len() - content.len() + 1).unwrap_or(0);
        let synced = content.len();
        content.extend_from_slice(&written[synced..synced + more]);
        if more > 0 && rng.chance(300) {
            *content.last_mut().expect("more than none") ^= 1;
        }
    }
    content
}

impl Disk for FragileDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        let verdict = self.judge(Kind::Grow);
        if let Verdict::Nothing(kind) = verdict {
            return Err(kind.into());
        }
        let inner = SystemDisk.create(path)?;
        let kept = Kept::default();
        let mut state = lock(&self.0);
        state.live.insert(path.to_owned(), kept.clone());
        state.names.push((path.to_owned(), Some(kept.clone())));
        drop(state);
        match verdict {
            Verdict::Part(kind) => Err(kind.into()),
            Verdict::Done | Verdict::Nothing(_) => Ok(self.wrap(inner, kept)),
        }
    }

    fn reopen(&self, path: &Path, length: u64) -> io::Result<Box<dyn Output>> {
        let kept = self.kept(path);
        match self.judge(Kind::Other) {
            Verdict::Nothing(kind) | Verdict::Part(kind) => Err(kind.into()),
            Verdict::Done => {
                let inner = SystemDisk.reopen(path, length)?;
                kept.cut(length);
                Ok(self.wrap(inner, kept))
            }
        }
    }

    fn settle(&self, path: &Path) -> io::Result<()> {
        let kept = self.kept(path);
        match self.judge(Kind::Sync) {
            Verdict::Nothing(kind) | Verdict::Part(kind) => Err(kind.into()),
            Verdict::Done => {
                let mut synced = lock(&kept.0);
                synced.take_in(fs::read(path)?);
                synced.forgotten.clear();
                fs::write(path, &synced.content)
            }
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if from.is_dir() {
            return self.rename_or_remove(Vec::new(), || SystemDisk.rename(from, to));
        }
        let kept = self.kept(from);
        let names = vec![(from.to_owned(), None), (to.to_owned(), Some(kept))];
        self.rename_or_remove(names, || SystemDisk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if !path.exists() {
            return SystemDisk.remove(path);
        }
        self.kept(path);
        let names = vec![(path.to_owned(), None)];
        self.rename_or_remove(names, || SystemDisk.remove(path))
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        match self.judge(Kind::Sync) {
            Verdict::Nothing(kind) | Verdict::Part(kind) => Err(kind.into()),
            Verdict::Done => {
                lock(&self.0).settle_names(|name| name.parent() == Some(path));
                Ok(())
            }
        }
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

impl Output for FragileOutput {
    fn append(&mut self, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        match self.disk.judge(Kind::Grow) {
            Verdict::Done => self.inner.append(slices),
            Verdict::Nothing(kind) => Err(kind.into()),
            Verdict::Part(kind) => {
                let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
                let half = bytes.len() / 2;
                self.inner.append(&mut [IoSlice::new(&bytes[..half])])?;
                Err(kind.into())
            }
        }
    }

    /// A failed sync forgets what was not synced: the next one that succeeds does not write it.
    fn sync(&mut self) -> io::Result<()> {
        let verdict = self.disk.judge(Kind::Sync);
        let state = lock(&self.disk.0);
        let path = state
            .live
            .iter()
            .find(|(_, kept)| Arc::ptr_eq(&kept.0, &self.kept.0));
        let written = path.and_then(|(path, _)| fs::read(path).ok());
        let lies = state.lies;
        drop(state);
        let mut synced = lock(&self.kept.0);
        let Some(written) = written else {
            return Ok(()); // It has no name any more.
        };
        if let Verdict::Nothing(kind) | Verdict::Part(kind) = verdict {
            let forgotten = synced.content.len()..written.len();
            synced.forgotten.push(forgotten);
            return Err(kind.into());
        }
        if !lies {
            synced.take_in(written);
        }
        Ok(())
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        match self.disk.judge(Kind::Other) {
            Verdict::Nothing(kind) | Verdict::Part(kind) => Err(kind.into()),
            Verdict::Done => {
                self.kept.cut(length);
                self.inner.cut(length)
            }
        }
    }
}
