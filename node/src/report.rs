//! What a node says of itself: answers of the service `Mesh`, and metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use aggregate::Record;
use engine::Node;
use identity::{CredentialError, Grant, Role, Standing};
use model::{ClockState, MachineId, Timestamp};
use proto::v1 as pb;
use swarm::Way;

use crate::uplinks::Uplinks;
use crate::wear::Wear;

/// What the report is made from.
#[derive(Debug)]
pub struct Sources<'a> {
    /// The node.
    pub node: &'a Node,
    /// This machine's grant.
    pub grant: &'a Grant,
    /// What is on disk.
    pub store: store::Stats,
    /// How much is written to the disk.
    pub wear: &'a Wear,
    /// What the links have counted.
    pub swarm: swarm::Stats,
    /// What the link to each machine is made of.
    pub ways: &'a BTreeMap<MachineId, Way>,
    /// The uplinks.
    pub uplinks: &'a Uplinks,
    /// When each machine was last heard of.
    pub heard: &'a BTreeMap<MachineId, Timestamp>,
    /// How often a neighbour broke a protocol.
    pub misbehaved: u64,
    /// How long the node has been running.
    pub uptime: Duration,
    /// How far the wall clock can be trusted.
    pub clock: ClockState,
    /// The time, unless nobody vouches for it.
    pub time: Option<Timestamp>,
    /// Whether the node takes and answers everything.
    pub ready: bool,
    /// The network's name.
    pub network: String,
}

impl Sources<'_> {
    /// The answer to `GetStatus`.
    #[must_use]
    pub fn status(&self) -> pb::GetStatusResponse {
        let machine = self.node.machine();
        let relays = self.relays_of_all();
        pb::GetStatusResponse {
            machine_id: machine.to_string(),
            name: self.grant.name.clone(),
            site: self.grant.site.clone(),
            network_id: self.network.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: prost_types::Duration::try_from(self.uptime).ok(),
            ready: self.ready,
            neighbours: count(self.node.neighbours().len()),
            machines: count(self.node.catalogue().members().count()),
            is_relay: relays.contains(&machine),
            relays: relays.iter().map(MachineId::to_string).collect(),
            time_state: self.clock.to_string(),
            store: Some(pb::StoreStatus {
                bytes: self.store.bytes,
                readings: self.store.readings,
                blocks: self.store.blocks,
            }),
            uplinks: self.uplink_status(),
            membership: Some(pb::MembershipStatus {
                roles: role_names(self.grant),
                not_after: Some(timestamp(self.grant.not_after)),
                standing: standing(self.node.own_standing(self.time)).to_owned(),
            }),
        }
    }

    /// The answer to `GetTopology`.
    #[must_use]
    pub fn topology(&self) -> pb::GetTopologyResponse {
        let own = self.node.machine();
        let neighbours = self.node.neighbours();
        let mut response = pb::GetTopologyResponse {
            machine_id: own.to_string(),
            ..pb::GetTopologyResponse::default()
        };
        for (machine, member) in self.node.catalogue().members() {
            let grant = member.membership.grant();
            let presence = member.presence().unwrap_or_default();
            response.machines.push(pb::Machine {
                machine_id: machine.to_string(),
                name: grant.name.clone(),
                site: grant.site.clone(),
                roles: role_names(grant),
                addresses: presence
                    .addresses
                    .iter()
                    .map(|a| a.as_str().to_owned())
                    .collect(),
                neighbour: neighbours
                    .iter()
                    .any(|neighbour| neighbour.machine == *machine),
                last_seen: self.heard.get(machine).copied().map(timestamp),
            });
            let is_own = *machine == own;
            let links = if is_own {
                &neighbours
            } else {
                &presence.neighbours
            };
            response.links.extend(links.iter().map(|link| {
                let way = self.ways.get(&link.machine).filter(|_| is_own);
                pb::Link {
                    from: machine.to_string(),
                    to: link.machine.to_string(),
                    round_trip: link
                        .round_trip
                        .and_then(|t| prost_types::Duration::try_from(t).ok()),
                    transport: way.map(|way| way.name().to_owned()).unwrap_or_default(),
                }
            }));
        }
        response
    }

    /// The answer to `ListMembers`.
    #[must_use]
    pub fn members(&self) -> pb::ListMembersResponse {
        let member = |(member, revoked): (&engine::Member, bool)| {
            let membership = &member.membership;
            let grant = membership.grant();
            pb::Member {
                machine_id: grant.machine.to_string(),
                name: grant.name.clone(),
                site: grant.site.clone(),
                roles: role_names(grant),
                commands: grant.commands.clone(),
                not_before: Some(timestamp(grant.not_before)),
                not_after: Some(timestamp(grant.not_after)),
                issuer_id: membership.issuer().to_string(),
                revoked,
                membership: membership.as_bytes().to_vec(),
            }
        };
        let members = self.node.catalogue().everyone().map(member).collect();
        pb::ListMembersResponse { members }
    }

    /// The answer to `ListRelays`.
    #[must_use]
    pub fn relays(&self) -> pb::ListRelaysResponse {
        let mut response = pb::ListRelaysResponse::default();
        for (uplink, _) in self.uplinks.status() {
            for relay in self.node.relays(uplink) {
                let serves = |origin: &MachineId| self.node.relay_of(uplink, origin) == Some(relay);
                let origins = self.node.origins().filter(serves);
                let member = self.node.catalogue().member(&relay);
                response.relays.push(pb::Relay {
                    uplink: uplink.to_string(),
                    machine_id: relay.to_string(),
                    machine: member
                        .map(|m| m.membership.grant().name.clone())
                        .unwrap_or_default(),
                    origins: origins.map(|origin| origin.to_string()).collect(),
                });
            }
        }
        response
    }

    /// Everything that is counted, in Prometheus' text format.
    #[must_use]
    pub fn metrics(&self) -> String {
        let gossip = self.node.gossip_stats();
        let mut text = Exposition::default();
        text.gauge("uptime_seconds", self.uptime.as_secs());
        text.gauge("neighbours", self.node.neighbours().len());
        text.gauge("machines_known", self.node.catalogue().members().count());
        let convicted = self.node.catalogue().equivocations().len();
        text.gauge("machines_equivocating", convicted);
        text.gauge("store_bytes", self.store.bytes);
        text.gauge("store_segments", self.store.segments);
        text.gauge("store_blocks", self.store.blocks);
        text.gauge("store_readings", self.store.readings);
        text.counter("store_written_bytes_total", self.store.bytes_written);
        text.counter("disk_written_bytes_total", self.wear.written());
        text.gauge("disk_written_bytes_per_day", self.wear.per_day());
        text.counter("store_blocks_read_total", self.store.blocks_read);
        text.counter("store_commits_total", self.store.commits);
        text.counter("store_writes_failed_total", self.store.writes_failed);
        text.counter("store_readings_dropped_total", self.store.readings_dropped);
        text.counter(
            "store_readings_dropped_waiting_total",
            self.store.readings_dropped_waiting,
        );
        text.counter("store_records_damaged_total", self.store.records_damaged);
        text.gauge("store_blocks_kept_for_alarms", self.store.blocks_kept);
        text.gauge("store_blocks_lost", self.store.blocks_lost);
        text.gauge("store_index_rebuilt", self.store.index_rebuilt);
        text.counter("store_blocks_restored_total", gossip.blocks_restored);
        text.counter("gossip_blocks_first_total", gossip.blocks_first);
        text.counter("gossip_blocks_duplicate_total", gossip.blocks_duplicate);
        text.counter("gossip_blocks_pushed_total", gossip.blocks_pushed);
        text.counter("gossip_pushed_bytes_total", gossip.bytes_pushed);
        text.counter("gossip_blocks_served_total", gossip.blocks_served);
        text.counter("gossip_served_bytes_total", gossip.bytes_served);
        text.counter("gossip_wants_total", gossip.wants_sent);
        text.counter("gossip_grafts_total", gossip.grafts_sent);
        text.counter("gossip_prunes_total", gossip.prunes_sent);
        text.counter("gossip_states_first_total", gossip.states_first);
        text.counter("gossip_states_sent_total", gossip.states_sent);
        text.counter("neighbours_misbehaved_total", self.misbehaved);
        text.counter("gossip_withheld_total", gossip.withheld);
        text.counter("gossip_refused_invalid_total", gossip.refused_invalid);
        text.counter("gossip_refused_unadmitted_total", gossip.refused_unadmitted);
        let commands = self.node.command_stats();
        text.counter("commands_called_total", commands.calls);
        text.counter("commands_run_total", commands.runs);
        text.counter("commands_refused_total", commands.refused);
        text.counter("commands_repeated_total", commands.repeated);
        text.gauge("commands_waiting", commands.waiting);
        text.gauge("commands_kept", commands.kept);
        for way in [Way::Quic, Way::Tcp, Way::Circuit] {
            let label = format!("{{transport=\"{}\"}}", way.name());
            let count = self.ways.values().filter(|its| **its == way).count();
            text.labelled("links", "gauge", &label, count);
        }
        text.counter("links_made_total", self.swarm.links_made);
        text.counter("links_moved_total", self.swarm.links_moved);
        text.counter("links_tcp_fallbacks_total", self.swarm.tcp_fallbacks);
        text.counter("links_refused_total", self.swarm.refusals);
        let quic = self.swarm.quic;
        text.counter("quic_sent_bytes_total", quic.bytes_sent);
        text.counter("quic_received_bytes_total", quic.bytes_received);
        text.counter("quic_datagrams_foreign_total", quic.datagrams_foreign);
        text.counter(
            "quic_first_flights_foreign_total",
            quic.first_flights_foreign,
        );
        text.counter(
            "quic_first_flights_repeated_total",
            quic.first_flights_repeated,
        );
        text.counter(
            "quic_handshakes_over_limit_total",
            quic.handshakes_over_limit,
        );
        text.counter("quic_retries_total", quic.retries);
        text.counter("dials_failed_total", self.swarm.dials_failed);
        text.counter("frames_dropped_total", self.swarm.frames_dropped);
        for (uplink, status, _) in self.uplinks_now() {
            let label = format!("{{uplink=\"{uplink}\"}}");
            let counters = status.counters;
            text.labelled(
                "uplink_backlog_records",
                "gauge",
                &label,
                status.backlog_items,
            );
            text.labelled(
                "uplink_backlog_bytes",
                "gauge",
                &label,
                status.backlog_bytes,
            );
            text.labelled(
                "uplink_delivered_total",
                "counter",
                &label,
                counters.delivered,
            );
            text.labelled(
                "uplink_set_aside_total",
                "counter",
                &label,
                counters.set_aside,
            );
            let dropped = counters.dropped_age + counters.dropped_bytes;
            text.labelled("uplink_dropped_total", "counter", &label, dropped);
        }
        text.0
    }

    fn relays_of_all(&self) -> BTreeSet<MachineId> {
        self.uplinks
            .status()
            .flat_map(|(uplink, _)| self.node.relays(uplink))
            .collect()
    }

    fn uplink_status(&self) -> Vec<pb::UplinkStatus> {
        let own = self.node.machine();
        let status = |(id, status, has_more): (&election::UplinkId, uplink::Status, bool)| {
            let is_relay = self.node.relays(id).contains(&own);
            let state = match (status.state, is_relay) {
                (uplink::State::Reachable, true) => pb::uplink_status::State::Up,
                (uplink::State::Reachable, false) => pb::uplink_status::State::Standby,
                (uplink::State::Connecting | uplink::State::Unreachable, _) => {
                    pb::uplink_status::State::Down
                }
            };
            let counters = status.counters;
            pb::UplinkStatus {
                id: id.to_string(),
                state: state.into(),
                backlog: status.backlog_items,
                backlog_bytes: status.backlog_bytes,
                backlog_oldest: status.backlog_oldest.map(timestamp),
                backlog_has_more: has_more,
                delivered: counters.delivered,
                lost: counters.set_aside + counters.dropped_age + counters.dropped_bytes,
                set_aside: counters.set_aside,
                last_error: status.last_error.unwrap_or_default(),
                next_try: status.next_try.map(timestamp),
                spent_today: status.spent_today,
            }
        };
        self.uplinks_now().map(status).collect()
    }

    /// How every uplink stands, and whether more waits than is counted. Who cannot reach the sink
    /// has stood back and waits with nothing of its own; then it is told what the site waits with.
    fn uplinks_now(&self) -> impl Iterator<Item = (&election::UplinkId, uplink::Status, bool)> {
        self.uplinks.status().map(|(id, mut status)| {
            if status.state == uplink::State::Reachable {
                return (id, status, false);
            }
            let (mut items, mut bytes, mut oldest, mut has_more) = (0, 0, None, false);
            for backlog in self.node.backlog(id) {
                let records = backlog.records as u64;
                let since = waits_since(backlog.oldest);
                items += records;
                bytes += records * self.uplinks.bytes_of(backlog.oldest);
                oldest = Some(oldest.map_or(since, |oldest: Timestamp| oldest.min(since)));
                has_more |= backlog.is_full;
            }
            if items > status.backlog_items {
                (status.backlog_items, status.backlog_bytes) = (items, bytes);
                status.backlog_oldest = oldest;
            }
            (id, status, has_more)
        })
    }
}

/// When a record came to be: at the end of its window, or when the reading was received.
fn waits_since(record: &Record) -> Timestamp {
    match record {
        Record::Raw(raw) => raw.received,
        Record::Window(window) => {
            let key = &window.key;
            key.window_start.saturating_add(key.window_length)
        }
    }
}

/// Metrics as text: name, type, value.
#[derive(Debug, Default)]
struct Exposition(String);

impl Exposition {
    fn gauge(&mut self, name: &str, value: impl std::fmt::Display) {
        self.labelled(name, "gauge", "", value);
    }

    fn counter(&mut self, name: &str, value: impl std::fmt::Display) {
        self.labelled(name, "counter", "", value);
    }

    fn labelled(&mut self, name: &str, kind: &str, label: &str, value: impl std::fmt::Display) {
        let header = format!("# TYPE fieldmesh_{name} {kind}\n");
        if !self.0.contains(&header) {
            self.0.push_str(&header);
        }
        let _ = writeln!(self.0, "fieldmesh_{name}{label} {value}");
    }
}

fn role_names(grant: &Grant) -> Vec<String> {
    let name = |role: &Role| match role {
        Role::Publish => "publish",
        Role::Relay => "relay",
        Role::Command => "command",
        Role::Observe => "observe",
        Role::Admit => "admit",
    };
    grant
        .roles
        .iter()
        .map(|role| name(role).to_owned())
        .collect()
}

/// How far this machine's own membership is in order, in a word.
fn standing(judged: Result<Standing, CredentialError>) -> &'static str {
    match judged {
        Ok(Standing::Valid) => "valid",
        Ok(Standing::Unjudged) => "unjudged",
        Ok(Standing::Grace) => "grace",
        Err(CredentialError::Expired) => "expired",
        Err(CredentialError::NotYetValid) => "not-yet-valid",
        Err(_) => "revoked",
    }
}

fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let nanos = time.as_nanos();
    prost_types::Timestamp {
        seconds: nanos.div_euclid(1_000_000_000),
        nanos: i32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0),
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
