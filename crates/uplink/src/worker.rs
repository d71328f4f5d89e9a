//! The loop of an uplink: from the inbox into the outbox, from the outbox into the sink.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use model::Timestamp;
use statemachine::Rng;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::aside::Aside;
use crate::backoff::Backoff;
use crate::clock;
use crate::outbox::{Inserted, Outbox};
use crate::uplink::Shared;
use crate::{Config, DropReason, Event, Item, Outcome, Sink, SinkError, State, Status};

/// Everything of an uplink but its sink.
#[derive(Debug)]
pub(crate) struct Worker {
    config: Config,
    outbox: Outbox,
    aside: Aside,
    backoff: Backoff,
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
    status: Status,
    /// What has been said last by [`Event::Reachable`].
    said: Option<bool>,
    /// The sink could be reached before, but did not take records: believe it when it has.
    doubtful: bool,
    /// When the backlog may go on.
    backlog_at: Option<Instant>,
    alarmed: bool,
}

/// The uplink is to stop.
struct Stop;

impl Worker {
    pub(crate) fn new(
        config: Config,
        outbox: Outbox,
        aside: Aside,
        rng: Rng,
        shared: Arc<Shared>,
        events: mpsc::Sender<Event>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            config,
            outbox,
            aside,
            backoff: Backoff::new(rng),
            shared,
            events,
            stop,
            status: Status::default(),
            said: None,
            doubtful: false,
            backlog_at: None,
            alarmed: false,
        }
    }

    /// Uploads until it is told to stop.
    pub(crate) async fn run(mut self, mut sink: impl Sink) {
        self.report();
        loop {
            let failed = match self.upload(&mut sink).await {
                Ok(failed) => failed,
                Err(Stop) => break,
            };
            if let Err(Stop) = self.recover(failed).await {
                break;
            }
        }
        self.take_in().await;
        self.outbox.demote_live();
        self.flush();
        self.report();
        sink.close().await;
    }

    /// Connects and delivers until the sink fails.
    async fn upload(&mut self, sink: &mut impl Sink) -> Result<SinkError, Stop> {
        if let Err(error) = self.meanwhile(sink.connect()).await? {
            return Ok(error);
        }
        let connected = clock::monotonic();
        if !self.doubtful || self.outbox.len() == 0 {
            self.well().await;
        }
        loop {
            let batch = self.next_batch().await;
            if !batch.is_empty() {
                let (numbers, items): (Vec<u64>, Vec<Item>) = batch.into_iter().unzip();
                let outcomes = match self.meanwhile(sink.deliver(&items)).await {
                    Ok(outcomes) => outcomes,
                    Err(stop) => {
                        numbers
                            .iter()
                            .for_each(|number| self.outbox.put_back(*number, false));
                        return Err(stop);
                    }
                };
                if let Some(error) = self.settle(&numbers, &items, outcomes).await {
                    return Ok(error);
                }
                continue;
            }
            let shared = Arc::clone(&self.shared);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Stop),
                error = sink.gone() => {
                    if clock::monotonic() - connected >= STABLE_AFTER {
                        self.backoff.reset();
                    }
                    return Ok(error);
                }
                () = shared.inbox.arrived() => self.take_in().await,
                () = backlog_due(self.backlog_at), if self.outbox.has_backlog() => {
                    self.backlog_at = None;
                }
            }
        }
    }

    /// Waits before the next try.
    async fn recover(&mut self, failed: SinkError) -> Result<(), Stop> {
        let delay = self.backoff.next_delay();
        if self.said != Some(false) {
            tracing::warn!(uplink = %self.config.id, error = %failed, "uplink cannot be reached");
        }
        self.outbox.demote_live();
        self.flush();
        self.backlog_at = None;
        self.status.state = State::Unreachable;
        self.status.last_error = Some(failed.0);
        self.status.next_try = Some(clock::wall().saturating_add(delay));
        self.report();
        self.say_reachable(false).await;
        self.meanwhile(tokio::time::sleep(delay)).await
    }

    /// Waits for something and takes new records in meanwhile.
    async fn meanwhile<T>(&mut self, something: impl Future<Output = T>) -> Result<T, Stop> {
        let mut something = pin!(something);
        let shared = Arc::clone(&self.shared);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Stop),
                output = &mut something => return Ok(output),
                () = shared.inbox.arrived() => self.take_in().await,
            }
        }
    }

    /// Takes over what was submitted and withdrawn.
    async fn take_in(&mut self) {
        let waiting = self.shared.inbox.take();
        for (origin, dropped) in waiting.withdrawn {
            self.status.counters.withdrawn += dropped + self.outbox.withdraw(origin);
        }
        let now = clock::wall();
        for outgoing in waiting.submitted {
            match self.outbox.insert(&outgoing, now) {
                Inserted::New => {}
                Inserted::Replaced => self.status.counters.superseded += 1,
                Inserted::Known => self.status.counters.duplicates += 1,
            }
        }
        if self.status.state == State::Unreachable {
            self.outbox.demote_live();
        }
        self.bound(now).await;
        self.flush();
        self.report();
    }

    /// Drops what is too much or too old, and raises the alarm before it comes to that.
    async fn bound(&mut self, now: Timestamp) {
        let mut dropped = [
            (DropReason::Age, Vec::new(), 0),
            (DropReason::Bytes, Vec::new(), 0),
        ];
        while let Some((reason, ids)) = self.outbox.drop_one(now) {
            let [age, bytes] = &mut dropped;
            let (_, all, count) = if reason == DropReason::Age {
                age
            } else {
                bytes
            };
            all.extend(ids);
            *count += 1;
        }
        for (reason, ids, count) in dropped {
            self.dropped(reason, ids, count).await;
        }
        let (bytes, max) = (self.outbox.bytes(), self.config.backlog_bytes_max);
        let is_high = u128::from(bytes) * 100 >= u128::from(max) * ALARM_PERCENT;
        if is_high && !self.alarmed {
            self.status.counters.alarms += 1;
            tracing::warn!(
                uplink = %self.config.id, bytes, max,
                "the backlog has passed 80 % of its limit; beyond it the oldest records are dropped"
            );
        }
        self.alarmed = is_high;
    }

    async fn dropped(&mut self, reason: DropReason, ids: Vec<u64>, count: u64) {
        if count == 0 {
            return;
        }
        let counters = &mut self.status.counters;
        match reason {
            DropReason::Age => counters.dropped_age += count,
            DropReason::Bytes => counters.dropped_bytes += count,
            DropReason::Unreadable => counters.dropped_unreadable += count,
        }
        tracing::warn!(uplink = %self.config.id, count, ?reason, "records were dropped");
        let uplink = self.config.id.clone();
        self.say(Event::Dropped {
            uplink,
            ids,
            count,
            reason,
        })
        .await;
    }

    /// The next records to deliver: live ones, and as much of the backlog as its rate allows.
    async fn next_batch(&mut self) -> Vec<(u64, Item)> {
        let mut batch = self.outbox.take_live(LIVE_BATCH_MAX);
        if self.outbox.has_backlog() && self.backlog_at.is_none_or(|at| at <= clock::monotonic()) {
            self.bound(clock::wall()).await;
            let (backlog, unreadable) = self.outbox.take_backlog(BACKLOG_BATCH_MAX);
            let count = u32::try_from(backlog.len()).unwrap_or(u32::MAX);
            let pause = Duration::from_secs(1) * count / self.config.backlog_rate.max(1);
            self.backlog_at = Some(clock::monotonic() + pause);
            batch.extend(backlog);
            let lost = unreadable
                .iter()
                .filter_map(|number| self.outbox.remove(*number));
            let ids = lost.flatten().collect();
            self.dropped(DropReason::Unreadable, ids, unreadable.len() as u64)
                .await;
        }
        batch
    }

    /// Acts on what became of a batch; an error if the sink failed.
    async fn settle(
        &mut self,
        numbers: &[u64],
        items: &[Item],
        outcomes: Vec<Outcome>,
    ) -> Option<SinkError> {
        let (mut delivered, mut put_off, mut failed) = (Vec::new(), None, None);
        for ((&number, item), outcome) in numbers.iter().zip(items).zip(outcomes) {
            match outcome {
                Outcome::Delivered => {
                    self.status.counters.delivered += 1;
                    delivered.extend(self.outbox.remove(number).into_iter().flatten());
                }
                Outcome::Refused(reason) => self.set_aside(number, item, reason).await,
                Outcome::PutOff(reason) => {
                    self.outbox.put_back(number, true);
                    put_off = Some(reason);
                }
                Outcome::Failed(reason) => {
                    // The first may be what the sink has failed at: let the others go before it.
                    self.outbox.put_back(number, failed.is_none());
                    failed = Some(SinkError(reason));
                }
            }
        }
        self.flush();
        if !delivered.is_empty() {
            self.say(Event::Delivered(self.config.id.clone(), delivered))
                .await;
        }
        if failed.is_some() {
            self.doubtful = true;
            return failed;
        }
        match put_off {
            Some(reason) => {
                self.status.last_error = Some(reason);
                self.backlog_at = Some(clock::monotonic() + self.backoff.next_delay());
            }
            None => self.backoff.reset(),
        }
        self.well().await;
        None
    }

    async fn set_aside(&mut self, number: u64, item: &Item, reason: String) {
        if let Err(error) = self.aside.add(item, &reason) {
            tracing::warn!(uplink = %self.config.id, %error, "set-aside.ndjson cannot be written");
        }
        tracing::warn!(uplink = %self.config.id, %reason, "the sink refuses a record for ever");
        self.status.counters.set_aside += 1;
        if let Some(ids) = self.outbox.remove(number) {
            let uplink = self.config.id.clone();
            let key = item.key();
            self.say(Event::SetAside {
                uplink,
                ids,
                key,
                reason,
            })
            .await;
        }
    }

    /// The sink can be reached, as far as anyone can tell.
    async fn well(&mut self) {
        self.doubtful = false;
        self.status.state = State::Reachable;
        self.status.next_try = None;
        self.report();
        self.say_reachable(true).await;
    }

    async fn say_reachable(&mut self, reachable: bool) {
        if self.said != Some(reachable) {
            self.said = Some(reachable);
            tracing::info!(uplink = %self.config.id, reachable, "uplink changed");
            self.say(Event::Reachable(self.config.id.clone(), reachable))
                .await;
        }
    }

    /// Tells the node. Once it wants to stop, it may not listen any more.
    async fn say(&self, event: Event) {
        tokio::select! {
            biased;
            _ = self.events.send(event) => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Brings the outbox's files up to date; if that fails, records wait in memory, within the
    /// same bounds.
    fn flush(&mut self) {
        if let Err(error) = self.outbox.flush() {
            self.status.counters.outbox_failures += 1;
            tracing::warn!(uplink = %self.config.id, %error, "the outbox cannot be written");
        }
    }

    /// Makes the status visible.
    fn report(&mut self) {
        self.status.backlog_items = self.outbox.len() as u64;
        self.status.backlog_bytes = self.outbox.bytes();
        self.status.backlog_oldest = self.outbox.oldest();
        let mut shared = self
            .shared
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        shared.clone_from(&self.status);
    }
}

/// Waits until the backlog may go on.
async fn backlog_due(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
}

/// A connection that lasted so long was well, also without anything to deliver. Source: guess.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// Most live records in one delivery. Source: guess.
const LIVE_BATCH_MAX: usize = 256;
/// Most records of the backlog in one delivery, which live ones may have to wait for. Source:
/// guess.
const BACKLOG_BATCH_MAX: usize = 64;
/// When the backlog raises the alarm. Unit: percent of its limit. Source: conventions, "Uplinks".
const ALARM_PERCENT: u128 = 80;
