//! InfluxDB line protocol over HTTP: to InfluxDB, VictoriaMetrics and whatever else speaks it.
//!
//! A batch is one request, compressed. It is delivered when the store says so with a 2xx. What a
//! store refuses in part (400, 413, 422) is halved until the record is found that it will never
//! take; all other answers mean that the store does not work now, wrong passwords and missing
//! databases among them: an operator can put those right, and nothing is lost until then.
//!
//! # Not here
//!
//! That a point stands there only once: InfluxDB overwrites a point of the same tags and time,
//! VictoriaMetrics keeps both unless its deduplication is on. Neither knows which of two records of
//! a window is the later one, so only the latest of those that wait is sent (see `outbox`).

use std::io::Write as _;
use std::iter::once;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::{Request, StatusCode, header};

use super::traffic::{Traffic, of_connection, on_the_wire};
use super::{Outcome, Sink, line};
use crate::access::Access;
use crate::http::{Answer, Http};
use crate::{InfluxUrl, Item, SinkError};

/// Writes to a store.
#[derive(Debug)]
pub(crate) struct InfluxSink {
    url: InfluxUrl,
    access: Access,
    session: Option<Session>,
    traffic: Traffic,
}

/// A server that answers.
struct Session {
    http: Http,
    authorization: Option<String>,
}

impl std::fmt::Debug for Session {
    /// Without what logs in.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("http", &self.http)
            .finish_non_exhaustive()
    }
}

/// What an answer means for the records of a request.
enum Verdict {
    Taken,
    /// At least one of the records will never be taken; why.
    Refused(String),
    /// The store does not work.
    Failed(SinkError),
}

impl InfluxSink {
    pub(crate) fn new(url: InfluxUrl, access: Access) -> Self {
        Self {
            url,
            access,
            session: None,
            traffic: Traffic::default(),
        }
    }

    async fn open(&self) -> Result<Session, SinkError> {
        let login = self.access.login(&self.url.login)?;
        let tls = self.url.tls.then(|| self.access.tls()).transpose()?;
        Ok(Session {
            http: Http::connect(self.url.host.clone(), tls).await?,
            authorization: match (login.user, login.password) {
                (Some(user), Some(password)) => {
                    let login = STANDARD.encode(format!("{user}:{password}"));
                    Some(format!("Basic {login}"))
                }
                (Some(token), None) | (None, Some(token)) => Some(format!("Token {token}")),
                (None, None) => None,
            },
        })
    }

    async fn post(&mut self, session: &mut Session, lines: &str) -> Result<Answer, SinkError> {
        let mut request = Request::post(&self.url.path_and_query)
            .header(header::HOST, self.url.host.to_string())
            .header(header::USER_AGENT, "fieldmesh")
            .header(header::CONTENT_TYPE, "text/plain; charset=utf-8");
        if let Some(authorization) = &session.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let body = if lines.len() < COMPRESSED_BYTES_MIN {
            Bytes::copy_from_slice(lines.as_bytes())
        } else {
            request = request.header(header::CONTENT_ENCODING, "gzip");
            compress(lines)
        };
        self.traffic.exchange(HEAD_BYTES + body.len(), ANSWER_BYTES);
        let request = request
            .body(Full::new(body))
            .map_err(|error| SinkError(format!("{}: {error}", self.url)))?;
        session.http.send(request).await
    }

    fn verdict(&self, answer: Answer) -> Verdict {
        let Answer { status, text } = answer;
        let failed = |advice: &str| {
            Verdict::Failed(SinkError(format!(
                "{} answers {status}{advice}: {text}",
                self.url
            )))
        };
        match status {
            status if status.is_success() => Verdict::Taken,
            StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNPROCESSABLE_ENTITY => Verdict::Refused(format!("{status}: {text}")),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                failed(" (check user and password, or the token)")
            }
            StatusCode::NOT_FOUND => failed(" (check the path, and that the database exists)"),
            _ => failed(""),
        }
    }
}

impl Sink for InfluxSink {
    /// TCP asks every minute whether the other side is still there.
    const IDLE_COST: u64 = on_the_wire(0);

    fn connect_cost(&self) -> u64 {
        of_connection(self.url.tls) + on_the_wire(HEAD_BYTES) + on_the_wire(ANSWER_BYTES)
    }

    /// As if it went alone and without compression.
    fn cost(&self, item: &Item) -> u64 {
        let mut text = String::new();
        line::write(&mut text, item);
        on_the_wire(HEAD_BYTES + text.len()) + on_the_wire(ANSWER_BYTES)
    }

    fn take_traffic(&mut self) -> u64 {
        let http = self.session.as_mut().map(|session| &mut session.http);
        let reconnects = http.map_or(0, Http::take_reconnects);
        self.traffic.take() + reconnects * of_connection(self.url.tls)
    }

    /// A request without points shows whether path, login and database are right.
    async fn connect(&mut self) -> Result<(), SinkError> {
        self.session = None;
        let opened = self.open().await;
        self.traffic.connect(self.url.tls && opened.is_ok());
        let mut session = opened?;
        let answer = self.post(&mut session, "").await?;
        match self.verdict(answer) {
            Verdict::Taken | Verdict::Refused(_) => self.session = Some(session),
            Verdict::Failed(error) => return Err(error),
        }
        Ok(())
    }

    async fn gone(&mut self) -> SinkError {
        match &mut self.session {
            Some(session) => session.http.gone().await,
            None => SinkError(format!("the connection to {} is lost", self.url)),
        }
    }

    async fn deliver(&mut self, batch: &[Item]) -> Vec<Outcome> {
        let lost = Outcome::Failed(format!("the connection to {} is lost", self.url));
        let mut outcomes = vec![lost; batch.len()];
        let Some(mut session) = self.session.take() else {
            return outcomes;
        };
        let mut parts: Vec<Range<usize>> = once(0..batch.len()).collect();
        while let Some(part) = parts.pop() {
            let mut lines = String::new();
            batch[part.clone()]
                .iter()
                .for_each(|item| line::write(&mut lines, item));
            let verdict = match self.post(&mut session, &lines).await {
                Ok(answer) => self.verdict(answer),
                Err(error) => Verdict::Failed(error),
            };
            match verdict {
                Verdict::Taken => outcomes[part].fill(Outcome::Delivered),
                Verdict::Refused(reason) if part.len() == 1 => {
                    outcomes[part].fill(Outcome::Refused(reason));
                }
                Verdict::Refused(_) => {
                    let middle = part.start + part.len() / 2;
                    parts.extend([middle..part.end, part.start..middle]);
                }
                Verdict::Failed(error) => {
                    // Nothing is known of this part, and those that are left are not tried.
                    for part in parts.drain(..).chain([part]) {
                        outcomes[part].fill(Outcome::Failed(error.0.clone()));
                    }
                }
            }
        }
        self.session = Some(session);
        outcomes
    }

    async fn close(&mut self) {
        self.session = None;
    }
}

fn compress(text: &str) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder
        .write_all(text.as_bytes())
        .and_then(|()| encoder.finish())
        .expect("writing into memory does not fail")
        .into()
}

/// The head of a request. Unit: bytes. Source: guess.
const HEAD_BYTES: usize = 300;
/// An answer without a body. Unit: bytes. Source: guess, after those of InfluxDB 1.6.
const ANSWER_BYTES: usize = 300;
/// Shorter bodies are sent as they are. Unit: bytes. Source: guess, about one packet.
const COMPRESSED_BYTES_MIN: usize = 1_024;
