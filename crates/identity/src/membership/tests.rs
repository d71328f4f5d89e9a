use proptest::prelude::*;

use super::*;

use crate::{Keypair, Role};

fn operator() -> Keypair {
    Keypair::from_seed(&[1; 32])
}

fn trust() -> Trust {
    Trust::new(operator().machine())
}

fn grant() -> Grant {
    Grant {
        machine: Keypair::from_seed(&[2; 32]).machine(),
        name: "press-3".to_owned(),
        site: "hall-b".to_owned(),
        roles: [Role::Publish, Role::Relay].into(),
        commands: vec!["press/*/stop".to_owned()],
        not_before: Timestamp::from_nanos(1_000),
        not_after: Timestamp::from_nanos(2_000),
        delegation: None,
    }
}

fn issued() -> Membership {
    Issuer::operator(&operator())
        .admit(grant())
        .expect("a good grant")
}

fn signed_by(key: &Keypair, body: &[u8]) -> Bytes {
    let (purpose, network) = (Purpose::Membership, trust().network());
    signed::sign(purpose, &network, key, body, Membership::BYTES_MAX).expect("short")
}

fn signed(body: &[u8]) -> Bytes {
    signed_by(&operator(), body)
}

fn admitter() -> Keypair {
    Keypair::from_seed(&[5; 32])
}

/// A membership that lets [`admitter`] admit machines that publish and send `press/**`.
fn admitters_membership() -> Membership {
    let delegation = Delegation {
        roles: [Role::Publish, Role::Relay].into(),
        commands: vec!["press/**".to_owned()],
        lifetime: Duration::from_secs(60),
    };
    let grant = Grant {
        machine: admitter().machine(),
        roles: [Role::Admit].into(),
        not_before: Timestamp::from_nanos(0),
        not_after: Timestamp::from_nanos(100_000_000_000),
        delegation: Some(delegation),
        ..grant()
    };
    Issuer::operator(&operator())
        .admit(grant)
        .expect("a good grant")
}

/// What a delegated grant looks like, whoever signs it, with the admitter's membership inside.
fn delegated(grant: &Grant, issuer: &Membership) -> Bytes {
    let message = GrantMessage {
        issuer: Some(issuer.as_bytes().clone()),
        ..GrantMessage::from(grant)
    };
    signed_by(&admitter(), &message.encode_to_vec())
}

#[test]
fn a_membership_reads_back_as_it_was_issued() {
    let membership = issued();

    assert_eq!(
        trust().read(membership.as_bytes().clone()),
        Ok(membership.clone())
    );
    assert_eq!(membership.grant(), &grant());
}

#[test]
fn a_membership_of_another_operator_is_refused() {
    let other = Keypair::from_seed(&[9; 32]);
    let other = Issuer::operator(&other)
        .admit(grant())
        .expect("a good grant");

    assert_eq!(
        trust().read(other.as_bytes().clone()),
        Err(CredentialError::OtherOperator)
    );
}

#[test]
fn names_that_are_not_one_level_are_refused() {
    for name in [
        "",
        "a/b",
        "a b",
        "a:b",
        "\u{1b}[31m",
        "a\nb",
        &"a".repeat(64),
    ] {
        let named = Grant {
            name: name.to_owned(),
            ..grant()
        };
        let sited = Grant {
            site: name.to_owned(),
            ..grant()
        };

        let operator = operator();
        let issuer = Issuer::operator(&operator);
        assert!(issuer.admit(named).is_err(), "{name:?}");
        assert!(issuer.admit(sited).is_err(), "{name:?}");
    }
}

#[test]
fn what_may_not_be_issued_is_not_read_either() {
    let good = GrantMessage::from(&grant());
    let bad = [
        GrantMessage {
            name: "a\u{1b}b".to_owned(),
            ..good.clone()
        },
        GrantMessage {
            machine: vec![1; 31].into(),
            ..good.clone()
        },
        GrantMessage {
            not_after: good.not_before,
            ..good.clone()
        },
        GrantMessage {
            commands: vec!["stop".to_owned(); 33],
            ..good.clone()
        },
        GrantMessage {
            commands: vec![String::new()],
            ..good.clone()
        },
        GrantMessage {
            issuer: Some(vec![1].into()),
            ..good.clone()
        },
    ];

    assert!(trust().read(signed(&good.encode_to_vec())).is_ok());
    for message in bad {
        let refused = trust().read(signed(&message.encode_to_vec()));
        assert!(
            !matches!(refused, Ok(_) | Err(CredentialError::OtherOperator)),
            "{message:?}: {refused:?}"
        );
    }
}

#[test]
fn an_admitter_signs_memberships_that_everyone_reads() {
    let (key, own) = (admitter(), admitters_membership());
    let issuer = Issuer::admitter(&key, &own, trust()).expect("it may admit");

    let membership = issuer.admit(grant()).expect("within what it may grant");

    assert_eq!(membership.issuer(), key.machine());
    assert_eq!(trust().read(membership.as_bytes().clone()), Ok(membership));
}

#[test]
fn adversarial_18_an_admitter_that_goes_beyond_its_delegation_is_refused_by_every_reader() {
    let own = admitters_membership();
    let good = grant();
    let beyond = [
        Grant {
            site: "hall-c".to_owned(),
            ..good.clone()
        },
        Grant {
            roles: [Role::Command].into(),
            ..good.clone()
        },
        Grant {
            roles: [Role::Admit].into(),
            ..good.clone()
        },
        Grant {
            commands: vec!["oven/stop".to_owned()],
            ..good.clone()
        },
        Grant {
            commands: vec!["**".to_owned()],
            ..good.clone()
        },
        Grant {
            not_after: Timestamp::from_nanos(60_000_001_001),
            ..good.clone()
        },
        Grant {
            not_before: Timestamp::from_nanos(-1),
            ..good.clone()
        },
        Grant {
            not_before: Timestamp::from_nanos(99_000_000_000),
            not_after: Timestamp::from_nanos(100_000_000_001),
            ..good.clone()
        },
        Grant {
            not_before: Timestamp::MIN,
            not_after: Timestamp::MAX,
            ..good.clone()
        },
        Grant {
            roles: [Role::Admit].into(),
            delegation: own.grant().delegation.clone(),
            ..good.clone()
        },
    ];
    let (key, honest) = (admitter(), own.clone());
    let issuer = Issuer::admitter(&key, &honest, trust()).expect("it may admit");

    assert!(trust().read(delegated(&good, &own)).is_ok(), "the control");
    for grant in beyond {
        let refused = trust().read(delegated(&grant, &own));
        assert!(
            matches!(refused, Err(CredentialError::BeyondDelegation(_))),
            "{grant:?}"
        );
        let refused = issuer.admit(grant.clone());
        assert!(
            matches!(refused, Err(CredentialError::BeyondDelegation(_))),
            "{grant:?}"
        );
    }
}

#[test]
fn adversarial_18_a_chain_ends_with_whoever_the_operator_lets_admit() {
    let (key, own) = (admitter(), admitters_membership());
    let issuer = Issuer::admitter(&key, &own, trust()).expect("it may admit");
    let plain = Grant {
        machine: key.machine(),
        ..grant()
    };
    let operator = operator();
    let not_admitter = Issuer::operator(&operator)
        .admit(plain.clone())
        .expect("a good grant");
    let second = issuer.admit(plain).expect("within what it may grant");

    // A member without the role, and one that was itself admitted by an admitter.
    assert_eq!(
        trust().read(delegated(&grant(), &not_admitter)),
        Err(CredentialError::NotAdmitter)
    );
    assert!(trust().read(delegated(&grant(), &second)).is_err());
    for membership in [&not_admitter, &second] {
        let refused = Issuer::admitter(&key, membership, trust());
        assert!(matches!(refused, Err(CredentialError::NotAdmitter)));
    }
    // The admitter's membership, with somebody else's signature.
    let message = GrantMessage {
        issuer: Some(own.as_bytes().clone()),
        ..GrantMessage::from(&grant())
    };
    let forged = signed_by(&Keypair::from_seed(&[6; 32]), &message.encode_to_vec());
    assert_eq!(trust().read(forged), Err(CredentialError::OtherOperator));
}

#[test]
fn a_role_that_is_not_known_here_grants_nothing() {
    let mut message = GrantMessage::from(&grant());
    message.roles.push(99);

    let membership = trust().read(signed(&message.encode_to_vec()));

    assert_eq!(membership.expect("signed").grant().roles, grant().roles);
}

#[test]
fn the_network_is_the_hash_of_the_operators_key() {
    let expected: [u8; 32] = Sha256::digest(operator().machine().as_bytes()).into();

    assert_eq!(trust().network().as_bytes(), &expected);
}

proptest! {
    #[test]
    fn a_membership_with_a_changed_byte_is_refused(at: prop::sample::Index, flip in 1_u8..) {
        let mut bytes = issued().as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;

        prop_assert!(trust().read(bytes.into()).is_err());
    }

    #[test]
    fn a_membership_cut_short_or_extended_is_refused(
        keep: prop::sample::Index,
        more in prop::collection::vec(any::<u8>(), 1..80),
    ) {
        let bytes = issued().as_bytes().clone();
        let cut = bytes.slice(..keep.index(bytes.len()));
        let longer = Bytes::from([&bytes[..], &more].concat());

        prop_assert!(trust().read(cut).is_err());
        prop_assert!(trust().read(longer).is_err());
    }

    #[test]
    fn any_bytes_signed_or_not_are_read_without_panic(
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        prop_assert!(trust().read(body.clone().into()).is_err());
        let _ = trust().read(signed(&body));
        let _ = trust().read_credential(body.clone().into());
        let _ = trust().read_credential([&[1], &signed(&body)[..]].concat().into());
        let _ = trust().read_credential([&[2], &signed(&body)[..]].concat().into());
    }
}
