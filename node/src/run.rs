//! Runs a node: puts its parts together, and takes them apart in order.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use command::RunId;
use engine::{Node, NodeIdentity, Recovered, RequestId};
use handshake::ReplayGuard;
use identity::Roll;
use recording::Recorded;
use statemachine::Rng;
use store::{CommandLog, Completion, Store};
pub use swarm::{BoxedStream, Passage, SocketLayer};
use swarm::{Credentials, Swarm, WallClock};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::audit::Audit;
use crate::backend::NodeBackend;
use crate::clock::{self, Monotonic};
use crate::commands::Desk;
use crate::config::{self, Configuration};
use crate::floor::FloorFile;
use crate::keys::{self, LoadedKeys};
use crate::reader::Reader;
use crate::recorder::{RecordTo, Recorder};
use crate::rules::RuleDesk;
use crate::runtime::{GivenFiles, Inbox, Keeping, Log, Runtime};
use crate::scrub::Scrubber;
use crate::seen::SeenFile;
use crate::uplinks::{self, Uplinks};
use crate::view::View;
use crate::wear::Wear;
use crate::{logging, sources};

/// What is put into a node beside its configuration.
#[derive(Clone, Default)]
pub struct Hooks {
    /// Stands between the node's sockets and everything above. The shipped program has none.
    pub socket_layer: Option<Arc<dyn SocketLayer>>,
    /// Where all that the node takes in is written down.
    pub record: Option<RecordTo>,
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hooks")
            .field("socket_layer", &self.socket_layer.is_some())
            .field("record", &self.record)
            .finish()
    }
}

/// Runs a node, recorded or not, until SIGINT or SIGTERM, on a runtime of its own: one thread,
/// because waking another costs a message more than handling it.
///
/// # Errors
///
/// What keeps a node from starting, with what to do about it.
pub fn run(config: &Path, record: Option<RecordTo>) -> anyhow::Result<()> {
    let hooks = Hooks {
        record,
        ..Hooks::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run_until(config, hooks, std::future::pending()))
}

/// Runs a node until SIGINT, SIGTERM, or the end of `until`.
///
/// # Errors
///
/// As [`run`].
pub async fn run_until(
    config: &Path,
    hooks: Hooks,
    until: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    logging::start();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let configuration = config::load(config)?;
    let stop = CancellationToken::new();
    let node = run_configured(configuration, hooks, stop.clone());
    tokio::pin!(node, until);
    tokio::select! {
        result = &mut node => return result,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = &mut until => {}
    }
    stop.cancel();
    node.await
}

/// Runs a node with a configuration that holds, until `stop`.
///
/// # Errors
///
/// As [`run`].
pub async fn run_configured(
    configuration: Configuration,
    hooks: Hooks,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let keys = keys::load(&configuration.network)?;
    let machine = keys.identity.keypair.machine();
    let trust = keys.identity.trust;
    let network = trust.network();
    let grant = keys.identity.membership.grant().clone();
    let floor = FloorFile::open(&configuration.data_dir);
    let wall_clock = clock::WallClock::new(floor.floor());
    let roll = Roll::new(trust, configuration.engine.grace);
    if let Err(error) = roll.judge(&keys.identity.membership, wall_clock.trusted()) {
        // The local mesh is no worse off with it; others refuse it if they must.
        tracing::warn!(%error, "this machine's own membership does not count");
    }
    let rng = Rng::from_seed(keys::random_bytes()?);
    let (commands_rng, engine_rng) = (rng.fork("commands"), rng.fork("engine"));

    // Everything that can be refused comes first, so that a wrong setting changes nothing.
    uplinks::check_secrets(&configuration.uplinks)?;
    let (seen, seen_flights) = SeenFile::open(&configuration.data_dir);
    let clock = wall_clock.clone();
    let swarm = start_swarm(
        &keys,
        &roll,
        &configuration,
        clock,
        seen_flights,
        hooks.socket_layer,
        &rng,
    )?;
    let listeners =
        api::Listeners::bind(&[configuration.grpc], configuration.socket.as_deref()).await?;
    let metrics_listener = bind_metrics(&configuration).await?;

    let (completed, completions) = mpsc::channel::<Vec<Completion>>(COMPLETIONS_MAX);
    let mut store_config = store::Config::new(configuration.data_dir.clone(), network, machine);
    store_config.segment_bytes = configuration.segment_bytes;
    store_config.free_bytes_min = configuration.free_bytes_min;
    let noted = completed.clone();
    let complete = move |batch| _ = completed.blocking_send(batch);
    let (store, recovered) = Store::open(store_config, complete)?;
    let (answers, reads) = mpsc::channel(READS_MAX);
    let reader = Reader::start(store.clone(), answers)?;
    let scrubber = Scrubber::start(store.clone(), configuration.scrub_rate)?;

    let complete = move |batch| _ = noted.blocking_send(batch);
    let (command_log, notes) = CommandLog::open(&configuration.data_dir, complete)?;

    let view = Arc::new(View::new(roll.clone(), &recovered.states));
    let recovered = recovered_of(recovered, notes);
    let (recorder, recording) = match &hooks.record {
        Some(to) => Recorder::create(to).map(|(recorder, file)| (Some(recorder), Some(file)))?,
        None => (None, None),
    };
    let settings = configuration.engine;
    let node = start_node(keys.identity, settings, recovered, engine_rng, recorder);
    swarm.set_roll(node.roll().clone()); // Before the first connection: who is out stays out.
    store
        .start_epoch(node.epoch().counter)
        .context("the epoch cannot be noted")?;
    let (uplink_events, uplinks_said) = mpsc::channel(UPLINK_EVENTS_MAX);
    let uplinks = Uplinks::start(
        machine,
        &configuration.uplinks,
        &configuration.data_dir,
        &uplink_events,
    )?;
    let (requests, requested) = mpsc::channel(REQUESTS_MAX);
    let feed = Arc::new(api::Feed::default());
    let audit = Audit::open(&configuration.data_dir).context("the audit log cannot be opened")?;
    let backend = NodeBackend::new(
        requests,
        store.clone(),
        Arc::clone(&view),
        Arc::clone(&feed),
        audit.reader(),
        uplinks::set_aside(&configuration.uplinks, &configuration.data_dir),
        trust,
    )
    .with_config_file(configuration.path.clone());
    let (ready, is_ready) = watch::channel(false);
    let metrics = Arc::new(Mutex::new(String::new()));

    let mut services = Services::default();
    services.serve_grpc(listeners, backend.clone(), is_ready.clone());
    services.serve_metrics(metrics_listener, &metrics, is_ready);
    let (reloads, reload) = mpsc::channel(RELOADS_MAX);
    services.reload_when_told(backend.clone(), reload);
    sources::start(configuration.sources, &backend, &mut services.sources);
    tracing::info!(%machine, name = grant.name, site = grant.site, %network, "node started");

    let clock = Monotonic::start();
    let rules = RuleDesk::start(
        &node,
        &clock,
        &configuration.data_dir,
        configuration.rules,
        &store,
        &view,
    );
    let mut runtime = Runtime {
        node,
        clock,
        swarm,
        store,
        reader,
        keeping: Keeping::new(configuration.retention),
        wear: Wear::default(),
        uplinks,
        desk: Desk::new(&grant, commands_rng),
        command_log,
        reloads,
        rules,
        view,
        feed,
        grant,
        network: network.to_string(),
        metrics,
        ready,
        heard: BTreeMap::new(),
        ways: BTreeMap::new(),
        seen,
        wall_clock,
        floor,
        audit,
        log: Log::default(),
        replies: BTreeMap::new(),
        administrators: BTreeMap::new(),
        newcomers: BTreeMap::new(),
        given: GivenFiles::new(&configuration.network),
        network_keys: keys.network_keys,
        addresses: Vec::new(),
        request: RequestId(0),
        stopped: None,
    };
    let inbox = Inbox {
        completions,
        reads,
        requests: requested,
        uplinks: uplinks_said,
    };
    let clean = runtime.run(inbox, stop).await;
    drop(scrubber);
    runtime.replies.clear(); // Who waits for neighbours hears that the node stops.
    services.stop().await;
    let Runtime {
        node,
        swarm,
        store,
        uplinks,
        seen,
        floor,
        audit,
        given,
        rules,
        ..
    } = runtime;
    let seen_flights = swarm.seen();
    swarm.close().await; // What is queued still goes out: neighbours hear that this machine leaves.
    uplinks.stop().await;
    seen.close(seen_flights).await;
    floor.close().await;
    given.close().await;
    rules.close().await;
    let clean = clean.map(|clean| store::CleanStop {
        epoch: clean.epoch,
        last_sequence: clean.last_sequence,
        state_counter: clean.state_counter,
    });
    drop(node); // Nothing more is recorded.
    let closing = move || {
        audit.close();
        if let Some(recording) = recording {
            recording.close();
        }
        store.close(clean)
    };
    tokio::task::spawn_blocking(closing).await??;
    tracing::info!("stopped");
    Ok(())
}

fn start_swarm(
    keys: &LoadedKeys,
    roll: &Roll,
    configuration: &Configuration,
    wall_clock: clock::WallClock,
    seen: ReplayGuard,
    socket_layer: Option<Arc<dyn SocketLayer>>,
    rng: &Rng,
) -> anyhow::Result<Swarm> {
    let credentials = Credentials {
        machine_key: &keys.identity.keypair,
        membership: &keys.identity.membership,
        roll,
        network_keys: &keys.network_keys,
    };
    let trusted = move || wall_clock.trusted();
    let mut config = swarm::Config::new(WallClock(Arc::new(trusted)));
    config.bootstrap.clone_from(&configuration.bootstrap);
    config.mdns = configuration.mdns;
    config.dial_timeout = configuration.dial_timeout;
    config.idle_timeout = configuration.idle_timeout;
    config.ping_interval = configuration.ping_interval;
    config.path_mtu_probes = configuration.path_mtu_probes;
    config.seen = seen;
    config.socket_layer = socket_layer;
    let mut swarm = Swarm::new(&credentials, &config, rng.fork("swarm"))?;
    for address in &configuration.listen {
        swarm.listen(address)?;
    }
    Ok(swarm)
}

/// Starts the node, written down by the recorder if there is one.
fn start_node(
    identity: NodeIdentity,
    settings: engine::Config,
    recovered: Recovered,
    rng: Rng,
    recorder: Option<Recorder>,
) -> Recorded {
    match recorder {
        Some(recorder) => {
            let (seed, sink) = (rng.seed(), Box::new(recorder));
            Recorded::start(identity, settings, recovered, seed, sink)
        }
        None => Recorded::not(Node::new(identity, settings, recovered, rng)),
    }
}

async fn bind_metrics(configuration: &Configuration) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = configuration.metrics else {
        return Ok(None);
    };
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address} for metrics; set api.metrics to another address")
    })?;
    Ok(Some(listener))
}

fn recovered_of(recovered: store::Recovered, notes: Vec<command::Note>) -> engine::Recovered {
    let clean = recovered.clean.map(|clean| engine::CleanStop {
        epoch: clean.epoch,
        last_sequence: clean.last_sequence,
        state_counter: clean.state_counter,
    });
    engine::Recovered {
        frontier: recovered.frontier,
        states: recovered.states,
        contacts: recovered.contacts,
        clean,
        epoch_counter_highest: recovered.epoch_counter_highest,
        last_own: recovered.last_own,
        own_runs: recovered.own_runs,
        publishers: recovered.publishers,
        notes,
    }
}

/// What serves and what feeds the node, with their end.
#[derive(Default)]
struct Services {
    stop: CancellationToken,
    services: JoinSet<()>,
    sources: JoinSet<()>,
}

impl Services {
    fn serve_grpc(
        &mut self,
        listeners: api::Listeners,
        backend: NodeBackend,
        ready: watch::Receiver<bool>,
    ) {
        let stop = self.stop.clone();
        self.services.spawn(async move {
            let serving = api::serve(listeners, Arc::new(backend), ready, stop.cancelled_owned());
            if let Err(error) = serving.await {
                tracing::error!(%error, "gRPC is not served any more");
            }
        });
    }

    fn serve_metrics(
        &mut self,
        listener: Option<TcpListener>,
        metrics: &Arc<Mutex<String>>,
        ready: watch::Receiver<bool>,
    ) {
        let Some(listener) = listener else { return };
        let metrics = Arc::clone(metrics);
        let render = move || metrics.lock().map(|text| text.clone()).unwrap_or_default();
        let stop = self.stop.clone();
        self.services.spawn(async move {
            api::serve_metrics(listener, Arc::new(render), ready, stop.cancelled_owned()).await;
        });
    }

    /// Reads the configuration again whenever the process gets SIGHUP, and for every command that
    /// says so.
    fn reload_when_told(&mut self, backend: NodeBackend, mut reload: mpsc::Receiver<RunId>) {
        self.sources.spawn(async move {
            let Ok(mut hangup) = signal(SignalKind::hangup()) else {
                tracing::error!("the configuration is not read again while this node runs");
                return;
            };
            loop {
                tokio::select! {
                    Some(()) = hangup.recv() => {
                        if let Err(error) = backend.reload().await {
                            tracing::warn!(%error, "policy and rules stay as they were");
                        }
                    }
                    Some(run) = reload.recv() => backend.reload_for(run).await,
                    else => return,
                }
            }
        });
    }

    async fn stop(mut self) {
        self.sources.shutdown().await;
        self.stop.cancel();
        while self.services.join_next().await.is_some() {}
    }
}

/// Batches of completions that wait for the loop. Source: guess.
const COMPLETIONS_MAX: usize = 64;
/// Answers of the reader that wait for the loop, each up to 1 MiB. Source: guess.
const READS_MAX: usize = 16;
/// Requests of services and sources that wait for the loop. Source: guess.
const REQUESTS_MAX: usize = 256;
/// What uplinks say that waits for the loop. Source: guess.
const UPLINK_EVENTS_MAX: usize = 256;
/// Commands that wait for the configuration to be read. Source: guess.
const RELOADS_MAX: usize = 4;
