//! `status`, `peers`, `topology`, `relays` and `uplink`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use proto::v1::{self as pb, uplink_status::State};
use serde::Serialize;
use serde_json::{Value as Json, json};

use super::args::{NodeArgs, Output, UplinkArgs};
use super::client::Client;
use super::failure::Failure;
use super::render::{bytes, count, escape, millis, time};
use super::{set_aside, table};

/// `fieldmesh status`
pub(crate) async fn status(
    args: NodeArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut client = Client::connect(args).await?;
    let answer = client.mesh.get_status(pb::GetStatusRequest {}).await;
    let status = answer
        .map_err(|status| client.failure(&status))?
        .into_inner();
    Ok(print_status(&status, output, out)?)
}

pub(crate) fn print_status(
    status: &pb::GetStatusResponse,
    output: Output,
    out: &mut impl Write,
) -> io::Result<()> {
    match output {
        Output::Json => print_json(out, &StatusJson::new(status)),
        Output::Table => table::print(out, ["WHAT", "VALUE"], status_rows(status)),
    }
}

/// What `status --output json` prints; the names are relied on by scripts.
#[derive(Serialize)]
struct StatusJson<'a> {
    machine_id: &'a str,
    name: &'a str,
    site: &'a str,
    version: &'a str,
    uptime_s: i64,
    ready: bool,
    neighbours: u32,
    machines: u32,
    is_relay: bool,
    relays: &'a [String],
    time_state: &'a str,
    store: Json,
    uplink: Json,
    membership: Json,
}

impl<'a> StatusJson<'a> {
    fn new(status: &'a pb::GetStatusResponse) -> Self {
        let store = status.store.unwrap_or_default();
        let membership = status.membership.as_ref();
        let (state, backlog) = overall(&status.uplinks);
        Self {
            machine_id: &status.machine_id,
            name: &status.name,
            site: &status.site,
            version: &status.version,
            uptime_s: status.uptime.unwrap_or_default().seconds,
            ready: status.ready,
            neighbours: status.neighbours,
            machines: status.machines,
            is_relay: status.is_relay,
            relays: &status.relays,
            time_state: &status.time_state,
            store: json!({
                "bytes": count(store.bytes),
                "readings": count(store.readings),
                "blocks": count(store.blocks),
            }),
            uplink: json!({ "state": state, "backlog": count(backlog) }),
            membership: json!({
                "roles": membership.map(|m| m.roles.as_slice()).unwrap_or_default(),
                "not_after": time(membership.and_then(|m| m.not_after.as_ref())),
                "standing": membership.map(|m| m.standing.as_str()).unwrap_or_default(),
            }),
        }
    }
}

fn status_rows(status: &pb::GetStatusResponse) -> Vec<[String; 2]> {
    let store = status.store.unwrap_or_default();
    let membership = status.membership.clone().unwrap_or_default();
    let (uplink, backlog) = overall(&status.uplinks);
    let relays: Vec<_> = status.relays.iter().map(|id| escape(id)).collect();
    let rows = [
        ("machine", escape(&status.name)),
        ("machine id", escape(&status.machine_id)),
        ("site", escape(&status.site)),
        ("network", escape(&status.network_id)),
        ("version", escape(&status.version)),
        (
            "uptime",
            format!("{} s", status.uptime.unwrap_or_default().seconds),
        ),
        ("ready", yes(status.ready)),
        ("neighbours", status.neighbours.to_string()),
        ("machines known", status.machines.to_string()),
        ("relay", yes(status.is_relay)),
        ("relays", or_dash(relays.join("\n"))),
        ("clock", escape(&status.time_state)),
        (
            "store",
            format!(
                "{} readings in {} blocks, {}",
                store.readings,
                store.blocks,
                bytes(store.bytes)
            ),
        ),
        ("uplink", format!("{uplink}, {backlog} records waiting")),
        ("roles", escape(&membership.roles.join(", "))),
        ("member until", time(membership.not_after.as_ref())),
        ("standing", escape(&membership.standing)),
    ];
    rows.map(|(what, value)| [what.to_owned(), value]).into()
}

/// The state of the uplinks in one word, the worst of them, and what waits for all.
fn overall(uplinks: &[pb::UplinkStatus]) -> (&'static str, u64) {
    let worst = uplinks.iter().map(pb::UplinkStatus::state).min();
    let backlog = uplinks.iter().map(|uplink| uplink.backlog);
    (
        worst.map_or("none", state),
        backlog.fold(0, u64::saturating_add),
    )
}

const fn state(state: State) -> &'static str {
    match state {
        State::Unspecified => "unknown",
        State::Down => "down",
        State::Standby => "standby",
        State::Up => "up",
    }
}

/// `fieldmesh peers`
pub(crate) async fn peers(
    args: NodeArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let topology = get_topology(args).await?;
    Ok(print_peers(&topology, output, out)?)
}

async fn get_topology(args: NodeArgs) -> Result<pb::GetTopologyResponse, Failure> {
    let mut client = Client::connect(args).await?;
    let answer = client.mesh.get_topology(pb::GetTopologyRequest {}).await;
    Ok(answer
        .map_err(|status| client.failure(&status))?
        .into_inner())
}

pub(crate) fn print_peers(
    topology: &pb::GetTopologyResponse,
    output: Output,
    out: &mut impl Write,
) -> io::Result<()> {
    let own_links = topology.links.iter();
    let own_links = own_links.filter(|link| link.from == topology.machine_id);
    let links: BTreeMap<_, _> = own_links.map(|link| (link.to.as_str(), link)).collect();
    let link = |machine: &pb::Machine| links.get(machine.machine_id.as_str()).copied();
    let round_trip = |machine: &pb::Machine| millis(link(machine)?.round_trip.as_ref());
    let transport = |machine: &pb::Machine| link(machine).map_or("", |link| &link.transport);
    let neighbours = topology.machines.iter().filter(|machine| machine.neighbour);
    match output {
        Output::Json => neighbours.into_iter().try_for_each(|machine| {
            let peer = json!({
                "machine_id": machine.machine_id,
                "name": machine.name,
                "site": machine.site,
                "round_trip_ms": round_trip(machine),
                "transport": transport(machine),
                "addresses": machine.addresses,
            });
            print_json(out, &peer)
        }),
        Output::Table => {
            let rows = neighbours.map(|machine| {
                [
                    or_dash(escape(&machine.name)),
                    or_dash(escape(&machine.site)),
                    milliseconds(round_trip(machine)),
                    or_dash(escape(transport(machine))),
                    or_dash(escape(machine.addresses.first().map_or("", String::as_str))),
                    escape(&machine.machine_id),
                ]
            });
            table::print(
                out,
                [
                    "NAME",
                    "SITE",
                    "ROUND TRIP",
                    "OVER",
                    "ADDRESS",
                    "MACHINE ID",
                ],
                rows,
            )
        }
    }
}

/// `fieldmesh topology`
pub(crate) async fn topology(
    args: NodeArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let topology = get_topology(args).await?;
    Ok(print_topology(&topology, output, out)?)
}

pub(crate) fn print_topology(
    topology: &pb::GetTopologyResponse,
    output: Output,
    out: &mut impl Write,
) -> io::Result<()> {
    if output == Output::Json {
        let machine = |machine: &pb::Machine| {
            json!({
                "machine_id": machine.machine_id,
                "name": machine.name,
                "site": machine.site,
                "roles": machine.roles,
                "addresses": machine.addresses,
                "neighbour": machine.neighbour,
                "last_seen": machine.last_seen.as_ref().map(|seen| time(Some(seen))),
            })
        };
        let link = |link: &pb::Link| {
            json!({
                "from": link.from,
                "to": link.to,
                "round_trip_ms": millis(link.round_trip.as_ref()),
                "transport": link.transport,
            })
        };
        let topology = json!({
            "machine_id": topology.machine_id,
            "machines": topology.machines.iter().map(machine).collect::<Vec<_>>(),
            "links": topology.links.iter().map(link).collect::<Vec<_>>(),
        });
        return print_json(out, &topology);
    }
    let machines = topology.machines.iter();
    let names: BTreeMap<_, _> = machines
        .filter(|machine| !machine.name.is_empty())
        .map(|machine| (machine.machine_id.as_str(), machine.name.as_str()))
        .collect();
    let name = |id: &str| escape(names.get(id).copied().unwrap_or(id));
    let machines = topology.machines.iter().map(|machine| {
        [
            or_dash(escape(&machine.name)),
            or_dash(escape(&machine.site)),
            or_dash(escape(&machine.roles.join(","))),
            or_dash(time(machine.last_seen.as_ref())),
            escape(&machine.machine_id),
        ]
    });
    table::print(
        out,
        ["NAME", "SITE", "ROLES", "LAST SEEN", "MACHINE ID"],
        machines,
    )?;
    writeln!(out)?;
    let links = topology.links.iter().map(|link| {
        [
            name(&link.from),
            name(&link.to),
            milliseconds(millis(link.round_trip.as_ref())),
        ]
    });
    table::print(out, ["FROM", "TO", "ROUND TRIP"], links)
}

/// `fieldmesh relays`
pub(crate) async fn relays(
    args: NodeArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut client = Client::connect(args).await?;
    let answer = client.mesh.list_relays(pb::ListRelaysRequest {}).await;
    let relays = answer
        .map_err(|status| client.failure(&status))?
        .into_inner();
    Ok(print_relays(&relays.relays, output, out)?)
}

pub(crate) fn print_relays(
    relays: &[pb::Relay],
    output: Output,
    out: &mut impl Write,
) -> io::Result<()> {
    match output {
        Output::Json => relays.iter().try_for_each(|relay| {
            let relay = json!({
                "uplink": relay.uplink,
                "machine_id": relay.machine_id,
                "machine": relay.machine,
                "origins": relay.origins,
            });
            print_json(out, &relay)
        }),
        Output::Table => {
            let rows = relays.iter().map(|relay| {
                [
                    escape(&relay.uplink),
                    or_dash(escape(&relay.machine)),
                    relay.origins.len().to_string(),
                    escape(&relay.machine_id),
                ]
            });
            table::print(out, ["UPLINK", "RELAY", "ORIGINS", "MACHINE ID"], rows)
        }
    }
}

/// `fieldmesh uplink`
pub(crate) async fn uplink(
    args: UplinkArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut client = Client::connect(args.node).await?;
    if let Some(uplink) = args.set_aside {
        let uplink = uplink.unwrap_or_default();
        return set_aside::list(client, uplink, args.limit, output, out).await;
    }
    let answer = client.mesh.get_status(pb::GetStatusRequest {}).await;
    let status = answer
        .map_err(|status| client.failure(&status))?
        .into_inner();
    Ok(print_uplinks(&status.uplinks, output, out)?)
}

pub(crate) fn print_uplinks(
    uplinks: &[pb::UplinkStatus],
    output: Output,
    out: &mut impl Write,
) -> io::Result<()> {
    if output == Output::Json {
        return uplinks.iter().try_for_each(|uplink| {
            let optional =
                |at: &Option<prost_types::Timestamp>| at.as_ref().map(|at| time(Some(at)));
            let uplink = json!({
                "id": uplink.id,
                "state": state(uplink.state()),
                "backlog": count(uplink.backlog),
                "backlog_has_more": uplink.backlog_has_more,
                "backlog_bytes": count(uplink.backlog_bytes),
                "backlog_oldest": optional(&uplink.backlog_oldest),
                "delivered": count(uplink.delivered),
                "lost": count(uplink.lost),
                "set_aside": count(uplink.set_aside),
                "spent_today": count(uplink.spent_today),
                "last_error": uplink.last_error,
                "next_try": optional(&uplink.next_try),
            });
            print_json(out, &uplink)
        });
    }
    let rows = uplinks.iter().map(|uplink| {
        let more = if uplink.backlog_has_more { "+" } else { "" };
        let waiting = format!("{}{more} ({})", uplink.backlog, bytes(uplink.backlog_bytes));
        let moment = |at: &Option<prost_types::Timestamp>| {
            at.as_ref().map_or("-".to_owned(), |at| time(Some(at)))
        };
        [
            escape(&uplink.id),
            state(uplink.state()).to_owned(),
            waiting,
            moment(&uplink.backlog_oldest),
            uplink.delivered.to_string(),
            uplink.lost.to_string(),
            or_dash(escape(&uplink.last_error)),
            moment(&uplink.next_try),
        ]
    });
    let heads = [
        "UPLINK",
        "STATE",
        "WAITING",
        "SINCE",
        "DELIVERED",
        "LOST",
        "LAST ERROR",
        "NEXT TRY",
    ];
    table::print(out, heads, rows)
}

/// Prints a JSON object on a line of its own.
pub(crate) fn print_json(out: &mut impl Write, object: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, object)?;
    writeln!(out)
}

pub(crate) fn yes(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

fn milliseconds(millis: Option<f64>) -> String {
    millis.map_or_else(|| "-".to_owned(), |millis| format!("{millis:.2} ms"))
}

pub(crate) fn or_dash(text: String) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        text
    }
}
