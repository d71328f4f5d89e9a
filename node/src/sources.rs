//! The configured sources: each a task that feeds a queue, and a task that publishes from it.

use std::sync::Arc;
use std::time::Duration;

use api::Batch;
use engine::{AckLevel, PublishError};
use model::{Block, NewReading};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::backend::NodeBackend;
use crate::clock;
use crate::config::{CsvSource, HostSource, SourceConfig};

/// Starts every source; they end when the set is dropped.
pub fn start(sources: Vec<SourceConfig>, backend: &NodeBackend, tasks: &mut JoinSet<()>) {
    for source in sources {
        let (readings, queue) = mpsc::channel(QUEUE_BATCHES);
        tasks.spawn(publish(queue, backend.clone()));
        tasks.spawn(async move {
            let (SourceConfig::Host(HostSource { prefix, .. })
            | SourceConfig::Csv(CsvSource { prefix, .. })) = &source;
            let name = prefix.clone();
            if let Err(error) = run(source, readings).await {
                tracing::warn!(source = %name, %error, "the source has ended");
            }
        });
    }
}

async fn run(source: SourceConfig, readings: ingest::Readings) -> Result<(), ingest::SourceError> {
    let clock: ingest::Clock = Arc::new(clock::wall_time);
    match source {
        SourceConfig::Host(HostSource { prefix, interval }) => {
            ingest::host::run(ingest::host::Config { prefix, interval }, clock, readings).await
        }
        SourceConfig::Csv(CsvSource {
            file,
            machine,
            speed,
            repeat,
            prefix,
            units,
        }) => {
            let prefix = Some(prefix);
            let config = ingest::replay::Config {
                file,
                machine,
                speed,
                repeat,
                prefix,
                units,
            };
            let summary = ingest::replay::run(config, clock, readings).await?;
            tracing::info!(?summary, "a replay has come to its end");
            Ok(())
        }
    }
}

/// Publishes what a source gives, one batch after the other. While the node is busy the source's
/// queue fills, and then the source waits.
async fn publish(mut queue: mpsc::Receiver<Vec<NewReading>>, backend: NodeBackend) {
    while let Some(readings) = queue.recv().await {
        for readings in readings.chunks(Block::READINGS_MAX) {
            publish_batch(readings, &backend).await;
        }
    }
}

async fn publish_batch(readings: &[NewReading], backend: &NodeBackend) {
    loop {
        let batch = Batch {
            readings: readings.to_vec(),
            publisher: None,
            level: AckLevel::Durable,
        };
        match backend.publish_batch(batch).await {
            Ok(_) => return,
            Err(api::Refusal::Publish(PublishError::Busy)) => {
                tokio::time::sleep(BUSY_DELAY).await;
            }
            Err(api::Refusal::Publish(PublishError::DiskRefuses)) => {
                tokio::time::sleep(DISK_DELAY).await;
            }
            Err(refusal @ api::Refusal::Publish(PublishError::NotPersisted)) => {
                tracing::warn!(%refusal, readings = readings.len(), "readings wait for the disk");
                return;
            }
            Err(
                refusal @ (api::Refusal::Stopping | api::Refusal::Publish(PublishError::Stopping)),
            ) => {
                tracing::debug!(%refusal, lost = readings.len(), "readings came too late");
                return;
            }
            Err(refusal) => {
                tracing::warn!(%refusal, lost = readings.len(), "readings were not published");
                return;
            }
        }
    }
}

/// Batches of one source that wait to be published. Source: guess.
const QUEUE_BATCHES: usize = 16;
/// How long to wait while the node is busy. Source: guess.
const BUSY_DELAY: Duration = Duration::from_millis(10);
/// How long to wait while the disk refuses. Source: guess, as often as it is tried.
const DISK_DELAY: Duration = Duration::from_secs(1);
