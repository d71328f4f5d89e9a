//! A node in memory, and a server in front of it.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::{
    Backend, Batch, CommandBackend, Feed, HeldReading, Listeners, Order, Origin, Query,
    ReadingStream, Refusal, Sent, SentStep, SeriesEntry, Served, Serving, ServingOrder,
};
use command::{Argument, Code, CommandId, HandlerId, Lineage, Offer, RunId};
use engine::{AdminReply, AdminRequest, Published, Rights};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use identity::{Grant, Keypair, Membership, Role};
use model::{
    Epoch, MachineId, Pattern, Quality, SeriesDefinition, Timestamp, Unit, Value, ValueType,
};
use proto::v1::admin_client::AdminClient;
use proto::v1::commands_client::CommandsClient;
use proto::v1::mesh_client::MeshClient;
use proto::v1::readings_client::ReadingsClient;
use proto::v1::{self as pb};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::health_check_response::ServingStatus;

/// What the clock of [`Memory`] says.
pub(crate) const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000_000);

pub(crate) fn machine() -> MachineId {
    MachineId::from_bytes([7; 32])
}

/// Readings of one series, one a second from the epoch on, each with the second as its value.
pub(crate) fn series(name: &str, count: u32) -> Vec<HeldReading> {
    let origin = Arc::new(Origin::new(machine(), "machine-1".to_owned()));
    let series = Arc::new(SeriesDefinition {
        name: name.parse().expect("a name"),
        unit: "Cel".parse::<Unit>().expect("a unit"),
        value_type: ValueType::I64,
        labels: model::Labels::default(),
    });
    let each = (0..count).map(|second| HeldReading {
        origin: Arc::clone(&origin),
        series: Arc::clone(&series),
        time: Timestamp::from_nanos(i64::from(second) * 1_000_000_000),
        received: Timestamp::from_nanos((i64::from(second) + 100) * 1_000_000_000),
        value: Value::I64(second.into()),
        quality: Quality::GOOD,
        epoch: Epoch {
            counter: 2,
            tag: 0xabcd,
        },
        sequence: 7,
        index: second,
    });
    each.collect()
}

pub(crate) fn reading(series: &str, kind: Option<pb::value::Kind>) -> pb::NewReading {
    pb::NewReading {
        series: series.to_owned(),
        value: kind.map(|kind| pb::Value { kind: Some(kind) }),
        ..Default::default()
    }
}

pub(crate) fn request(readings: Vec<pb::NewReading>) -> pb::PublishRequest {
    pb::PublishRequest {
        readings,
        ..Default::default()
    }
}

/// What an admitter may have signed.
pub(crate) fn membership() -> Membership {
    let grant = Grant {
        machine: machine(),
        name: "machine-1".to_owned(),
        site: "hall-3".to_owned(),
        roles: [Role::Publish].into(),
        commands: Vec::new(),
        not_before: NOW,
        not_after: NOW.saturating_add(Duration::from_secs(60)),
        delegation: None,
    };
    Membership::issue(&Keypair::from_seed(&[1; 32]), grant).expect("a good grant")
}

/// A node in memory.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) feed: Feed,
    /// Publishing takes a while.
    pub(crate) slow: AtomicBool,
    /// Most batches that were being published at once.
    pub(crate) in_flight_most: AtomicUsize,
    in_flight: AtomicUsize,
    batches: Mutex<Vec<Batch>>,
    held: Mutex<Vec<Vec<HeldReading>>>,
    refusal: Mutex<Option<Refusal>>,
    asked: Mutex<Vec<AdminRequest>>,
    /// What programs have done, in words.
    pub(crate) served: Mutex<Vec<String>>,
    orders: Mutex<Option<mpsc::Sender<ServingOrder>>>,
}

impl Memory {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn batches(&self) -> Vec<Batch> {
        self.batches.lock().expect("unpoisoned").clone()
    }

    /// What administrators have asked for.
    pub(crate) fn asked(&self) -> Vec<AdminRequest> {
        self.asked.lock().expect("unpoisoned").clone()
    }

    /// Holds the readings of one series.
    pub(crate) fn hold(&self, readings: Vec<HeldReading>) {
        self.held.lock().expect("unpoisoned").push(readings);
    }

    /// Refuses what is asked from now on.
    pub(crate) fn refuse(&self, refusal: Option<Refusal>) {
        *self.refusal.lock().expect("unpoisoned") = refusal;
    }

    fn store(&self, batch: Batch) -> Result<Published, Refusal> {
        if let Some(refusal) = self.refusal.lock().expect("unpoisoned").clone() {
            return Err(refusal);
        }
        let mut batches = self.batches.lock().expect("unpoisoned");
        let repeated = batch.publisher.is_some()
            && batches
                .iter()
                .any(|stored| stored.publisher == batch.publisher);
        let readings = if repeated { 0 } else { batch.readings.len() };
        if !repeated {
            batches.push(batch);
        }
        Ok(Published { readings, repeated })
    }

    fn found(&self, pattern: &Pattern) -> Vec<Vec<HeldReading>> {
        let held = self.held.lock().expect("unpoisoned");
        let fits = |of: &&Vec<HeldReading>| of[0].origin.fits(pattern, &of[0].series);
        held.iter().filter(fits).cloned().collect()
    }
}

/// The memory as a backend.
struct Face(Arc<Memory>);

/// Answers `echo` with its argument, everything else with its name as the reason of a refusal.
impl CommandBackend for Face {
    fn send(&self, order: Order) -> BoxFuture<'static, Result<Sent, Refusal>> {
        let (steps, received) = mpsc::channel(8);
        if order.machine != "machine-1" {
            let refusal = Refusal::NotFound(order.machine);
            return futures::future::ready(Err(refusal)).boxed();
        }
        let ends = match order.name.as_str() {
            "echo" => vec![
                SentStep::Value(order.argument),
                SentStep::Ended(command::Status::OK),
            ],
            name => vec![SentStep::Ended(command::Status::new(
                Code::OutOfRange,
                name,
            ))],
        };
        for step in ends {
            steps.try_send(step).expect("room");
        }
        let id = order.id.unwrap_or(CommandId::from_bytes([7; 16]));
        futures::future::ready(Ok(Sent {
            id,
            steps: received,
        }))
        .boxed()
    }

    fn serve(&self, offer: Offer) -> BoxFuture<'static, Result<Serving, Refusal>> {
        let (orders, received) = mpsc::channel(8);
        let command = command::Command {
            caller: MachineId::from_bytes([1; 32]),
            id: CommandId::from_bytes([7; 16]),
            name: offer.commands[0].0.clone(),
            argument: Argument::I64(5),
            lineage: Lineage::default(),
            remaining: Duration::from_secs(1),
        };
        let run = ServingOrder::Run(RunId(3), Box::new(command), "phone".to_owned());
        orders.try_send(run).expect("room");
        *self.0.orders.lock().expect("unpoisoned") = Some(orders);
        let handler = HandlerId(4);
        let serving = Serving {
            handler,
            orders: received,
        };
        futures::future::ready(Ok(serving)).boxed()
    }

    fn served(&self, served: Served) -> BoxFuture<'static, Result<(), Refusal>> {
        self.0
            .served
            .lock()
            .expect("unpoisoned")
            .push(format!("{served:?}"));
        futures::future::ready(Ok(())).boxed()
    }

    fn gone(&self, handler: HandlerId) {
        self.0
            .served
            .lock()
            .expect("unpoisoned")
            .push(format!("gone {handler:?}"));
    }
}

impl Backend for Face {
    fn now(&self) -> Timestamp {
        NOW
    }

    fn publish(&self, batch: Batch) -> BoxFuture<'static, Result<Published, Refusal>> {
        let memory = Arc::clone(&self.0);
        async move {
            let now = memory.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
            memory.in_flight_most.fetch_max(now, Ordering::Relaxed);
            if memory.slow.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            memory.in_flight.fetch_sub(1, Ordering::Relaxed);
            memory.store(batch)
        }
        .boxed()
    }

    fn latest(&self, pattern: Pattern) -> ReadingStream {
        let found = self.0.found(&pattern);
        let latest = found
            .into_iter()
            .map(|mut of| Ok(vec![of.pop().expect("readings")]));
        stream::iter(latest.collect::<Vec<_>>()).boxed()
    }

    fn query(&self, query: Query) -> ReadingStream {
        let found = self.0.found(&query.pattern).into_iter().map(|of| {
            let covered = of.into_iter().filter(|held| query.covers(held.time));
            Ok(covered.collect())
        });
        let refusal = self.0.refusal.lock().expect("unpoisoned").clone().map(Err);
        stream::iter(found.chain(refusal).collect::<Vec<_>>()).boxed()
    }

    fn watch(&self, pattern: Pattern, since: Option<Timestamp>) -> ReadingStream {
        let live = match self.0.feed.watch(pattern.clone()) {
            Ok(live) => live,
            Err(refusal) => return stream::iter([Err(refusal)]).boxed(),
        };
        let Some(from) = since else { return live };
        let to = Timestamp::MAX;
        self.query(Query { pattern, from, to }).chain(live).boxed()
    }

    fn series(
        &self,
        pattern: Option<Pattern>,
    ) -> BoxFuture<'static, Result<Vec<SeriesEntry>, Refusal>> {
        let pattern = pattern.unwrap_or_else(|| "**".parse().expect("a pattern"));
        let entries = self.0.found(&pattern).into_iter().map(|of| SeriesEntry {
            origin: Arc::clone(&of[0].origin),
            series: Arc::clone(&of[0].series),
            epoch: of[0].epoch,
        });
        futures::future::ready(Ok(entries.collect())).boxed()
    }

    fn admin(&self, asked: AdminRequest) -> BoxFuture<'static, Result<AdminReply, Refusal>> {
        let refusal = self.0.refusal.lock().expect("unpoisoned").clone();
        let done = match (&refusal, &asked) {
            (Some(refusal), _) => Err(refusal.clone()),
            (None, AdminRequest::Admit { .. }) => Ok(AdminReply::Admitted(membership())),
            (None, _) => Ok(AdminReply::Relayed { news: true }),
        };
        self.0.asked.lock().expect("unpoisoned").push(asked);
        futures::future::ready(done).boxed()
    }

    fn rules(&self) -> BoxFuture<'static, Result<pb::ListRulesResponse, Refusal>> {
        futures::future::ready(Ok(pb::ListRulesResponse::default())).boxed()
    }

    fn reload_rules(&self) -> BoxFuture<'static, Result<pb::ReloadRulesResponse, Refusal>> {
        let problem = "rule: line 1, column 4: no expression";
        futures::future::ready(Err(Refusal::Invalid(problem.to_owned()))).boxed()
    }

    fn alarms(&self, _: bool) -> BoxFuture<'static, Result<pb::ListAlarmsResponse, Refusal>> {
        futures::future::ready(Ok(pb::ListAlarmsResponse::default())).boxed()
    }

    fn acknowledge(
        &self,
        machine: String,
        name: String,
    ) -> BoxFuture<'static, Result<(), Refusal>> {
        let problem = format!("{machine} has no alarm {name}");
        futures::future::ready(Err(Refusal::NotFound(problem))).boxed()
    }

    fn invite(
        &self,
        rights: Rights,
        open_for: Duration,
    ) -> BoxFuture<'static, Result<pb::CreateInvitationResponse, Refusal>> {
        let token = format!("{} roles for {} s", rights.roles.len(), open_for.as_secs());
        let invitation = pb::CreateInvitationResponse {
            token,
            ..Default::default()
        };
        futures::future::ready(Ok(invitation)).boxed()
    }

    fn audit(
        &self,
        category: Option<String>,
        limit: usize,
    ) -> BoxFuture<'static, Result<pb::ListAuditResponse, Refusal>> {
        let record = pb::AuditRecord {
            category: category.unwrap_or_default(),
            id: machine().to_string(),
            ..Default::default()
        };
        let records = vec![record; limit];
        futures::future::ready(Ok(pb::ListAuditResponse { records })).boxed()
    }

    fn members(&self) -> BoxFuture<'static, Result<pb::ListMembersResponse, Refusal>> {
        let member = pb::Member {
            name: "machine-1".to_owned(),
            ..Default::default()
        };
        let members = vec![member];
        futures::future::ready(Ok(pb::ListMembersResponse { members })).boxed()
    }

    fn status(&self) -> BoxFuture<'static, Result<pb::GetStatusResponse, Refusal>> {
        let status = pb::GetStatusResponse {
            name: "machine-1".to_owned(),
            ..Default::default()
        };
        futures::future::ready(Ok(status)).boxed()
    }

    fn topology(&self) -> BoxFuture<'static, Result<pb::GetTopologyResponse, Refusal>> {
        let topology = pb::GetTopologyResponse {
            links: vec![pb::Link::default()],
            ..Default::default()
        };
        futures::future::ready(Ok(topology)).boxed()
    }

    fn relays(&self) -> BoxFuture<'static, Result<pb::ListRelaysResponse, Refusal>> {
        let relay = pb::Relay {
            uplink: "cloud".to_owned(),
            ..Default::default()
        };
        let relays = pb::ListRelaysResponse {
            relays: vec![relay],
        };
        futures::future::ready(Ok(relays)).boxed()
    }

    fn set_aside(
        &self,
        uplink: Option<String>,
        limit: usize,
    ) -> BoxFuture<'static, Result<pb::ListSetAsideResponse, Refusal>> {
        let record = pb::SetAsideRecord {
            uplink_id: uplink.unwrap_or_default(),
            reason: limit.to_string(),
            ..Default::default()
        };
        let records = vec![record];
        futures::future::ready(Ok(pb::ListSetAsideResponse { records })).boxed()
    }
}

/// The names of the services, by one version of reflection.
macro_rules! reflected {
    ($channel:expr, $version:ident) => {{
        use reflection::server_reflection_request::MessageRequest;
        use reflection::server_reflection_response::MessageResponse;
        use tonic_reflection::pb::$version as reflection;
        let request = reflection::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let answer = reflection::server_reflection_client::ServerReflectionClient::new($channel)
            .server_reflection_info(stream::iter([request]))
            .await;
        let answer = first(answer.expect("answered")).await;
        let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
            panic!("no list: {answer:?}");
        };
        list.service
            .into_iter()
            .map(|service| service.name)
            .collect()
    }};
}

/// A server in front of a [`Memory`], ended when dropped.
pub(crate) struct Running {
    pub(crate) memory: Arc<Memory>,
    pub(crate) ready: watch::Sender<bool>,
    address: Option<SocketAddr>,
    channel: Option<Channel>,
    stop: Option<oneshot::Sender<()>>,
    server: JoinSet<Result<(), api::ServeError>>,
}

impl Running {
    pub(crate) async fn start() -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let listeners = Listeners::bind(&[loopback], None).await.expect("bound");
        let address = listeners.addresses()[0];
        let mut running = Self::serve(listeners, Memory::new());
        running.address = Some(address);
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        running.channel = Some(endpoint.connect().await.expect("connected"));
        running
    }

    pub(crate) fn serve(listeners: Listeners, memory: Arc<Memory>) -> Self {
        let (ready, readiness) = watch::channel(false);
        let (stop, stopped) = oneshot::channel::<()>();
        let backend: Arc<dyn Backend> = Arc::new(Face(Arc::clone(&memory)));
        let mut server = JoinSet::new();
        server.spawn(api::serve(listeners, backend, readiness, async {
            let _ = stopped.await;
        }));
        Self {
            memory,
            ready,
            address: None,
            channel: None,
            stop: Some(stop),
            server,
        }
    }

    /// Tells the server to stop; the future is ready when it has.
    pub(crate) fn stop(&mut self) -> impl Future<Output = Result<(), api::ServeError>> {
        drop(self.stop.take());
        self.channel = None; // An idle connection would use up the grace.
        async {
            self.server
                .join_next()
                .await
                .expect("a server")
                .expect("no panic")
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address.expect("listening on TCP")
    }

    fn channel(&self) -> Channel {
        self.channel.clone().expect("connected")
    }

    pub(crate) fn readings(&self) -> ReadingsClient<Channel> {
        ReadingsClient::new(self.channel())
    }

    pub(crate) fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(self.channel.clone().expect("a channel"))
    }

    pub(crate) fn commands(&self) -> CommandsClient<Channel> {
        CommandsClient::new(self.channel.clone().expect("a channel"))
    }

    pub(crate) fn mesh(&self) -> MeshClient<Channel> {
        MeshClient::new(self.channel())
    }

    pub(crate) async fn publish(
        &self,
        requests: impl IntoIterator<Item = pb::PublishRequest>,
    ) -> Result<Vec<pb::PublishResponse>, Status> {
        let requests: Vec<_> = requests.into_iter().collect();
        let answer = self.readings().publish(stream::iter(requests)).await?;
        answer.into_inner().try_collect().await
    }

    pub(crate) async fn query(
        &self,
        request: pb::QueryRequest,
    ) -> Result<Vec<pb::Reading>, Status> {
        let answer = self.readings().query(request).await?;
        let parts: Vec<_> = answer.into_inner().try_collect().await?;
        Ok(parts.into_iter().flat_map(|part| part.readings).collect())
    }

    pub(crate) async fn latest(&self, pattern: &str) -> Result<Vec<pb::Reading>, Status> {
        let pattern = pattern.to_owned();
        let answer = self
            .readings()
            .latest(pb::LatestRequest { pattern })
            .await?;
        let parts: Vec<_> = answer.into_inner().try_collect().await?;
        Ok(parts.into_iter().flat_map(|part| part.readings).collect())
    }

    /// Waits until the health of a service is this.
    pub(crate) async fn health_becomes(&self, service: &str, expected: ServingStatus) {
        use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
        let service = service.to_owned();
        let answer = HealthClient::new(self.channel())
            .watch(HealthCheckRequest { service })
            .await;
        let mut statuses = answer.expect("a known service").into_inner();
        while let Some(status) = statuses.message().await.expect("open") {
            if status.status() == expected {
                return;
            }
        }
        panic!("the server stopped before");
    }

    pub(crate) async fn reflected_v1(&self) -> Vec<String> {
        reflected!(self.channel(), v1)
    }

    pub(crate) async fn reflected_v1alpha(&self) -> Vec<String> {
        reflected!(self.channel(), v1alpha)
    }
}

async fn first<T>(answer: tonic::Response<tonic::Streaming<T>>) -> T {
    let mut answers = answer.into_inner();
    answers.message().await.expect("open").expect("an answer")
}
