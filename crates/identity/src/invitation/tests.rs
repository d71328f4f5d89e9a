use proptest::prelude::*;

use super::*;

fn operator() -> Keypair {
    Keypair::from_seed(&[1; 32])
}

fn secret() -> Keypair {
    Keypair::from_seed(&[9; 32])
}

fn trust() -> Trust {
    Trust::new(operator().machine())
}

fn terms() -> Terms {
    Terms {
        site: "hall-b".to_owned(),
        roles: [Role::Publish].into(),
        commands: vec!["press/stop".to_owned()],
        lifetime: Duration::from_secs(60),
        not_after: Timestamp::from_nanos(2_000),
    }
}

fn invitation() -> Invitation {
    let (operator, id) = (operator(), InvitationId(*secret().machine().as_bytes()));
    Issuer::operator(&operator)
        .invite(id, terms())
        .expect("good terms")
}

fn claim() -> Claim {
    let machine = MachineId::from_bytes([3; 32]);
    Claim::sign(trust(), invitation(), &secret(), machine, "press-3").expect("a good name")
}

#[test]
fn an_invitation_and_a_claim_read_back_as_they_were_signed() {
    assert_eq!(
        trust().read_invitation(invitation().as_bytes().clone()),
        Ok(invitation())
    );
    assert_eq!(trust().read_claim(claim().as_bytes().clone()), Ok(claim()));
    assert_eq!(claim().invitation().terms(), &terms());
}

#[test]
fn an_invitation_of_another_operator_is_refused() {
    let elsewhere = Trust::new(secret().machine());

    let refused = elsewhere.read_invitation(invitation().as_bytes().clone());

    assert_eq!(refused, Err(CredentialError::OtherOperator));
}

#[test]
fn a_claim_needs_the_secret_of_its_invitation() {
    let other = Keypair::from_seed(&[8; 32]);
    let message = ClaimMessage {
        invitation: invitation().bytes,
        machine: vec![3; 32].into(),
        name: "press-3".to_owned(),
    };
    let signed = |key: &Keypair| {
        let (network, body) = (trust().network(), message.encode_to_vec());
        signed::sign(Purpose::Claim, &network, key, &body, Claim::BYTES_MAX).expect("short")
    };

    assert!(trust().read_claim(signed(&secret())).is_ok(), "the control");
    assert_eq!(
        trust().read_claim(signed(&other)),
        Err(CredentialError::OtherSecret)
    );
    let machine = MachineId::from_bytes([3; 32]);
    let refused = Claim::sign(trust(), invitation(), &other, machine, "press-3");
    assert_eq!(refused, Err(CredentialError::OtherSecret));
}

#[test]
fn nobody_is_invited_to_invite() {
    let (operator, id) = (operator(), InvitationId([4; 32]));
    let terms = Terms {
        roles: [Role::Admit].into(),
        ..terms()
    };

    let refused = Issuer::operator(&operator).invite(id, terms);

    assert!(matches!(refused, Err(CredentialError::BeyondDelegation(_))));
}

proptest! {
    #[test]
    fn a_claim_with_a_changed_byte_is_refused(at: prop::sample::Index, flip in 1_u8..) {
        let mut bytes = claim().as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;

        prop_assert!(trust().read_claim(bytes.into()).is_err());
    }

    #[test]
    fn any_bytes_are_read_without_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let network = trust().network();
        let signed = |purpose, key: &Keypair| {
            signed::sign(purpose, &network, key, &body, Claim::BYTES_MAX).expect("short")
        };

        let _ = trust().read_invitation(signed(Purpose::Invitation, &operator()));
        let _ = trust().read_claim(signed(Purpose::Claim, &secret()));
        prop_assert!(trust().read_claim(body.clone().into()).is_err());
    }
}
