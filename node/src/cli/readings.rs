//! `series`, `latest`, `query` and `watch`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use proto::v1 as pb;
use serde::Serialize;
use serde_json::{Value as Json, json};
use tonic::{Response, Status, Streaming};

use super::args::{LatestArgs, Output, QueryArgs, SeriesArgs, Time, WatchArgs};
use super::client::Client;
use super::failure::Failure;
use super::mesh::print_json;
use super::render::{count, escape, quality, time, value, value_cell};
use super::table;
use crate::clock;

/// `fieldmesh series`
pub(crate) async fn series(
    args: SeriesArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut client = Client::connect(args.node).await?;
    let pattern = args.pattern.map(|pattern| pattern.to_string());
    let request = pb::ListSeriesRequest {
        pattern: pattern.unwrap_or_default(),
    };
    let answer = client.readings.list_series(request).await;
    let mut parts = answer
        .map_err(|status| client.failure(&status))?
        .into_inner();
    let mut found = Vec::new();
    while let Some(part) = parts.message().await.map_err(|s| client.failure(&s))? {
        found.extend(part.series);
    }
    Ok(print_series(&found, output, out)?)
}

pub(crate) fn print_series(
    series: &[pb::Series],
    output: Output,
    out: &mut impl Write,
) -> io::Result<()> {
    match output {
        Output::Json => series.iter().try_for_each(|series| {
            let series = json!({
                "machine_id": series.machine_id,
                "machine": series.machine,
                "series": series.series,
                "unit": series.unit,
                "type": type_name(series.value_type()),
                "labels": series.labels,
                "log_epoch": series.log_epoch,
            });
            print_json(out, &series)
        }),
        Output::Table => {
            let rows = series.iter().map(|series| {
                [
                    machine(&series.machine, &series.machine_id),
                    escape(&series.series),
                    escape(&series.unit),
                    type_name(series.value_type()).to_owned(),
                    labels(&series.labels),
                ]
            });
            table::print(out, ["MACHINE", "SERIES", "UNIT", "TYPE", "LABELS"], rows)
        }
    }
}

/// `fieldmesh latest`
pub(crate) async fn latest(
    args: LatestArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut client = Client::connect(args.node).await?;
    let request = pb::LatestRequest {
        pattern: args.pattern.to_string(),
    };
    let answer = client.readings.latest(request).await;
    print_parts(&client, answer, |part| part.readings, output, out).await
}

/// `fieldmesh query`
pub(crate) async fn query(
    args: QueryArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut client = Client::connect(args.node).await?;
    let request = pb::QueryRequest {
        pattern: args.pattern.to_string(),
        from: args.from.map(resolve),
        to: args.to.map(resolve),
        limit: args.limit.unwrap_or_default(),
    };
    let answer = client.readings.query(request).await;
    print_parts(&client, answer, |part| part.readings, output, out).await
}

/// `fieldmesh watch`
pub(crate) async fn watch(
    args: WatchArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut client = Client::connect(args.node).await?;
    let request = pb::WatchRequest {
        pattern: args.pattern.to_string(),
        since: args.since.map(resolve),
    };
    let answer = client.readings.watch(request).await;
    print_parts(&client, answer, |part| part.readings, output, out).await
}

/// Prints readings as they come.
async fn print_parts<T>(
    client: &Client,
    answer: Result<Response<Streaming<T>>, Status>,
    readings: fn(T) -> Vec<pb::Reading>,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut parts = answer.map_err(|s| client.failure(&s))?.into_inner();
    if output == Output::Table {
        print_header(out)?;
    }
    while let Some(part) = parts.message().await.map_err(|s| client.failure(&s))? {
        let mut lines = Vec::new();
        print_readings(&readings(part), output, &mut lines)?;
        out.write_all(&lines)?;
        out.flush()?;
    }
    Ok(())
}

/// What a reading looks like under `--output json`; the names are relied on by scripts.
#[derive(Serialize)]
struct ReadingJson<'a> {
    machine_id: &'a str,
    machine: &'a str,
    series: &'a str,
    unit: &'a str,
    labels: &'a BTreeMap<String, String>,
    time: String,
    received_time: String,
    value: Json,
    quality: String,
    log_epoch: &'a str,
    sequence: Json,
    index: u32,
}

pub(crate) fn print_readings(
    readings: &[pb::Reading],
    output: Output,
    out: &mut impl Write,
) -> io::Result<()> {
    readings.iter().try_for_each(|reading| match output {
        Output::Json => print_json(
            out,
            &ReadingJson {
                machine_id: &reading.machine_id,
                machine: &reading.machine,
                series: &reading.series,
                unit: &reading.unit,
                labels: &reading.labels,
                time: time(reading.time.as_ref()),
                received_time: time(reading.received_time.as_ref()),
                value: value(reading.value.as_ref()),
                quality: quality(reading.quality.as_ref(), reading.value.as_ref()),
                log_epoch: &reading.log_epoch,
                sequence: count(reading.sequence),
                index: reading.index,
            },
        ),
        Output::Table => print_row(reading, out),
    })
}

/// The columns of readings have fixed widths, because the rows to come are not known yet.
fn print_header(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{:<30}  {:<16}  {:<36}  {:>20} {:<8}  QUALITY",
        "TIME", "MACHINE", "SERIES", "VALUE", "UNIT"
    )
}

fn print_row(reading: &pb::Reading, out: &mut impl Write) -> io::Result<()> {
    let labels = labels(&reading.labels);
    let series = if labels.is_empty() {
        escape(&reading.series)
    } else {
        format!("{} [{labels}]", escape(&reading.series))
    };
    writeln!(
        out,
        "{:<30}  {:<16}  {:<36}  {:>20} {:<8}  {}",
        time(reading.time.as_ref()),
        machine(&reading.machine, &reading.machine_id),
        series,
        value_cell(reading.value.as_ref()),
        escape(&reading.unit),
        quality(reading.quality.as_ref(), reading.value.as_ref()),
    )
}

/// The name of a machine, its id while that is not known.
fn machine(name: &str, id: &str) -> String {
    escape(if name.is_empty() { id } else { name })
}

fn labels(labels: &BTreeMap<String, String>) -> String {
    let each = labels.iter().map(|(key, value)| format!("{key}={value}"));
    escape(&each.collect::<Vec<_>>().join(","))
}

const fn type_name(value_type: pb::ValueType) -> &'static str {
    match value_type {
        pb::ValueType::Unspecified => "unknown",
        pb::ValueType::Double => "f64",
        pb::ValueType::Integer => "i64",
        pb::ValueType::Bool => "bool",
        pb::ValueType::Text => "string",
        pb::ValueType::Bytes => "bytes",
    }
}

fn resolve(time: Time) -> prost_types::Timestamp {
    api::to_timestamp(time.resolve(clock::wall_time()))
}
