//! The handle of an uplink: its thread, and what the node asks of it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use model::MachineId;
use statemachine::Rng;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::aside::Aside;
use crate::budget::Budget;
use crate::inbox::Inbox;
use crate::outbox::{Outbox, Rules};
use crate::sink::{FileSink, InfluxSink, JetStreamSink, MqttSink, V3, V5};
use crate::worker::{Kept, Worker};
use crate::{Config, Event, Full, MqttVersion, Outgoing, SinkUrl, StartError, Status};

/// A running uplink. Dropping it ends it as well, without waiting for the end.
#[derive(Debug)]
pub struct Uplink {
    shared: Arc<Shared>,
    stop: DropGuard,
    stopped: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

/// What the handle and the thread both see.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) inbox: Inbox,
    pub(crate) status: Mutex<Status>,
}

impl Uplink {
    /// Starts an uplink on a thread of its own. `data_dir` is its own directory, for what waits
    /// and what was set aside; `seed` makes its retries differ from those of other machines. It
    /// says what happens through `events`, which must be read: a full channel holds it up.
    ///
    /// # Errors
    ///
    /// [`StartError`] if the directory cannot be used or there is no thread. A sink that cannot
    /// be reached is no error: it is tried until it can.
    pub fn start(
        config: Config,
        data_dir: &Path,
        seed: [u8; 32],
        events: mpsc::Sender<Event>,
    ) -> Result<Self, StartError> {
        let path: PathBuf = data_dir.join("outbox");
        let rules = Rules {
            bytes_max: config.backlog_bytes_max,
            age_max: config.backlog_age_max,
            one_per_window: matches!(config.url, SinkUrl::Influx(_)),
        };
        let outbox = Outbox::open(path.clone(), rules);
        let outbox = outbox.map_err(|source| StartError::Outbox { path, source })?;
        let shared = Arc::new(Shared::default());
        let stop = CancellationToken::new();
        let rng = Rng::from_seed(seed).fork(config.id.as_str());
        let client_id = format!("fieldmesh-{}-{}", config.machine, config.id);
        let (url, machine) = (config.url.clone(), config.machine);
        let access = config.access.clone();
        let name = format!("uplink-{}", config.id);
        let kept = Kept {
            outbox,
            aside: Aside::new(data_dir),
            budget: Budget::open(data_dir, config.daily_bytes_max),
        };
        let worker = Worker::new(config, kept, rng, Arc::clone(&shared), events, stop.clone());

        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Thread)?;
        let (done, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name(name).spawn(move || {
            runtime.block_on(async {
                match url {
                    SinkUrl::File(dir) => worker.run(FileSink::new(dir, machine)).await,
                    SinkUrl::Influx(url) => worker.run(InfluxSink::new(url, access)).await,
                    SinkUrl::JetStream(url) => {
                        worker.run(JetStreamSink::new(url, access, client_id)).await;
                    }
                    SinkUrl::Mqtt(url) => match url.version {
                        MqttVersion::V3 => {
                            let sink = MqttSink::<V3>::new(url, access, client_id);
                            worker.run(sink).await;
                        }
                        MqttVersion::V5 => {
                            let sink = MqttSink::<V5>::new(url, access, client_id);
                            worker.run(sink).await;
                        }
                    },
                }
            });
            drop(done);
        });
        Ok(Self {
            shared,
            stop: stop.drop_guard(),
            stopped,
            thread: thread.map_err(StartError::Thread)?,
        })
    }

    /// Submits records, oldest first; returns at once. Of a key that waits already, only the id is
    /// noted.
    ///
    /// # Errors
    ///
    /// [`Full`] with those that there was no room for.
    pub fn submit(&self, records: Vec<Outgoing>) -> Result<(), Full> {
        self.shared.inbox.submit(records)
    }

    /// Drops what is not delivered of an origin, since another relay serves it now. What is on its
    /// way to the sink may still arrive there; no event says so.
    pub fn withdraw(&self, origin: MachineId) {
        self.shared.inbox.withdraw(origin);
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Ends it: what is not delivered is on disk when this returns.
    pub async fn stop(self) {
        drop(self.stop);
        let _ = self.stopped.await; // An error: the thread is at its end.
        if self.thread.join().is_err() {
            tracing::error!("the thread of an uplink has panicked");
        }
    }
}
