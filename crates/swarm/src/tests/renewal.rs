//! Links that move from one connection to another.

use super::faults::Cable;
use super::*;

/// How often the link to a machine has moved, and to what the last time.
fn moves(node: &Node) -> (usize, Option<Way>) {
    let moves = node.seen.iter().filter_map(|event| match event {
        Event::LinkMoved { way, .. } => Some(*way),
        _ => None,
    });
    let moves: Vec<Way> = moves.collect();
    (moves.len(), moves.last().copied())
}

/// A frame that says which one it is, and on which lane.
fn numbered(lane: Lane, number: u32) -> Vec<u8> {
    let mark = u8::from(lane == Lane::Bulk);
    [&[mark][..], &number.to_be_bytes()].concat()
}

#[tokio::test]
async fn a_link_moves_to_fresh_connections_and_no_frame_is_lost_or_out_of_order() {
    for way in WAYS {
        for is_first_smaller in [true, false] {
            let (mut first, mut second, _) = linked(way, is_first_smaller, |config| {
                config.link_age_max = Duration::ZERO;
                config.ping_interval = Duration::from_millis(10);
            })
            .await;
            let mut sent = 0;

            // Some frames are always on their way.
            while moves(&first).0 < 3 || moves(&second).0 < 3 {
                let (one, other) = (first.machine, second.machine);
                for (node, peer) in [(&mut first, other), (&mut second, one)] {
                    for lane in [Lane::Live, Lane::Bulk] {
                        let sending = node.send(peer, lane, &numbered(lane, sent));
                        assert_eq!(sending, Sending::Sent);
                    }
                }
                sent += 1;
                run_until_received(&mut first, &mut second, sent.saturating_sub(20)).await;
            }
            run_until_received(&mut first, &mut second, sent).await;

            for (node, peer) in [(&first, second.machine), (&second, first.machine)] {
                assert_eq!((node.ups(peer), node.downs(peer)), (1, 0));
                let received = node.received(peer);
                for lane in [Lane::Live, Lane::Bulk] {
                    let of_lane = |frame: &&Bytes| frame[0] == u8::from(lane == Lane::Bulk);
                    let sent: Vec<_> = (0..sent).map(|number| numbered(lane, number)).collect();
                    let received: Vec<_> = received.iter().filter(of_lane).collect();
                    assert_eq!(received, sent.iter().collect::<Vec<_>>());
                }
            }
        }
    }
}

/// Runs both until each has so many frames of each lane from the other, and for one event at least.
async fn run_until_received(first: &mut Node, second: &mut Node, number: u32) {
    let count = 2 * usize::try_from(number).expect("small");
    let seen = first.seen.len() + second.seen.len();
    run(&mut [first, second], |nodes| {
        let all = |index: usize| nodes[index].received(nodes[1 - index].machine).len();
        nodes[0].seen.len() + nodes[1].seen.len() > seen && all(0) >= count && all(1) >= count
    })
    .await;
}

#[tokio::test]
async fn a_young_link_stays_where_it_is() {
    for way in WAYS {
        let (mut first, mut second, _) = linked(way, true, |config| {
            config.ping_interval = Duration::from_millis(10);
        })
        .await;

        run(&mut [&mut first, &mut second], |nodes| {
            nodes[0].round_trips() > 20 && nodes[1].round_trips() > 20
        })
        .await;

        assert_eq!([moves(&first), moves(&second)], [(0, None), (0, None)]);
    }
}

#[tokio::test]
async fn adversarial_46_a_link_over_tcp_moves_to_quic_when_udp_is_no_longer_blocked() {
    for is_host_smaller in [true, false] {
        let cable = Cable::new();
        let patient = |config: &mut Config| {
            cable.lay()(config);
            config.quic_probe_interval = Duration::from_millis(100);
        };
        let mut disks = [Disk::of(1), Disk::of(2)];
        disks.sort_by_key(|disk| disk.machine_key.machine());
        if !is_host_smaller {
            disks.reverse();
        }
        let [mut host, mut node] = disks.map(|disk| disk.start(patient));
        host.listen(Way::Quic).await;
        host.seen.clear();
        let contact = host.listen(Way::Tcp).await;
        let (peer, own) = (host.machine, node.machine);
        cable.limit_datagrams(0);
        node.swarm.dial(contact);
        run(&mut [&mut host, &mut node], |nodes| {
            nodes[0].ups(own) == 1 && nodes[1].ups(peer) == 1 && nodes[1].round_trips() > 10
        })
        .await;
        assert_eq!([moves(&host), moves(&node)], [(0, None), (0, None)]);

        cable.limit_datagrams(usize::MAX);
        run(&mut [&mut host, &mut node], |nodes| {
            moves(nodes[0]).0 == 1 && moves(nodes[1]).0 == 1
        })
        .await;
        assert_eq!(node.send(peer, Lane::Live, b"over QUIC"), Sending::Sent);
        run(&mut [&mut host, &mut node], |nodes| {
            !nodes[0].received(own).is_empty()
        })
        .await;

        assert_eq!(moves(&node), (1, Some(Way::Quic)));
        assert_eq!(moves(&host), (1, Some(Way::Quic)));
        assert_eq!((node.ups(peer), node.downs(peer)), (1, 0));
        assert_eq!((host.ups(own), host.downs(own)), (1, 0));
    }
}
