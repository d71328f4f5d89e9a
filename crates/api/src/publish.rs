//! `Publish`: requests in, acknowledgements out, in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::{AckLevel, Published};
use futures::future::BoxFuture;
use futures::stream::{self, FuturesOrdered, StreamExt as _};
use futures::{FutureExt as _, Stream};
use model::{
    Labels, NewReading, PublisherMark, Quality, QualityLevel, QualityReason, SeriesDefinition,
    Timestamp, ValueType,
};
use prost::Message as _;
use proto::v1 as pb;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use crate::{Backend, Batch, Refusal, convert};

/// Answers the requests of one client until it ends, one is refused, or `stop` is cancelled.
///
/// Requests without a publisher overlap, as far as [`REQUESTS_IN_FLIGHT_MAX`] and
/// [`BYTES_IN_FLIGHT_MAX`] let them, so that readings that come one by one share blocks. One with a
/// publisher is waited for before the next is read: were a later number stored while an earlier one
/// fails, sending the earlier one again would look like a repetition and lose it.
pub(crate) fn acknowledgements(
    backend: Arc<dyn Backend>,
    requests: Streaming<pb::PublishRequest>,
    stop: CancellationToken,
) -> impl Stream<Item = Result<pb::PublishResponse, Status>> + Send {
    let publishing = Publishing {
        backend,
        requests,
        stop,
        in_flight: FuturesOrdered::new(),
        bytes: 0,
        serial: false,
        end: None,
    };
    stream::unfold(Some(publishing), |publishing| async {
        let mut publishing = publishing?;
        match publishing.next().await? {
            Ok(response) => Some((Ok(response), Some(publishing))),
            Err(status) => Some((Err(status), None)),
        }
    })
}

type Answer = Result<pb::PublishResponse, Status>;

struct Publishing {
    backend: Arc<dyn Backend>,
    requests: Streaming<pb::PublishRequest>,
    stop: CancellationToken,
    /// Answers to come, each with the size of its request.
    in_flight: FuturesOrdered<BoxFuture<'static, (usize, Answer)>>,
    /// The sum of these sizes. Unit: bytes.
    bytes: usize,
    /// The newest request in flight is numbered.
    serial: bool,
    /// No more requests are read; what comes after the answers in flight.
    end: Option<Result<(), Status>>,
}

impl Publishing {
    /// The next answer, an error that ends the stream, or `None` at its end.
    async fn next(&mut self) -> Option<Answer> {
        loop {
            if self.in_flight.is_empty() {
                self.serial = false;
                if let Some(end) = self.end.take() {
                    return end.err().map(Err);
                }
            }
            let room = self.end.is_none() && !self.serial && self.has_room();
            tokio::select! {
                biased; // Answers first: they free memory.
                Some((size, answer)) = self.in_flight.next() => {
                    self.bytes -= size;
                    return Some(answer);
                }
                () = self.stop.cancelled(), if room => {
                    self.end = Some(Err(Refusal::Stopping.into()));
                }
                request = self.requests.message(), if room => self.take(request),
            }
        }
    }

    fn has_room(&self) -> bool {
        self.in_flight.len() < REQUESTS_IN_FLIGHT_MAX && self.bytes < BYTES_IN_FLIGHT_MAX
    }

    fn take(&mut self, request: Result<Option<pb::PublishRequest>, Status>) {
        let mut size = 0;
        let batch = match request {
            Ok(Some(request)) => {
                size = request.encoded_len();
                batch(request, self.backend.now())
            }
            Ok(None) => {
                self.end = Some(Ok(()));
                return;
            }
            Err(status) => Err(status),
        };
        match batch {
            Ok(batch) => {
                self.serial = batch.publisher.is_some();
                let (level, count) = (batch.level, batch.readings.len());
                let published = self.backend.publish(batch);
                let answer = published.map(move |result| {
                    let answer = result.map(|published| response(&published, level, count));
                    (size, answer.map_err(Status::from))
                });
                self.bytes += size;
                self.in_flight.push_back(answer.boxed());
            }
            Err(status) => self.end = Some(Err(status)),
        }
    }
}

fn response(published: &Published, level: AckLevel, count: usize) -> pb::PublishResponse {
    pb::PublishResponse {
        acknowledged: u32::try_from(count).expect("at most READINGS_PER_REQUEST_MAX"),
        reached: Some(convert::to_acknowledge(level)),
        repeated: published.repeated,
    }
}

/// Checks a request and makes it a batch; readings without a time get `now`.
fn batch(request: pb::PublishRequest, now: Timestamp) -> Result<Batch, Status> {
    let count = request.readings.len();
    if !(1..=READINGS_PER_REQUEST_MAX).contains(&count) {
        return Err(Status::invalid_argument(format!(
            "readings: a request holds 1 to {READINGS_PER_REQUEST_MAX} of them, this one {count}"
        )));
    }
    let level = convert::ack_level(request.acknowledge)?;
    let publisher = publisher(request.publisher, request.publisher_sequence)?;
    let series = definitions(&request.readings)?;
    let readings = request.readings.into_iter().zip(series).enumerate();
    let readings = readings.map(|(index, (raw, series))| reading(index, raw, series, now));
    Ok(Batch {
        readings: readings.collect::<Result<_, _>>()?,
        publisher,
        level,
    })
}

fn publisher(name: String, sequence: u64) -> Result<Option<PublisherMark>, Status> {
    if name.len() > PublisherMark::NAME_BYTES_MAX {
        return Err(Status::invalid_argument(format!(
            "publisher: at most {} bytes",
            PublisherMark::NAME_BYTES_MAX
        )));
    }
    match (name.is_empty(), sequence) {
        (true, 0) => Ok(None),
        (true, _) => Err(Status::invalid_argument(
            "publisher: required with publisher_sequence; give the publisher a lasting name",
        )),
        (false, 0) => Err(Status::invalid_argument(
            "publisher_sequence: required with publisher; number the requests from 1",
        )),
        (false, sequence) => Ok(Some(PublisherMark {
            publisher: name,
            sequence,
        })),
    }
}

/// The definition of each reading's series, each checked once and shared.
fn definitions(readings: &[pb::NewReading]) -> Result<Vec<Arc<SeriesDefinition>>, Status> {
    let mut known = BTreeMap::new();
    let each = readings.iter().enumerate().map(|(index, raw)| {
        let value_type = value_type(raw).ok_or_else(|| refused(index, "value_type", "unknown"))?;
        let key = (&raw.series, &raw.unit, value_type, &raw.labels);
        if let Some(definition) = known.get(&key) {
            return Ok(Arc::clone(definition));
        }
        let definition = Arc::new(SeriesDefinition {
            name: named(index, "series", raw.series.parse())?,
            unit: named(index, "unit", raw.unit.parse())?,
            value_type,
            labels: named(index, "labels", Labels::new(raw.labels.clone()))?,
        });
        known.insert(key, Arc::clone(&definition));
        Ok(definition)
    });
    each.collect()
}

/// The type of the value; without one, the type that is said, double if none is.
fn value_type(raw: &pb::NewReading) -> Option<ValueType> {
    use pb::value::Kind;
    let Some(kind) = raw.value.as_ref().and_then(|value| value.kind.as_ref()) else {
        let said = pb::ValueType::try_from(raw.value_type).ok()?;
        return Some(convert::value_type(said).unwrap_or(ValueType::F64));
    };
    Some(match kind {
        Kind::Double(_) => ValueType::F64,
        Kind::Integer(_) => ValueType::I64,
        Kind::Bool(_) => ValueType::Bool,
        Kind::Text(_) => ValueType::Text,
        Kind::Bytes(_) => ValueType::Bytes,
    })
}

fn reading(
    index: usize,
    raw: pb::NewReading,
    series: Arc<SeriesDefinition>,
    now: Timestamp,
) -> Result<NewReading, Status> {
    let time = raw.time.map_or(Ok(now), |time| {
        convert::timestamp(&time, || format!("readings[{index}].time"))
    })?;
    let missing = raw.value.as_ref().is_none_or(|value| value.kind.is_none());
    let value = convert::value(raw.value)
        .ok_or_else(|| refused(index, "value", "longer than 65536 bytes"))?;
    let quality = match raw.quality {
        Some(quality) => convert::quality(quality)
            .ok_or_else(|| refused(index, "quality", "unknown level or reason"))?,
        None if missing => Quality::new(QualityLevel::Bad, QualityReason::Missing),
        None => Quality::GOOD,
    };
    Ok(NewReading {
        series,
        time,
        value,
        quality,
    })
}

fn named<T>(index: usize, field: &str, read: Result<T, model::NameError>) -> Result<T, Status> {
    read.map_err(|error| refused(index, field, &error.to_string()))
}

fn refused(index: usize, field: &str, reason: &str) -> Status {
    Status::invalid_argument(format!("readings[{index}].{field}: {reason}"))
}

/// Most readings of one request. Source: they go into one block.
pub const READINGS_PER_REQUEST_MAX: usize = model::Block::READINGS_MAX;

/// Most requests of one client that are worked on at once. Source: those of one reading each then
/// still fill a block while the one before is gathered and synced.
const REQUESTS_IN_FLIGHT_MAX: usize = model::Block::READINGS_MAX;

/// No more requests of one client are read while those that are worked on exceed this. Unit: bytes.
/// Source: guess, the readings of some ten full blocks.
const BYTES_IN_FLIGHT_MAX: usize = 8 * 1024 * 1024;
