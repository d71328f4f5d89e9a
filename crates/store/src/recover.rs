//! Opening: what the disk knows, repaired and put together.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, RwLock};

use gossip::FrontierEntry;
use model::{BlockHash, Epoch, Position, PublisherMark, State, StateKey, StateVersion};
use overlay::Contact;

use crate::disk::{Disk, create_directory};
use crate::index::Index;
use crate::keyed::{Keyed, Rows, SegmentRow};
use crate::latest::Latest;
use crate::notes::{Floor, GivenUp};
use crate::record::{Kind, Spot};
use crate::retention::AtRest;
use crate::segments::{self, Loaded, Reader};
use crate::store::{Shared, lock, read, write};
use crate::writer::Tail;
use crate::{CleanStop, Config, IoError, OpenError, Stats, notes};

/// What the disk knew at the start.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// What is held of every log.
    pub frontier: Vec<FrontierEntry>,
    /// The newest states of the kinds that are kept.
    pub states: Vec<State>,
    /// The address book.
    pub contacts: Vec<Contact>,
    /// Present if the last stop was in order.
    pub clean: Option<CleanStop>,
    /// The highest counter of an own epoch that was ever started on this disk; 0 if none. Own
    /// blocks of later ones came back from others, after the disk before it was lost.
    pub epoch_counter_highest: u64,
    /// The last own block of the gap-free part of the newest own log that has one.
    pub last_own: Option<(Position, BlockHash)>,
    /// Own blocks beyond gaps after that one: the first and the last block of each run, with the
    /// hash of the last.
    pub own_runs: Vec<(Position, Position, BlockHash)>,
    /// How far each numbering publisher had come in own blocks; at most 65,536, of the newest
    /// segments.
    pub publishers: Vec<PublisherMark>,
}

/// An open store without its writer.
pub(crate) struct Opened {
    pub(crate) shared: Shared,
    pub(crate) recovered: Recovered,
    pub(crate) at_rest: AtRest,
    pub(crate) tail: Option<Tail>,
    pub(crate) next_number: u32,
}

/// Opens everything but the writer.
pub(crate) fn open(disk: Arc<dyn Disk>, config: Config) -> Result<Opened, OpenError> {
    let directory = config.directory.clone();
    make_directory(&*disk, &directory)?;
    let lock_file = notes::lock(&directory)?;
    check_room(&*disk, &directory)?;
    let clean = notes::take_clean(&*disk, &directory)?;
    let noted = notes::epoch_highest(&directory)?;

    let segments_path = config.segments();
    create_directory(&segments_path).map_err(IoError::on("create", &segments_path))?;
    disk.sync_directory(&directory)
        .map_err(IoError::on("sync", &directory))?;
    let mut found = Found::default();
    let given_up = notes::given_up(&directory)?;
    found.restore(&given_up);
    found.load_all(&*disk, &config)?;

    let (keyed, rows, rebuilt) = Keyed::open(&*disk, &config.index())?;
    found.stats.index_rebuilt = u64::from(rebuilt);
    found.stats.bytes_written = rows.bytes_written.max(found.stats.bytes);
    found.reconcile_catalogue(&keyed, &rows, &segments_path);
    let shared = Shared {
        reader: Reader::new(segments_path),
        disk,
        keyed,
        index: RwLock::new(found.index),
        stats: Mutex::new(found.stats),
        latest: Mutex::new(Latest::default()),
        lost: Mutex::default(),
        queued_bytes: AtomicUsize::new(0),
        epoch: Mutex::new(noted),
        config,
        _lock: lock_file,
    };
    let states = newest_states(&shared, rows.states, found.states);
    let last_own = last_own(&shared);
    let own_runs = own_runs(&shared, last_own.map(|(last, _)| last.epoch));
    let index = read(&shared.index);
    let stopped = clean.map_or(0, |clean| clean.epoch.counter);
    let recovered = Recovered {
        frontier: index.frontier(),
        states,
        contacts: rows.contacts,
        clean,
        epoch_counter_highest: stopped.max(noted),
        last_own,
        own_runs,
        publishers: publishers(found.marks),
    };
    drop(index);
    let mut at_rest = AtRest::new(given_up);
    for (number, row) in found.segments {
        if found.tail.as_ref().is_none_or(|tail| tail.number != number) {
            at_rest.add(number, row.bytes);
        }
    }
    Ok(Opened {
        shared,
        recovered,
        at_rest,
        tail: found.tail,
        next_number: found.next_number,
    })
}

/// What the segments hold.
struct Found {
    index: Index,
    /// By key, the newest version and where it lies.
    states: BTreeMap<StateKey, (StateVersion, Spot, u32)>,
    /// By publisher, its highest sequence and the segment that it was last in.
    marks: BTreeMap<String, (u64, u32)>,
    segments: BTreeMap<u32, SegmentRow>,
    tail: Option<Tail>,
    next_number: u32,
    stats: Stats,
}

impl Default for Found {
    fn default() -> Self {
        Self {
            index: Index::new(),
            states: BTreeMap::new(),
            marks: BTreeMap::new(),
            segments: BTreeMap::new(),
            tail: None,
            next_number: 1,
            stats: Stats::default(),
        }
    }
}

impl Found {
    /// What retention left comes first: blocks below their floor are not taken any more.
    fn restore(&mut self, given_up: &GivenUp) {
        for (log, floor) in &given_up.floors {
            let Floor {
                sequence,
                continues,
            } = *floor;
            self.index.restore_floor(*log, sequence, continues);
        }
        for (publisher, sequence) in &given_up.marks {
            self.marks.insert(publisher.clone(), (*sequence, 0));
        }
    }

    fn load_all(&mut self, disk: &dyn Disk, config: &Config) -> Result<(), OpenError> {
        let directory = config.segments();
        let numbers = segments::list(&directory)?;
        let last = numbers.last().copied();
        for number in numbers {
            self.next_number = number.saturating_add(1);
            let mut loaded = segments::load(disk, config, number)?;
            self.count(&loaded);
            let contents = &loaded.contents;
            if contents.is_empty() {
                let path = segments::path(&directory, number);
                disk.remove(&path).map_err(IoError::on("remove", &path))?;
                continue;
            }
            self.take(number, &loaded);
            let goes_on = Some(number) == last && loaded.end < config.segment_bytes();
            if !goes_on && !loaded.sealed {
                seal(disk, &directory, number, &mut loaded);
            }
            self.stats.segments += 1;
            self.stats.bytes += loaded.length;
            let row = SegmentRow {
                bytes: loaded.length,
                blocks: u64::try_from(loaded.contents.blocks.len()).unwrap_or(u64::MAX),
            };
            self.segments.insert(number, row);
            if goes_on {
                self.tail = Some(Tail {
                    number,
                    end: loaded.end,
                    contents: loaded.contents,
                });
            }
        }
        Ok(())
    }

    fn count(&mut self, loaded: &Loaded) {
        self.stats.records_damaged += loaded.damaged;
        if !loaded.sealed {
            self.stats.tail_bytes_cut += loaded.length.saturating_sub(loaded.end);
        }
    }

    fn take(&mut self, number: u32, loaded: &Loaded) {
        for block in &loaded.contents.blocks {
            self.index.restore(number, block);
        }
        for block in &loaded.contents.kept {
            self.index.keep(number, block);
        }
        for state in &loaded.contents.states {
            let spot = Spot {
                segment: number,
                offset: state.offset.into(),
            };
            let found = (state.version, spot, state.length);
            let newest = self.states.entry(state.key.clone()).or_insert(found);
            if newest.0 < state.version {
                *newest = found;
            }
        }
        for (publisher, sequence) in &loaded.contents.marks {
            let mark = self.marks.entry(publisher.clone()).or_default();
            *mark = (mark.0.max(*sequence), number);
        }
    }

    /// Says which segments are gone, and catalogues those that are new to the index.
    fn reconcile_catalogue(&self, keyed: &Keyed, rows: &Rows, directory: &Path) {
        for (number, row) in &rows.segments {
            if !self.segments.contains_key(number) {
                let path = segments::path(directory, *number);
                tracing::warn!(
                    path = %path.display(),
                    blocks = row.blocks,
                    "a segment is missing; neighbours bring its blocks again"
                );
                warn_index(keyed.remove_segment(*number));
            }
        }
        for (number, row) in &self.segments {
            if rows.segments.get(number) != Some(row) {
                warn_index(keyed.put_segment(*number, *row));
            }
        }
    }
}

/// Gives a segment that nobody will write to any more its footer. It is only slower without one.
fn seal(disk: &dyn Disk, directory: &Path, number: u32, loaded: &mut Loaded) {
    let path = segments::path(directory, number);
    let sealed = disk
        .reopen(&path, loaded.end)
        .and_then(|mut output| segments::seal(&mut *output, number, loaded.end, &loaded.contents));
    match sealed {
        Ok(length) => loaded.length = length,
        Err(error) => {
            loaded.length = loaded.end;
            tracing::warn!(path = %path.display(), %error, "segment could not be sealed");
        }
    }
}

/// Puts together what the index and the segments know; the index is brought up to date.
fn newest_states(
    shared: &Shared,
    mut states: BTreeMap<StateKey, State>,
    found: BTreeMap<StateKey, (StateVersion, Spot, u32)>,
) -> Vec<State> {
    for (key, (version, spot, length)) in found {
        if states
            .get(&key)
            .is_some_and(|state| state.version() >= version)
        {
            continue;
        }
        let payload = shared.reader.record(spot, length);
        let payload = payload.filter(|(kind, _)| *kind == Kind::State);
        let state = payload.and_then(|(_, bytes)| State::decode(bytes).ok());
        let Some(state) = state.filter(|state| *state.key() == key) else {
            tracing::warn!(segment = spot.segment, "state is damaged, forgotten");
            lock(&shared.stats).records_damaged += 1;
            continue;
        };
        warn_index(shared.keyed.put_state(&state));
        states.insert(key, state);
    }
    states.into_values().collect()
}

/// Finds the last own block of the gap-free part of the newest own log that has one.
fn last_own(shared: &Shared) -> Option<(Position, BlockHash)> {
    loop {
        let index = read(&shared.index);
        let id = index.last_of(shared.config.own)?;
        let place = index.get(id)?;
        drop(index);
        if let Some(block) = shared.block(id, place) {
            return Some((id.position(), block.hash(&shared.config.network)));
        }
        // It is forgotten, also if too many are to be remembered: the one before it is the last.
        write(&shared.index).remove(id, place.segment);
    }
}

/// Finds the runs of own blocks beyond gaps, from an epoch on.
fn own_runs(shared: &Shared, from: Option<Epoch>) -> Vec<(Position, Position, BlockHash)> {
    loop {
        let runs = read(&shared.index).beyond(shared.config.own, from);
        let hashed = runs.into_iter().map(|(first, last, place)| {
            let block = shared.block(last, place)?;
            let hash = block.hash(&shared.config.network);
            Some((first.position(), last.position(), hash))
        });
        // One that does not read back is forgotten, so that its run ends before it.
        if let Some(hashed) = hashed.collect() {
            return hashed;
        }
    }
}

fn publishers(marks: BTreeMap<String, (u64, u32)>) -> Vec<PublisherMark> {
    let mut marks: Vec<(String, (u64, u32))> = marks.into_iter().collect();
    marks.sort_by_key(|(_, (_, segment))| std::cmp::Reverse(*segment));
    marks.truncate(PUBLISHERS_MAX);
    let marks = marks.into_iter();
    marks
        .map(|(publisher, (sequence, _))| PublisherMark {
            publisher,
            sequence,
        })
        .collect()
}

/// Creates the store's directory if it is missing, so that power loss does not take it away again.
fn make_directory(disk: &dyn Disk, directory: &Path) -> Result<(), IoError> {
    if directory.is_dir() {
        return Ok(());
    }
    create_directory(directory).map_err(IoError::on("create", directory))?;
    for above in directory.ancestors().skip(1) {
        // Those that were there before may belong to others, and need no sync then.
        if above.as_os_str().is_empty() || disk.sync_directory(above).is_err() {
            break;
        }
    }
    Ok(())
}

fn check_room(disk: &dyn Disk, directory: &Path) -> Result<(), OpenError> {
    let free = disk.free_bytes(directory);
    let free = free.map_err(IoError::on("measure", directory))?;
    if free < OPEN_BYTES_MIN {
        return Err(OpenError::Full {
            path: directory.to_owned(),
            free,
            needed: OPEN_BYTES_MIN,
        });
    }
    Ok(())
}

fn warn_index(result: Result<(), crate::WriteError>) {
    if let Err(error) = result {
        tracing::warn!(%error, "the index is not up to date; it is repaired at the next start");
    }
}

/// Least space to open with. Unit: bytes. Source: an empty sled takes 0.5 MiB, and a log file more.
const OPEN_BYTES_MIN: u64 = 2 << 20;
/// Most publishers that are remembered over a restart. Source: guess.
const PUBLISHERS_MAX: usize = 65_536;
