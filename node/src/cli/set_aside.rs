//! `uplink --set-aside`: what sinks refuse for ever.

use std::io::{self, Write};

use proto::v1 as pb;
use serde_json::{Value as Json, json};

use super::args::Output;
use super::client::Client;
use super::failure::Failure;
use super::mesh::print_json;
use super::render::escape;
use super::table;

/// Lists the newest records of one uplink, or of all if it is empty.
pub(crate) async fn list(
    mut client: Client,
    uplink_id: String,
    limit: u32,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let request = pb::ListSetAsideRequest { uplink_id, limit };
    let answer = client.mesh.list_set_aside(request).await;
    let answer = answer.map_err(|status| client.failure(&status))?;
    Ok(print(&answer.into_inner().records, output, out)?)
}

/// Prints records; in a table without their content.
pub(crate) fn print(
    records: &[pb::SetAsideRecord],
    output: Output,
    out: &mut impl Write,
) -> io::Result<()> {
    if output == Output::Json {
        return records.iter().try_for_each(|record| {
            let content: Json = serde_json::from_str(&record.record).unwrap_or_default();
            let object = json!({
                "uplink": record.uplink_id,
                "key": record.key,
                "reason": record.reason,
                "record": content,
            });
            print_json(out, &object)
        });
    }
    let rows = records.iter().map(|record| {
        let texts = [&record.uplink_id, &record.reason, &record.key];
        texts.map(|text| escape(text))
    });
    table::print(out, ["UPLINK", "REASON", "KEY"], rows)
}
