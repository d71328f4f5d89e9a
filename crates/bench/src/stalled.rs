//! Memory of a machine while one of its neighbours does not read, and of one that has none such.
//!
//! Four machines; the last one is ended, and this program takes its place as a neighbour of the
//! first: it makes the link, becomes a neighbour, and never reads again, while its QUIC goes on
//! acknowledging packets. A client publishes at the first machine all the time.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use fieldmesh::{clock, config, keys};
use identity::Roll;
use model::MachineId;
use overlay::{Address, Contact, Message};
use proto::v1::value::Kind;
use statemachine::Rng;
use swarm::{Credentials, Event, Sending, Swarm, WallClock};
use testnet::control::Request;
use testnet::description::NodeDescription;
use wire::Frame;

use crate::client::{Client, reading};
use crate::measure::{Measure, Report, Sample, length, number};
use crate::process::Process;
use crate::site::Site;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long the neighbour does not read, like `10m`.
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
    stall: Duration,
    /// Readings published each second.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(100..))]
    rate: u32,
}

pub(crate) async fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let site = Site::start(MACHINES, "10s").await?;
    let client = Client::connect(&site.nodes()[0].grpc).await?;
    let measuring = async {
        tokio::time::sleep(WARM_UP).await;
        let before = look(&site, args.stall / 10).await?;
        site.order(Request::Kill(vec![site.nodes()[3].name.clone()]))
            .await?;
        let stalled = Stalled::start(&site.nodes()[3], &site.nodes()[0]).await?;
        let during = look(&site, args.stall).await?;
        drop(stalled);
        anyhow::Ok((before, during))
    };
    let (before, during) = tokio::select! {
        measured = measuring => measured?,
        Err(error) = publish(&client, args.rate) => return Err(error),
    };
    let cases = ["whose neighbour does not read", "whose neighbours all read"];
    for ((what, before), during) in cases.into_iter().zip(&before).zip(&during) {
        let (least, most) = range(during);
        let note = format!(
            "{:.1} before; {least:.1} to {most:.1} while it does not read, {:?} at {} readings/s",
            before.median(),
            args.stall,
            args.rate,
        );
        report.add(MEMORY, format!("a machine {what}"), during, note)?;
    }
    drop(client);
    site.stop().await
}

/// A neighbour that does not read.
struct Stalled {
    _swarm: Swarm,
}

impl Stalled {
    /// Takes the place of a machine that has ended, as a neighbour of another.
    async fn start(own: &NodeDescription, of: &NodeDescription) -> anyhow::Result<Self> {
        let configuration = config::load(&own.config)?;
        let keys = keys::load(&configuration.network)?;
        let roll = Roll::new(keys.identity.trust, Duration::ZERO);
        let credentials = Credentials {
            machine_key: &keys.identity.keypair,
            membership: &keys.identity.membership,
            roll: &roll,
            network_keys: &keys.network_keys,
        };
        let config = swarm::Config::new(WallClock(Arc::new(|| Some(clock::wall_time()))));
        let mut swarm = Swarm::new(&credentials, &config, Rng::from_u64(1))?;
        let machine: MachineId = of.machine_id.parse()?;
        let (ip, port) = of.quic.split_once(':').context("an address and a port")?;
        let address = format!("/ip4/{ip}/udp/{port}/quic/noise");
        let addresses = Address::new(address).into_iter().collect();
        swarm.dial(Contact { machine, addresses });
        loop {
            match swarm.next().await {
                Event::LinkUp { machine, .. } => {
                    let contact = Contact {
                        machine: keys.identity.keypair.machine(),
                        addresses: Vec::new(),
                    };
                    let urgent = true;
                    let frame = Frame::Overlay(Message::Neighbour { contact, urgent });
                    let sent = swarm.send(machine, frame.lane(), wire::encode(&frame));
                    anyhow::ensure!(sent == Sending::Sent, "the link took no frame");
                }
                Event::Received(_, bytes) => {
                    let taken = Frame::Overlay(Message::NeighbourReply { accepted: true });
                    if wire::decode(bytes)? == taken {
                        return Ok(Self { _swarm: swarm });
                    }
                }
                Event::DialFailed(_) | Event::Refused { .. } | Event::LinkDown(_) => {
                    anyhow::bail!("no link came up")
                }
                Event::LinkMoved { .. }
                | Event::Drained(_)
                | Event::RoundTrip(..)
                | Event::Discovered(_)
                | Event::OwnAddresses(_)
                | Event::Claimed { .. } => {}
            }
        }
    }
}

/// Resident memory of the first two machines over a time.
async fn look(site: &Site, time: Duration) -> anyhow::Result<[Sample; 2]> {
    let mut samples = [Sample::default(), Sample::default()];
    let mut ticks = tokio::time::interval(time / LOOKS);
    for _ in 0..=LOOKS {
        ticks.tick().await;
        for (pid, sample) in site.pids()?.into_iter().zip(&mut samples) {
            let bytes = Process::Id(pid).resident()?;
            sample.push(number(bytes) / length(1 << 20));
        }
    }
    Ok(samples)
}

/// Publishes at a steady rate without end.
async fn publish(client: &Client, rate: u32) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) * BATCH / rate);
    let mut count = 0_u32;
    loop {
        ticks.tick().await;
        let batch = (0..BATCH).map(|index| {
            count = count.wrapping_add(1);
            let name = format!("bench/stalled/{index}");
            reading(&name, clock::wall_time(), Some(Kind::Double(count.into())))
        });
        client.publish(batch.collect()).await?;
    }
}

fn range(sample: &Sample) -> (f64, f64) {
    let bounds = (f64::INFINITY, f64::NEG_INFINITY);
    let widen = |(least, most): (f64, f64), value: f64| (least.min(value), most.max(value));
    sample.values().fold(bounds, widen)
}

const MEMORY: Measure = Measure::lower("stalled", "MiB");
/// The one that publishes, two that read, and the one whose place is taken.
const MACHINES: u8 = 4;
/// Readings in one message.
const BATCH: u32 = 100;
/// How often memory is looked at in a stretch of time.
const LOOKS: u32 = 60;
/// After this the machines' caches are as large as they get.
const WARM_UP: Duration = Duration::from_secs(60);
