//! The service `Commands`.

use std::sync::Arc;
use std::time::Duration;

use command::{Code, CommandId, CommandName, HandlerId, Lineage, Message, Offer, RunId};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, stream};
use proto::v1::{self as pb, commands_server::Commands};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::{Backend, Refusal, json};

/// A command to send. Arguments have been checked but for what depends on the target.
#[derive(Clone, Debug)]
pub struct Order {
    /// To whom: a machine's name or id, or `self`.
    pub machine: String,
    /// Its id, if the client drew one.
    pub id: Option<CommandId>,
    /// What.
    pub name: CommandName,
    /// With what.
    pub argument: command::Argument,
    /// Time until the deadline.
    pub deadline: Duration,
    /// Which rules led to it.
    pub lineage: Lineage,
    /// The target may be away.
    pub when_reachable: bool,
}

/// What becomes of a command that was sent. When the receiver is dropped, nobody waits any more.
#[derive(Debug)]
pub struct Sent {
    /// Its id.
    pub id: CommandId,
    /// Values, then one end; at most [`Message::ITEMS_MAX`] and one.
    pub steps: mpsc::Receiver<SentStep>,
}

/// One step of an answer.
#[derive(Clone, Debug)]
pub enum SentStep {
    /// A value.
    Value(command::Argument),
    /// The end.
    Ended(command::Status),
}

/// A program that serves commands, as the node sees it.
#[derive(Debug)]
pub struct Serving {
    /// Its id.
    pub handler: HandlerId,
    /// What it is to do; ends when the node drops it.
    pub orders: mpsc::Receiver<ServingOrder>,
}

/// What a program is to do.
#[derive(Clone, Debug)]
pub enum ServingOrder {
    /// Carry a command out; with the caller's name.
    Run(RunId, Box<command::Command>, String),
    /// Nobody waits for this run any more.
    Cancel(RunId),
    /// It cannot serve.
    Declined(command::Status),
}

/// What a program has done.
#[derive(Clone, Debug)]
pub enum Served {
    /// A value of an answer.
    Value(RunId, command::Argument),
    /// A command has ended.
    Ended(RunId, command::Status),
}

/// What commands ask of a node.
pub trait CommandBackend: Send + Sync + 'static {
    /// Sends a command.
    fn send(&self, order: Order) -> BoxFuture<'static, Result<Sent, Refusal>>;

    /// Has a program serve commands.
    fn serve(&self, offer: Offer) -> BoxFuture<'static, Result<Serving, Refusal>>;

    /// Takes in what a program has done.
    fn served(&self, served: Served) -> BoxFuture<'static, Result<(), Refusal>>;

    /// A program is gone. Does not wait.
    fn gone(&self, handler: HandlerId);
}

/// The service, over a backend.
pub(crate) struct CommandsService {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) stop: CancellationToken,
}

#[tonic::async_trait]
impl Commands for CommandsService {
    type SendStream = BoxStream<'static, Result<pb::SendResponse, Status>>;
    type ServeStream = BoxStream<'static, Result<pb::ServeResponse, Status>>;

    async fn send(
        &self,
        request: Request<pb::SendRequest>,
    ) -> Result<Response<Self::SendStream>, Status> {
        let order = order_of(request.into_inner())?;
        let sent = self.backend.send(order).await?;
        let id = pb::send_response::Step::Id(sent.id.to_string());
        let first = stream::once(async move { Ok(pb::SendResponse { step: Some(id) }) });
        let steps = stream::unfold(Some(sent.steps), |steps| async move {
            let mut steps = steps?;
            match steps.recv().await {
                Some(SentStep::Value(value)) => {
                    let value = pb::send_response::Step::Value(json::write(&value));
                    Some((Ok(pb::SendResponse { step: Some(value) }), Some(steps)))
                }
                Some(SentStep::Ended(status)) if status.code == Code::Ok => None,
                Some(SentStep::Ended(status)) => Some((Err(to_status(&status)), None)),
                None => Some((Err(Refusal::Stopping.into()), None)),
            }
        });
        Ok(Response::new(first.chain(steps).boxed()))
    }

    async fn serve(
        &self,
        request: Request<Streaming<pb::ServeRequest>>,
    ) -> Result<Response<Self::ServeStream>, Status> {
        let mut requests = request.into_inner();
        let first = requests.message().await?.and_then(|first| first.step);
        let Some(pb::serve_request::Step::Register(register)) = first else {
            return Err(Status::invalid_argument(
                "the first request registers commands",
            ));
        };
        let serving = self.backend.serve(offer_of(register)?).await?;
        let gone = Gone {
            backend: Arc::clone(&self.backend),
            handler: serving.handler,
        };
        let registered = pb::serve_response::Step::Registered(pb::serve_response::Registered {});
        let registered = stream::once(async move { Ok(registered) });
        let orders = stream::unfold(serving.orders, |mut orders| async move {
            let order = orders.recv().await?;
            Some((to_step(order), orders))
        });
        let answers = take_answers(requests, Arc::clone(&self.backend)).into_stream();
        let stop = self.stop.clone().cancelled_owned().into_stream();
        let stop = stop.map(|()| Err(Refusal::Stopping.into()));
        // The program's end, its mistakes and the node's stop end the stream as well.
        let ends = stream::select(answers.map(Err), stop);
        let steps = stream::select(registered.chain(orders), ends);
        let responses = steps.scan(false, move |ended, step| {
            let _ = &gone; // Says so when the stream is dropped.
            let step = (!*ended).then(|| step.map(|step| pb::ServeResponse { step: Some(step) }));
            *ended = !matches!(step, Some(Ok(_)));
            std::future::ready(step)
        });
        Ok(Response::new(responses.boxed()))
    }
}

/// Tells the node that a program is gone when the last of its stream is dropped.
struct Gone {
    backend: Arc<dyn Backend>,
    handler: HandlerId,
}

impl Drop for Gone {
    fn drop(&mut self) {
        self.backend.gone(self.handler);
    }
}

/// Passes on what a program says until it ends; returns why it ended.
async fn take_answers(
    mut requests: Streaming<pb::ServeRequest>,
    backend: Arc<dyn Backend>,
) -> Status {
    loop {
        let served = match requests.message().await {
            Ok(Some(request)) => served_of(request),
            Ok(None) => return Status::cancelled("the program has ended its stream"),
            Err(status) => return status,
        };
        let taken = match served {
            Ok(served) => backend.served(served).await.map_err(Status::from),
            Err(status) => Err(status),
        };
        if let Err(status) = taken {
            return status;
        }
    }
}

fn order_of(request: pb::SendRequest) -> Result<Order, Status> {
    let deadline = match request.deadline {
        None => DEADLINE_DEFAULT,
        Some(deadline) => Duration::try_from(deadline)
            .map_err(|_| Status::invalid_argument("a deadline lies ahead"))?,
    };
    let id = (!request.id.is_empty()).then(|| request.id.parse());
    let lineage = Lineage::new(request.lineage).ok_or_else(|| {
        Status::failed_precondition("too many rules led to it: it is taken for a circle of rules")
    })?;
    Ok(Order {
        machine: request.machine,
        id: id
            .transpose()
            .map_err(|error: command::IdError| Status::invalid_argument(error.to_string()))?,
        name: name_of(&request.name)?,
        argument: json::read(&request.arguments)?,
        deadline,
        lineage,
        when_reachable: request.when_reachable,
    })
}

fn offer_of(register: pb::serve_request::Register) -> Result<Offer, Status> {
    if register.offers.is_empty() || register.offers.len() > OFFERS_MAX {
        let message = format!("a program serves at least one command and at most {OFFERS_MAX}");
        return Err(Status::invalid_argument(message));
    }
    let concurrent = u16::try_from(register.concurrent.max(1)).unwrap_or(u16::MAX);
    if concurrent > CONCURRENT_MAX {
        let message = format!("a program carries out at most {CONCURRENT_MAX} commands at once");
        return Err(Status::invalid_argument(message));
    }
    let offers = register.offers.iter();
    let commands = offers.map(|offer| Ok((name_of(&offer.name)?, offer.safe)));
    Ok(Offer {
        commands: commands.collect::<Result<_, Status>>()?,
        concurrent,
    })
}

fn served_of(request: pb::ServeRequest) -> Result<Served, Status> {
    use pb::serve_request::Step;
    match request.step {
        Some(Step::Value(value)) => {
            let argument = json::read(&value.value)?;
            Ok(Served::Value(RunId(value.run), argument))
        }
        Some(Step::End(end)) => {
            let code = Code::from_number(end.code)
                .ok_or_else(|| Status::invalid_argument("an end has a status code of gRPC"))?;
            let status = command::Status::new(code, end.message);
            Ok(Served::Ended(RunId(end.run), status))
        }
        Some(Step::Register(_)) | None => Err(Status::invalid_argument(
            "a program registers once, then gives values and ends",
        )),
    }
}

fn to_step(order: ServingOrder) -> Result<pb::serve_response::Step, Status> {
    use pb::serve_response::{Cancel, Run, Step};
    match order {
        ServingOrder::Run(run, command, caller) => Ok(Step::Run(Run {
            run: run.0,
            name: command.name.to_string(),
            arguments: json::write(&command.argument),
            caller_id: command.caller.to_string(),
            caller,
            id: command.id.to_string(),
            remaining: prost_types::Duration::try_from(command.remaining).ok(),
            lineage: command.lineage.rules().to_vec(),
        })),
        ServingOrder::Cancel(run) => Ok(Step::Cancel(Cancel { run: run.0 })),
        ServingOrder::Declined(status) => Err(to_status(&status)),
    }
}

fn name_of(text: &str) -> Result<CommandName, Status> {
    let name = text.parse::<CommandName>();
    name.map_err(|error| Status::invalid_argument(format!("a command's name: {error}")))
}

fn to_status(status: &command::Status) -> Status {
    Status::new(
        i32::from(status.code.number()).into(),
        status.message.clone(),
    )
}

/// Deadline of a command whose client gives none. Source: the contract.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(5);
/// Most commands of one program. Source: guess.
const OFFERS_MAX: usize = 256;
/// Most commands that a program carries out at once. Source: guess.
const CONCURRENT_MAX: u16 = 64;
const _: () = assert!(DEADLINE_DEFAULT.as_secs() < Message::REMAINING_MAX.as_secs());
