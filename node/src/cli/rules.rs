//! `rules` and `alarms`.

mod replay;

use std::collections::BTreeMap;
use std::io::{self, Write};

use proto::v1::{self as pb, AlarmState};
use serde_json::json;

use super::args::Output;
use super::client::Client;
use super::failure::{Failure, Kind};
use super::local::failed;
use super::mesh::{or_dash, print_json, yes};
use super::render::{escape, time};
use super::rules_args::{AckArgs, AlarmsArgs, AlarmsCommand, RulesCommand, RulesFileArgs};
use super::table;
use super::{NodeArgs, ask};
use crate::config;

/// `fieldmesh rules`
pub(crate) fn rules(
    command: RulesCommand,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    match command {
        RulesCommand::Check(args) => check(&args, output, out),
        RulesCommand::List(args) => ask(list(args, output, out)),
        RulesCommand::Reload(args) => ask(reload(args, output, out)),
        RulesCommand::Test(args) => replay::test(&args, output, out),
    }
}

/// `fieldmesh alarms`
pub(crate) async fn alarms(
    args: AlarmsArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    if let Some(AlarmsCommand::Ack(args)) = args.command {
        return acknowledge(args, output, out).await;
    }
    let mut client = Client::connect(args.node).await?;
    let request = pb::ListAlarmsRequest { all: args.all };
    let answer = client.rules.list_alarms(request).await;
    let answer = answer.map_err(|status| client.failure(&status))?;
    Ok(print_alarms(&answer.into_inner().alarms, output, out)?)
}

/// `fieldmesh rules check`
fn check(args: &RulesFileArgs, output: Output, out: &mut impl Write) -> Result<(), Failure> {
    let rules = config::load_rules(&args.file).map_err(failed)?;
    let rows = rules.iter().map(|rule| {
        let draft = rule.draft();
        let series: BTreeMap<String, ()> = rule
            .series()
            .map(|(pattern, _)| (pattern.to_string(), ()))
            .collect();
        let series: Vec<String> = series.into_keys().collect();
        (draft.name.clone(), draft.action.kind(), series)
    });
    match output {
        Output::Json => rows.into_iter().try_for_each(|(name, action, series)| {
            let rule = json!({ "name": name, "action": action, "series": series });
            print_json(out, &rule)
        })?,
        Output::Table => {
            let rows =
                rows.map(|(name, action, series)| [name, action.to_owned(), series.join(" ")]);
            table::print(out, ["RULE", "ACTION", "LISTENS TO"], rows)?;
            writeln!(out, "{} is in order", args.file.display())?;
        }
    }
    Ok(())
}

/// `fieldmesh rules list`
async fn list(args: NodeArgs, output: Output, out: &mut impl Write) -> Result<(), Failure> {
    let mut client = Client::connect(args).await?;
    let answer = client.rules.list_rules(pb::ListRulesRequest {}).await;
    let rules = answer
        .map_err(|status| client.failure(&status))?
        .into_inner()
        .rules;
    if output == Output::Json {
        let mut rules = rules.iter();
        return Ok(rules.try_for_each(|rule| {
            let rule = json!({
                "name": rule.name,
                "when": rule.when,
                "action": rule.action,
                "dry_run": rule.dry_run,
                "active": rule.active,
                "blind": rule.blind,
                "stopped": rule.stopped,
                "acted": rule.acted.as_ref().map(|at| time(Some(at))),
            });
            print_json(out, &rule)
        })?);
    }
    let rows = rules.iter().map(|rule| {
        [
            escape(&rule.name),
            rule.action.clone(),
            yes(rule.active),
            or_dash(condition(rule).to_owned()),
            or_dash(time(rule.acted.as_ref())),
            or_dash(escape(&rule.when)),
        ]
    });
    let heads = ["RULE", "ACTION", "ACTIVE", "NOTE", "ACTED", "WHEN"];
    Ok(table::print(out, heads, rows)?)
}

/// What keeps a rule from acting.
const fn condition(rule: &pb::Rule) -> &'static str {
    match (rule.stopped, rule.blind, rule.dry_run) {
        (true, ..) => "stopped: circle",
        (false, true, _) => "blind",
        (false, false, true) => "dry run",
        (false, false, false) => "",
    }
}

/// `fieldmesh rules reload`
async fn reload(args: NodeArgs, output: Output, out: &mut impl Write) -> Result<(), Failure> {
    let mut client = Client::connect(args).await?;
    let answer = client.rules.reload_rules(pb::ReloadRulesRequest {}).await;
    let rules = answer
        .map_err(|status| client.failure(&status))?
        .into_inner()
        .rules;
    let text = format!("{rules} rules are loaded");
    Ok(super::local::print(
        output,
        &json!({ "rules": rules }),
        &text,
        out,
    )?)
}

async fn acknowledge(args: AckArgs, output: Output, out: &mut impl Write) -> Result<(), Failure> {
    let Some((machine, name)) = args.alarm.split_once(':') else {
        let problem = "name the alarm as MACHINE:NAME, as `fieldmesh alarms` shows it";
        return Err(Failure::new(Kind::Usage, problem.to_owned()));
    };
    let mut client = Client::connect(args.node).await?;
    let request = pb::AcknowledgeAlarmRequest {
        machine: machine.to_owned(),
        name: name.to_owned(),
    };
    let answer = client.rules.acknowledge_alarm(request).await;
    answer.map_err(|status| client.failure(&status))?;
    let fields = json!({ "machine": machine, "name": name, "acknowledged": true });
    let text = format!("{} is acknowledged", escape(&args.alarm));
    Ok(super::local::print(output, &fields, &text, out)?)
}

fn print_alarms(alarms: &[pb::Alarm], output: Output, out: &mut impl Write) -> io::Result<()> {
    let moment = |at: &Option<prost_types::Timestamp>| at.as_ref().map(|at| time(Some(at)));
    if output == Output::Json {
        return alarms.iter().try_for_each(|alarm| {
            let alarm = json!({
                "machine_id": alarm.machine_id,
                "machine": alarm.machine,
                "name": alarm.name,
                "priority": alarm.priority,
                "text": alarm.text,
                "state": state(alarm.state()),
                "raised": moment(&alarm.raised),
                "changed": moment(&alarm.changed),
                "acknowledged": moment(&alarm.acknowledged),
                "acknowledged_by": alarm.acknowledged_by,
            });
            print_json(out, &alarm)
        });
    }
    let mut alarms: Vec<&pb::Alarm> = alarms.iter().collect();
    alarms.sort_by_key(|alarm| {
        (
            alarm.state() == AlarmState::Cleared,
            urgency(&alarm.priority),
        )
    });
    let rows = alarms.into_iter().map(|alarm| {
        let machine = match alarm.machine.as_str() {
            "" => &alarm.machine_id,
            name => name,
        };
        [
            escape(&format!("{machine}:{}", alarm.name)),
            state(alarm.state()).to_owned(),
            or_dash(escape(&alarm.priority)),
            or_dash(moment(&alarm.raised).unwrap_or_default()),
            or_dash(escape(&alarm.acknowledged_by)),
            or_dash(escape(&alarm.text)),
        ]
    });
    let heads = [
        "ALARM",
        "STATE",
        "PRIORITY",
        "RAISED",
        "ACKNOWLEDGED BY",
        "TEXT",
    ];
    table::print(out, heads, rows)
}

/// The most urgent first.
fn urgency(priority: &str) -> u8 {
    match priority {
        "critical" => 0,
        "high" => 1,
        _ => 2,
    }
}

const fn state(state: AlarmState) -> &'static str {
    match state {
        AlarmState::Unspecified | AlarmState::Unknown => "unknown",
        AlarmState::Raised => "raised",
        AlarmState::Cleared => "cleared",
    }
}

#[cfg(test)]
mod tests;
