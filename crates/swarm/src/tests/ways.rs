use libp2p::Multiaddr;

use super::*;

/// A machine that can be reached over both, at one address.
async fn host_over_both(change: impl FnOnce(&mut Config)) -> (Node, Contact) {
    let mut host = Disk::of(1).start(change);
    host.listen(Way::Quic).await;
    host.seen.clear();
    let contact = host.listen(Way::Tcp).await;
    assert_eq!(contact.addresses.len(), 2);
    (host, contact)
}

/// What the links to a machine were made of, in order.
fn ways_to(node: &Node, peer: MachineId) -> Vec<Way> {
    let ways = node.seen.iter().filter_map(|event| match event {
        Event::LinkUp { machine, way, .. } if *machine == peer => Some(*way),
        _ => None,
    });
    ways.collect()
}

/// The contact with UDP blocked: QUIC's address leads nowhere.
fn without_udp(contact: &Contact) -> Contact {
    let blocked = |address: &Address| {
        let multiaddr: Multiaddr = address.as_str().parse().expect("a multiaddress");
        match Way::of(&multiaddr) {
            Way::Quic => super::address("/ip4/127.0.0.1/udp/9/quic/noise"),
            Way::Tcp | Way::Circuit => address.clone(),
        }
    };
    Contact {
        machine: contact.machine,
        addresses: contact.addresses.iter().map(blocked).collect(),
    }
}

#[tokio::test]
async fn of_two_ways_that_get_through_quic_becomes_the_link() {
    let (mut host, contact) = host_over_both(|_| ()).await;
    let mut node = Disk::of(2).start(|_| ());

    node.swarm.dial(contact);
    run(&mut [&mut host, &mut node], |nodes| {
        nodes[1].ups(nodes[0].machine) == 1 && nodes[0].ups(nodes[1].machine) == 1
    })
    .await;

    assert_eq!(ways_to(&node, host.machine), [Way::Quic]);
    assert_eq!(ways_to(&host, node.machine), [Way::Quic]);
    assert_eq!(node.swarm.stats().tcp_fallbacks, 0);
}

#[tokio::test]
async fn where_udp_is_blocked_tcp_becomes_the_link_and_quic_is_tried_again() {
    let (mut host, contact) = host_over_both(|_| ()).await;
    let mut node = Disk::of(2).start(|_| ());
    let peer = host.machine;

    node.swarm.dial(without_udp(&contact));
    run(&mut [&mut host, &mut node], |nodes| nodes[1].ups(peer) == 1).await;
    assert_eq!(node.swarm.stats().tcp_fallbacks, 1);
    node.swarm.release(peer);
    run(&mut [&mut host, &mut node], |nodes| {
        nodes[0].downs(nodes[1].machine) == 1
    })
    .await;
    node.swarm.dial(contact);
    run(&mut [&mut host, &mut node], |nodes| nodes[1].ups(peer) == 2).await;

    assert_eq!(ways_to(&node, peer), [Way::Tcp, Way::Quic]);
    assert_eq!(node.swarm.stats().tcp_fallbacks, 1);
}
