//! The services' way into a running node: reads go to the store, everything else to the loop.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::{
    Backend, Batch, CommandBackend, HeldReading, Order, Query, ReadingStream, Refusal, Sent,
    SeriesEntry, Served, Serving,
};
use command::{Argument, Code, HandlerId, Offer, RunId, Status};
use engine::{AckLevel, AdminError, AdminReply, AdminRequest, PublishError, Published, Rights};
use futures::future::{self, BoxFuture};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use identity::{EpochKey, InvitationId, Keypair, Token, Trust};
use model::{BlockId, LogId, NewReading, Pattern, Timestamp};
use overlay::Address;
use proto::v1 as pb;
use store::{Cursor, Selection, Store};
use tokio::sync::{mpsc, oneshot};

use crate::audit::{AuditReader, Category, Record};
use crate::clock;
use crate::config::{self, Configuration};
use crate::keys;
use crate::uplinks::SetAsideReaders;
use crate::view::{Definitions, View};

/// What the services ask of the loop.
#[derive(Debug)]
pub enum Request {
    /// Publish readings.
    Publish(Batch, oneshot::Sender<Result<Published, PublishError>>),
    /// Do what an administrator asks.
    Admin(
        AdminRequest,
        oneshot::Sender<Result<AdminReply, AdminError>>,
    ),
    /// Say what whoever wants to join needs to know.
    Door(oneshot::Sender<Door>),
    /// Say who is a member, or was.
    Members(oneshot::Sender<pb::ListMembersResponse>),
    /// Send a command; answered at once with its id.
    Send(Order, oneshot::Sender<Result<Sent, String>>),
    /// Have a program serve commands.
    Serve(Offer, oneshot::Sender<Serving>),
    /// A program has done something.
    Served(Served),
    /// A program is gone.
    Gone(HandlerId),
    /// Put what a configuration says that can change while the node runs in place of what was.
    Reload(Box<Configuration>, oneshot::Sender<()>),
    /// Say how the node is doing.
    Status(oneshot::Sender<pb::GetStatusResponse>),
    /// Say which machines and links are known.
    Topology(oneshot::Sender<pb::GetTopologyResponse>),
    /// Say who relays.
    Relays(oneshot::Sender<pb::ListRelaysResponse>),
    /// Something about rules and alarms.
    Rules(RulesRequest),
}

/// What the services ask of the loop about rules and alarms.
#[derive(Debug)]
pub enum RulesRequest {
    /// Say how the rules stand.
    List(oneshot::Sender<pb::ListRulesResponse>),
    /// Say how the alarms stand.
    Alarms {
        /// Also those that are over and acknowledged.
        all: bool,
        /// To whom.
        reply: oneshot::Sender<pb::ListAlarmsResponse>,
    },
    /// Make the reading that acknowledges an alarm.
    Acknowledge {
        /// Whose alarm, by name or id.
        machine: String,
        /// Its name.
        name: String,
        /// To whom, or why there is nothing to acknowledge.
        reply: oneshot::Sender<Result<NewReading, String>>,
    },
}

/// What whoever wants to join needs to know.
#[derive(Clone, Debug)]
pub struct Door {
    /// The key to dial with.
    pub network_key: EpochKey,
    /// Where this machine can be reached.
    pub addresses: Vec<Address>,
}

/// A running node, as the services and the sources see it. Cloning shares it.
#[derive(Clone, Debug)]
pub struct NodeBackend {
    requests: mpsc::Sender<Request>,
    store: Store,
    view: Arc<View>,
    feed: Arc<api::Feed>,
    audit: AuditReader,
    set_aside: SetAsideReaders,
    trust: Trust,
    config_file: Option<PathBuf>,
}

impl NodeBackend {
    /// A backend whose requests the loop takes from the channel's other end.
    #[must_use]
    pub fn new(
        requests: mpsc::Sender<Request>,
        store: Store,
        view: Arc<View>,
        feed: Arc<api::Feed>,
        audit: AuditReader,
        set_aside: SetAsideReaders,
        trust: Trust,
    ) -> Self {
        Self {
            requests,
            store,
            view,
            feed,
            audit,
            set_aside,
            trust,
            config_file: None,
        }
    }

    /// The same, which reads a configuration file again when it is asked to.
    #[must_use]
    pub fn with_config_file(self, config_file: Option<PathBuf>) -> Self {
        Self {
            config_file,
            ..self
        }
    }

    /// Reads the configuration file again; what can change while the node runs does: the policy of
    /// commands and the rules. Returns how many rules there are.
    ///
    /// # Errors
    ///
    /// [`Refusal::Invalid`] if the file does not hold; nothing has changed then.
    pub async fn reload(&self) -> Result<usize, Refusal> {
        let Some(path) = self.config_file.clone() else {
            let problem = "this node was started without a configuration file";
            return Err(Refusal::Invalid(problem.to_owned()));
        };
        let read = tokio::task::spawn_blocking(move || config::load(&path));
        let read = read
            .await
            .map_err(|error| Refusal::Failed(error.to_string()))?;
        let configuration = read.map_err(|error| Refusal::Invalid(error.to_string()))?;
        let count = configuration.rules.len();
        let configuration = Box::new(configuration);
        self.ask(|reply| Request::Reload(configuration, reply))
            .await?;
        Ok(count)
    }

    /// Reads the configuration again because a command says so, and ends that.
    pub async fn reload_for(&self, run: RunId) {
        let (text, status) = match self.reload().await {
            Ok(_) => (RELOADED.to_owned(), Status::OK),
            Err(error) => {
                let status = Status::new(Code::FailedPrecondition, error.to_string());
                ("nothing was changed".to_owned(), status)
            }
        };
        let value = Served::Value(run, Argument::Text(text));
        for served in [value, Served::Ended(run, status)] {
            // A loop that is gone has no commands any more.
            let _ = self.requests.send(Request::Served(served)).await;
        }
    }

    /// Publishes what acknowledges an alarm.
    async fn acknowledge_alarm(&self, machine: String, name: String) -> Result<(), Refusal> {
        let ask = |reply| {
            Request::Rules(RulesRequest::Acknowledge {
                machine,
                name,
                reply,
            })
        };
        let reading = self.ask(ask).await?.map_err(Refusal::NotFound)?;
        let batch = Batch {
            readings: vec![reading],
            publisher: None,
            level: AckLevel::Durable,
        };
        self.publish_batch(batch).await?;
        Ok(())
    }

    /// Asks the loop and waits for its answer.
    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Refusal> {
        ask(&self.requests, request).await
    }

    /// Has an invitation signed, and wraps it up with what its redeemer needs.
    async fn make_token(
        &self,
        rights: Rights,
        open_for: Duration,
    ) -> Result<pb::CreateInvitationResponse, Refusal> {
        let seed = keys::random_bytes().map_err(|error| Refusal::Failed(error.to_string()))?;
        let secret = Keypair::from_seed(&seed);
        let asked = AdminRequest::Invite {
            id: InvitationId::of(&secret),
            rights,
            open_for,
        };
        let reply = self.ask(|answer| Request::Admin(asked, answer)).await??;
        let AdminReply::Invited(invitation) = reply else {
            return Err(Refusal::Failed("no invitation was signed".to_owned()));
        };
        let door = self.ask(Request::Door).await?;
        let not_after = invitation.terms().not_after;
        let mut addresses = door.addresses;
        addresses.sort_by_key(|address| !address.as_str().contains("/quic")); // It comes first.
        let addresses = addresses.iter().map(|address| address.as_str().to_owned());
        let token = Token {
            trust: self.trust,
            secret,
            network_key: door.network_key,
            addresses: addresses.take(Token::ADDRESSES_MAX).collect(),
            invitation,
        };
        Ok(pb::CreateInvitationResponse {
            token: token.to_text().to_string(),
            invitation_id: token.invitation.id().to_string(),
            not_after: Some(api::to_timestamp(not_after)),
        })
    }

    /// Publishes a batch and waits for its level.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if the node refuses it or stops.
    pub async fn publish_batch(&self, batch: Batch) -> Result<Published, Refusal> {
        publish(&self.requests, batch).await
    }

    /// Held readings, page by page, as fast as they are taken.
    fn pages(&self, definitions: Definitions, from: Timestamp, to: Timestamp) -> ReadingStream {
        let query = Arc::new(store::Query {
            selection: selection_of(&definitions),
            from,
            to,
            limit: PAGE_READINGS,
        });
        let definitions = Arc::new(definitions);
        let (store, view) = (self.store.clone(), Arc::clone(&self.view));
        let start = Some(None::<Cursor>);
        stream::try_unfold(start, move |place| {
            let (store, view) = (store.clone(), Arc::clone(&view));
            let (query, definitions) = (Arc::clone(&query), Arc::clone(&definitions));
            async move {
                let Some(after) = place else { return Ok(None) };
                let read = move || store.query(&query, after);
                let page = tokio::task::spawn_blocking(read)
                    .await
                    .map_err(|error| Refusal::Failed(error.to_string()))?;
                let next = page.next.map(Some);
                Ok(Some((view.name(page.found, &definitions), next)))
            }
        })
        .try_filter(|readings| future::ready(!readings.is_empty()))
        .boxed()
    }
}

/// Asks the loop and waits for its answer.
async fn ask<T>(
    requests: &mpsc::Sender<Request>,
    request: impl FnOnce(oneshot::Sender<T>) -> Request,
) -> Result<T, Refusal> {
    let (answer, answered) = oneshot::channel();
    let asked = requests.send(request(answer)).await;
    asked.map_err(|_| Refusal::Stopping)?;
    answered.await.map_err(|_| Refusal::Stopping)
}

async fn publish(requests: &mpsc::Sender<Request>, batch: Batch) -> Result<Published, Refusal> {
    let result = ask(requests, |answer| Request::Publish(batch, answer)).await?;
    result.map_err(Refusal::from)
}

impl CommandBackend for NodeBackend {
    fn send(&self, order: Order) -> BoxFuture<'static, Result<Sent, Refusal>> {
        let backend = self.clone();
        let ask = async move {
            let sent = backend.ask(|answer| Request::Send(order, answer)).await?;
            sent.map_err(Refusal::NotFound)
        };
        ask.boxed()
    }

    fn serve(&self, offer: Offer) -> BoxFuture<'static, Result<Serving, Refusal>> {
        let backend = self.clone();
        async move { backend.ask(|answer| Request::Serve(offer, answer)).await }.boxed()
    }

    fn served(&self, served: Served) -> BoxFuture<'static, Result<(), Refusal>> {
        let requests = self.requests.clone();
        let tell = async move {
            let told = requests.send(Request::Served(served)).await;
            told.map_err(|_| Refusal::Stopping)
        };
        tell.boxed()
    }

    fn gone(&self, handler: HandlerId) {
        // If the loop is too busy to hear it, it notices within a second by itself.
        let _ = self.requests.try_send(Request::Gone(handler));
    }
}

impl Backend for NodeBackend {
    fn now(&self) -> Timestamp {
        clock::wall_time()
    }

    fn publish(&self, batch: Batch) -> BoxFuture<'static, Result<Published, Refusal>> {
        // No more is cloned than that: some come with one reading each.
        let requests = self.requests.clone();
        async move { publish(&requests, batch).await }.boxed()
    }

    fn latest(&self, pattern: Pattern) -> ReadingStream {
        let (store, view) = (self.store.clone(), Arc::clone(&self.view));
        stream::once(async move {
            let definitions = view.definitions(&pattern);
            let selection = selection_of(&definitions);
            let read = move || store.latest(&selection);
            let found = tokio::task::spawn_blocking(read)
                .await
                .map_err(|error| Refusal::Failed(error.to_string()))?;
            Ok(newest_of_series(view.name(found, &definitions)))
        })
        .try_filter(|readings| future::ready(!readings.is_empty()))
        .boxed()
    }

    fn query(&self, query: Query) -> ReadingStream {
        self.pages(self.view.definitions(&query.pattern), query.from, query.to)
    }

    fn watch(&self, pattern: Pattern, since: Option<Timestamp>) -> ReadingStream {
        let live = match self.feed.watch(pattern.clone()) {
            Ok(live) => live,
            Err(refusal) => return stream::once(future::ready(Err(refusal))).boxed(),
        };
        let Some(since) = since else { return live };
        // Live readings queue up while the held ones are given; what is in both is given once.
        let given = Arc::new(std::sync::Mutex::new(BTreeSet::<BlockId>::new()));
        let seen = Arc::clone(&given);
        let held = self.pages(self.view.definitions(&pattern), since, Timestamp::MAX);
        let held = held.inspect_ok(move |readings| {
            if let Ok(mut given) = given.lock() {
                given.extend(readings.iter().map(block_of));
                while given.len() > GIVEN_BLOCKS_MAX {
                    given.pop_first();
                }
            }
        });
        let live = live.map_ok(move |mut readings| {
            if let Ok(seen) = seen.lock() {
                readings
                    .retain(|reading| reading.time >= since && !seen.contains(&block_of(reading)));
            }
            readings
        });
        held.chain(live.try_filter(|readings| future::ready(!readings.is_empty())))
            .boxed()
    }

    fn series(
        &self,
        pattern: Option<Pattern>,
    ) -> BoxFuture<'static, Result<Vec<SeriesEntry>, Refusal>> {
        future::ready(Ok(self.view.series(pattern.as_ref()))).boxed()
    }

    fn admin(&self, asked: AdminRequest) -> BoxFuture<'static, Result<AdminReply, Refusal>> {
        let backend = self.clone();
        async move {
            let result = backend.ask(|answer| Request::Admin(asked, answer)).await?;
            result.map_err(Refusal::from)
        }
        .boxed()
    }

    fn invite(
        &self,
        rights: Rights,
        open_for: Duration,
    ) -> BoxFuture<'static, Result<pb::CreateInvitationResponse, Refusal>> {
        let backend = self.clone();
        async move { backend.make_token(rights, open_for).await }.boxed()
    }

    fn members(&self) -> BoxFuture<'static, Result<pb::ListMembersResponse, Refusal>> {
        let backend = self.clone();
        async move { backend.ask(Request::Members).await }.boxed()
    }

    fn audit(
        &self,
        category: Option<String>,
        limit: usize,
    ) -> BoxFuture<'static, Result<pb::ListAuditResponse, Refusal>> {
        let audit = self.audit.clone();
        async move {
            let category = category.map(category_of).transpose()?;
            let read = tokio::task::spawn_blocking(move || audit.newest(category, limit)).await;
            let failed = |error: &dyn std::fmt::Display| Refusal::Failed(error.to_string());
            let records = read
                .map_err(|error| failed(&error))?
                .map_err(|error| failed(&error))?;
            let records = records.iter().map(Record::to_proto).collect();
            Ok(pb::ListAuditResponse { records })
        }
        .boxed()
    }

    fn status(&self) -> BoxFuture<'static, Result<pb::GetStatusResponse, Refusal>> {
        let backend = self.clone();
        async move { backend.ask(Request::Status).await }.boxed()
    }

    fn topology(&self) -> BoxFuture<'static, Result<pb::GetTopologyResponse, Refusal>> {
        let backend = self.clone();
        async move { backend.ask(Request::Topology).await }.boxed()
    }

    fn relays(&self) -> BoxFuture<'static, Result<pb::ListRelaysResponse, Refusal>> {
        let backend = self.clone();
        async move { backend.ask(Request::Relays).await }.boxed()
    }

    fn rules(&self) -> BoxFuture<'static, Result<pb::ListRulesResponse, Refusal>> {
        let backend = self.clone();
        let list = |reply| Request::Rules(RulesRequest::List(reply));
        async move { backend.ask(list).await }.boxed()
    }

    fn reload_rules(&self) -> BoxFuture<'static, Result<pb::ReloadRulesResponse, Refusal>> {
        let backend = self.clone();
        async move {
            let rules = u32::try_from(backend.reload().await?).unwrap_or(u32::MAX);
            Ok(pb::ReloadRulesResponse { rules })
        }
        .boxed()
    }

    fn alarms(&self, all: bool) -> BoxFuture<'static, Result<pb::ListAlarmsResponse, Refusal>> {
        let backend = self.clone();
        let ask = move |reply| Request::Rules(RulesRequest::Alarms { all, reply });
        async move { backend.ask(ask).await }.boxed()
    }

    fn acknowledge(
        &self,
        machine: String,
        name: String,
    ) -> BoxFuture<'static, Result<(), Refusal>> {
        let backend = self.clone();
        async move { backend.acknowledge_alarm(machine, name).await }.boxed()
    }

    fn set_aside(
        &self,
        uplink: Option<String>,
        limit: usize,
    ) -> BoxFuture<'static, Result<pb::ListSetAsideResponse, Refusal>> {
        let mut readers = self.set_aside.clone();
        async move {
            if let Some(wanted) = uplink {
                readers.retain(|id, _| id.as_str() == wanted);
                if readers.is_empty() {
                    let text = format!("this node has no uplink {wanted:?}; see its status");
                    return Err(Refusal::NotFound(text));
                }
            }
            let read = tokio::task::spawn_blocking(move || read_set_aside(&readers, limit)).await;
            let failed = |error: &dyn std::fmt::Display| Refusal::Failed(error.to_string());
            let records = read
                .map_err(|error| failed(&error))?
                .map_err(|error| failed(&error))?;
            Ok(pb::ListSetAsideResponse { records })
        }
        .boxed()
    }
}

fn read_set_aside(
    readers: &SetAsideReaders,
    limit: usize,
) -> std::io::Result<Vec<pb::SetAsideRecord>> {
    let mut records = Vec::new();
    for (id, reader) in readers {
        let newest = reader.newest(limit)?.into_iter();
        records.extend(newest.map(|kept| pb::SetAsideRecord {
            uplink_id: id.as_str().to_owned(),
            key: kept.key,
            reason: kept.reason,
            record: kept.record,
        }));
    }
    Ok(records)
}

/// A series has a latest reading in each epoch; the newest by time, then by log, is its latest.
fn category_of(name: String) -> Result<Category, Refusal> {
    let found = Category::ALL.into_iter().find(|one| one.name() == name);
    found.ok_or_else(|| {
        let names = Category::ALL.map(Category::name).join(", ");
        Refusal::NotFound(format!("the audit log has the categories {names}"))
    })
}

fn newest_of_series(readings: Vec<HeldReading>) -> Vec<HeldReading> {
    let mut newest = BTreeMap::new();
    for reading in readings {
        let key = (reading.origin.machine(), Arc::clone(&reading.series));
        let order = |reading: &HeldReading| (reading.time, reading.epoch, reading.sequence);
        match newest.entry(key) {
            std::collections::btree_map::Entry::Vacant(entry) => _ = entry.insert(reading),
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                if order(&reading) > order(entry.get()) {
                    entry.insert(reading);
                }
            }
        }
    }
    newest.into_values().collect()
}

pub(crate) fn selection_of(definitions: &Definitions) -> Selection {
    let numbers =
        |(log, series): (&LogId, &BTreeMap<_, _>)| (*log, series.keys().copied().collect());
    definitions.iter().map(numbers).collect()
}

fn block_of(reading: &HeldReading) -> BlockId {
    let log = LogId {
        machine: reading.origin.machine(),
        epoch: reading.epoch,
    };
    BlockId {
        log,
        sequence: reading.sequence,
    }
}

/// Most readings in one part of an answer. Source: guess.
const PAGE_READINGS: usize = 1_024;
/// Blocks that are remembered while a watcher is given what is held. Source: guess; a block beyond
/// them may be given twice.
const GIVEN_BLOCKS_MAX: usize = 262_144;
/// What a command hears that has had the configuration read again.
const RELOADED: &str = "the policy of commands and the rules; anything else needs a restart";
