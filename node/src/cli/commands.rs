//! `send`.

use std::io::{self, Write};

use proto::v1::{self as pb, send_response::Step};
use serde_json::{Value as Json, json};
use tonic::{Code, Status};

use super::args::{Output, SendArgs};
use super::client::Client;
use super::failure::{Failure, Kind};
use super::render::escape;

/// `fieldmesh send`
pub(crate) async fn send(
    args: SendArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let arguments = match args.arguments.as_deref() {
        Some("-") => io::read_to_string(io::stdin())?,
        Some(arguments) => arguments.to_owned(),
        None => String::new(),
    };
    let mut client = Client::connect(args.node).await?;
    let mut request = tonic::Request::new(pb::SendRequest {
        machine: args.machine,
        name: args.name,
        arguments,
        deadline: prost_types::Duration::try_from(args.deadline).ok(),
        id: args.id.unwrap_or_default(),
        lineage: Vec::new(),
    });
    request.set_timeout(args.deadline + BEYOND_DEADLINE);
    let answer = client.commands.send(request).await;
    let mut steps = answer.map_err(|status| refused(&status, ""))?.into_inner();
    let mut id = String::new();
    loop {
        match steps.message().await {
            Ok(None) => return Ok(()),
            Ok(Some(pb::SendResponse { step: Some(step) })) => match step {
                Step::Id(named) => id = named,
                Step::Value(value) => print_value(&value, &id, output, out)?,
            },
            Ok(Some(pb::SendResponse { step: None })) => {}
            Err(status) => return Err(refused(&status, &id)),
        }
    }
}

/// A value of an answer: as it is for people, with the command's id for scripts.
fn print_value(value: &str, id: &str, output: Output, out: &mut impl Write) -> Result<(), Failure> {
    let value: Json = serde_json::from_str(value)
        .map_err(|_| Failure::new(Kind::Failed, "the node's answer is no JSON"))?;
    match output {
        Output::Table => writeln!(out, "{}", escape(&value.to_string()))?,
        Output::Json => writeln!(out, "{}", json!({"id": id, "value": value}))?,
    }
    Ok(())
}

/// The command's status, by its name. With an id it can be sent again, safely.
fn refused(status: &Status, id: &str) -> Failure {
    let kind = match status.code() {
        Code::Unavailable => Kind::Unreachable,
        Code::InvalidArgument | Code::OutOfRange => Kind::Usage,
        Code::PermissionDenied
        | Code::Unauthenticated
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Unimplemented
        | Code::NotFound
        | Code::AlreadyExists => Kind::Refused,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Internal
        | Code::DataLoss => Kind::Failed,
    };
    let number = u32::try_from(i32::from(status.code())).ok();
    let code = number.and_then(command::Code::from_number);
    let name = code.map_or("UNKNOWN", command::Code::name);
    let id = if id.is_empty() {
        String::new()
    } else {
        format!(" (id {id})")
    };
    Failure::new(kind, format!("{name}: {}{id}", escape(status.message())))
}

/// How long the node may take beyond a command's deadline to say that it has passed. Source: guess.
const BEYOND_DEADLINE: std::time::Duration = std::time::Duration::from_secs(5);
