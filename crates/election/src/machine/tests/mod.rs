//! Each rule of the election on one machine, without a network.

mod lives;
mod serves;

use std::time::Duration;

use testkit::{Lawful, Probe, Step};

use super::*;
use crate::{Fault, Message};

const OWN: MachineId = MachineId::from_bytes([10; 32]);
const ANNA: MachineId = MachineId::from_bytes([1; 32]);
const BERT: MachineId = MachineId::from_bytes([20; 32]);
const CARL: MachineId = MachineId::from_bytes([30; 32]);
const ORIGIN: MachineId = MachineId::from_bytes([99; 32]);
const HEARTBEAT: Input = Input::Received(ANNA, Message::Heartbeat { counter: 1 });

type Node = Probe<Lawful<Election>>;

fn cloud() -> UplinkId {
    "cloud".parse().expect("an id")
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn way() -> Candidacy {
    Candidacy {
        standing: true,
        priority: 10,
        health: 100,
        ..Candidacy::default()
    }
}

fn serving() -> Candidacy {
    Candidacy {
        serving: true,
        settled: true,
        ..way()
    }
}

fn withdrawn() -> Candidacy {
    Candidacy {
        standing: false,
        ..way()
    }
}

fn node() -> Node {
    let make = || Election::new(OWN, Config::default(), Rng::from_u64(1));
    let mut node = Probe::new(Lawful::new(make));
    node.input(Input::Origin(ORIGIN));
    node
}

/// A machine that stands and has read the states.
fn candidate() -> Node {
    let mut node = node();
    node.input(Input::OwnCandidacy(cloud(), way()));
    node.input(Input::StatesRead);
    node
}

/// A candidate with others, linked and heard just now.
fn candidate_with(others: &[(MachineId, Candidacy)]) -> Node {
    let mut node = node();
    node.input(Input::OwnCandidacy(cloud(), way()));
    for (other, candidacy) in others {
        node.input(Input::Candidacy(*other, cloud(), candidacy.clone()));
        node.input(Input::LinkUp(*other));
    }
    node.input(Input::StatesRead);
    for (other, _) in others {
        node.input(heartbeat(*other));
    }
    node.take();
    node
}

fn heartbeat(from: MachineId) -> Input {
    Input::Received(from, Message::Heartbeat { counter: 1 })
}

/// Lets time pass in heartbeats of the given machines.
fn advance_hearing(node: &mut Node, heard: &[MachineId], duration: Duration) {
    let end = node.now() + duration;
    while node.now() < end {
        node.advance(ms(50).min(end - node.now()));
        for machine in heard {
            node.input(heartbeat(*machine));
        }
    }
}

fn serve() -> Output {
    Output::Serve(cloud(), ORIGIN)
}

fn yields() -> Output {
    Output::Yield(cloud(), ORIGIN)
}

fn relays(node: &Node) -> Vec<MachineId> {
    node.machine().inner().relays(&cloud())
}

fn stats(node: &Node) -> Stats {
    node.machine().inner().stats()
}

/// The probes that were sent, with helper and nonce.
fn probes(outputs: &[Output], suspect: MachineId) -> Vec<(MachineId, u64)> {
    let probe = |output: &Output| {
        if let Output::Send(helper, Message::Probe { target, nonce }) = output {
            return (*target == suspect).then_some((*helper, *nonce));
        }
        None
    };
    outputs.iter().filter_map(probe).collect()
}

#[test]
fn the_laws_hold_over_random_scripts() {
    for seed in 0..20 {
        let mut rng = Rng::from_u64(seed);
        let script: Vec<_> = (0..500).map(|_| random_step(&mut rng)).collect();
        let make = || Election::new(OWN, Config::default(), Rng::from_u64(seed));

        let outputs = testkit::check(make, script);

        // An origin is served and yielded in turns.
        let mut served = BTreeSet::new();
        for output in outputs {
            if let Output::Serve(uplink, origin) = output {
                assert!(served.insert((uplink, origin)));
            } else if let Output::Yield(uplink, origin) = output {
                assert!(served.remove(&(uplink, origin)));
            }
        }
    }
}

fn random_step(rng: &mut Rng) -> Step<Input> {
    let machine = *rng.choose(&[OWN, ANNA, BERT, CARL]).expect("four machines");
    let peer = *rng.choose(&[ANNA, BERT, CARL]).expect("three machines");
    let uplink = if rng.chance(500) {
        cloud()
    } else {
        "other".parse().expect("an id")
    };
    let candidacy = Candidacy {
        standing: rng.chance(800),
        serving: rng.chance(300),
        settled: rng.chance(500),
        health: rng.below(101).try_into().expect("a percentage"),
        ..way()
    };
    let nonce = rng.below(20);
    let message = match rng.below(8) {
        0 => Message::Resign,
        1 | 2 => Message::Probe {
            target: machine,
            nonce,
        },
        3 | 4 => Message::ProbeReply {
            nonce,
            alive: rng.chance(500),
        },
        counter => Message::Heartbeat { counter },
    };
    Step::Input(match rng.below(20) {
        0 | 1 => Input::OwnCandidacy(uplink, candidacy),
        2..=4 => Input::Candidacy(machine, uplink, candidacy),
        5 => Input::Origin(machine),
        6 | 7 => Input::LinkUp(peer),
        8 => Input::LinkDown(peer),
        9 => Input::StatesRead,
        10..=14 => Input::Received(peer, message),
        _ => return Step::Advance(ms(rng.below(400))),
    })
}
