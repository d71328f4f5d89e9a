//! A 64-byte frame there and back between two machines, and what it is compared with.
//!
//! Both ends run in this process, over loopback: on one thread, where waking the other side costs
//! nothing, and on two threads, as between two machines. The node's own way goes through its swarm;
//! beside it stand the link without a swarm, raw quinn with TLS under the same cipher, libp2p's
//! transports and raw TCP. Rounds of all cases alternate.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use fieldmesh::clock::{self, Monotonic};
use identity::Roll;
use overlay::{Address, Contact};
use statemachine::Rng;
use swarm::{Config, Credentials, Event, Lane, Sending, Swarm, WallClock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::keys;
use crate::links::{AFTER_START, Connection, End, FRAME, Kind};
use crate::measure::{Measure, Report, Sample, micros};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Requests of each case and round.
    #[arg(long, default_value_t = 1_000)]
    count: u32,
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
}

/// Where the two ends run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Threads {
    One,
    Two,
}

/// What is asked over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Case {
    /// The node's own way.
    Swarm(Threads),
    /// One stream that stays open, on one thread.
    Kept(usize),
    /// A stream for each request, on one thread.
    New(usize),
    RawTcp(Threads),
}

/// The samples of each round.
type Rounds = BTreeMap<Case, Vec<Sample>>;

pub(crate) fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let mut rounds = Rounds::new();
    for _ in 0..args.rounds {
        for case in cases() {
            let times = measure(case, args.count)?;
            rounds
                .entry(case)
                .or_default()
                .push(times.into_iter().collect());
        }
    }
    for case in cases() {
        let own = &rounds[&case];
        let all: Sample = own.iter().flat_map(Sample::values).collect();
        report.add(TIME, name(case), &all, note(case, own, &rounds))?;
    }
    Ok(())
}

fn cases() -> Vec<Case> {
    let mut cases = vec![Case::Swarm(Threads::One)];
    cases.extend((0..KINDS.len()).flat_map(|kind| [Case::Kept(kind), Case::New(kind)]));
    cases.push(Case::RawTcp(Threads::One));
    cases.extend([Case::Swarm(Threads::Two), Case::RawTcp(Threads::Two)]);
    cases
}

fn name(case: Case) -> String {
    let threads = |threads| match threads {
        Threads::One => "one thread",
        Threads::Two => "two threads",
    };
    match case {
        Case::Swarm(on) => format!("link through the swarm, {}", threads(on)),
        Case::Kept(kind) => format!("{}, kept stream", KINDS[kind].name()),
        Case::New(kind) => format!("{}, new stream", KINDS[kind].name()),
        Case::RawTcp(on) => format!("raw TCP, {}", threads(on)),
    }
}

fn note(case: Case, own: &[Sample], rounds: &Rounds) -> String {
    let (what, compared) = match case {
        Case::Swarm(Threads::One) => ("frames on the live lane", Case::Kept(QUINN)),
        Case::Swarm(Threads::Two) => ("frames on the live lane", Case::RawTcp(Threads::Two)),
        Case::Kept(_) => ("one thread, kept stream", Case::Kept(QUINN)),
        Case::New(_) => ("one thread, a stream per request", Case::New(QUINN)),
        Case::RawTcp(on) => ("echo without frames or encryption", Case::RawTcp(on)),
    };
    let limits = match case {
        Case::RawTcp(_) => "the kernel and waking",
        Case::Swarm(_) => "the hops between the tasks of swarm, handler, connection and socket",
        Case::Kept(_) | Case::New(_) => "two system calls a datagram and the hops between tasks",
    };
    let ratios = own.iter().zip(&rounds[&compared]);
    let ratios: Sample = ratios
        .map(|(own, its)| own.median() / its.median())
        .collect();
    let times = ratios.median();
    let compared = name(compared);
    format!("{what}; {times:.2} times {compared} (median of the rounds); limited by {limits}")
}

/// The times of one case in one round.
fn measure(case: Case, count: u32) -> anyhow::Result<Vec<f64>> {
    match case {
        Case::Swarm(threads) => meet(threads, answer_link, |at| ask_link(at, count)),
        Case::RawTcp(threads) => meet(threads, answer_tcp, |at| ask_tcp(at, count)),
        Case::Kept(kind) => ask_peer(KINDS[kind], count, true),
        Case::New(kind) => ask_peer(KINDS[kind], count, false),
    }
}

fn ask_peer(kind: Kind, count: u32, is_kept: bool) -> anyhow::Result<Vec<f64>> {
    let answer = move |ready: oneshot::Sender<SocketAddr>| async move {
        let (server, address) = End::start(kind, 1).await?;
        let _ = ready.send(address); // The asker may be gone.
        server.answer().await
    };
    meet(Threads::One, answer, |address| async move {
        let (mut client, _) = End::start(kind, 2).await?;
        let mut connection = client.dial(address.await.context(ENDED)?).await?;
        let times = if is_kept {
            ask_kept(&mut connection, count).await?
        } else {
            ask_new(&mut connection, count).await?
        };
        connection.close().await?;
        Ok(times)
    })
}

async fn ask_kept(connection: &mut Connection, count: u32) -> anyhow::Result<Vec<f64>> {
    let mut stream = connection.open().await?;
    let clock = Monotonic::start();
    let (mut frame, mut times) = (FRAME, Vec::new());
    for _ in 0..count + WARM_UP {
        let began = clock.uptime();
        connection.ask(&mut stream, &mut frame, false).await?;
        times.push(micros(clock.uptime() - began));
    }
    Ok(times.split_off(usize::try_from(WARM_UP)?))
}

async fn ask_new(connection: &mut Connection, count: u32) -> anyhow::Result<Vec<f64>> {
    let clock = Monotonic::start();
    let (mut frame, mut times) = (FRAME, Vec::new());
    for _ in 0..count + WARM_UP {
        let began = clock.uptime();
        let mut stream = connection.open().await?;
        connection.ask(&mut stream, &mut frame, true).await?;
        times.push(micros(clock.uptime() - began));
    }
    Ok(times.split_off(usize::try_from(WARM_UP)?))
}

/// The times of frames through the swarm, on one thread.
pub(crate) fn through_swarm(count: u32) -> anyhow::Result<Vec<f64>> {
    measure(Case::Swarm(Threads::One), count)
}

/// Lets one side ask and the other answer until the asker has finished. What the answering side
/// says first tells the asker where it is.
pub(crate) fn meet<T, A, R>(
    threads: Threads,
    answer: impl FnOnce(oneshot::Sender<T>) -> A + Send + 'static,
    ask: impl FnOnce(oneshot::Receiver<T>) -> R,
) -> anyhow::Result<Vec<f64>>
where
    T: Send + 'static,
    A: Future<Output = anyhow::Result<()>>,
    R: Future<Output = anyhow::Result<Vec<f64>>>,
{
    let (ready, is_ready) = oneshot::channel();
    match threads {
        Threads::One => runtime()?.block_on(async {
            tokio::select! {
                times = ask(is_ready) => times,
                ended = answer(ready) => Err(ended.err().unwrap_or_else(|| anyhow::anyhow!(ENDED))),
            }
        }),
        Threads::Two => {
            let (stop, stopped) = oneshot::channel::<()>();
            let other = thread::Builder::new().name("answer".to_owned());
            let other = other.spawn(move || {
                runtime()?.block_on(async {
                    tokio::select! {
                        _ = stopped => Ok(()),
                        ended = answer(ready) => ended,
                    }
                })
            })?;
            let times = runtime()?.block_on(ask(is_ready));
            drop(stop);
            other
                .join()
                .map_err(|_| anyhow::anyhow!("the answering side panicked"))??;
            times
        }
    }
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

async fn answer_link(ready: oneshot::Sender<Contact>) -> anyhow::Result<()> {
    let (machine, mut swarm) = start_swarm(2)?;
    swarm.listen(&anywhere()?)?;
    let mut ready = Some(ready);
    loop {
        let event = swarm.next().await;
        if let Event::Received(from, frame) = event {
            let sent = swarm.send(from, Lane::Live, frame);
            anyhow::ensure!(sent == Sending::Sent, "the link took no answer");
        } else if let Event::OwnAddresses(addresses) = event
            && let Some(ready) = ready.take()
        {
            tokio::time::sleep(AFTER_START).await;
            let _ = ready.send(Contact { machine, addresses }); // The asker may be gone.
        }
    }
}

async fn ask_link(contact: oneshot::Receiver<Contact>, count: u32) -> anyhow::Result<Vec<f64>> {
    let (_, mut swarm) = start_swarm(1)?;
    let contact = contact.await.context(ENDED)?;
    let peer = contact.machine;
    swarm.dial(contact);
    loop {
        match swarm.next().await {
            Event::LinkUp { .. } => break,
            Event::DialFailed(_) | Event::Refused { .. } => anyhow::bail!("no link came up"),
            Event::LinkDown(_)
            | Event::LinkMoved { .. }
            | Event::Received(..)
            | Event::Drained(_)
            | Event::RoundTrip(..)
            | Event::Discovered(_)
            | Event::OwnAddresses(_)
            | Event::Claimed { .. } => {}
        }
    }
    let frame = Bytes::from_static(&FRAME);
    let clock = Monotonic::start();
    let mut times = Vec::new();
    for _ in 0..count + WARM_UP {
        let began = clock.uptime();
        let sent = swarm.send(peer, Lane::Live, frame.clone());
        anyhow::ensure!(sent == Sending::Sent, "the link took no request");
        loop {
            let event = swarm.next().await;
            if let Event::Received(..) = event {
                break;
            }
            anyhow::ensure!(!matches!(event, Event::LinkDown(_)), "the link went down");
        }
        times.push(micros(clock.uptime() - began));
    }
    Ok(times.split_off(usize::try_from(WARM_UP)?))
}

/// An address for a link on this computer.
pub(crate) fn anywhere() -> anyhow::Result<Address> {
    Address::new("/ip4/127.0.0.1/udp/0/quic/noise".to_owned()).context("a short address")
}

/// A swarm of machine `number`.
pub(crate) fn start_swarm(number: u8) -> anyhow::Result<(model::MachineId, Swarm)> {
    let identity = keys::identity(number)?;
    let network_keys = keys::network_keys();
    let roll = Roll::new(identity.trust, Duration::ZERO);
    let credentials = Credentials {
        machine_key: &identity.keypair,
        membership: &identity.membership,
        roll: &roll,
        network_keys: &network_keys,
    };
    let config = Config::new(WallClock(Arc::new(|| Some(clock::wall_time()))));
    let swarm = Swarm::new(&credentials, &config, Rng::from_u64(number.into()))?;
    Ok((identity.keypair.machine(), swarm))
}

async fn answer_tcp(ready: oneshot::Sender<SocketAddr>) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let _ = ready.send(listener.local_addr()?); // The asker may be gone.
    let (mut stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    let mut frame = FRAME;
    loop {
        if stream.read_exact(&mut frame).await.is_err() {
            // The asker has finished, and ends this side too.
            std::future::pending::<()>().await;
        }
        stream.write_all(&frame).await?;
    }
}

async fn ask_tcp(address: oneshot::Receiver<SocketAddr>, count: u32) -> anyhow::Result<Vec<f64>> {
    let mut stream = TcpStream::connect(address.await.context(ENDED)?).await?;
    stream.set_nodelay(true)?;
    let clock = Monotonic::start();
    let (mut frame, mut times) = (FRAME, Vec::new());
    for _ in 0..count + WARM_UP {
        let began = clock.uptime();
        stream.write_all(&frame).await?;
        stream.read_exact(&mut frame).await?;
        times.push(micros(clock.uptime() - began));
    }
    Ok(times.split_off(usize::try_from(WARM_UP)?))
}

const TIME: Measure = Measure::lower("rtt", "µs");
/// What is compared, by its place.
const KINDS: [Kind; 4] = [
    Kind::Link {
        path_mtu_probes: true,
    },
    Kind::Quinn,
    Kind::QuicV1,
    Kind::Tcp,
];
const QUINN: usize = 1;
/// Requests before the measured ones.
const WARM_UP: u32 = 200;
/// Said when the asker is alone.
pub(crate) const ENDED: &str = "the answering side ended";
