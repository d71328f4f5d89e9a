use proptest::prelude::*;

use super::*;

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
    }
}

fn issued() -> Membership {
    Membership::issue(&operator(), grant()).expect("a good grant")
}

fn signed(body: &[u8]) -> Bytes {
    let signature = operator().sign(&digest(&trust().network(), body));
    [body, &signature.0].concat().into()
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
    let other = Membership::issue(&Keypair::from_seed(&[9; 32]), grant()).expect("a good grant");

    assert_eq!(
        trust().read(other.as_bytes().clone()),
        Err(MembershipError::OtherOperator)
    );
}

#[test]
fn a_window_is_judged_only_with_a_clock() {
    let at = |nanos| trust().judge(&issued(), Some(Timestamp::from_nanos(nanos)));

    assert_eq!(at(999), Err(MembershipError::NotYetValid));
    assert_eq!(at(1_000), Ok(()));
    assert_eq!(at(1_999), Ok(()));
    assert_eq!(at(2_000), Err(MembershipError::Expired));
    assert_eq!(trust().judge(&issued(), None), Ok(()));
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

        assert!(Membership::issue(&operator(), named).is_err(), "{name:?}");
        assert!(Membership::issue(&operator(), sited).is_err(), "{name:?}");
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
            machine: vec![1; 31],
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
            issuer: Some(vec![1]),
            ..good.clone()
        },
    ];

    assert!(trust().read(signed(&good.encode_to_vec())).is_ok());
    for message in bad {
        let refused = trust().read(signed(&message.encode_to_vec()));
        assert!(
            !matches!(refused, Ok(_) | Err(MembershipError::OtherOperator)),
            "{message:?}: {refused:?}"
        );
    }
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

        prop_assert_eq!(trust().read(bytes.into()), Err(MembershipError::OtherOperator));
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
    }
}
