//! `publish`: one reading from the arguments, or many from standard input.
//!
//! Lines are gathered into requests as they come: whatever has arrived goes at once, so a lone line
//! waits for nothing and a flood fills requests. A line that is no reading is named on standard
//! error; the others are kept, and the exit code says that not all were.

use std::fmt;
use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use futures::stream::{self, Stream};
use ingest::line::{self, Defaults, LineReader};
use model::Unit;
use prost::Message as _;
use proto::v1 as pb;
use proto::v1::acknowledge::Level;
use proto::v1::value::Kind as ValueOf;
use serde_json::json;
use tokio::sync::mpsc;

use super::args::{Ack, Format, Output, PublishArgs, ValueKind};
use super::client::Client;
use super::failure::{Failure, Kind};
use super::mesh::print_json;
use super::render::escape;
use crate::clock;

/// `fieldmesh publish`
pub(crate) async fn publish(
    args: PublishArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let (sender, readings) = mpsc::channel(api::READINGS_PER_REQUEST_MAX);
    let malformed = Arc::new(AtomicU64::new(0));
    let single = if args.stdin {
        None
    } else {
        Some(reading(&args)?)
    };
    let acknowledge = acknowledge(args.ack);
    let limit = single.is_some().then_some(args.timeout);
    let mut client = Client::connect(args.node).await?;
    match single {
        Some(reading) => {
            sender.try_send(reading).expect("the channel is empty");
            drop(sender); // The request ends where nothing can follow.
        }
        None => read_stdin(args.format, sender, Arc::clone(&malformed))?,
    }
    let mut acknowledged = 0_u64;
    let publishing = count_acknowledged(&mut client, readings, acknowledge, &mut acknowledged);
    let ended = match limit {
        None => publishing.await,
        Some(limit) => (tokio::time::timeout(limit, publishing).await)
            .unwrap_or_else(|_| Err(not_in_time(args.ack, limit))),
    };
    match output {
        Output::Json => print_json(out, &json!({ "acknowledged": acknowledged }))?,
        Output::Table => writeln!(out, "{acknowledged} acknowledged")?,
    }
    ended?;
    match malformed.load(Ordering::Relaxed) {
        0 => Ok(()),
        1 => Err(Failure::new(Kind::Failed, "1 line was left out")),
        count => Err(Failure::new(
            Kind::Failed,
            format!("{count} lines were left out"),
        )),
    }
}

/// Publishes until there is nothing more, and counts what is acknowledged on the way.
async fn count_acknowledged(
    client: &mut Client,
    readings: mpsc::Receiver<pb::NewReading>,
    acknowledge: pb::Acknowledge,
    acknowledged: &mut u64,
) -> Result<(), Failure> {
    let requests = requests(readings, acknowledge);
    let answers = client.readings.publish(requests).await;
    let mut answers = answers.map_err(|s| client.failure(&s))?.into_inner();
    loop {
        match answers.message().await {
            Ok(Some(answer)) => *acknowledged += u64::from(answer.acknowledged),
            Ok(None) => return Ok(()),
            Err(status) => return Err(client.failure(&status)),
        }
    }
}

fn not_in_time(ack: Ack, limit: Duration) -> Failure {
    let why = match ack {
        Ack::Replicated(_) => {
            "too few neighbours said that they hold it, see `fieldmesh peers`; this node may hold it"
        }
        Ack::Accepted | Ack::Durable => "the node may have taken it, see `fieldmesh status`",
    };
    let limit = humantime::format_duration(limit);
    Failure::new(Kind::Failed, format!("not {ack} within {limit}: {why}"))
}

fn acknowledge(ack: Ack) -> pb::Acknowledge {
    let (level, replicas) = match ack {
        Ack::Accepted => (Level::Accepted, 0),
        Ack::Durable => (Level::Durable, 0),
        Ack::Replicated(replicas) => (Level::Replicated, replicas.into()),
    };
    pb::Acknowledge {
        level: level.into(),
        replicas,
    }
}

/// Makes requests of readings: as many as have arrived, up to the limits of a request.
fn requests(
    readings: mpsc::Receiver<pb::NewReading>,
    acknowledge: pb::Acknowledge,
) -> impl Stream<Item = pb::PublishRequest> {
    let state = (readings, Vec::new());
    stream::unfold(state, move |(mut readings, mut waiting)| async move {
        if waiting.is_empty() {
            let max = api::READINGS_PER_REQUEST_MAX;
            readings.recv_many(&mut waiting, max).await;
        }
        let rest = waiting.split_off(fitting(&waiting));
        let request = pb::PublishRequest {
            readings: waiting,
            acknowledge: Some(acknowledge),
            ..Default::default()
        };
        (!request.readings.is_empty()).then_some((request, (readings, rest)))
    })
}

/// How many of the readings fit into one request; at least one if there is one.
fn fitting(readings: &[pb::NewReading]) -> usize {
    let mut bytes = 0;
    let over = readings.iter().position(|reading| {
        bytes += reading.encoded_len();
        bytes > REQUEST_BYTES_MAX
    });
    over.map_or(readings.len(), |over| over.max(1))
}

/// The one reading of the arguments.
pub(crate) fn reading(args: &PublishArgs) -> Result<pb::NewReading, Failure> {
    let series = args.series.as_ref().expect("required by clap with a value");
    let text = args
        .value
        .as_deref()
        .expect("required by clap without --stdin");
    let time = args
        .time
        .map(|time| api::to_timestamp(time.resolve(clock::wall_time())));
    let value_type = match args.kind {
        ValueKind::Auto | ValueKind::Double => pb::ValueType::Double,
        ValueKind::Integer => pb::ValueType::Integer,
        ValueKind::Bool => pb::ValueType::Bool,
        ValueKind::Text => pb::ValueType::Text,
    };
    Ok(pb::NewReading {
        series: series.as_str().to_owned(),
        unit: args.unit.as_str().to_owned(),
        labels: args.labels.iter().cloned().collect(),
        time,
        value: value(text, args.kind)?.map(|kind| pb::Value { kind: Some(kind) }),
        quality: None,
        value_type: value_type.into(),
    })
}

fn value(text: &str, kind: ValueKind) -> Result<Option<ValueOf>, Failure> {
    let wrong = |expected: &str| {
        let message = format!("{:?} is no value of type {expected}", escape(text));
        Failure::new(Kind::Usage, message)
    };
    if text == "null" {
        return Ok(None);
    }
    let value = match kind {
        ValueKind::Auto => text
            .parse()
            .map(ValueOf::Bool)
            .or_else(|_| text.parse().map(ValueOf::Double))
            .unwrap_or_else(|_| ValueOf::Text(text.to_owned())),
        ValueKind::Double => ValueOf::Double(text.parse().map_err(|_| wrong("double"))?),
        ValueKind::Integer => ValueOf::Integer(text.parse().map_err(|_| wrong("integer"))?),
        ValueKind::Bool => ValueOf::Bool(text.parse().map_err(|_| wrong("bool"))?),
        ValueKind::Text => ValueOf::Text(text.to_owned()),
    };
    Ok(Some(value))
}

/// Reads lines on a thread of their own, because standard input cannot be waited for otherwise.
fn read_stdin(
    format: Format,
    sender: mpsc::Sender<pb::NewReading>,
    malformed: Arc<AtomicU64>,
) -> Result<(), Failure> {
    let read = move || {
        let refuse = |error: &dyn fmt::Display| {
            malformed.fetch_add(1, Ordering::Relaxed);
            let _ = writeln!(io::stderr(), "{}", escape(&error.to_string()));
        };
        let take = |reading| sender.blocking_send(reading).is_ok();
        if let Err(error) = read_lines(io::stdin().lock(), format, take, &refuse) {
            refuse(&format!("standard input: {error}"));
        }
    };
    let thread = thread::Builder::new().name("stdin".to_owned());
    thread.spawn(read)?; // Ends with its input or with the process.
    Ok(())
}

/// Gives what the lines say to `take`, until that says no, and each line that says nothing useful
/// to `refuse`.
pub(crate) fn read_lines(
    input: impl BufRead,
    format: Format,
    mut take: impl FnMut(pb::NewReading) -> bool,
    refuse: &dyn Fn(&dyn fmt::Display),
) -> io::Result<()> {
    let format = match format {
        Format::Ndjson => line::Format::Ndjson,
        Format::Senml => line::Format::Senml,
        Format::Line => line::Format::Line,
    };
    let mut lines = LineReader::new(input);
    while let Some(next) = lines.next_line()? {
        let defaults = Defaults {
            now: clock::wall_time(),
            value_type: None,
            unit: Unit::default(),
        };
        let readings = next.and_then(|(number, text)| format.parse(number, text, &defaults));
        match readings {
            Ok(readings) => {
                if !readings.into_iter().map(api::to_new_reading).all(&mut take) {
                    break;
                }
            }
            Err(error) => refuse(&error),
        }
    }
    Ok(())
}

/// Most bytes of the readings of one request, unless one reading alone has more. Source: half of
/// what a node takes.
const REQUEST_BYTES_MAX: usize = 512 * 1024;
