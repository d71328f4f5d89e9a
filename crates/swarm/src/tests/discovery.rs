use super::*;

fn discovered(node: &Node) -> Vec<Contact> {
    let found = node.seen.iter().filter_map(|event| match event {
        Event::Discovered(contact) => Some(contact.clone()),
        _ => None,
    });
    found.collect()
}

#[tokio::test]
async fn a_bootstrap_address_is_dialled_until_a_machine_answers_there() {
    for way in WAYS {
        let mut host = Disk::of(1).start(|_| ());
        let contact = host.listen(way).await;
        drop(host); // Nobody answers at first.
        tokio::task::yield_now().await; // The task of its socket ends.
        let mut node = Disk::of(2).start(|config| config.bootstrap = contact.addresses.clone());
        node.listen(way).await;
        let mut host = Disk::of(1).start(|_| ());
        host.listen_at(contact.addresses[0].as_str()).await;

        run(&mut [&mut node, &mut host], |nodes| {
            nodes[0].ups(nodes[1].machine) == 1 && nodes[1].ups(nodes[0].machine) == 1
        })
        .await;

        assert_eq!(discovered(&node), [contact]);
    }
}

#[tokio::test]
async fn a_bootstrap_address_that_names_another_machine_gives_no_link() {
    for way in WAYS {
        let mut host = Disk::of(1).start(|_| ());
        let contact = host.listen(way).await;
        let expected = Disk::of(3).machine_key.machine();
        let wrong = address(&format!("{}/p2p/{expected}", contact.addresses[0].as_str()));
        let right = address(&format!(
            "{}/p2p/{}",
            contact.addresses[0].as_str(),
            host.machine
        ));
        let mut misled = Disk::of(2).start(|config| config.bootstrap = vec![wrong]);
        let mut guided = Disk::of(4).start(|config| config.bootstrap = vec![right]);

        run(&mut [&mut host, &mut misled, &mut guided], |nodes| {
            nodes[2].ups(nodes[0].machine) == 1
        })
        .await;

        assert_eq!(discovered(&guided), [contact]);
        assert_eq!(misled.ups(host.machine), 0);
        assert_eq!(discovered(&misled), []);
    }
}

#[tokio::test]
async fn several_addresses_are_listened_on_and_told() {
    let mut host = Disk::of(1).start(|_| ());
    let first = host.listen_at("/ip4/127.0.1.1/tcp/0").await;
    host.seen.clear();

    let both = host.listen_at("/ip4/127.0.1.2/tcp/0").await;

    assert_eq!(both.addresses.len(), 2);
    assert!(both.addresses.contains(&first.addresses[0]));
    let mut node = Disk::of(2).start(|_| ());
    node.swarm.dial(both);
    run(&mut [&mut host, &mut node], |nodes| {
        nodes[1].ups(nodes[0].machine) == 1
    })
    .await;
}
