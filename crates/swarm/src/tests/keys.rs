//! Memberships and network keys that are replaced while machines run.

use super::*;

fn epoch_key(epoch: u32, seed: u8) -> EpochKey {
    EpochKey {
        epoch: NetworkKeyEpoch(epoch),
        key: NetworkKey::from_bytes(&[seed; 32]),
    }
}

/// The key of [`network_keys`], replaced by the one of the next epoch.
fn rotated() -> NetworkKeys {
    let mut keys = network_keys(200);
    keys.advance(epoch_key(2, 201));
    keys
}

/// Dials until there is a link, as the overlay does.
async fn dial_until_linked(dialler: &mut Node, host: &mut Node, contact: &Contact) {
    for attempt in 1..=5 {
        dialler.swarm.dial(contact.clone());
        run(&mut [&mut *dialler, &mut *host], |nodes| {
            let host = nodes[1].machine;
            nodes[0].ups(host) == 1 && nodes[1].ups(nodes[0].machine) == 1
                || nodes[0].failed_dials(host) == attempt
        })
        .await;
        if dialler.ups(host.machine) == 1 {
            return;
        }
    }
    panic!("no link after five dials: {:?}", dialler.seen);
}

fn in_haste(config: &mut Config) {
    config.dial_timeout = Duration::from_millis(700);
    config.admission_timeout = Duration::from_millis(700);
}

#[tokio::test]
async fn machines_link_while_only_one_of_them_has_the_new_network_key_whoever_dials() {
    for way in WAYS {
        for has_dialler_the_new_key in [true, false] {
            let mut dialler = Disk::of(1).start(in_haste);
            let mut host = Disk::of(2).start(in_haste);
            let changed = match has_dialler_the_new_key {
                true => &mut dialler,
                false => &mut host,
            };
            let keys = rotated();
            changed.swarm.set_network_keys(&keys).expect("good keys");
            let contact = host.listen(way).await;

            dial_until_linked(&mut dialler, &mut host, &contact).await;
        }
    }
}

#[tokio::test]
async fn a_key_that_was_replaced_twice_opens_nothing() {
    for way in WAYS {
        let mut outdated = Disk::of(1).start(in_haste);
        let (mut host, mut member) = (Disk::of(2), Disk::of(3));
        let mut keys = rotated();
        keys.advance(epoch_key(3, 202));
        host.network_keys = keys.clone();
        member.network_keys = keys;
        let (mut host, mut member) = (host.start(in_haste), member.start(in_haste));
        let contact = host.listen(way).await;

        for attempt in 1..=3 {
            outdated.swarm.dial(contact.clone());
            run(&mut [&mut outdated, &mut host], |nodes| {
                nodes[0].failed_dials(nodes[1].machine) == attempt
            })
            .await;
        }

        assert_eq!(host.ups(outdated.machine), 0);
        dial_until_linked(&mut member, &mut host, &contact).await; // The control.
    }
}

#[tokio::test]
async fn links_stay_when_the_network_key_is_replaced() {
    for way in WAYS {
        let (mut first, mut second, _) = linked(way, true, |_| ()).await;
        for node in [&mut first, &mut second] {
            node.swarm.set_network_keys(&rotated()).expect("good keys");
        }

        let machine = second.machine;
        let sending = first.send(machine, Lane::Live, b"still here");
        assert_ne!(sending, Sending::Full);
        run(&mut [&mut first, &mut second], |nodes| {
            !nodes[1].received(nodes[0].machine).is_empty()
        })
        .await;

        assert_eq!(first.downs(machine), 0);
    }
}

#[tokio::test]
async fn a_machine_is_judged_by_the_membership_that_it_shows_since_its_renewal() {
    for way in WAYS {
        let mut dialler = Disk::of(1);
        let expired = admit(&operator(), dialler.machine_key.machine(), NOW);
        let renewed = std::mem::replace(&mut dialler.membership, expired);
        let mut dialler = dialler.start(in_haste);
        let mut host = Disk::of(2).start(in_haste);
        let contact = host.listen(way).await;
        dialler.swarm.dial(contact.clone());
        run(&mut [&mut dialler, &mut host], |nodes| {
            nodes[0].failed_dials(nodes[1].machine) == 1
        })
        .await;

        dialler.swarm.show(renewed.clone());
        dialler.swarm.dial(contact);
        run(&mut [&mut dialler, &mut host], |nodes| {
            nodes[1].ups(nodes[0].machine) == 1
        })
        .await;

        let shown = host.seen.into_iter().find_map(|event| match event {
            Event::LinkUp { membership, .. } => Some(*membership),
            _ => None,
        });
        assert_eq!(shown, Some(renewed));
    }
}
