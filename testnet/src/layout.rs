//! Directories, keys and configurations of a testnet's machines.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use fieldmesh::config::{
    ApiSettings, ListenSettings, NetworkSettings, NodeSettings, OverlaySettings, RelaysSettings,
    Settings, SourceSettings, UplinkSettings,
};
use fieldmesh::keys;
use fieldmesh::operator::{Admission, Operator, Role};

use crate::args::UpArgs;
use crate::data;
use crate::description::{Description, NodeDescription};
use crate::namespaces::Namespaces;

/// Lays out everything that the machines need in `dir`, and says what goes where.
///
/// # Errors
///
/// If something cannot be written, e.g. because a testnet was here before.
pub fn lay_out(args: &UpArgs, dir: &Path) -> anyhow::Result<Description> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let dir = dir.canonicalize()?;
    let operator = dir.join("operator");
    let network = Operator::create(&operator)
        .context("a testnet was here before: give another --dir, or remove this one")?;
    let replay = match &args.replay {
        Some(path) => path
            .canonicalize()
            .with_context(|| format!("no {}", path.display()))?,
        None => {
            let path = dir.join("turbines.csv.gz");
            data::write_turbines(&path)?;
            path
        }
    };
    let uplinks = if args.uplinks.is_empty() {
        vec![format!("file:{}", dir.join("uplink").display())]
    } else {
        args.uplinks.clone()
    };
    let mut nodes = Vec::new();
    for number in 1..=args.nodes {
        let layout = Layout {
            args,
            dir: &dir,
            operator: &operator,
            replay: &replay,
        };
        nodes.push(layout.lay_out_machine(number, &uplinks)?);
    }
    Ok(Description {
        network: network.to_string(),
        dir,
        nodes,
        uplinks,
    })
}

struct Layout<'a> {
    args: &'a UpArgs,
    dir: &'a Path,
    operator: &'a Path,
    replay: &'a Path,
}

impl Layout<'_> {
    fn lay_out_machine(&self, number: u8, uplinks: &[String]) -> anyhow::Result<NodeDescription> {
        let plan = self.args.machines.get(usize::from(number) - 1);
        let name = plan.map_or_else(|| format!("machine-{number}"), |plan| plan.name.clone());
        let home = self.dir.join(&name);
        let machine = keys::init(&home)?;
        let roles = BTreeSet::from([Role::Publish, Role::Relay, Role::Command, Role::Observe]);
        let admission = Admission {
            machine,
            name: name.clone(),
            site: self.site(number),
            roles,
            commands: vec!["**".to_owned()],
            lifetime: LIFETIME,
            delegation: None,
        };
        let membership = Operator::open(self.operator)?.admit(admission)?;
        keys::write_membership(&home.join(keys::MEMBERSHIP_FILE), &membership)?;
        let network_key = std::fs::read_to_string(self.operator.join(keys::NETWORK_KEY_FILE))?;
        keys::replace(&home.join(keys::NETWORK_KEY_FILE), network_key.as_bytes())?;

        let ip = self.ip(number);
        let own = if self.args.netns { "127.0.0.1" } else { &ip };
        let port = |base: u16| format!("{own}:{}", base + u16::from(number));
        let (grpc, metrics) = (port(GRPC_PORT_BASE), port(METRICS_PORT_BASE));
        let link = format!("{ip}:{LINK_PORT}");
        let mut settings = self.settings(number, uplinks, [&grpc, &metrics, &link], &home);
        if self.args.netns {
            settings.api.socket = home.join(SOCKET);
        }
        let config = home.join("fieldmesh.toml");
        let more = plan.map(|plan| plan.config.as_str()).unwrap_or_default();
        let text = format!("{}\n{more}", toml::to_string(&settings)?);
        std::fs::write(&config, text)
            .with_context(|| format!("cannot write {}", config.display()))?;
        Ok(NodeDescription {
            machine_id: machine.to_string(),
            pid: 0,
            config,
            log: home.join("log"),
            recording: self.args.record.then(|| home.join("recording")),
            netns: self.args.netns.then(|| Namespaces::name(&name)),
            grpc: if self.args.netns {
                format!("unix:{}", home.join(SOCKET).display())
            } else {
                grpc
            },
            metrics: format!("http://{metrics}/metrics"),
            quic: link.clone(),
            tcp: link,
            site: self.site(number),
            roles: ROLES.map(str::to_owned).to_vec(),
            name,
        })
    }

    /// The site of a machine.
    fn site(&self, number: u8) -> String {
        match (number - 1) % self.args.sites {
            0 => SITE.to_owned(),
            other => format!("{SITE}-{}", other + 1),
        }
    }

    /// The first machines of all, and those of its own site.
    fn bootstrap(&self, number: u8) -> impl Iterator<Item = u8> {
        let all = 1..=self.args.nodes;
        let first = all.clone().take(BOOTSTRAP_MACHINES);
        let near = all.filter(|other| self.site(*other) == self.site(number));
        let found: BTreeSet<u8> = first.chain(near.take(BOOTSTRAP_MACHINES)).collect();
        found.into_iter().filter(move |other| *other != number)
    }

    /// Where the others reach a machine.
    fn ip(&self, number: u8) -> String {
        if self.args.netns {
            Namespaces::address(number).to_string()
        } else {
            format!("{}.{number}", self.args.subnet)
        }
    }

    fn settings(
        &self,
        number: u8,
        uplinks: &[String],
        [grpc, metrics, link]: [&String; 3],
        home: &Path,
    ) -> Settings {
        let others = self.bootstrap(number);
        let bootstrap =
            others.map(|other| format!("/ip4/{}/udp/{LINK_PORT}/quic/noise", self.ip(other)));
        let subscribe = match number {
            1 if self.args.sites > 1 => vec!["*".to_owned()],
            _ => Vec::new(),
        };
        Settings {
            node: NodeSettings {
                data_dir: home.join("data"),
            },
            network: NetworkSettings {
                machine_key_file: home.join(keys::MACHINE_KEY_FILE),
                network_key_file: home.join(keys::NETWORK_KEY_FILE),
                operator_file: self.operator.join(keys::OPERATOR_FILE),
                membership_file: home.join(keys::MEMBERSHIP_FILE),
                bootstrap: bootstrap.collect(),
                subscribe,
                ..NetworkSettings::default()
            },
            listen: ListenSettings {
                quic: vec![link.clone()],
                tcp: vec![link.clone()],
                mdns: false,
            },
            api: ApiSettings {
                grpc: grpc.clone(),
                socket: PathBuf::new(),
                metrics: metrics.clone(),
            },
            overlay: OverlaySettings {
                active_max: self.args.neighbours.into(),
                ..OverlaySettings::default()
            },
            relays: RelaysSettings::default(),
            source: self.sources(number),
            uplink: uplinks
                .iter()
                .enumerate()
                .map(|(n, url)| self.uplink(n, url))
                .collect(),
            ..Settings::default()
        }
    }

    fn sources(&self, number: u8) -> Vec<SourceSettings> {
        if self.args.quiet_sources {
            return Vec::new();
        }
        let is_turbine = self.args.replay.is_none();
        let machine = data::TURBINE_MACHINES.get(usize::from(number) - 1).copied();
        if number == 1 || (is_turbine && machine.is_some()) {
            let units = data::TURBINE_UNITS.map(|(column, unit)| (column.into(), unit.into()));
            let units = if is_turbine {
                BTreeMap::from(units)
            } else {
                BTreeMap::new()
            };
            return vec![SourceSettings::Csv {
                name: "turbine".to_owned(),
                file: self.replay.to_owned(),
                machine: machine.filter(|_| is_turbine).map(str::to_owned),
                speed: self.args.speed,
                repeat: true,
                prefix: (!is_turbine).then(|| "replay".to_owned()),
                units,
            }];
        }
        vec![SourceSettings::Host {
            name: "host".to_owned(),
            interval: "1s".to_owned(),
        }]
    }

    fn uplink(&self, index: usize, url: &str) -> UplinkSettings {
        let id = match index {
            0 => "site".to_owned(),
            _ => format!("site-{}", index + 1),
        };
        UplinkSettings {
            windows: vec![self.args.window.clone()],
            ..UplinkSettings::new(id, url.to_owned())
        }
    }
}

/// The site of all machines, or of the first.
const SITE: &str = "testnet";
/// What every machine may do.
const ROLES: [&str; 4] = ["publish", "relay", "command", "observe"];
/// How long memberships last; a testnet that runs longer is a plant.
const LIFETIME: Duration = Duration::from_secs(365 * 86_400);
/// Where a machine in a network namespace answers gRPC, in its directory.
const SOCKET: &str = "grpc.sock";
/// Machine N answers gRPC on this port plus N.
const GRPC_PORT_BASE: u16 = 50_100;
/// Machine N shows metrics on this port plus N.
const METRICS_PORT_BASE: u16 = 9_100;
/// Every machine takes links on this port of its own address.
const LINK_PORT: u16 = 4_001;
/// Machines that all others dial at the start, and as many of each site.
const BOOTSTRAP_MACHINES: usize = 2;
