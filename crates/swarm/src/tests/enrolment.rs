use std::collections::BTreeMap;

use identity::{Claim, CredentialError, InvitationId, Issuer, Terms};

use super::*;
use crate::{Answer, JoinError, Joining, RefusalReason};

/// A machine with an invitation, and no membership.
struct Newcomer {
    machine_key: Keypair,
    claim: Claim,
    roll: Roll,
    network_keys: NetworkKeys,
}

impl Newcomer {
    fn of(seed: u8) -> Self {
        Self::invited_by(&operator(), seed)
    }

    fn invited_by(operator: &Keypair, seed: u8) -> Self {
        let (machine_key, secret) = (
            Keypair::from_seed(&[seed; 32]),
            Keypair::from_seed(&[9; 32]),
        );
        let terms = Terms {
            site: "hall-b".to_owned(),
            roles: [Role::Publish].into(),
            commands: Vec::new(),
            lifetime: HOUR,
            not_after: NOW.saturating_add(HOUR),
        };
        let invited = Issuer::operator(operator).invite(InvitationId::of(&secret), terms);
        let (invitation, trust) = (invited.expect("good terms"), Trust::new(operator.machine()));
        let claim = Claim::sign(trust, invitation, &secret, machine_key.machine(), "press-9");
        Self {
            claim: claim.expect("a good name"),
            machine_key,
            roll: Roll::new(Trust::new(super::operator().machine()), Duration::ZERO),
            network_keys: network_keys(200),
        }
    }

    async fn ask(&self, contact: &Contact) -> Result<Answer, JoinError> {
        let joining = Joining {
            machine_key: &self.machine_key,
            claim: &self.claim,
            roll: &self.roll,
            network_keys: &self.network_keys,
        };
        let config = Config::new(WallClock(Arc::new(|| Some(NOW))));
        joining.ask(&config, &contact.addresses[0]).await
    }
}

/// Runs a host until the newcomer is done; whatever it claims is answered like this.
async fn asked(
    host: &mut Node,
    newcomer: &Newcomer,
    contact: &Contact,
    answer: impl Fn(&Claim) -> Answer,
) -> Result<Answer, JoinError> {
    let asking = newcomer.ask(contact);
    tokio::pin!(asking);
    loop {
        tokio::select! {
            asked = &mut asking => return asked,
            event = host.swarm.next() => {
                if let Event::Claimed { enrolment, claim, .. } = &event {
                    host.swarm.answer(*enrolment, answer(claim));
                }
                host.seen.push(event);
            }
        }
    }
}

fn admitted(claim: &Claim) -> Answer {
    let membership = admit(&operator(), claim.machine(), NOW.saturating_add(HOUR));
    Answer::Admitted {
        membership: membership.as_bytes().clone(),
        network_keys: network_keys(200),
    }
}

fn claims(host: &Node) -> usize {
    host.count(|event| matches!(event, Event::Claimed { .. }))
}

#[tokio::test]
async fn a_claim_is_answered_over_either_transport_and_makes_no_link() {
    for way in WAYS {
        let mut host = Disk::of(1).start(|_| ());
        let contact = host.listen(way).await;
        let newcomer = Newcomer::of(3);

        let answer = asked(&mut host, &newcomer, &contact, admitted).await;

        let Ok(Answer::Admitted {
            membership,
            network_keys,
        }) = answer
        else {
            panic!("not admitted: {answer:?}");
        };
        let trust = Trust::new(operator().machine());
        let membership = trust.read(membership).expect("a membership");
        assert_eq!(membership.machine(), newcomer.machine_key.machine());
        assert_eq!(network_keys.current().key.as_bytes(), &[200; 32]);
        assert_eq!(claims(&host), 1);
        assert_eq!(host.ups(newcomer.machine_key.machine()), 0);
        let mut stats = host.swarm.stats();
        (stats.quic.bytes_sent, stats.quic.bytes_received) = (0, 0);
        assert_eq!(stats, crate::Stats::default(), "and nobody was refused");
    }
}

#[tokio::test]
async fn a_refusal_says_why_over_either_transport() {
    for way in WAYS {
        let mut host = Disk::of(1).start(|_| ());
        let contact = host.listen(way).await;
        let refused = |_: &Claim| Answer::Refused("redeemed already: ".repeat(100));

        let answer = asked(&mut host, &Newcomer::of(3), &contact, refused).await;

        let Ok(Answer::Refused(why)) = answer else {
            panic!("not refused: {answer:?}");
        };
        assert!(
            why.starts_with("redeemed already") && why.len() <= 512,
            "{why}"
        );
    }
}

#[tokio::test]
async fn an_invitation_of_another_operator_or_under_another_network_key_is_not_even_heard() {
    for way in WAYS {
        let mut host = Disk::of(1).start(|_| ());
        let contact = host.listen(way).await;
        let elsewhere = Newcomer::invited_by(&Keypair::from_seed(&[101; 32]), 3);
        let stranger = Newcomer {
            network_keys: network_keys(201),
            ..Newcomer::of(4)
        };

        for newcomer in [&elsewhere, &stranger] {
            let answer = asked(&mut host, newcomer, &contact, admitted).await;
            assert!(answer.is_err(), "{answer:?}");
        }
        let member = asked(&mut host, &Newcomer::of(5), &contact, admitted).await;

        assert!(member.is_ok(), "the control: {member:?}");
        assert_eq!(claims(&host), 1);
        let refused = host.seen.iter().filter_map(|event| match event {
            Event::Refused {
                machine: Some(machine),
                reason,
                ..
            } => Some((*machine, reason.clone())),
            _ => None,
        });
        let other_operator = RefusalReason::Credential(CredentialError::OtherOperator);
        assert_eq!(
            refused.collect::<BTreeMap<_, _>>(),
            [(elsewhere.machine_key.machine(), other_operator)].into(),
            "whoever has the network key and proves itself is named"
        );
    }
}

#[tokio::test]
async fn a_newcomer_asks_nothing_of_a_machine_that_is_no_member() {
    for way in WAYS {
        let mut impostor = Disk::of(1);
        let other = Keypair::from_seed(&[101; 32]);
        impostor.membership = admit(
            &other,
            impostor.machine_key.machine(),
            NOW.saturating_add(HOUR),
        );
        let mut impostor = impostor.start(|_| ());
        let contact = impostor.listen(way).await;

        let answer = asked(&mut impostor, &Newcomer::of(3), &contact, admitted).await;

        assert!(matches!(answer, Err(JoinError::NoAnswer(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn machines_that_claim_and_wait_leave_room_for_members_and_are_bounded() {
    let mut host = Disk::of(1).start(|_| ());
    let mut member = Disk::of(2).start(|_| ());
    let contact = host.listen(Way::Quic).await;
    let newcomers: Vec<Newcomer> = (10..40).map(Newcomer::of).collect();
    let asking = newcomers.iter().map(|newcomer| newcomer.ask(&contact));
    let mut asking = futures::future::join_all(asking).boxed_local();

    member.swarm.dial(contact.clone());
    let linking = async {
        run(&mut [&mut host, &mut member], |nodes| {
            nodes[0].ups(nodes[1].machine) == 1 && claims(nodes[0]) >= 16
        })
        .await;
    };
    tokio::select! {
        _ = &mut asking => panic!("nobody was answered"),
        () = linking => {}
    }

    assert_eq!(claims(&host), 16, "no more than may wait at a time");
}
