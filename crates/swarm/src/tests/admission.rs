use std::io;

use identity::CredentialError;
use tokio::net::TcpStream;

use super::*;
use crate::{ListenError, RefusalReason, StartError};

/// Has a stranger and a member dial a machine. The member gets through, the stranger does not;
/// gives why.
async fn refusal_of(stranger: Disk, way: Way) -> RefusalReason {
    let short = |config: &mut Config| config.admission_timeout = Duration::from_secs(1);
    let mut host = Disk::of(1).start(short);
    let mut member = Disk::of(2).start(short);
    let mut stranger = stranger.start(short);
    let contact = host.listen(way).await;
    let outsider = stranger.machine;

    stranger.swarm.dial(contact.clone());
    member.swarm.dial(contact);
    run(&mut [&mut host, &mut member, &mut stranger], |nodes| {
        nodes[0].ups(nodes[1].machine) == 1
            && nodes[1].ups(nodes[0].machine) == 1
            && nodes[2].failed_dials(nodes[0].machine) == 1
            && nodes[0].count(|event| matches!(event, Event::Refused { .. })) > 0
    })
    .await;

    assert_eq!(host.ups(outsider), 0);
    assert_eq!(stranger.ups(host.machine), 0);
    assert_eq!(host.swarm.stats().refusals, 1);
    let refused = host.seen.into_iter().find_map(|event| match event {
        Event::Refused {
            machine, reason, ..
        } => Some((machine, reason)),
        _ => None,
    });
    let (machine, reason) = refused.expect("counted above");
    let is_proved = matches!(reason, RefusalReason::Credential(_));
    assert_eq!(machine, is_proved.then_some(outsider));
    reason
}

#[tokio::test]
async fn a_stranger_without_the_network_key_is_refused_over_tcp() {
    let mut stranger = Disk::of(3);
    stranger.network_keys = network_keys(201);

    let reason = refusal_of(stranger, Way::Tcp).await;

    assert!(
        matches!(
            reason,
            RefusalReason::Closed | RefusalReason::TimedOut | RefusalReason::Handshake(_)
        ),
        "{reason:?}"
    );
}

#[tokio::test]
async fn a_stranger_without_the_network_key_does_not_exist_over_quic() {
    let mut stranger = Disk::of(3);
    stranger.network_keys = network_keys(201);
    let mut host = Disk::of(1).start(|_| ());
    let (mut member, mut stranger) = (Disk::of(2).start(|_| ()), stranger.start(|_| ()));
    let contact = host.listen(Way::Quic).await;

    stranger.swarm.dial(contact.clone());
    member.swarm.dial(contact);
    run(&mut [&mut host, &mut member, &mut stranger], |nodes| {
        nodes[0].ups(nodes[1].machine) == 1 && nodes[2].failed_dials(nodes[0].machine) == 1
    })
    .await;

    assert_eq!(host.swarm.stats().refusals, 0);
    assert_eq!(host.swarm.stats().links_made, 1);
}

#[tokio::test]
async fn a_member_of_another_operator_is_refused() {
    for way in WAYS {
        let mut stranger = Disk::of(3);
        let other = Keypair::from_seed(&[101; 32]);
        let until = NOW.saturating_add(HOUR);
        stranger.membership = admit(&other, stranger.machine_key.machine(), until);

        let reason = refusal_of(stranger, way).await;

        assert_eq!(
            reason,
            RefusalReason::Credential(CredentialError::OtherOperator)
        );
    }
}

#[tokio::test]
async fn a_member_whose_membership_has_expired_is_refused() {
    for way in WAYS {
        let mut stranger = Disk::of(3);
        stranger.membership = admit(&operator(), stranger.machine_key.machine(), NOW);

        let reason = refusal_of(stranger, way).await;

        assert_eq!(reason, RefusalReason::Credential(CredentialError::Expired));
    }
}

#[tokio::test]
async fn a_machine_that_shows_the_membership_of_another_is_refused() {
    for way in WAYS {
        let mut stranger = Disk::of(3);
        let (own, other) = (stranger.machine_key.machine(), Disk::of(2));
        stranger.membership = other.membership;

        let reason = refusal_of(stranger, way).await;

        assert_ne!(own, other.machine_key.machine());
        assert_eq!(
            reason,
            RefusalReason::Credential(CredentialError::OtherMachine(other.machine_key.machine()))
        );
    }
}

#[tokio::test]
async fn a_machine_does_not_start_with_the_membership_of_another() {
    let (disk, other) = (Disk::of(1), Disk::of(2));
    let credentials = Credentials {
        machine_key: &disk.machine_key,
        membership: &other.membership,
        roll: &disk.roll,
        network_keys: &disk.network_keys,
    };
    let config = Config::new(WallClock(Arc::new(|| None)));

    let refused = Swarm::new(&credentials, &config, Rng::from_u64(1));

    assert!(matches!(refused, Err(StartError::OtherMachine { .. })));
}

#[tokio::test]
async fn connections_that_say_nothing_do_not_keep_members_out() -> io::Result<()> {
    let mut host = Disk::of(1).start(|config| {
        config.admission_timeout = Duration::from_millis(300);
    });
    let mut member = Disk::of(2).start(|_| ());
    let contact = host.listen(Way::Tcp).await;
    let port = contact.addresses[0]
        .as_str()
        .rsplit('/')
        .next()
        .expect("a port");
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(format!("127.0.0.1:{port}")).await?);
    }

    member.swarm.dial(contact);
    run(&mut [&mut host, &mut member], |nodes| {
        nodes[0].ups(nodes[1].machine) == 1 && nodes[0].swarm.stats().refusals >= 128
    })
    .await;

    drop(silent);
    Ok(())
}

#[tokio::test]
async fn an_address_that_cannot_be_listened_on_is_named_with_what_to_do() {
    for way in WAYS {
        let mut first = Disk::of(1).start(|_| ());
        let mut second = Disk::of(2).start(|_| ());
        let taken = first.listen(way).await.addresses[0].clone();

        let refused = second.swarm.listen(&taken).expect_err("taken");
        assert!(matches!(&refused, ListenError::Taken(address) if *address == taken));
        assert!(
            refused.to_string().contains("choose another port"),
            "{refused}"
        );

        let elsewhere = anywhere(way).replace("127.0.0.1", "192.0.2.7");
        let elsewhere = second.swarm.listen(&address(&elsewhere));
        assert!(
            matches!(elsewhere, Err(ListenError::NoInterface(_))),
            "{elsewhere:?}"
        );

        for text in ["nonsense", "/ip4/127.0.0.1/udp/4001/quic-v1"] {
            let unknown = second.swarm.listen(&address(text));
            assert!(
                matches!(unknown, Err(ListenError::Unsupported(_))),
                "{unknown:?}"
            );
        }
    }
}
