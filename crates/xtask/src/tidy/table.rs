//! Which crate may import which: the table of the style guide, section 1, as data.

/// What a crate is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No socket, file, clock, entropy or runtime: it can be simulated.
    Pure,
    /// One side effect.
    Effect,
    /// Composes the others, or helps developers.
    Shell,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// The package.
    pub(crate) name: &'static str,
    /// What it is allowed.
    pub(crate) kind: Kind,
    /// Packages of ours that it may import.
    may: &'static [Group],
}

/// Packages of ours that are imported together.
type Group = &'static [&'static str];

impl Row {
    /// Whether it may import this package of ours.
    pub(crate) fn may_import(&self, name: &str) -> bool {
        self.may.iter().any(|group| group.contains(&name))
    }
}

/// The row of a package.
pub(crate) fn row(name: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.name == name)
}

const fn pure(name: &'static str, may: &'static [Group]) -> Row {
    Row {
        name,
        kind: Kind::Pure,
        may,
    }
}

const fn effect(name: &'static str, may: &'static [Group]) -> Row {
    Row {
        name,
        kind: Kind::Effect,
        may,
    }
}

const fn shell(name: &'static str, may: &'static [Group]) -> Row {
    Row {
        name,
        kind: Kind::Shell,
        may,
    }
}

const VOCABULARY: Group = &["identity", "model", "statemachine"];

const PROTOCOLS: Group = &["aggregate", "command", "election", "gossip", "overlay"];

/// Engine, handshake and below.
const BELOW_EFFECTS: Group = &[
    "aggregate",
    "command",
    "election",
    "engine",
    "gossip",
    "handshake",
    "identity",
    "model",
    "overlay",
    "proto",
    "statemachine",
    "wire",
];

const EFFECTS: Group = &["api", "ingest", "store", "swarm", "transport", "uplink"];

const TABLE: &[Row] = &[
    pure("proto", &[]),
    pure("model", &[]),
    pure("statemachine", &[]),
    pure("identity", &[&["model"]]),
    pure("overlay", &[VOCABULARY]),
    pure("gossip", &[VOCABULARY]),
    pure("election", &[VOCABULARY]),
    pure("aggregate", &[VOCABULARY]),
    pure("command", &[VOCABULARY]),
    // What a rule does is a command: its name, its argument, its lineage.
    pure("rule", &[&["command", "model", "statemachine"]]),
    pure("handshake", &[&["identity", "model"]]),
    pure("wire", &[VOCABULARY, PROTOCOLS, &["proto"]]),
    pure(
        "engine",
        &[VOCABULARY, PROTOCOLS, &["handshake", "proto", "wire"]],
    ),
    pure("recording", &[BELOW_EFFECTS]),
    effect("transport", &[BELOW_EFFECTS]),
    effect("store", &[BELOW_EFFECTS]),
    effect("ingest", &[BELOW_EFFECTS]),
    effect("uplink", &[BELOW_EFFECTS]),
    effect("api", &[BELOW_EFFECTS]),
    effect("swarm", &[BELOW_EFFECTS, &["transport"]]),
    pure("testkit", &[&["statemachine"]]),
    shell("sim", &[BELOW_EFFECTS, &["recording"]]),
    shell("fuzz", &[BELOW_EFFECTS, &["recording"]]),
    shell(
        "fieldmesh",
        &[BELOW_EFFECTS, EFFECTS, &["recording", "rule"]],
    ),
    // What real nodes recorded is replayed in the simulator.
    shell("testnet", &[&["fieldmesh", "proto", "sim"]]),
    shell(
        "bench",
        &[
            BELOW_EFFECTS,
            EFFECTS,
            &["fieldmesh", "rule", "sim", "testnet"],
        ],
    ),
    shell("xtask", &[]),
];

/// Crates by others that pure crates must not import, with what begins with these names and a
/// hyphen: runtimes, sockets, files, entropy.
pub(crate) const IMPURE: &[&str] = &[
    "async",
    "fjall",
    "fs2",
    "futures",
    "getrandom",
    "hyper",
    "if-watch",
    "libp2p",
    "mio",
    "notify",
    "quinn",
    "rand",
    "redb",
    "reqwest",
    "rumqttc",
    "rustix",
    "sled",
    "smol",
    "snow",
    "socket2",
    "sysinfo",
    "tempfile",
    "tokio",
    "tonic",
];

/// Exceptions: a pure crate, and what it may import all the same.
pub(crate) const EXCEPTIONS: &[(&str, &str)] = &[
    // The stubs, behind a feature that no pure crate enables.
    ("proto", "tonic"),
    ("proto", "tonic-prost"),
    // A generator of numbers from a seed that is handed in; it has no entropy of its own.
    ("statemachine", "rand_chacha"),
    // The Noise protocol itself; entropy is handed in.
    ("handshake", "snow"),
];
