//! The service `Readings`.

use std::sync::Arc;
use std::vec;

use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use model::{Pattern, Timestamp};
use prost::Message as _;
use proto::v1::{self as pb, readings_server::Readings};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::{Backend, HeldReading, Query, ReadingStream, Refusal, convert, publish};

/// The service, over a backend.
pub(crate) struct ReadingsService {
    pub(crate) backend: Arc<dyn Backend>,
    /// Ends the streams, which would otherwise outlive a stop in order.
    pub(crate) stop: CancellationToken,
}

type Answers<T> = BoxStream<'static, Result<T, Status>>;

#[tonic::async_trait]
impl Readings for ReadingsService {
    type PublishStream = Answers<pb::PublishResponse>;
    type QueryStream = Answers<pb::QueryResponse>;
    type LatestStream = Answers<pb::LatestResponse>;
    type WatchStream = Answers<pb::WatchResponse>;
    type ListSeriesStream = Answers<pb::ListSeriesResponse>;

    async fn publish(
        &self,
        request: Request<Streaming<pb::PublishRequest>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        let backend = Arc::clone(&self.backend);
        let answers =
            publish::acknowledgements(backend, request.into_inner(), self.stop.clone()).boxed();
        Ok(Response::new(answers))
    }

    async fn query(
        &self,
        request: Request<pb::QueryRequest>,
    ) -> Result<Response<Self::QueryStream>, Status> {
        let request = request.into_inner();
        let (query, limit) = query(&request)?;
        self.known(&query.pattern).await?;
        let found = limited(self.backend.query(query), limit);
        Ok(self.answer(found, |readings| pb::QueryResponse { readings }))
    }

    async fn latest(
        &self,
        request: Request<pb::LatestRequest>,
    ) -> Result<Response<Self::LatestStream>, Status> {
        let pattern = convert::pattern(&request.into_inner().pattern)?;
        self.known(&pattern).await?;
        let found = self.backend.latest(pattern);
        Ok(self.answer(found, |readings| pb::LatestResponse { readings }))
    }

    async fn watch(
        &self,
        request: Request<pb::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let pattern = convert::pattern(&request.pattern)?;
        let since = request.since.as_ref();
        let since = since.map(|since| convert::timestamp(since, || "since".to_owned()));
        let found = self.backend.watch(pattern, since.transpose()?);
        Ok(self.answer(found, |readings| pb::WatchResponse { readings }))
    }

    async fn list_series(
        &self,
        request: Request<pb::ListSeriesRequest>,
    ) -> Result<Response<Self::ListSeriesStream>, Status> {
        let text = request.into_inner().pattern;
        let pattern = (!text.is_empty()).then(|| convert::pattern(&text));
        let series = self.backend.series(pattern.transpose()?).await?;
        let parts = stream::iter(series).chunks(READINGS_PER_RESPONSE_MAX);
        let answers = parts.map(|part| {
            Ok(pb::ListSeriesResponse {
                series: part.iter().map(convert::to_series).collect(),
            })
        });
        Ok(Response::new(self.until_stop(answers.boxed())))
    }
}

impl ReadingsService {
    /// Refuses a pattern that fits no known series; `**` is right even if there is none yet.
    async fn known(&self, pattern: &Pattern) -> Result<(), Status> {
        if pattern.to_string() == "**" {
            return Ok(());
        }
        let series = self.backend.series(Some(pattern.clone())).await?;
        if series.is_empty() {
            return Err(Status::not_found(format!(
                "no known series fits {pattern}; `fieldmesh series` lists them"
            )));
        }
        Ok(())
    }

    /// Streams what was found in messages of bounded size.
    fn answer<T: Send + 'static>(
        &self,
        found: ReadingStream,
        wrap: fn(Vec<pb::Reading>) -> T,
    ) -> Response<Answers<T>> {
        let parts = found
            .map_err(Status::from)
            .map_ok(|readings| stream::iter(Parts::new(readings)).map(Ok))
            .try_flatten();
        Response::new(self.until_stop(parts.map_ok(wrap).boxed()))
    }

    fn until_stop<T: Send + 'static>(&self, answers: Answers<T>) -> Answers<T> {
        let stop = self.stop.clone();
        let stopped = stream::once(async move {
            let refusal = stop.is_cancelled().then_some(Refusal::Stopping);
            refusal.map(|refusal| Err(refusal.into()))
        });
        answers
            .take_until(self.stop.clone().cancelled_owned())
            .chain(stopped.filter_map(futures::future::ready))
            .boxed()
    }
}

fn query(request: &pb::QueryRequest) -> Result<(Query, u64), Status> {
    let time = |raw: &Option<prost_types::Timestamp>, field: &str, absent| {
        raw.as_ref().map_or(Ok(absent), |raw| {
            convert::timestamp(raw, || field.to_owned())
        })
    };
    let query = Query {
        pattern: convert::pattern(&request.pattern)?,
        from: time(&request.from, "from", Timestamp::MIN)?,
        to: time(&request.to, "to", Timestamp::MAX)?,
    };
    if query.from > query.to {
        return Err(Status::invalid_argument(
            "from: lies after `to`; exchange the two",
        ));
    }
    let limit = match request.limit {
        0 => u64::MAX,
        limit => limit,
    };
    Ok((query, limit))
}

/// Passes on the first `limit` readings.
fn limited(found: ReadingStream, limit: u64) -> ReadingStream {
    let parts = stream::try_unfold((found, limit), |(mut found, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let Some(mut part) = found.try_next().await? else {
            return Ok(None);
        };
        part.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left.saturating_sub(u64::try_from(part.len()).unwrap_or(u64::MAX));
        Ok(Some((part, (found, left))))
    });
    parts.boxed()
}

/// Cuts readings into parts that fit into a message, converting each when it is its turn.
struct Parts {
    readings: vec::IntoIter<HeldReading>,
    next: Option<pb::Reading>,
}

impl Parts {
    fn new(readings: Vec<HeldReading>) -> Self {
        let mut readings = readings.into_iter();
        let next = readings.next().map(convert::to_reading);
        Self { readings, next }
    }
}

impl Iterator for Parts {
    type Item = Vec<pb::Reading>;

    fn next(&mut self) -> Option<Vec<pb::Reading>> {
        let mut part = vec![self.next.take()?];
        let mut bytes = part[0].encoded_len();
        for held in self.readings.by_ref() {
            let reading = convert::to_reading(held);
            bytes += reading.encoded_len();
            if bytes > RESPONSE_BYTES_MAX || part.len() == READINGS_PER_RESPONSE_MAX {
                self.next = Some(reading);
                break;
            }
            part.push(reading);
        }
        Some(part)
    }
}

/// Most readings or series of one response. Source: guess.
const READINGS_PER_RESPONSE_MAX: usize = 1_024;

/// Largest sum of the readings of one response. Unit: bytes. Source: a quarter of what gRPC
/// clients accept unless told otherwise (4 MiB).
const RESPONSE_BYTES_MAX: usize = 1024 * 1024;
