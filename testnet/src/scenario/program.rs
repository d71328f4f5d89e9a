//! A program beside a machine, which carries out commands by publishing what they bring.

use std::time::Duration;

use proto::v1::serve_request::register::Offer;
use proto::v1::serve_request::{End, Register, Step as Say, Value};
use proto::v1::serve_response::{Run, Step as Hear};
use proto::v1::value::Kind;
use proto::v1::{self as pb};
use tokio::sync::mpsc;
use tonic::{Code, Status};

use super::Serves;
use super::client::Client;

/// Serves until it is dropped; whenever the machine goes away, it tries again.
pub(crate) async fn serve(client: Client, serves: Vec<Serves>) {
    loop {
        if let Err(status) = serve_once(&client, &serves).await {
            tracing::debug!(%status, "the program serves no more and tries again");
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn serve_once(client: &Client, serves: &[Serves]) -> Result<(), Status> {
    let (says, said) = mpsc::channel(SAID_MAX);
    let offer = |serves: &Serves| Offer {
        name: serves.command.clone(),
        safe: false,
    };
    let register = Register {
        offers: serves.iter().map(offer).collect(),
        concurrent: 1,
    };
    say(&says, Say::Register(register)).await?;
    let requests = futures::stream::unfold(said, async |mut said| {
        let request = said.recv().await?;
        Some((request, said))
    });
    let mut heard = client.serve(requests).await?;
    while let Some(response) = heard.message().await? {
        let Some(Hear::Run(run)) = response.step else {
            continue;
        };
        let number = run.run;
        let (code, message) = match carry_out(client, serves, &run).await {
            Ok(value) => {
                let value = Value { run: number, value };
                say(&says, Say::Value(value)).await?;
                (Code::Ok, String::new())
            }
            Err(status) => (status.code(), status.message().to_owned()),
        };
        let code = u32::try_from(i32::from(code)).unwrap_or_default();
        let end = End {
            run: number,
            code,
            message,
        };
        say(&says, Say::End(end)).await?;
    }
    Ok(())
}

async fn say(says: &mpsc::Sender<pb::ServeRequest>, step: Say) -> Result<(), Status> {
    let request = pb::ServeRequest { step: Some(step) };
    let said = says.send(request).await;
    said.map_err(|_| Status::cancelled("the machine is gone"))
}

/// Publishes the member of the argument; answers with it as JSON.
async fn carry_out(client: &Client, serves: &[Serves], run: &Run) -> Result<String, Status> {
    let served = serves.iter().find(|serves| serves.command == run.name);
    let served = served.ok_or_else(|| Status::unimplemented("no such command"))?;
    let wrong = || Status::invalid_argument(format!("set {}", served.argument));
    let argument: serde_json::Value = serde_json::from_str(&run.arguments).map_err(|_| wrong())?;
    let member = argument.get(&served.argument).ok_or_else(wrong)?;
    let value = match member {
        serde_json::Value::Bool(truth) => Kind::Bool(*truth),
        serde_json::Value::Number(number) => Kind::Double(number.as_f64().ok_or_else(wrong)?),
        serde_json::Value::String(text) => Kind::Text(text.clone()),
        serde_json::Value::Null | serde_json::Value::Array(_) | serde_json::Value::Object(_) => {
            return Err(wrong());
        }
    };
    client
        .publish_value(&served.series, &served.unit, value)
        .await?;
    Ok(member.to_string())
}

/// How soon a program that lost its machine tries again. Source: guess.
const RETRY: Duration = Duration::from_millis(100);
/// What may wait to be said. Source: guess; one command is carried out at a time.
const SAID_MAX: usize = 8;
