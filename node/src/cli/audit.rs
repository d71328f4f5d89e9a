//! `audit`.

use std::io::{self, Write};

use proto::v1 as pb;
use serde_json::{Value as Json, json};

use super::args::{AuditArgs, Output};
use super::client::Client;
use super::failure::Failure;
use super::mesh::print_json;
use super::render::{count, escape, time};
use super::table;

/// `fieldmesh audit`
pub(crate) async fn audit(
    args: AuditArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut client = Client::connect(args.node).await?;
    let request = pb::ListAuditRequest {
        limit: args.limit,
        category: args.category.unwrap_or_default(),
    };
    let answer = client.admin.list_audit(request).await;
    let answer = answer.map_err(|status| client.failure(&status))?;
    Ok(print(&answer.into_inner().records, output, out)?)
}

fn print(records: &[pb::AuditRecord], output: Output, out: &mut impl Write) -> io::Result<()> {
    match output {
        Output::Json => records
            .iter()
            .try_for_each(|record| print_json(out, &json_of(record))),
        Output::Table => {
            let header = [
                "TIME", "CATEGORY", "TYPE", "ID", "SOURCE", "RESULT", "DETAIL",
            ];
            table::print(out, header, records.iter().map(row_of))
        }
    }
}

fn json_of(record: &pb::AuditRecord) -> Json {
    json!({
        "time": time(record.time.as_ref()),
        "source": record.source,
        "category": record.category,
        "type": record.r#type,
        "id": record.id,
        "result": record.result,
        "detail": record.detail,
        "left_out": count(record.left_out),
    })
}

fn row_of(record: &pb::AuditRecord) -> [String; 7] {
    let result = match record.left_out {
        0 => escape(&record.result),
        more => format!("{} ({more} more before it)", escape(&record.result)),
    };
    [
        time(record.time.as_ref()),
        escape(&record.category),
        escape(&record.r#type),
        escape(&record.id),
        escape(&record.source),
        result,
        escape(&record.detail),
    ]
}
