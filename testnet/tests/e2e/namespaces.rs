//! Two sites behind a router with network address translation each, and a machine that everybody
//! can reach, in network namespaces of this test alone.
//!
//! ```text
//! left (192.168.1.2) ── router ── 203.0.113.2 ─┐
//!                                              ├─ bridge ── open (203.0.113.10)
//! right (192.168.2.2) ─ router ── 203.0.113.3 ─┘
//! ```
//!
//! A router lets in nothing but answers, maps each port to itself while it can, and drops what
//! comes to itself: what home and cellular routers do. Made of `ip` (iproute2) and `nft`
//! (nftables), which need root.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The namespaces; they go when this is dropped.
#[derive(Debug)]
pub(crate) struct Namespaces {
    prefix: String,
}

/// A place in it where a node can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Behind the first router.
    Left,
    /// Behind the second.
    Right,
    /// Reachable by all.
    Open,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
            Self::Open => "open",
        }
    }

    /// Its own address.
    pub(crate) const fn ip(self) -> &'static str {
        match self {
            Self::Left => "192.168.1.2",
            Self::Right => "192.168.2.2",
            Self::Open => "203.0.113.10",
        }
    }
}

impl Namespaces {
    /// Makes them.
    pub(crate) fn new() -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("fm{}-{number}", std::process::id());
        let made = Self { prefix };
        for name in NAMES {
            ip(&["netns", "add", &made.full(name)]);
            made.ip(name, "link set lo up");
        }
        made.ip("wan", "link add bridge type bridge");
        made.ip("wan", "link set bridge promisc on up"); // It hears what it forwards.
        for (name, last) in [("left-router", "2"), ("right-router", "3"), ("open", "10")] {
            made.plug_into_bridge(name, last);
        }
        for (host, router, site) in [("left", "left-router", 1), ("right", "right-router", 2)] {
            made.put_behind(host, router, site);
        }
        made
    }

    /// A command that runs a program in a place.
    pub(crate) fn command(&self, place: Place, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.full(place.name())]);
        command.arg(program);
        command
    }

    /// A command that runs a program where all sites' packets pass.
    pub(crate) fn command_at_bridge(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.full("wan")]);
        command.arg(program);
        command
    }

    /// Sends bytes as they are, in one datagram.
    pub(crate) fn say_in_the_clear(&self, from: Place, to: Place, bytes: &[u8]) {
        let mut shell = self.command(from, Path::new("bash"));
        shell.args(["-c", &format!("cat > /dev/udp/{}/9", to.ip())]);
        feed(&mut shell, bytes);
    }

    fn plug_into_bridge(&self, name: &str, last: &str) {
        let (inside, wan) = (self.full(name), self.full("wan"));
        let veth = format!("link add outer netns {inside} type veth peer name p{last} netns {wan}");
        ip(&veth.split(' ').collect::<Vec<_>>());
        self.ip("wan", &format!("link set p{last} master bridge up"));
        self.ip(name, &format!("addr add 203.0.113.{last}/24 dev outer"));
        self.ip(name, "link set outer up");
    }

    fn put_behind(&self, host: &str, router: &str, site: u8) {
        let (inside, outside) = (self.full(host), self.full(router));
        let veth =
            format!("link add outer netns {inside} type veth peer name inner netns {outside}");
        ip(&veth.split(' ').collect::<Vec<_>>());
        self.ip(router, &format!("addr add 192.168.{site}.1/24 dev inner"));
        self.ip(router, "link set inner up");
        self.ip(host, &format!("addr add 192.168.{site}.2/24 dev outer"));
        self.ip(host, "link set outer up");
        self.ip(host, &format!("route add default via 192.168.{site}.1"));
        let forward = ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"];
        run(Command::new("ip")
            .args(["netns", "exec", &outside])
            .args(forward));
        let mut nft = Command::new("ip");
        nft.args(["netns", "exec", &outside, "nft", "-f", "-"]);
        feed(&mut nft, ROUTER.as_bytes());
    }

    fn full(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// Runs `ip` within a namespace.
    fn ip(&self, name: &str, arguments: &str) {
        let name = self.full(name);
        let arguments: Vec<&str> = arguments.split(' ').collect();
        ip(&[&["-n", &name], &arguments[..]].concat());
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in NAMES {
            let delete = ["netns", "del", &self.full(name)];
            let _ = Command::new("ip").args(delete).status(); // Others still have to go.
        }
    }
}

fn ip(arguments: &[&str]) {
    run(Command::new("ip").args(arguments));
}

fn run(command: &mut Command) {
    feed(command, b"");
}

fn feed(command: &mut Command, input: &[u8]) {
    let piped = command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("a piped standard input");
    stdin.write_all(input).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?} (as root?): {complaint}"
    );
}

/// How many of these this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

const NAMES: [&str; 6] = [
    "wan",
    "left-router",
    "right-router",
    "open",
    "left",
    "right",
];

/// What a router does.
const ROUTER: &str = r#"
table ip router {
    chain translate {
        type nat hook postrouting priority 100
        oifname "outer" masquerade
    }
    chain forward {
        type filter hook forward priority 0; policy drop
        iifname "inner" accept
        ct state established,related accept
    }
    chain input {
        type filter hook input priority 0; policy accept
        iifname "outer" drop
    }
}
"#;
