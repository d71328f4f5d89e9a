//! From nothing to the first answer: the time, the CPU of both sides, and the bytes, of the link
//! and of what could be used instead.
//!
//! Both ends run in this process, on one thread, over loopback. Each handshake has a client that
//! has never spoken with the server; its socket and keys are made before the clock starts. Rounds
//! of all kinds alternate. Bytes are counted apart, by a program in the middle, over a while after
//! the answer, so that probes for larger datagrams count.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fieldmesh::clock::Monotonic;
use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::links::{End, FRAME, Kind};
use crate::measure::{Measure, Report, Sample, micros, number};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Handshakes of each kind and round.
    #[arg(long, default_value_t = 20)]
    count: u32,
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
}

/// What was measured of one kind.
#[derive(Debug, Default)]
struct Samples {
    time: Sample,
    cpu: Sample,
    bytes: Sample,
}

pub(crate) async fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let mut samples: [Samples; Kind::ALL.len()] = Default::default();
    for _ in 0..args.rounds {
        for (kind, samples) in Kind::ALL.into_iter().zip(&mut samples) {
            let (server, address) = End::start(kind, 1).await?;
            let asking = async {
                for number in 0..args.count + WARM_UP {
                    let (time, cpu) = handshake(kind, address).await?;
                    if number >= WARM_UP {
                        samples.time.push(micros(time));
                        samples.cpu.push(micros(cpu));
                    }
                }
                samples.bytes.push(bytes(kind, address).await?);
                anyhow::Ok(())
            };
            tokio::select! {
                asked = asking => asked?,
                answered = server.answer() => answered?,
            }
        }
    }
    for (kind, samples) in Kind::ALL.into_iter().zip(&samples) {
        let note = "to the end of a 64-byte answer; limited by signatures and their checks";
        report.add(TIME, format!("{}, time", kind.name()), &samples.time, note)?;
        let note = "of both sides together";
        report.add(CPU, format!("{}, CPU", kind.name()), &samples.cpu, note)?;
        let note = if kind.is_tcp() {
            "payload of TCP, both ways"
        } else {
            "payload of UDP, both ways; limited by padding to 1,200 bytes and, but for thin, by \
             probes for larger datagrams"
        };
        report.add(
            BYTES,
            format!("{}, bytes", kind.name()),
            &samples.bytes,
            note,
        )?;
    }
    Ok(())
}

/// The time of a handshake with its first answer, and the CPU time of this process meanwhile.
async fn handshake(kind: Kind, to: SocketAddr) -> anyhow::Result<(Duration, Duration)> {
    let (mut client, _) = End::start(kind, 2).await?;
    let (clock, cpu) = (Monotonic::start(), cpu_time());
    let mut connection = client.dial(to).await?;
    let mut stream = connection.open().await?;
    let mut frame = FRAME;
    connection.ask(&mut stream, &mut frame, true).await?;
    let taken = (clock.uptime(), cpu_time().saturating_sub(cpu));
    connection.close().await?;
    Ok(taken)
}

/// How many bytes a handshake takes, both ways, but for the close.
async fn bytes(kind: Kind, to: SocketAddr) -> anyhow::Result<f64> {
    let count = Arc::new(AtomicU64::new(0));
    let mut before_close = 0;
    let (at, counting) = if kind.is_tcp() {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let at = listener.local_addr()?;
        (
            at,
            futures::future::Either::Left(count_tcp(listener, to, Arc::clone(&count))),
        )
    } else {
        let near = UdpSocket::bind("127.0.0.1:0").await?;
        let at = near.local_addr()?;
        (
            at,
            futures::future::Either::Right(count_udp(near, to, Arc::clone(&count))),
        )
    };
    let shaking = async {
        let (mut client, _) = End::start(kind, 2).await?;
        let mut connection = client.dial(at).await?;
        let mut stream = connection.open().await?;
        connection
            .ask(&mut stream, &mut FRAME.clone(), true)
            .await?;
        tokio::time::sleep(LINGER).await;
        before_close = count.load(Ordering::Relaxed);
        connection.close().await
    };
    tokio::select! {
        shaken = shaking => shaken?,
        counted = counting => counted?,
    }
    Ok(number(before_close))
}

async fn count_udp(near: UdpSocket, to: SocketAddr, count: Arc<AtomicU64>) -> anyhow::Result<()> {
    let far = UdpSocket::bind("127.0.0.1:0").await?;
    let (mut there, mut back) = (vec![0; 65_536], vec![0; 65_536]);
    let mut client = None;
    loop {
        tokio::select! {
            received = near.recv_from(&mut there) => {
                let (length, from) = received?;
                client = Some(from);
                add(&count, length);
                far.send_to(&there[..length], to).await?;
            }
            received = far.recv_from(&mut back) => {
                let (length, _) = received?;
                add(&count, length);
                if let Some(client) = client {
                    near.send_to(&back[..length], client).await?;
                }
            }
        }
    }
}

async fn count_tcp(
    listener: TcpListener,
    to: SocketAddr,
    count: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    let (mut near, _) = listener.accept().await?;
    let mut far = TcpStream::connect(to).await?;
    let (mut there, mut back) = ([0; 4_096], [0; 4_096]);
    loop {
        tokio::select! {
            read = near.read(&mut there) => {
                let length = read?;
                add(&count, length);
                far.write_all(&there[..length]).await?;
            }
            read = far.read(&mut back) => {
                let length = read?;
                add(&count, length);
                near.write_all(&back[..length]).await?;
            }
        }
    }
}

fn add(count: &AtomicU64, length: usize) {
    count.fetch_add(u64::try_from(length).unwrap_or(u64::MAX), Ordering::Relaxed);
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

const TIME: Measure = Measure::lower("handshake", "µs");
const CPU: Measure = Measure::lower("handshake", "µs CPU");
const BYTES: Measure = Measure::lower("handshake", "bytes");
/// Handshakes before the measured ones, each round.
const WARM_UP: u32 = 3;
/// How long after the answer bytes still count. Source: guess, above the probes of a short path.
const LINGER: Duration = Duration::from_millis(100);
