use libp2p::Multiaddr;

use super::faults::Cable;
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

#[tokio::test]
async fn adversarial_46_udp_that_is_blocked_in_mid_session_is_replaced_by_tcp_within_seconds() {
    let cable = Cable::new();
    let (mut host, contact) = host_over_both(cable.lay()).await;
    let mut node = Disk::of(2).start(cable.lay());
    let (peer, own) = (host.machine, node.machine);
    node.swarm.dial(contact.clone());
    run(&mut [&mut host, &mut node], |nodes| {
        nodes[0].ups(own) == 1 && nodes[1].ups(peer) == 1
    })
    .await;

    cable.limit_datagrams(0);
    run(&mut [&mut host, &mut node], |nodes| {
        nodes[0].downs(own) == 1 && nodes[1].downs(peer) == 1
    })
    .await;
    node.swarm.dial(contact.clone());
    run(&mut [&mut host, &mut node], |nodes| {
        nodes[0].ups(own) == 2 && nodes[1].ups(peer) == 2
    })
    .await;
    assert_eq!(node.send(peer, Lane::Live, b"over TCP"), Sending::Sent);
    run(&mut [&mut host, &mut node], |nodes| {
        nodes[0].received(own) == [Bytes::from_static(b"over TCP")]
    })
    .await;

    assert_eq!(ways_to(&node, peer), [Way::Quic, Way::Tcp]);
    assert_eq!(node.swarm.stats().tcp_fallbacks, 1);
}

#[tokio::test]
async fn adversarial_46_a_path_too_narrow_for_quic_gets_tcp() {
    for (bytes_max, way) in [(1_199, Way::Tcp), (1_200, Way::Quic)] {
        let cable = Cable::new();
        cable.limit_datagrams(bytes_max);
        let (mut host, contact) = host_over_both(cable.lay()).await;
        let mut node = Disk::of(2).start(cable.lay());
        let (peer, own) = (host.machine, node.machine);

        node.swarm.dial(contact);
        run(&mut [&mut host, &mut node], |nodes| {
            nodes[0].ups(own) == 1 && nodes[1].ups(peer) == 1
        })
        .await;
        let large = vec![7; wire::FRAME_BYTES_MAX];
        assert_eq!(node.send(peer, Lane::Bulk, &large), Sending::Sent);
        run(&mut [&mut host, &mut node], |nodes| {
            nodes[0].received(own) == [Bytes::from(large.clone())]
        })
        .await;

        assert_eq!(ways_to(&node, peer), [way]);
    }
}
