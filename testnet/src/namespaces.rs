//! A network namespace for each machine, joined by a bridge in one of their own: the machines share
//! nothing with this computer's network, and nothing else is heard on theirs.
//!
//! Made by the program `ip` (iproute2), which needs root.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::Context as _;

/// The namespaces of a testnet. They go when this is dropped.
#[derive(Debug)]
pub struct Namespaces {
    prefix: String,
    made: Vec<String>,
}

impl Namespaces {
    /// Where machine `number` can be reached by the others.
    #[must_use]
    pub const fn address(number: u8) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 0, number) // For test networks (RFC 2544).
    }

    /// What the namespace of a machine is called in this process's testnet.
    #[must_use]
    pub fn name(machine: &str) -> String {
        format!("fm{}-{machine}", std::process::id())
    }

    /// Makes one for each machine; machine N gets [`Self::address`].
    ///
    /// # Errors
    ///
    /// If `ip` is missing or refuses. What was made until then is gone again.
    pub fn make<'a>(machines: impl Iterator<Item = &'a str>) -> anyhow::Result<Self> {
        let mut namespaces = Self {
            prefix: Self::name(""),
            made: Vec::new(),
        };
        let bridge = namespaces.add("bridge")?;
        ip(&["-n", &bridge, "link", "add", "bridge", "type", "bridge"])?;
        ip(&["-n", &bridge, "link", "set", "bridge", "up"])?;
        for (number, machine) in (1..).zip(machines) {
            let own = namespaces.add(machine)?;
            let port = format!("port{number}");
            let cable = ["link", "add", "lan", "netns", &own, "type", "veth"];
            ip(&[&cable[..], &["peer", "name", &port, "netns", &bridge]].concat())?;
            ip(&[
                "-n", &bridge, "link", "set", &port, "master", "bridge", "up",
            ])?;
            let address = format!("{}/24", Self::address(number));
            ip(&["-n", &own, "addr", "add", &address, "dev", "lan"])?;
            ip(&["-n", &own, "link", "set", "lan", "up"])?;
        }
        Ok(namespaces)
    }

    /// Adds a namespace with a loopback interface, and returns its name.
    fn add(&mut self, machine: &str) -> anyhow::Result<String> {
        let name = format!("{}{machine}", self.prefix);
        ip(&["netns", "add", &name])?;
        self.made.push(name.clone());
        ip(&["-n", &name, "link", "set", "lo", "up"])?;
        Ok(name)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.made {
            if let Err(error) = ip(&["netns", "del", name]) {
                tracing::warn!(error = %format!("{error:#}"), "a network namespace is left");
            }
        }
    }
}

/// Runs `ip`.
///
/// # Errors
///
/// What it said.
fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let run = Command::new("ip").args(arguments).output();
    let output = run.context("--netns needs the program `ip`; install iproute2")?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(
        output.status.success(),
        "--netns needs root: `ip {}` says {}",
        arguments.join(" "),
        said.trim()
    );
    Ok(())
}
