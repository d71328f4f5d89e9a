//! Takes the steps of a scenario, on machines that it starts and ends.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use proto::v1 as pb;
use tokio::task::JoinSet;
use tonic::Status;

use super::client::{Client, kind_of};
use super::{Expect, ExpectAlarm, Scenario, Send, Step, program};
use crate::args::{MachinePlan, ScenarioArgs, UpArgs};
use crate::control::Request;
use crate::up::{Testnet, eprint_text};

/// Runs a scenario from its start to its end.
///
/// # Errors
///
/// The first step that fails, with its number, or what keeps the machines from running.
pub async fn run(args: &ScenarioArgs) -> anyhow::Result<()> {
    let scenario = Scenario::load(&args.scenario)?;
    eprint_text(&format!("{}\n", scenario.about.trim()));
    let temporary = match &args.dir {
        Some(_) => None,
        None => Some(tempfile::Builder::new().prefix("fieldmesh-").tempdir()?),
    };
    let given = args.dir.clone();
    let dir = given.or_else(|| temporary.as_ref().map(|dir| dir.path().to_owned()));
    let up = up_args(&scenario, args, dir.clone())?;
    let mut testnet = Testnet::lay_out(&up, &dir.unwrap_or_else(|| PathBuf::from(".")))?;
    let ran = match testnet.start().await {
        Ok(()) => {
            Stage::new(&testnet, &scenario)?
                .play(&mut testnet, &scenario)
                .await
        }
        Err(error) => Err(error),
    };
    let ended = testnet.end().await;
    if ran.is_err()
        && let Some(temporary) = temporary
    {
        let kept = temporary.keep();
        eprint_text(&format!("the machines' logs are in {}\n", kept.display()));
    }
    ran.and(ended)
}

fn up_args(
    scenario: &Scenario,
    args: &ScenarioArgs,
    dir: Option<PathBuf>,
) -> anyhow::Result<UpArgs> {
    let plan = |machine: &super::Machine| MachinePlan {
        name: machine.name.clone(),
        config: machine.config.clone(),
    };
    Ok(UpArgs {
        nodes: u8::try_from(scenario.machine.len())?,
        dir,
        quiet_sources: true,
        subnet: args.subnet.clone(),
        machines: scenario.machine.iter().map(plan).collect(),
        ..UpArgs::default()
    })
}

/// Machines and programs that run.
struct Stage {
    clients: BTreeMap<String, Client>,
    /// They end with it.
    _programs: JoinSet<()>,
}

impl Stage {
    fn new(testnet: &Testnet, scenario: &Scenario) -> anyhow::Result<Self> {
        let nodes = testnet.nodes().iter();
        let client = |node: &crate::description::NodeDescription| {
            Ok((node.name.clone(), Client::new(&node.grpc)?))
        };
        let clients: BTreeMap<String, Client> = nodes.map(client).collect::<anyhow::Result<_>>()?;
        let mut programs = JoinSet::new();
        for machine in &scenario.machine {
            if let Some(client) = clients.get(&machine.name)
                && !machine.serves.is_empty()
            {
                programs.spawn(program::serve(client.clone(), machine.serves.clone()));
            }
        }
        Ok(Self {
            clients,
            _programs: programs,
        })
    }

    async fn play(&self, testnet: &mut Testnet, scenario: &Scenario) -> anyhow::Result<()> {
        for (number, step) in (1..).zip(&scenario.step) {
            if let Some(say) = &step.say {
                eprint_text(&format!("{number:>3}  {say}\n"));
            }
            let taken = self.take(testnet, step).await;
            taken
                .with_context(|| format!("step {number}: {}", step.say.as_deref().unwrap_or("")))?;
        }
        eprint_text(&format!("all {} steps went well\n", scenario.step.len()));
        Ok(())
    }

    fn client(&self, machine: &str) -> anyhow::Result<&Client> {
        let client = self.clients.get(machine);
        client.with_context(|| format!("there is no machine {machine}"))
    }

    async fn take(&self, testnet: &mut Testnet, step: &Step) -> anyhow::Result<()> {
        if let Some(publish) = &step.publish {
            self.client(&publish.machine)?.publish(publish).await?;
        }
        if let Some(send) = &step.send {
            self.send(send).await?;
        }
        if let Some(given) = &step.acknowledge {
            self.client(&given.at)?.acknowledge(&given.alarm).await?;
        }
        if let Some(expect) = &step.expect {
            self.expect(expect).await?;
        }
        if let Some(expect) = &step.expect_alarm {
            self.expect_alarm(expect).await?;
        }
        if let Some(names) = &step.restart {
            testnet.carry_out(Request::Restart(names.clone())).await?;
        }
        if let Some(names) = &step.partition {
            testnet.carry_out(Request::Partition(names.clone())).await?;
        }
        if step.heal == Some(true) {
            testnet.carry_out(Request::Heal).await?;
        }
        Ok(())
    }

    /// A command whose program or target is only just there is sent again.
    async fn send(&self, send: &Send) -> anyhow::Result<()> {
        let client = self.client(&send.from)?;
        until(SEND_TIMEOUT, async || {
            let (code, answer) = client.send(send).await.map_err(|error| error.to_string())?;
            if format!("{code:?}") != send.code {
                return Err(format!("it ended with {code:?} ({answer})"));
            }
            let wanted = send.answer.as_ref().map(serde_json::to_string);
            match wanted {
                Some(Ok(wanted)) if !equals(&wanted, &answer) => {
                    Err(format!("it was answered with {answer}"))
                }
                _ => Ok(()),
            }
        })
        .await
    }

    async fn expect(&self, expect: &Expect) -> anyhow::Result<()> {
        let client = self.client(&expect.at)?;
        let wanted = kind_of(&expect.value).context("a value is a number, truth value or text")?;
        let check = async || {
            let values = client.latest(&expect.series).await.map_err(said)?;
            if values != [Some(wanted.clone())] {
                return Err(format!("{} is {values:?}", expect.series));
            }
            let count = client.count(&expect.series).await.map_err(said)?;
            match expect.count {
                Some(wanted) if wanted != count => Err(format!("there are {count} readings")),
                _ => Ok(()),
            }
        };
        until(humantime::parse_duration(&expect.within)?, check).await?;
        throughout(humantime::parse_duration(&expect.stays)?, check).await
    }

    async fn expect_alarm(&self, expect: &ExpectAlarm) -> anyhow::Result<()> {
        let client = self.client(&expect.at)?;
        let check = async || {
            let alarms = client.alarms().await.map_err(said)?;
            let is_it =
                |alarm: &&pb::Alarm| format!("{}:{}", alarm.machine, alarm.name) == expect.alarm;
            let Some(alarm) = alarms.iter().find(is_it) else {
                return Err(format!("there are {} alarms, not that one", alarms.len()));
            };
            let state = format!("{:?}", alarm.state()).to_lowercase();
            if state == expect.state && alarm.acknowledged_by == expect.acknowledged_by {
                return Ok(());
            }
            let by = &alarm.acknowledged_by;
            Err(format!("it is {state}, acknowledged by {by:?}"))
        };
        until(humantime::parse_duration(&expect.within)?, check).await
    }
}

fn said(status: Status) -> String {
    status.message().to_owned()
}

/// Whether two texts of JSON say the same; whole numbers may have a point.
fn equals(a: &str, b: &str) -> bool {
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    match (read(a), read(b)) {
        (Some(serde_json::Value::Number(a)), Some(serde_json::Value::Number(b))) => {
            a.as_f64() == b.as_f64()
        }
        (a, b) => a.is_some() && a == b,
    }
}

/// Checks again and again until it holds.
async fn until<F: Future<Output = Result<(), String>>>(
    limit: Duration,
    mut check: impl FnMut() -> F,
) -> anyhow::Result<()> {
    let mut reason = "there was no answer".to_owned();
    let checking = async {
        while let Err(why) = check().await {
            reason = why;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    let in_time = tokio::time::timeout(limit, checking).await.is_ok();
    anyhow::ensure!(in_time, "not within {limit:?}: {reason}");
    Ok(())
}

/// Checks again and again, the last time after `length`, whether it still holds.
async fn throughout<F: Future<Output = Result<(), String>>>(
    length: Duration,
    mut check: impl FnMut() -> F,
) -> anyhow::Result<()> {
    let end = tokio::time::sleep(length);
    tokio::pin!(end);
    loop {
        let is_last = end.is_elapsed();
        let held = check().await;
        held.map_err(|reason| anyhow::anyhow!("it did not stay so: {reason}"))?;
        if is_last {
            return Ok(());
        }
        tokio::select! {
            () = &mut end => {}
            () = tokio::time::sleep(POLL_INTERVAL) => {}
        }
    }
}

/// How often an expectation is checked. Source: guess.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How long a command may take until it ends as it must.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_must_stay_so_is_looked_at_all_the_while() {
        let mut looks = 0;
        let flickers = throughout(Duration::from_secs(3_600), || {
            looks += 1;
            let holds = looks != 2;
            async move { holds.then_some(()).ok_or_else(|| "it is off".to_owned()) }
        });

        let reason = flickers.await.unwrap_err().to_string();

        assert_eq!(reason, "it did not stay so: it is off");
    }

    #[tokio::test]
    async fn what_stays_so_is_looked_at_once_more_in_the_end() {
        let mut looks = 0;
        let stays = throughout(Duration::ZERO, || {
            looks += 1;
            std::future::ready(Ok(()))
        });

        stays.await.unwrap();

        assert_eq!(looks, 2);
    }
}
