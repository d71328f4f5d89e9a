//! Feed: from the logs of all origins to the outboxes of this machine's uplinks.
//!
//! One [`Follower`] for each uplink and origin. The feed reads logs for them, hands out what they
//! have for upload, and tells everyone how far that has come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aggregate::{Progress, Record};
use election::UplinkId;
use gossip::{Frontier, Span};
use model::{Block, BlockId, LogId, MachineId, NetworkId, Position, Sequence};
use statemachine::{Deadline, Instant, Ticket, Timers};

use crate::canonical::{LogInfo, Logs, Next, Rewind};
use crate::config::UplinkConfig;
use crate::follower::{Backlog, FeedStats, Follower};
use crate::lookback::Search;
use crate::presence::Idle;
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
    Tell(UplinkId, MachineId, Progress),
    Rewound(UplinkId, MachineId),
}

/// A follower: the uplink's place in the configuration, and the origin.
type Key = (usize, MachineId);

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
    logs: BTreeMap<MachineId, Logs>,
    idle: BTreeMap<MachineId, Idle>,
    done: BTreeMap<(UplinkId, MachineId), Progress>,
    served: BTreeSet<Key>,
    followers: BTreeMap<Key, Follower>,
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
            logs: BTreeMap::new(),
            idle: BTreeMap::new(),
            done: BTreeMap::new(),
            served: BTreeSet::new(),
            followers: BTreeMap::new(),
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
        let logs = self.logs.entry(log.machine).or_default();
        let info = logs.entry(log.epoch).or_insert(LogInfo {
            floor: 1,
            end: 0,
            continues: None,
        });
        (info.floor, info.end) = (entry.floor, entry.end);
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
        if self.logs.contains_key(&machine) {
            for key in self.keys_of(machine) {
                self.follower(now, key).unblock();
                self.pump(now, key, None, catalogue);
            }
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
        for block in blocks {
            self.note_first(block);
            self.apply_if_next(now, key, block, catalogue);
        }
        if self.next(key).and_then(Next::wanted) == Some(wanted) {
            self.timers.set(Timer::Reread(key), now + REREAD_AFTER); // It cannot be read now.
        }
        self.pump(now, key, None, catalogue);
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
        blocks.iter().for_each(|block| self.note_first(block));
        if let Some(follower) = self.followers.get_mut(&key) {
            follower.on_found(blocks, searched, catalogue);
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
        let follower = self.followers.get_mut(&key);
        let search = follower
            .zip(self.logs.get(&key.1))
            .and_then(|(follower, logs)| follower.look_back(logs));
        match search {
            Some(search) => {
                self.ticket = self.ticket.next();
                self.looking = Some((key, self.ticket));
                let log = LogId {
                    machine: key.1,
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

    /// By origin, the first block that some uplink still needs, as far as that was told; `None` if
    /// there is no uplink.
    pub(crate) fn needed(&self) -> Option<BTreeMap<MachineId, Position>> {
        if self.uplinks.is_empty() {
            return None;
        }
        let needed_of = |machine: &MachineId| {
            let done = self.uplinks.iter().map(|uplink| {
                let progress = self.done.get(&(uplink.id.clone(), *machine))?;
                let late = progress.late.unwrap_or(progress.resume);
                Some(late.min(progress.resume))
            });
            done.min().flatten() // An uplink that has told nothing is the least.
        };
        let logs = self.logs.keys();
        Some(
            logs.filter_map(|machine| Some((*machine, needed_of(machine)?)))
                .collect(),
        )
    }

    /// What was counted, over all followers.
    pub(crate) fn stats(&self) -> FeedStats {
        let all = self.followers.values().map(Follower::stats);
        all.fold(FeedStats::default(), |sum, one| FeedStats {
            lookbacks: sum.lookbacks + one.lookbacks,
            windows_lost: sum.windows_lost + one.windows_lost,
            readings_misdated: sum.readings_misdated + one.readings_misdated,
        })
    }

    /// What no relay of an uplink has had acknowledged, by origin.
    pub(crate) fn backlog(&self, uplink: &UplinkId) -> impl Iterator<Item = Backlog<'_>> {
        let index = self.uplinks.iter().position(|config| config.id == *uplink);
        let followers = self.followers.iter();
        let followers = followers.filter(move |((of, _), _)| Some(*of) == index);
        followers.filter_map(|(_, follower)| follower.backlog())
    }

    /// An origin says that it has nothing more to say.
    pub(crate) fn on_idle(&mut self, now: Instant, machine: MachineId, idle: Idle) {
        if self.uplinks.is_empty() {
            return;
        }
        self.idle.insert(machine, idle);
        for key in self.existing_keys_of(machine) {
            if let Some(follower) = self.followers.get_mut(&key) {
                follower.hear(now);
                follower.pass(idle.last, idle.watermark);
            }
            self.settle(now, key);
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
        let done = self
            .done
            .entry((uplink.clone(), machine))
            .or_insert(progress);
        *done = progress.max(*done);
        let key = (index, machine);
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
        let key = (index, machine);
        if serving {
            self.served.insert(key);
        } else if self.served.remove(&key) {
            self.withdraw(key);
        }
        if let Some(follower) = self.followers.get_mut(&key) {
            follower.set_serving(serving);
            self.pump(now, key, None, catalogue);
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
                        follower.check_silence(now, &self.uplinks[key.0]);
                    }
                    self.settle(now, key);
                }
                Timer::Progress(key) => {
                    let progress = self
                        .followers
                        .get_mut(&key)
                        .and_then(Follower::take_progress);
                    if let Some(progress) = progress {
                        let uplink = self.uplinks[key.0].id.clone();
                        self.effects.push(Effect::Tell(uplink, key.1, progress));
                    }
                }
                Timer::Reread(key) => self.pump(now, key, None, catalogue),
                Timer::Lacking(key) => {
                    if let (Some(Next::Lacks(epoch)), machine) = (self.next(key), key.1)
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

    /// The first block of an epoch names the block before it.
    fn note_first(&mut self, block: &Block) {
        let BlockId { log, sequence } = block.id();
        if sequence != 1 {
            return;
        }
        let info = self
            .logs
            .get_mut(&log.machine)
            .and_then(|logs| logs.get_mut(&log.epoch));
        if let Some(info) = info {
            info.continues = Some(block.header().continues);
        }
    }

    fn keys_of(&self, machine: MachineId) -> Vec<Key> {
        (0..self.uplinks.len())
            .map(|index| (index, machine))
            .collect()
    }

    fn existing_keys_of(&self, machine: MachineId) -> Vec<Key> {
        self.keys_of(machine)
            .into_iter()
            .filter(|key| self.followers.contains_key(key))
            .collect()
    }

    /// The follower of a key, made if it is new.
    fn follower(&mut self, now: Instant, key: Key) -> &mut Follower {
        let config = &self.uplinks[key.0];
        let done = self.done.get(&(config.id.clone(), key.1)).copied();
        let serving = self.served.contains(&key);
        self.followers.entry(key).or_insert_with(|| {
            let mut follower = Follower::new(self.network, key.1, config, done, now);
            follower.set_serving(serving);
            follower
        })
    }

    fn apply_if_next(&mut self, now: Instant, key: Key, block: &Block, catalogue: &Catalogue) {
        let Some(logs) = self.logs.get(&key.1) else {
            return;
        };
        let Some(follower) = self.followers.get_mut(&key) else {
            return;
        };
        if follower.next(logs) == Next::Block(block.id().position())
            && follower.apply(now, block, &self.uplinks[key.0], catalogue)
        {
            self.on_rewound(key);
        }
    }

    /// What a follower waits for.
    fn next(&self, key: Key) -> Option<Next> {
        Some(self.followers.get(&key)?.next(self.logs.get(&key.1)?))
    }

    /// What was given of an origin is not to be delivered any more.
    fn withdraw(&mut self, key: Key) {
        self.uploads.retain(|_, of| *of != key);
        let uplink = self.uplinks[key.0].id.clone();
        self.effects.push(Effect::Withdraw(uplink, key.1));
    }

    /// What a follower has folded does not count: it starts over. Returns what it waits for then.
    fn rewind(&mut self, key: Key, rewind: Rewind) -> Option<Next> {
        self.on_rewound(key);
        let follower = self.followers.get_mut(&key)?;
        let logs = self.logs.get(&key.1)?;
        follower.rewind(&self.uplinks[key.0], rewind);
        if matches!(follower.next(logs), Next::Rewind(_)) {
            // Even the furthest progress relied on what does not count.
            follower.start_over(&self.uplinks[key.0], None);
        }
        Some(follower.next(logs))
    }

    fn on_rewound(&mut self, key: Key) {
        self.withdraw(key);
        let uplink = self.uplinks[key.0].id.clone();
        self.effects.push(Effect::Rewound(uplink, key.1));
    }

    /// Moves a follower on as far as it goes: with the block at hand, else by reading the log.
    fn pump(&mut self, now: Instant, key: Key, block: Option<&Block>, catalogue: &Catalogue) {
        self.follower(now, key);
        if let Some(block) = block {
            self.apply_if_next(now, key, block, catalogue);
        }
        let next = match self.next(key) {
            Some(Next::Rewind(rewind)) => self.rewind(key, rewind),
            next => next,
        };
        let (Some(next), Some(follower)) = (next, self.followers.get_mut(&key)) else {
            return;
        };
        if let Next::Lacks(_) = next {
            let at = now + self.uplinks[key.0].partial_after;
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
                    machine: key.1,
                    epoch: wanted.epoch,
                };
                let first = wanted.sequence;
                let held = self
                    .logs
                    .get(&key.1)
                    .and_then(|logs| logs.get(&wanted.epoch));
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
                if let Some(idle) = self.idle.get(&key.1) {
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
        let config = &self.uplinks[key.0];
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
