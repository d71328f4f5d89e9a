//! Feed: from the logs of all origins to the outboxes of this machine's uplinks.
//!
//! One [`Follower`] for each uplink and each line of an origin. The feed reads logs for them, hands
//! out what they have for upload, and tells everyone how far that has come.

mod parting;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aggregate::{Progress, Record};
use election::UplinkId;
use gossip::{Frontier, Span};
use model::{Block, BlockId, Epoch, LogId, MachineId, NetworkId, Position, Sequence};
use statemachine::{Deadline, Instant, Ticket, Timers};

use crate::canonical::{Next, Rewind};
use crate::config::UplinkConfig;
use crate::follower::{Backlog, FeedStats, Follower};
use crate::lines::Lines;
use crate::lookback::Search;
use crate::presence::Idle;
use crate::told::Told;
use crate::{Catalogue, UploadId};

/// What the feed wants done, in this order.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "most are records, and each is moved once"
)]
pub(crate) enum Effect {
    Read {
        ticket: Ticket,
        log: LogId,
        span: Span,
    },
    Search {
        ticket: Ticket,
        log: LogId,
        search: Search,
    },
    Upload {
        uplink: UplinkId,
        id: UploadId,
        record: Record,
    },
    Withdraw(UplinkId, MachineId),
    /// Tell everyone how far the line of an origin with this name has come.
    Tell(UplinkId, MachineId, Epoch, Progress),
    Rewound(UplinkId, MachineId),
}

/// What is served: the uplink's place in the configuration, and the origin.
type Source = (usize, MachineId);

/// A follower: what it follows for whom, and the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    uplink: usize,
    machine: MachineId,
    line: Epoch,
}

impl Key {
    fn source(&self) -> Source {
        (self.uplink, self.machine)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The origin has been silent for too long.
    Silence(Key),
    /// Progress is told in one state for many acknowledgements.
    Progress(Key),
    /// A read gave nothing; try again.
    Reread(Key),
    /// Nothing has come of an epoch that was named: see whether anybody has it.
    Lacking(Key),
    /// Windows have left memory that are to be computed from the log.
    Lookback(Key),
}

#[derive(Debug)]
pub(crate) struct Feed {
    network: NetworkId,
    uplinks: Vec<UplinkConfig>,
    lines: BTreeMap<MachineId, Lines>,
    idle: BTreeMap<MachineId, Idle>,
    told: Told,
    served: BTreeSet<Source>,
    followers: BTreeMap<Key, Follower>,
    /// What was counted by followers that have ended.
    stats_before: FeedStats,
    /// Reads under way, with the block that each must bring.
    reads: BTreeMap<Ticket, (Key, Position)>,
    /// The follower that looks back, with its search; one at a time.
    looking: Option<(Key, Ticket)>,
    /// Those that shall look back next.
    lookbacks: BTreeSet<Key>,
    /// Records that uplinks have not answered for.
    uploads: BTreeMap<UploadId, Key>,
    ticket: Ticket,
    upload: UploadId,
    timers: Timers<Timer>,
    effects: Vec<Effect>,
}

impl Feed {
    pub(crate) fn new(network: NetworkId, uplinks: Vec<UplinkConfig>) -> Self {
        Self {
            network,
            uplinks,
            lines: BTreeMap::new(),
            idle: BTreeMap::new(),
            told: Told::default(),
            served: BTreeSet::new(),
            followers: BTreeMap::new(),
            stats_before: FeedStats::default(),
            reads: BTreeMap::new(),
            looking: None,
            lookbacks: BTreeSet::new(),
            uploads: BTreeMap::new(),
            ticket: Ticket::default(),
            upload: UploadId(0),
            timers: Timers::default(),
            effects: Vec::new(),
        }
    }

    /// Learns of a log that the store holds, at the start; [`Self::refresh`] then reads it.
    pub(crate) fn note_log(&mut self, log: LogId, frontier: &Frontier) {
        let Some(entry) = frontier.get(&log).filter(|_| !self.uplinks.is_empty()) else {
            return;
        };
        let lines = self.lines.entry(log.machine).or_default();
        if lines.note(log.epoch, entry.floor, entry.end) {
            self.part(log.machine);
        }
    }

    /// A block has become durable.
    pub(crate) fn on_block(
        &mut self,
        now: Instant,
        block: &Block,
        frontier: &Frontier,
        catalogue: &Catalogue,
    ) {
        self.note_log(block.id().log, frontier);
        self.note_first(block);
        for key in self.keys_of(block.id().log.machine) {
            self.pump(now, key, Some(block), catalogue);
        }
    }

    /// Something changed that followers of an origin may have waited for.
    pub(crate) fn refresh(&mut self, now: Instant, machine: MachineId, catalogue: &Catalogue) {
        for key in self.keys_of(machine) {
            self.follower(now, key).unblock();
            self.pump(now, key, None, catalogue);
        }
    }

    /// The answer to a read.
    pub(crate) fn on_read(
        &mut self,
        now: Instant,
        ticket: Ticket,
        blocks: &[Block],
        catalogue: &Catalogue,
    ) {
        let Some((key, wanted)) = self.reads.remove(&ticket) else {
            return;
        };
        if let Some(follower) = self.followers.get_mut(&key) {
            follower.reading = false;
        }
        let mut has_parted = false;
        for block in blocks {
            has_parted |= self.note_first(block);
            self.apply_if_next(now, key, block, catalogue);
        }
        if self.next(key).and_then(Next::wanted) == Some(wanted) {
            self.timers.set(Timer::Reread(key), now + REREAD_AFTER); // It cannot be read now.
        }
        self.pump(now, key, None, catalogue);
        if has_parted {
            self.refresh(now, key.machine, catalogue);
        }
    }

    /// The answer to a search.
    pub(crate) fn on_found(
        &mut self,
        now: Instant,
        ticket: Ticket,
        blocks: &[Block],
        searched: Sequence,
        catalogue: &Catalogue,
    ) {
        let Some((key, _)) = self.looking.take_if(|(_, asked)| *asked == ticket) else {
            return;
        };
        if let Some(follower) = self.followers.get_mut(&key) {
            follower.on_found(blocks, searched, catalogue);
        }
        for block in blocks {
            self.note_first(block);
        }
        self.step_back(now, key, catalogue);
        self.look_back(now, catalogue);
    }

    /// Lets the next follower look back, unless one does.
    fn look_back(&mut self, now: Instant, catalogue: &Catalogue) {
        while self.looking.is_none()
            && let Some(key) = self.lookbacks.pop_first()
        {
            if let Some(follower) = self.followers.get_mut(&key) {
                follower.begin_lookback();
            }
            self.step_back(now, key, catalogue);
        }
    }

    /// The next step of a follower's lookback; after the last one it goes on as before.
    fn step_back(&mut self, now: Instant, key: Key, catalogue: &Catalogue) {
        let logs = self.lines.get(&key.machine);
        let logs = logs.and_then(|lines| lines.logs(key.line));
        let search = self
            .followers
            .get_mut(&key)
            .zip(logs)
            .and_then(|(follower, logs)| follower.look_back(logs));
        match search {
            Some(search) => {
                self.ticket = self.ticket.next();
                self.looking = Some((key, self.ticket));
                let log = LogId {
                    machine: key.machine,
                    epoch: search.epoch,
                };
                self.effects.push(Effect::Search {
                    ticket: self.ticket,
                    log,
                    search,
                });
            }
            None => self.pump(now, key, None, catalogue),
        }
    }

    /// What was counted, over all followers.
    pub(crate) fn stats(&self) -> FeedStats {
        let all = self.followers.values().map(Follower::stats);
        all.fold(self.stats_before, FeedStats::plus)
    }

    /// What no relay of an uplink has had acknowledged, by origin.
    pub(crate) fn backlog(&self, uplink: &UplinkId) -> impl Iterator<Item = Backlog<'_>> {
        let index = self.uplinks.iter().position(|config| config.id == *uplink);
        let followers = self.followers.iter();
        let followers = followers.filter(move |(key, _)| Some(key.uplink) == index);
        followers.filter_map(|(_, follower)| follower.backlog())
    }

    /// An origin says that it has nothing more to say.
    pub(crate) fn on_idle(&mut self, now: Instant, machine: MachineId, idle: Idle) {
        if self.uplinks.is_empty() {
            return;
        }
        self.idle.insert(machine, idle);
        let line = self.lines.get(&machine);
        let line = line.and_then(|lines| lines.of(idle.last.epoch));
        for key in self.keys_of(machine) {
            if let Some(follower) = self.followers.get_mut(&key)
                && line == Some(key.line)
            {
                follower.hear(now);
                follower.pass(idle.last, idle.watermark);
                self.settle(now, key);
            }
        }
    }

    /// A relay has told its progress.
    pub(crate) fn on_progress(
        &mut self,
        now: Instant,
        uplink: &UplinkId,
        machine: MachineId,
        progress: Progress,
        catalogue: &Catalogue,
    ) {
        let Some(index) = self.uplinks.iter().position(|config| config.id == *uplink) else {
            return;
        };
        let lines = self.lines.get(&machine);
        self.told.note(uplink, machine, progress, lines);
        let Some(line) = lines.and_then(|lines| lines.of(progress.through.epoch)) else {
            return;
        };
        let key = Key {
            uplink: index,
            machine,
            line,
        };
        if let Some(follower) = self.followers.get_mut(&key) {
            follower.on_progress(progress, &self.uplinks[index]);
            self.pump(now, key, None, catalogue);
        }
    }

    /// The election gave an origin to this machine, or took it away.
    pub(crate) fn set_serving(
        &mut self,
        now: Instant,
        uplink: &UplinkId,
        machine: MachineId,
        serving: bool,
        catalogue: &Catalogue,
    ) {
        let Some(index) = self.uplinks.iter().position(|config| config.id == *uplink) else {
            return;
        };
        let source = (index, machine);
        if serving {
            self.served.insert(source);
        } else if self.served.remove(&source) {
            self.withdraw(source);
        }
        for key in self.keys_of(machine) {
            if let Some(follower) = self.followers.get_mut(&key)
                && key.uplink == index
            {
                follower.set_serving(serving);
                self.pump(now, key, None, catalogue);
            }
        }
    }

    /// An uplink has done with records.
    pub(crate) fn on_uploaded(&mut self, now: Instant, ids: &[UploadId], catalogue: &Catalogue) {
        let mut keys = BTreeSet::new();
        for id in ids {
            if let Some(key) = self.uploads.remove(id)
                && let Some(follower) = self.followers.get_mut(&key)
                && follower.on_uploaded(*id)
            {
                keys.insert(key);
            }
        }
        for key in keys {
            self.pump(now, key, None, catalogue);
        }
    }

    /// An uplink has lost records: they are uploaded again.
    pub(crate) fn on_upload_lost(&mut self, now: Instant, ids: &[UploadId]) {
        let mut keys = BTreeSet::new();
        for id in ids {
            if let Some(key) = self.uploads.remove(id)
                && let Some(follower) = self.followers.get_mut(&key)
            {
                follower.on_upload_lost(*id);
                keys.insert(key);
            }
        }
        for key in keys {
            self.settle(now, key);
        }
    }

    /// Fires what is due; `is_to_come` says whether some neighbour holds something of a log.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        catalogue: &Catalogue,
        is_to_come: impl Fn(&LogId) -> bool,
    ) {
        while let Some((_, timer)) = self.timers.pop_due(now) {
            match timer {
                Timer::Silence(key) => {
                    if let Some(follower) = self.followers.get_mut(&key) {
                        follower.check_silence(now, &self.uplinks[key.uplink]);
                    }
                    self.settle(now, key);
                }
                Timer::Progress(key) => {
                    let progress = self
                        .followers
                        .get_mut(&key)
                        .and_then(Follower::take_progress);
                    if let Some(progress) = progress {
                        let uplink = self.uplinks[key.uplink].id.clone();
                        let tell = Effect::Tell(uplink, key.machine, key.line, progress);
                        self.effects.push(tell);
                    }
                }
                Timer::Reread(key) => self.pump(now, key, None, catalogue),
                Timer::Lacking(key) => {
                    if let (Some(Next::Lacks(epoch)), machine) = (self.next(key), key.machine)
                        && !is_to_come(&LogId { machine, epoch })
                        && let Some(follower) = self.followers.get_mut(&key)
                    {
                        follower.skip(epoch);
                    }
                    self.pump(now, key, None, catalogue);
                }
                Timer::Lookback(key) => {
                    self.lookbacks.insert(key);
                    self.look_back(now, catalogue);
                }
            }
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Deadline> {
        self.timers.next_deadline(|timer| match timer {
            Timer::Silence(_) => "feed: silence",
            Timer::Progress(_) => "feed: progress",
            Timer::Reread(_) => "feed: reread",
            Timer::Lacking(_) => "feed: lacking",
            Timer::Lookback(_) => "feed: lookback",
        })
    }

    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// The first block of an epoch names the block before it. Returns whether there are other lines
    /// now.
    fn note_first(&mut self, block: &Block) -> bool {
        let BlockId { log, sequence } = block.id();
        let lines = self.lines.get_mut(&log.machine);
        let Some(lines) = lines.filter(|_| sequence == 1) else {
            return false;
        };
        let has_parted = lines.note_first(log.epoch, block.header().continues);
        if has_parted {
            self.part(log.machine);
        }
        has_parted
    }

    /// The follower of a key, made if it is new.
    fn follower(&mut self, now: Instant, key: Key) -> &mut Follower {
        let config = &self.uplinks[key.uplink];
        let is_new = !self.followers.contains_key(&key);
        let done = is_new.then(|| self.done_of(&key)).flatten();
        let serving = self.served.contains(&key.source());
        self.followers.entry(key).or_insert_with(|| {
            let mut follower = Follower::new(self.network, key.machine, config, done, now);
            follower.set_serving(serving);
            follower
        })
    }

    fn apply_if_next(&mut self, now: Instant, key: Key, block: &Block, catalogue: &Catalogue) {
        if self.next(key) == Some(Next::Block(block.id().position()))
            && let Some(follower) = self.followers.get_mut(&key)
            && follower.apply(now, block, &self.uplinks[key.uplink], catalogue)
        {
            self.on_rewound(now, key);
        }
    }

    /// What a follower waits for. Until it is known which epochs are of which line, that comes
    /// first.
    fn next(&self, key: Key) -> Option<Next> {
        let lines = self.lines.get(&key.machine)?;
        let follower = self.followers.get(&key)?;
        let unread = lines.unread().map(Next::FirstOf);
        Some(unread.unwrap_or(follower.next(lines.logs(key.line)?)))
    }

    /// What a follower has folded does not count: it starts over. Returns what it waits for then.
    fn rewind(&mut self, now: Instant, key: Key, rewind: Rewind) -> Option<Next> {
        let follower = self.followers.get_mut(&key)?;
        follower.rewind(&self.uplinks[key.uplink], rewind);
        if let Some(Next::Rewind(_)) = self.next(key) {
            // Even the furthest progress relied on what does not count.
            let follower = self.followers.get_mut(&key)?;
            follower.start_over(&self.uplinks[key.uplink], None);
        }
        self.on_rewound(now, key);
        self.next(key)
    }

    /// Moves a follower on as far as it goes: with the block at hand, else by reading the log.
    fn pump(&mut self, now: Instant, key: Key, block: Option<&Block>, catalogue: &Catalogue) {
        let lines = self.lines.get(&key.machine);
        if lines.is_none_or(|lines| lines.logs(key.line).is_none()) {
            return; // It has become a part of another line.
        }
        self.follower(now, key);
        if let Some(block) = block {
            self.apply_if_next(now, key, block, catalogue);
        }
        let next = match self.next(key) {
            Some(Next::Rewind(rewind)) => self.rewind(now, key, rewind),
            next => next,
        };
        let (Some(next), Some(follower)) = (next, self.followers.get_mut(&key)) else {
            return;
        };
        if let Next::Lacks(_) = next {
            let at = now + self.uplinks[key.uplink].partial_after;
            self.timers.set_if_idle(Timer::Lacking(key), at);
        } else {
            self.timers.clear(&Timer::Lacking(key));
        }
        let waits = follower.reading || self.timers.is_set(&Timer::Reread(key));
        match next.wanted() {
            Some(wanted) if !waits => {
                follower.reading = true;
                self.ticket = self.ticket.next();
                self.reads.insert(self.ticket, (key, wanted));
                let log = LogId {
                    machine: key.machine,
                    epoch: wanted.epoch,
                };
                let first = wanted.sequence;
                let lines = self.lines.get(&key.machine);
                let logs = lines.and_then(|lines| lines.logs(key.line));
                let held = logs.and_then(|logs| logs.get(&wanted.epoch));
                let last = if let Next::Block(_) = next {
                    held.map_or(first, |info| info.end.max(first))
                } else {
                    first
                };
                self.effects.push(Effect::Read {
                    ticket: self.ticket,
                    log,
                    span: Span { first, last },
                });
            }
            Some(_) => {}
            None => {
                if let Some(idle) = self.idle.get(&key.machine) {
                    follower.pass(idle.last, idle.watermark);
                }
            }
        }
        self.settle(now, key);
    }

    /// Hands out what a follower has for upload, and sets its timers.
    fn settle(&mut self, now: Instant, key: Key) {
        let Some(follower) = self.followers.get_mut(&key) else {
            return;
        };
        let config = &self.uplinks[key.uplink];
        for (id, record) in follower.take_uploads(&mut self.upload) {
            self.uploads.insert(id, key);
            self.effects.push(Effect::Upload {
                uplink: config.id.clone(),
                id,
                record,
            });
        }
        if follower.has_untold_progress() {
            self.timers
                .set_if_idle(Timer::Progress(key), now + PROGRESS_INTERVAL);
        }
        if follower.wants_lookback() {
            self.timers
                .set_if_idle(Timer::Lookback(key), now + LOOKBACK_DELAY);
        }
        match follower.silence_deadline(config) {
            Some(at) => self.timers.set(Timer::Silence(key), at),
            None => _ = self.timers.clear(&Timer::Silence(key)),
        }
    }
}

/// Least time between two progress states of one origin. Source: guess; a successor repeats at
/// most what was acknowledged in it.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// How long to wait after a read that gave nothing. Source: guess.
const REREAD_AFTER: Duration = Duration::from_secs(1);
/// How long windows that have left memory are gathered before the log is searched for them.
/// Source: guess.
const LOOKBACK_DELAY: Duration = Duration::from_secs(1);
/// Most bytes of one read.
pub(crate) const READ_BYTES_MAX: usize = 1024 * 1024;
