//! A 64-byte frame there and back between two machines, and raw TCP beside it as the limit.
//!
//! Both ends run in this process, over loopback: on one thread, where waking the other side costs
//! nothing, and on two threads, as between two machines. Rounds of all four cases alternate.

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
#[derive(Clone, Copy)]
enum Threads {
    One,
    Two,
}

pub(crate) fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let mut samples: [Sample; 4] = Default::default();
    let count = args.count;
    for _ in 0..args.rounds {
        for (threads, pair) in [Threads::One, Threads::Two].into_iter().zip([0, 2]) {
            let link = meet(threads, answer_link, |at| ask_link(at, count))?;
            let tcp = meet(threads, answer_tcp, |at| ask_tcp(at, count))?;
            samples[pair].extend(link);
            samples[pair + 1].extend(tcp);
        }
    }
    let [link_one, tcp_one, link_two, tcp_two] = &samples;
    for (threads, link, tcp) in [
        ("one thread", link_one, tcp_one),
        ("two threads", link_two, tcp_two),
    ] {
        let times = link.median() / tcp.median();
        report.add(
            TIME,
            format!("link, {threads}"),
            link,
            format!(
                "{times:.1} times raw TCP; limited by the hops between the tasks of swarm and \
                 connection, then by Noise under pnet"
            ),
        )?;
        let note = "echo without frames or encryption; limited by the kernel and by waking";
        report.add(TIME, format!("raw TCP, {threads}"), tcp, note)?;
    }
    Ok(())
}

/// Lets one side ask and the other answer until the asker has finished. What the answering side
/// says first tells the asker where it is.
fn meet<T, A, R>(
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
    let anywhere = Address::new("/ip4/127.0.0.1/tcp/0".to_owned()).context("a short address")?;
    swarm.listen(&anywhere)?;
    let mut ready = Some(ready);
    loop {
        let event = swarm.next().await;
        if let Event::Received(from, frame) = event {
            let sent = swarm.send(from, Lane::Live, frame);
            anyhow::ensure!(sent == Sending::Sent, "the link took no answer");
        } else if let Event::OwnAddresses(addresses) = event
            && let Some(ready) = ready.take()
        {
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

fn start_swarm(number: u8) -> anyhow::Result<(model::MachineId, Swarm)> {
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
/// What travels. Source: design, section 14 h.
const FRAME: [u8; 64] = [7; 64];
/// Requests before the measured ones.
const WARM_UP: u32 = 200;
const ENDED: &str = "the answering side ended";
