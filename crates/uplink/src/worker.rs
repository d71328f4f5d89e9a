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
use crate::budget::{Budget, WhenSpent};
use crate::clock;
use crate::outbox::{Inserted, Outbox};
use crate::suspects::Suspects;
use crate::uplink::Shared;
use crate::{Config, DropReason, Event, Item, Outcome, Priority, Sink, SinkError, State, Status};

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
    /// Most records in one delivery; fewer after the sink has failed at one.
    batch_max: usize,
    suspects: Suspects,
    budget: Budget,
    /// Until when staying connected has been paid for.
    idle_paid: Instant,
    alarmed: bool,
}

/// What an uplink keeps on disk.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) outbox: Outbox,
    pub(crate) aside: Aside,
    pub(crate) budget: Budget,
}

/// The uplink is to stop.
struct Stop;

/// Why nothing is delivered for a while.
enum Ended {
    /// The sink does not work.
    Failed(SinkError),
    /// The budget of the day is spent.
    Spent,
}

impl Worker {
    pub(crate) fn new(
        config: Config,
        kept: Kept,
        rng: Rng,
        shared: Arc<Shared>,
        events: mpsc::Sender<Event>,
        stop: CancellationToken,
    ) -> Self {
        let Kept {
            outbox,
            aside,
            budget,
        } = kept;
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
            batch_max: BATCH_MAX,
            suspects: Suspects::default(),
            budget,
            idle_paid: clock::monotonic(),
            alarmed: false,
        }
    }

    /// Uploads until it is told to stop.
    pub(crate) async fn run<S: Sink>(mut self, mut sink: S) {
        self.report();
        loop {
            let ended = match self.upload(&mut sink).await {
                Ok(ended) => ended,
                Err(Stop) => break,
            };
            if let Ended::Spent = ended {
                sink.close().await;
            }
            if let Err(Stop) = self.recover(ended).await {
                break;
            }
        }
        self.take_in().await;
        self.outbox.demote_live();
        self.flush();
        self.report();
        sink.close().await;
        self.pay(&mut sink);
        if let Err(error) = self.budget.close() {
            tracing::warn!(uplink = %self.config.id, %error, "what was spent cannot be noted");
        }
    }

    /// Connects and delivers until the sink fails, or may not be used any more today.
    async fn upload<S: Sink>(&mut self, sink: &mut S) -> Result<Ended, Stop> {
        if self.must_hold(sink.connect_cost()) {
            return Ok(Ended::Spent);
        }
        let connecting = self.meanwhile(sink.connect()).await?;
        let connected = clock::monotonic();
        self.idle_paid = connected;
        self.pay(sink);
        if let Err(error) = connecting {
            return Ok(Ended::Failed(error));
        }
        if !self.doubtful || self.outbox.len() == 0 {
            self.well().await;
        }
        loop {
            let batch = self.next_batch(sink).await;
            if batch.is_empty() && self.must_hold(0) {
                return Ok(Ended::Spent);
            }
            if !batch.is_empty() {
                let (numbers, items): (Vec<u64>, Vec<Item>) = batch.into_iter().unzip();
                let delivered = self.meanwhile(sink.deliver(&items)).await;
                self.pay(sink);
                let outcomes = match delivered {
                    Ok(outcomes) => outcomes,
                    Err(stop) => {
                        numbers
                            .iter()
                            .for_each(|number| self.outbox.put_back(*number, false));
                        return Err(stop);
                    }
                };
                if let Some(error) = self.settle(&numbers, &items, outcomes).await {
                    return Ok(Ended::Failed(error));
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
                    return Ok(Ended::Failed(error));
                }
                () = shared.inbox.arrived() => self.take_in().await,
                () = backlog_due(self.backlog_at), if self.outbox.has_backlog() => {
                    self.backlog_at = None;
                }
            }
        }
    }

    /// Waits before the next try.
    async fn recover(&mut self, ended: Ended) -> Result<(), Stop> {
        let now = clock::wall();
        let (error, next, delay) = match ended {
            Ended::Failed(error) => {
                let delay = self.backoff.next_delay();
                (error, now.saturating_add(delay), delay)
            }
            Ended::Spent => {
                let next = self.budget.next_day();
                // Not at a stretch: the clock may be set.
                (self.spent_error(), next, next.since(now).min(HOLD_MAX))
            }
        };
        if self.said != Some(false) {
            tracing::warn!(uplink = %self.config.id, %error, "uplink cannot be reached");
        }
        self.outbox.demote_live();
        self.flush();
        self.backlog_at = None;
        self.status.state = State::Unreachable;
        self.status.last_error = Some(error.0);
        self.status.next_try = Some(next);
        self.report();
        self.say_reachable(false).await;
        self.meanwhile(tokio::time::sleep(delay)).await
    }

    /// Whether nothing may go out any more today; `cost` is what the next step costs at least.
    fn must_hold(&mut self, cost: u64) -> bool {
        let left = self.budget.left(clock::wall());
        self.config.when_spent == WhenSpent::Hold && (left == 0 || left < cost)
    }

    fn spent_error(&self) -> SinkError {
        let limit = self.budget.limit().unwrap_or_default();
        SinkError(format!(
            "the {limit} bytes of today are spent; it goes on at 00:00 UTC"
        ))
    }

    /// Counts what the sink has put on the wire.
    fn pay<S: Sink>(&mut self, sink: &mut S) {
        let idle = clock::monotonic().saturating_duration_since(self.idle_paid);
        self.idle_paid += Duration::from_secs(idle.as_secs());
        let idle_cost = S::IDLE_COST.saturating_mul(idle.as_secs()) / 60;
        let bytes = sink.take_traffic().saturating_add(idle_cost);
        if let Err(error) = self.budget.spend(clock::wall(), bytes) {
            tracing::warn!(uplink = %self.config.id, %error, "what was spent cannot be noted");
        }
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
    async fn next_batch<S: Sink>(&mut self, sink: &S) -> Vec<(u64, Item)> {
        let is_spent = self.budget.left(clock::wall()) == 0;
        let least = if is_spent {
            Priority::Urgent
        } else {
            Priority::Expendable
        };
        let is_due = self.backlog_at.is_none_or(|at| at <= clock::monotonic());
        let takes_backlog = self.outbox.has_backlog() && is_due;
        let share = if takes_backlog {
            BACKLOG_BATCH_MAX.min(self.batch_max / 4)
        } else {
            0
        };
        let mut batch = self.outbox.take_live(self.batch_max - share, least);
        if takes_backlog {
            self.bound(clock::wall()).await;
            let room = (self.batch_max - batch.len()).min(BACKLOG_BATCH_MAX);
            let (backlog, unreadable) = self.outbox.take_backlog(room, least);
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
        if self.budget.limit().is_some() {
            self.keep_to_budget(&mut batch, sink);
        }
        batch
    }

    /// Leaves what is urgent and what can be paid for; the rest waits.
    fn keep_to_budget<S: Sink>(&mut self, batch: &mut Vec<(u64, Item)>, sink: &S) {
        let now = clock::wall();
        let mut left = self.budget.left(now);
        let mut spent = left == 0;
        let may_exceed = self.config.when_spent == WhenSpent::UrgentOnly;
        batch.retain(|(number, item)| {
            let cost = sink.cost(item);
            let is_urgent = may_exceed && self.outbox.priority(*number) == Priority::Urgent;
            let goes = is_urgent || (!spent && cost <= left);
            left = left.saturating_sub(if goes { cost } else { 0 });
            spent |= !goes;
            if !goes {
                self.outbox.put_back(*number, false);
            }
            goes
        });
        if spent && batch.is_empty() {
            self.budget.exhaust(now);
        }
        if self.budget.left(now) == 0 {
            self.outbox.demote_live();
            self.flush();
            let pause = self.budget.next_day().since(now).min(HOLD_MAX);
            self.backlog_at = Some(clock::monotonic() + pause);
            self.status.last_error = Some(self.spent_error().0);
            self.report();
        }
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
                    if !self.suspects.is_empty() {
                        self.suspects.delivered(&item.key());
                    }
                    delivered.extend(self.outbox.remove(number).into_iter().flatten());
                }
                Outcome::Refused(reason) => self.set_aside(number, item, reason).await,
                Outcome::PutOff(reason) => {
                    self.outbox.put_back(number, true);
                    put_off = Some(reason);
                }
                Outcome::Failed(reason) => {
                    if let [_] = items
                        && let Some(failures) = self
                            .suspects
                            .failed_alone(&item.key(), self.status.counters.delivered)
                    {
                        let why =
                            format!("failed {failures} times alone, the others not: {reason}");
                        self.set_aside(number, item, why).await;
                    }
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
            self.batch_max = (items.len() / 2).max(1);
            return failed;
        }
        self.batch_max = (self.batch_max * 2).min(BATCH_MAX);
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
        self.status.spent_today = self.budget.spent();
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

/// How long to hold at a stretch. Source: guess.
const HOLD_MAX: Duration = Duration::from_secs(600);
/// A connection that lasted so long was well, also without anything to deliver. Source: guess.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// Most records in one delivery. Source: guess.
const BATCH_MAX: usize = 320;
/// Most records of the backlog among them, which live ones may have to wait for. Source: guess.
const BACKLOG_BATCH_MAX: usize = 64;
/// When the backlog raises the alarm. Unit: percent of its limit. Source: conventions, "Uplinks".
const ALARM_PERCENT: u128 = 80;
