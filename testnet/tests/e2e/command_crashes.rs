//! At most once, with real processes: targets and callers that are killed in a loop, against a
//! handler that counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::stream;
use proto::v1::commands_client::CommandsClient;
use proto::v1::serve_request::{End, Register, Step, Value, register::Offer};
use proto::v1::{SendRequest, ServeRequest, send_response, serve_response};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::commands::allow;
use crate::gate;
use crate::testnet::Testnet;
use crate::wait::until;

#[tokio::test]
async fn thirty_kills_of_target_and_caller_run_no_command_twice_and_no_answer_is_a_lie() {
    let _turn = gate::alone();
    let testnet = Testnet::start("127.0.54", 2, &["--quiet-sources"]).await;
    allow(&testnet, 2, "[[commands.allow]]\npattern = \"count\"\n").await;
    let runs = Runs::default();
    let (stop, stopped) = watch::channel(false);
    let mut handlers = JoinSet::new();
    handlers.spawn(serve(client(&testnet, 2), runs.clone()));
    let (ended, count) = watch::channel(0);
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let client = client(&testnet, 1);
        callers.spawn(ask(caller, client, ended.clone(), stopped.clone()));
    }

    for kill in 1_u64..=30 {
        let before = *count.borrow();
        until("commands end", PROGRESS_TIMEOUT, async || {
            let since = *count.borrow() - before;
            let enough = since >= ENDED_BEFORE_KILL;
            enough.then_some(()).ok_or(format!("{since} so far"))
        })
        .await;
        // Not always at the same moment of a command.
        tokio::time::sleep(Duration::from_micros(kill * 7_919 % 20_000)).await;
        let victim = if kill % 3 == 0 {
            "machine-1"
        } else {
            "machine-2"
        };
        testnet.order("kill", &[victim]).await;
        testnet.order("restart", &[victim]).await;
    }
    stop.send_replace(true);
    let ends: BTreeMap<_, _> = callers.join_all().await.into_iter().flatten().collect();

    let runs = runs.0.lock().expect("unpoisoned").clone();
    let twice: Vec<_> = runs.iter().filter(|(_, runs)| **runs > 1).collect();
    assert!(twice.is_empty(), "ran more than once: {twice:?}");
    for (id, code) in &ends {
        let ran = runs.get(id).copied().unwrap_or(0);
        let says_nothing_was_done = matches!(
            code,
            Code::Unavailable | Code::Unimplemented | Code::ResourceExhausted
        );
        let holds = !(says_nothing_was_done && ran > 0) && (*code != Code::Ok || ran == 1);
        assert!(holds, "{id} ended with {code:?} and ran {ran} times");
    }
    let well = ends.values().filter(|code| **code == Code::Ok).count();
    assert!(well > 100, "{well} of {} ended well", ends.len());
}

#[tokio::test]
async fn a_target_or_a_handler_that_ends_in_the_middle_is_told_as_unknown_and_two_callers_take_turns()
 {
    let _turn = gate::beside_others();
    let testnet = Testnet::start("127.0.55", 3, &["--quiet-sources"]).await;
    allow(&testnet, 2, "[[commands.allow]]\npattern = \"count\"\n").await;
    let runs = Runs::default();
    let mut handlers = JoinSet::new();
    handlers.spawn(serve(client(&testnet, 2), runs.clone()));
    serving(&testnet, &runs).await;

    // One turn: both callers are served, one after the other.
    let (mut one, mut three) = (client(&testnet, 1), client(&testnet, 3));
    let both = tokio::join!(
        send(&mut one, "01KB4N8Q2RZ3V5W7X9Y0A1C2E0", WORK),
        send(&mut three, "01KB4N8Q2RZ3V5W7X9Y0A1C2E0", WORK),
    );
    assert_eq!(
        both,
        (Code::Ok, Code::Ok),
        "one id of two callers is two commands"
    );

    // The target is killed while the handler is at work; its next life says what it knows.
    let id = "01KB4N8Q2RZ3V5W7X9Y0A1C2E1";
    let (asked, ()) = tokio::join!(send(&mut one, id, WORK_LONG), async {
        until("the command runs", PROGRESS_TIMEOUT, async || {
            runs.of(id).then_some(()).ok_or_else(String::new)
        })
        .await;
        testnet.order("kill", &["machine-2"]).await;
        testnet.order("restart", &["machine-2"]).await;
    });
    assert_eq!(asked, Code::Unknown);

    // So is a handler that ends.
    serving(&testnet, &runs).await;
    let id = "01KB4N8Q2RZ3V5W7X9Y0A1C2E2";
    let (asked, ()) = tokio::join!(send(&mut one, id, WORK_LONG), async {
        until("the command runs", PROGRESS_TIMEOUT, async || {
            runs.of(id).then_some(()).ok_or_else(String::new)
        })
        .await;
        handlers.abort_all();
    });
    assert_eq!(asked, Code::Unknown);
}

/// How often each command ran, by id.
#[derive(Clone, Debug, Default)]
struct Runs(Arc<Mutex<BTreeMap<String, u32>>>);

impl Runs {
    fn of(&self, id: &str) -> bool {
        self.0.lock().expect("unpoisoned").contains_key(id)
    }
}

fn client(testnet: &Testnet, number: usize) -> CommandsClient<Channel> {
    let address = format!("http://{}", testnet.node(number).grpc);
    let endpoint = Endpoint::from_shared(address).expect("an address");
    CommandsClient::new(endpoint.connect_lazy())
}

/// Serves one command at a time for as long as the test runs, over every restart of its node:
/// counts, works for a while, answers.
async fn serve(mut client: CommandsClient<Channel>, runs: Runs) {
    loop {
        if let Err(status) = serve_once(&mut client, &runs).await {
            assert_ne!(status.code(), Code::InvalidArgument, "{status}");
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

async fn serve_once(client: &mut CommandsClient<Channel>, runs: &Runs) -> Result<(), Status> {
    let (answers, said) = mpsc::channel(4);
    let offers = vec![Offer {
        name: "count".to_owned(),
        safe: false,
    }];
    let register = Step::Register(Register {
        offers,
        concurrent: 1,
    });
    let say = async |step| {
        let request = ServeRequest { step: Some(step) };
        let said = answers.send(request).await;
        said.map_err(|_| Status::unavailable("the node is gone"))
    };
    say(register).await?;
    let requests = stream::unfold(said, async |mut said: mpsc::Receiver<_>| {
        said.recv().await.map(|request| (request, said))
    });
    let mut orders = client.serve(Box::pin(requests)).await?.into_inner();
    while let Some(order) = orders.message().await? {
        let Some(serve_response::Step::Run(run)) = order.step else {
            continue;
        };
        *runs
            .0
            .lock()
            .expect("unpoisoned")
            .entry(run.id)
            .or_default() += 1;
        let work = run.arguments.parse().expect("milliseconds");
        tokio::time::sleep(Duration::from_millis(work)).await;
        let value = run.arguments;
        say(Step::Value(Value {
            run: run.run,
            value,
        }))
        .await?;
        let end = End {
            run: run.run,
            ..End::default()
        };
        say(Step::End(end)).await?;
    }
    Ok(())
}

/// Sends one command after the other, each again under its id until its end is heard; returns how
/// they ended.
async fn ask(
    caller: u32,
    mut client: CommandsClient<Channel>,
    ended: watch::Sender<u64>,
    stopped: watch::Receiver<bool>,
) -> Vec<(String, Code)> {
    let mut ends = Vec::new();
    for number in 0_u32.. {
        if *stopped.borrow() {
            break;
        }
        // A ULID of its own for each: ten characters of time, then who and which.
        let id = format!("01KB4N8Q2R{caller:06}{number:010}");
        let since = Instant::now();
        let code = loop {
            let code = send(&mut client, &id, WORK).await;
            // Its own node is away: nobody knows whether it was sent.
            let is_heard = code != Code::Cancelled;
            if is_heard || since.elapsed() > DEADLINE {
                break code;
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        };
        ends.push((id, code));
        ended.send_modify(|ended| *ended += 1);
    }
    ends
}

/// Sends a command; [`Code::Cancelled`] stands for a node that is away.
async fn send(client: &mut CommandsClient<Channel>, id: &str, work: Duration) -> Code {
    let work = work.as_millis().to_string();
    let request = SendRequest {
        machine: "machine-2".to_owned(),
        name: "count".to_owned(),
        arguments: work.clone(),
        deadline: prost_types::Duration::try_from(DEADLINE).ok(),
        id: id.to_owned(),
        ..SendRequest::default()
    };
    let Ok(answer) = client.send(request).await else {
        return Code::Cancelled;
    };
    let (mut answer, mut values) = (answer.into_inner(), 0);
    loop {
        match answer.message().await {
            Ok(Some(response)) => {
                if let Some(send_response::Step::Value(value)) = response.step {
                    assert_eq!(value, work);
                    values += 1;
                }
            }
            Ok(None) => {
                assert_eq!(values, 1, "{id} ended well");
                return Code::Ok;
            }
            // A stream that broke with its node, not a word of the target.
            Err(status) if is_broken(&status) => return Code::Cancelled,
            Err(status) => return status.code(),
        }
    }
}

/// Whether a status was made by the client's own transport, or by a node that stops.
fn is_broken(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
        || status.message().contains("this node is stopping")
}

/// Waits until the handler serves.
async fn serving(testnet: &Testnet, runs: &Runs) {
    let mut own = client(testnet, 2);
    let before = runs.0.lock().expect("unpoisoned").len();
    let mut number = 0;
    until("the handler serves", PROGRESS_TIMEOUT, async || {
        number += 1;
        let id = format!("01KB4N8Q2S{before:06}{number:010}");
        let code = send(&mut own, &id, WORK).await;
        (code == Code::Ok).then_some(()).ok_or(format!("{code:?}"))
    })
    .await;
}

/// Who ask at once.
const CALLERS: u32 = 4;
/// How many commands end between two kills.
const ENDED_BEFORE_KILL: u64 = 12;
/// Time until a command's deadline: longer than a machine takes to come back.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long the handler works: the argument.
const WORK: Duration = Duration::from_millis(5);
/// How long it works where it is to be met at work.
const WORK_LONG: Duration = Duration::from_secs(3);
/// How long to wait before a node that is away is asked again.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);
/// Longest time until something goes on. Source: guess, above two deadlines.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(60);
