use std::collections::BTreeSet;

use super::*;

fn check(text: &str) -> Result<Configuration, ConfigError> {
    parse(text)?.check(Path::new("/etc/fieldmesh"))
}

fn refusal(text: &str) -> String {
    check(text).expect_err("refused").to_string()
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let documented: toml::Table = DEFAULT.parse().expect("the default file is TOML");
    let mut defaults = toml::Table::try_from(Settings::default()).expect("settings serialise");
    defaults.remove("source");
    defaults.remove("uplink");
    defaults.remove("rule");

    assert_eq!(documented, defaults);
    check(DEFAULT).expect("the default file holds");
}

#[test]
fn the_documented_examples_hold_and_name_every_key() {
    let is_prose = |line: &str| {
        let text = line.trim_start_matches("# ");
        line.starts_with('#')
            && !(text.starts_with("[[")
                || text.split_once(" = ").is_some_and(|(key, _)| {
                    key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
                }))
    };
    let examples = DEFAULT
        .lines()
        .filter(|line| !is_prose(line))
        .map(|line| line.trim_start_matches("# "))
        .collect::<Vec<_>>()
        .join("\n");

    let settings = parse(&examples).expect("the examples are TOML");
    settings
        .check(Path::new("/etc/fieldmesh"))
        .expect("the examples hold");

    let counts = [
        settings.source.len(),
        settings.uplink.len(),
        settings.rule.len(),
    ];
    assert_eq!(counts, [2, 1, 3]);
    let written = toml::Table::try_from(&settings).expect("settings serialise");
    let keys = |table: &toml::Value| -> BTreeSet<String> {
        table
            .as_table()
            .into_iter()
            .flat_map(|table| table.keys().cloned())
            .collect()
    };
    for name in ["source", "uplink", "rule"] {
        for table in written[name].as_array().expect("an array") {
            for key in keys(table) {
                assert!(
                    examples.contains(&format!("{key} = ")),
                    "{key} is not documented"
                );
            }
        }
    }
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let refused = refusal("[network]\nboostrap = []\n");

    assert!(refused.contains("line 2"), "{refused}");
    assert!(refused.ends_with("did you mean `bootstrap`?"), "{refused}");
}

#[test]
fn listening_addresses_are_sockets_or_the_multiaddresses_that_they_stand_for() {
    let listen = |text: &str| -> Vec<String> {
        let addresses = check(text).expect("it holds").listen;
        addresses.iter().map(|a| a.as_str().to_owned()).collect()
    };

    let defaults = ["/ip4/0.0.0.0/udp/4001/quic/noise", "/ip4/0.0.0.0/tcp/4001"];
    assert_eq!(listen(""), defaults);
    let quic = "/ip6/::1/udp/4002/quic/noise";
    let text = format!("[listen]\nquic = [\"[::1]:4002\", \"{quic}\"]\ntcp = []");
    assert_eq!(listen(&text), [quic, quic]);
    for address in [
        "/ip4/0.0.0.0/tcp/4001",
        "/ip4/0.0.0.0/udp/4001/quic-v1",
        "/",
        "4001",
    ] {
        let refused = refusal(&format!("[listen]\nquic = [\"{address}\"]"));
        assert!(refused.contains("listen.quic"), "{refused}");
    }
    let refused = refusal("[listen]\nquic = []\ntcp = []");
    assert!(refused.contains("at least one"), "{refused}");
}

#[test]
fn values_out_of_range_name_their_key() {
    for (text, key) in [
        ("[overlay]\nactive_max = 0", "overlay.active_max"),
        ("[relays]\ncount = 17", "relays.count"),
        ("[api]\ngrpc = \"0.0.0.0:50051\"", "api.grpc"),
        ("[api]\nmetrics = \"nowhere\"", "api.metrics"),
        ("[listen]\nquic = []\ntcp = []", "listen.quic"),
        (
            "[network]\nbootstrap = [\"192.0.2.1:4001\"]",
            "network.bootstrap",
        ),
        ("[network]\ngrace = \"forever\"", "network.grace"),
        ("[network]\nsubscribe = [\"hall-*\"]", "network.subscribe"),
        ("[network]\nsubscribe = [\"hall/2\"]", "network.subscribe"),
        (
            "[readings]\nwatermark_delay = \"soon\"",
            "readings.watermark_delay",
        ),
        ("[[source]]\nkind = \"host\"\nname = \"a b\"", "source.name"),
        (
            "[[source]]\nkind = \"host\"\nname = \"h\"\ninterval = \"1ms\"",
            "source.interval",
        ),
        ("[[uplink]]\nid = \"a/b\"\nurl = \"file:x\"", "uplink.id"),
        ("[[uplink]]\nid = \"a\"\nurl = \"amqp://x\"", "uplink.url"),
        (
            "[[uplink]]\nid = \"a\"\nurl = \"file:x\"\nwindows = [\"1ms\"]",
            "uplink.windows",
        ),
    ] {
        let refused = refusal(text);
        assert!(refused.starts_with(key), "{text}: {refused}");
    }
}

#[test]
fn relative_paths_start_at_the_file() {
    let text = "[node]\ndata_dir = \"d\"\n[[uplink]]\nid = \"site\"\nurl = \"file:out\"";

    let configuration = check(text).expect("it holds");

    assert_eq!(configuration.data_dir, Path::new("/etc/fieldmesh/d"));
    assert_eq!(
        configuration.uplinks[0].url.to_string(),
        "file:/etc/fieldmesh/out"
    );
    assert_eq!(
        configuration.network.machine_key_file,
        Path::new("/etc/fieldmesh/machine.key")
    );
}

#[test]
fn the_configurations_in_the_manual_hold() {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("manual");
    let mut uplinks = 0;
    for entry in std::fs::read_dir(manual).expect("a manual") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a page");
        for block in text.split("```toml\n").skip(1) {
            let (toml, _) = block.split_once("```").expect("a block ends");
            let checked = check(toml).unwrap_or_else(|error| {
                panic!("{}: {error} in\n{toml}", path.display());
            });
            uplinks += checked.uplinks.len();
        }
    }

    assert!(uplinks >= 9, "{uplinks} uplinks are shown");
}

#[test]
fn where_bytes_are_paid_for_an_idle_machine_says_everything_less_often() {
    let thin = check("[relays]\nprofile = \"thin\"").expect("the file holds");
    let lan = check("").expect("the file holds");

    let intervals = |of: &Configuration| {
        [
            of.engine.presence_interval,
            of.engine.watermark_interval,
            of.engine.overlay.shuffle_interval,
            of.engine.election.heartbeat_interval,
            of.idle_timeout,
            of.ping_interval,
        ]
    };
    let pairs = intervals(&thin).into_iter().zip(intervals(&lan));
    let ratios: Vec<f64> = pairs
        .map(|(thin, lan)| thin.as_secs_f64() / lan.as_secs_f64())
        .collect();
    assert!(ratios.iter().all(|ratio| *ratio > 5.0), "{ratios:?}");
}
