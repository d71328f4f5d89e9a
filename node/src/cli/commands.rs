//! `send`.

use std::error::Error as _;
use std::io::{self, Write};
use std::time::Duration;

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
    let deadline = args.deadline.unwrap_or(if args.when_reachable {
        LETTER_DEADLINE
    } else {
        DEADLINE
    });
    let mut client = Client::connect(args.node).await?;
    let mut request = tonic::Request::new(pb::SendRequest {
        machine: args.machine,
        name: args.name,
        arguments,
        deadline: prost_types::Duration::try_from(deadline).ok(),
        id: args.id.unwrap_or_default(),
        lineage: Vec::new(),
        when_reachable: args.when_reachable,
    });
    request.set_timeout(deadline + BEYOND_DEADLINE);
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
    if status.source().is_some() {
        // A word of the client's own transport, not of the target.
        let message = "the node went away before it told the end; ask again with the id";
        return Failure::new(Kind::Unreachable, format!("UNKNOWN: {message} (id {id})"));
    }
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

/// Time until a deadline. Source: the contract.
const DEADLINE: Duration = Duration::from_secs(5);
/// The same for a machine that may be away. Source: guess.
const LETTER_DEADLINE: Duration = Duration::from_hours(1);
/// How long the node may take beyond a command's deadline to say that it has passed. Source: guess.
const BEYOND_DEADLINE: Duration = Duration::from_secs(5);
