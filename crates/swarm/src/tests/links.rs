use super::*;

#[tokio::test]
async fn two_members_exchange_frames_on_both_lanes() {
    for way in WAYS {
        let (mut first, mut second, _) = linked(way, true, |_| ()).await;
        let large = vec![7; wire::FRAME_BYTES_MAX];

        let (one, other) = (first.machine, second.machine);
        for (from, to) in [(&mut first, other), (&mut second, one)] {
            assert_eq!(from.send(to, Lane::Live, b"live"), Sending::Sent);
            assert_eq!(from.send(to, Lane::Bulk, &large), Sending::Sent);
        }
        run(&mut [&mut first, &mut second], |nodes| {
            nodes[0].received(nodes[1].machine).len() == 2
                && nodes[1].received(nodes[0].machine).len() == 2
                && nodes.iter().all(|node| node.round_trips() > 0)
        })
        .await;

        for (node, peer) in [(&first, second.machine), (&second, first.machine)] {
            let received = node.received(peer);
            assert!(received.contains(&Bytes::from_static(b"live")));
            assert!(received.contains(&Bytes::from(large.clone())));
        }
    }
}

#[tokio::test]
async fn a_link_names_the_membership_of_the_other_side() {
    for way in WAYS {
        let (first, second, _) = linked(way, true, |_| ()).await;

        let membership = first.seen.iter().find_map(|event| match event {
            Event::LinkUp { membership, .. } => Some(membership),
            _ => None,
        });

        assert_eq!(
            membership.map(|membership| membership.machine()),
            Some(second.machine)
        );
    }
}

#[tokio::test]
async fn adversarial_21_two_machines_that_dial_each_other_at_once_have_one_link() {
    for way in WAYS {
        for _ in 0..10 {
            let quick = |config: &mut Config| config.ping_interval = Duration::from_millis(20);
            let (mut first, mut second) = (Disk::of(1).start(quick), Disk::of(2).start(quick));
            let (to_first, to_second) = (first.listen(way).await, second.listen(way).await);

            first.swarm.dial(to_second);
            second.swarm.dial(to_first);
            run(&mut [&mut first, &mut second], |nodes| {
                nodes.iter().all(|node| node.round_trips() >= 3)
            })
            .await;

            for (node, peer) in [(&first, second.machine), (&second, first.machine)] {
                assert_eq!((node.ups(peer), node.downs(peer)), (1, 0));
                assert_eq!(node.failed_dials(peer), 0);
            }
        }
    }
}

#[tokio::test]
async fn a_full_queue_says_so_and_then_that_there_is_room_again() {
    for way in WAYS {
        let (mut first, mut second, _) = linked(way, true, |config| {
            config.queue_frames_max = 8;
        })
        .await;
        let to = second.machine;
        let frame = vec![1; 64 * 1024];
        let mut sent = 0;

        // The second machine is not asked for events, so it stops reading its socket. The first one
        // is, so that its queue moves on until there is nowhere left to go.
        while sent < 1_000 {
            match first.send(to, Lane::Live, &frame) {
                Sending::Sent => sent += 1,
                Sending::Full => {
                    let next = tokio::time::timeout(Duration::from_millis(300), first.swarm.next());
                    match next.await {
                        Ok(Event::Drained(_) | Event::RoundTrip(..)) => {}
                        Ok(other) => panic!("unexpected {other:?}"),
                        Err(_) => break,
                    }
                }
                Sending::NoLink => panic!("the link is gone"),
            }
        }
        assert!(sent < 1_000, "nothing holds the sender back");
        assert!(first.swarm.stats().frames_dropped > 0);
        run(&mut [&mut first, &mut second], |nodes| {
            nodes[1].received(nodes[0].machine).len() == sent
                && nodes[0].count(|event| matches!(event, Event::Drained(_))) == 1
        })
        .await;

        assert_eq!(first.send(to, Lane::Live, &frame), Sending::Sent);
    }
}

#[tokio::test]
async fn a_live_frame_overtakes_the_bulk_frames_before_it() {
    for way in WAYS {
        let (mut first, mut second, _) = linked(way, true, |_| ()).await;
        let (from, to) = (first.machine, second.machine);
        let large = vec![1; wire::FRAME_BYTES_MAX];
        let fits = |_: &usize| first.send(to, Lane::Bulk, &large) == Sending::Sent;
        let queued = (0..15).filter(fits).count();

        run(&mut [&mut first, &mut second], |nodes| {
            !nodes[1].received(from).is_empty()
        })
        .await;
        assert_eq!(first.send(to, Lane::Live, b"live"), Sending::Sent);
        run(&mut [&mut first, &mut second], |nodes| {
            nodes[1].received(from).len() == queued + 1
        })
        .await;

        let place = second
            .received(from)
            .iter()
            .position(|frame| frame.len() == 4);
        assert!(
            queued > 10 && place < Some(8),
            "place {place:?} of {queued}"
        );
    }
}

#[tokio::test]
async fn a_machine_that_stops_in_order_delivers_what_was_queued() {
    for way in WAYS {
        let (mut first, mut second, _) = linked(way, true, |_| ()).await;
        let (from, to) = (first.machine, second.machine);

        // The second machine takes its time, so the second half waits in its socket behind the
        // first one when the link is closed.
        for half in 0..2 {
            for number in 0..50 {
                assert_eq!(first.send(to, Lane::Live, &[half, number]), Sending::Sent);
            }
            let quiet = Duration::from_millis(100);
            while tokio::time::timeout(quiet, first.swarm.next())
                .await
                .is_ok()
            {}
        }
        let mut nodes = [&mut second];
        let receiving = run(&mut nodes, |nodes| nodes[0].downs(from) == 1);
        tokio::join!(first.swarm.close(), receiving);

        assert_eq!(second.received(from).len(), 100);
    }
}

#[tokio::test]
async fn a_released_link_delivers_what_was_queued_and_goes_down_once_on_both_sides() {
    for way in WAYS {
        for is_first_smaller in [true, false] {
            let (mut first, mut second, _) = linked(way, is_first_smaller, |_| ()).await;
            let (from, to) = (first.machine, second.machine);

            for number in 0..100_u8 {
                assert_eq!(first.send(to, Lane::Live, &[number; 1_000]), Sending::Sent);
            }
            first.swarm.release(to);
            assert_eq!(first.send(to, Lane::Live, b"late"), Sending::NoLink);
            run(&mut [&mut first, &mut second], |nodes| {
                nodes[0].downs(to) == 1 && nodes[1].downs(from) == 1
            })
            .await;

            assert_eq!(second.received(from).len(), 100);
        }
    }
}

#[tokio::test]
async fn a_machine_that_is_gone_is_noticed_and_can_come_back() {
    for way in WAYS {
        for is_first_smaller in [true, false] {
            let (mut first, second, contact) = linked(way, is_first_smaller, |_| ()).await;
            let to = second.machine;

            drop(second);
            run(&mut [&mut first], |nodes| nodes[0].downs(to) == 1).await;
            first.swarm.dial(contact.clone());
            run(&mut [&mut first], |nodes| nodes[0].failed_dials(to) == 1).await;

            let disk = [Disk::of(1), Disk::of(2)]
                .into_iter()
                .find(|disk| disk.machine_key.machine() == to)
                .expect("one of the two");
            let mut second = disk.start(|_| ());
            second.listen_at(contact.addresses[0].as_str()).await;
            first.swarm.dial(contact);
            run(&mut [&mut first, &mut second], |nodes| {
                nodes[0].ups(to) == 2
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_dial_that_cannot_succeed_fails() {
    for way in WAYS {
        let mut node = Disk::of(1).start(|_| ());
        let own = node.listen(way).await;
        let peer = Disk::of(2).machine_key.machine();
        let to = |machine, texts: &[&str]| Contact {
            machine,
            addresses: texts.iter().map(|text| address(text)).collect(),
        };

        node.swarm.dial(own);
        node.swarm.dial(to(peer, &[]));
        node.swarm.dial(to(peer, &["nonsense"]));
        let nobody = match way {
            Way::Quic => "/ip4/127.0.0.1/udp/1/quic/noise",
            _ => "/ip4/127.0.0.1/tcp/1",
        };
        node.swarm.dial(to(peer, &[nobody]));
        run(&mut [&mut node], |nodes| {
            nodes[0].failed_dials(nodes[0].machine) == 1 && nodes[0].failed_dials(peer) == 3
        })
        .await;
    }
}
