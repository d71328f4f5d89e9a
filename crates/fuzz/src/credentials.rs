//! What a machine shows of itself: as it comes, and as somebody with a key might sign it.

use bytes::Bytes;
use identity::{
    Claim, Credential, Invitation, InvitationId, Issuer, Keypair, Membership, Role, Roll, Terms,
};
use model::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::Outcome;
use crate::world::{NOW, WORLD, Who};

/// Reads bytes as a credential or an invitation. The first byte says who signs the others, if
/// anybody does.
///
/// # Panics
///
/// If something is read that none of its issuers could have signed, or that does not read back.
pub fn credentials(bytes: &[u8]) -> Outcome {
    let Some((place, bytes)) = bytes.split_first() else {
        return Outcome::Refused;
    };
    let operator = Who::Operator.keypair();
    let member =
        |signer: &Keypair| credential(1, signed(b"fieldmesh-membership-v1", bytes, signer));
    match place % 6 {
        0 => read_credential(bytes.to_vec()),
        1 => read_credential(member(&operator)),
        2 => read_credential(member(&Who::Admitter.keypair())),
        3 => read_credential(credential(
            2,
            signed(b"fieldmesh-claim-v1", bytes, &secret()),
        )),
        4 => read_invitation(signed(b"fieldmesh-invitation-v1", bytes, &operator)),
        _ => read_invitation(bytes.to_vec()),
    }
}

fn read_credential(carried: Vec<u8>) -> Outcome {
    let read = WORLD.trust.read_credential(carried.clone().into());
    match &read {
        Ok(Credential::Membership(membership)) => check_membership(membership),
        Ok(Credential::Claim(claim)) => check_claim(claim),
        Err(_) => {}
    }
    if let Ok(credential) = &read {
        assert_eq!(credential.to_bytes(), carried);
    }
    Outcome::of(&read)
}

fn read_invitation(carried: Vec<u8>) -> Outcome {
    let read = WORLD.trust.read_invitation(carried.into());
    if let Ok(invitation) = &read {
        check_invitation(invitation);
    }
    Outcome::of(&read)
}

fn check_membership(membership: &Membership) {
    let roll = Roll::new(WORLD.trust, std::time::Duration::MAX);
    for now in [None, Some(Timestamp::MIN), Some(NOW), Some(Timestamp::MAX)] {
        let _ = roll.judge(membership, now);
    }
    let again = with_issuer(membership.issuer(), |issuer| {
        issuer.admit(membership.grant().clone())
    });
    let again = again.expect("what is read could have been signed");
    assert_eq!(again.grant(), membership.grant());
}

fn check_invitation(invitation: &Invitation) {
    assert!(!invitation.terms().roles.contains(&Role::Admit));
    let again = with_issuer(invitation.issuer(), |issuer| {
        issuer.invite(invitation.id(), invitation.terms().clone())
    });
    let again = again.expect("what is read could have been signed");
    assert_eq!(again.terms(), invitation.terms());
}

fn check_claim(claim: &Claim) {
    check_invitation(claim.invitation());
    let (invitation, machine) = (claim.invitation().clone(), claim.machine());
    let again = Claim::sign(WORLD.trust, invitation, &secret(), machine, claim.name());
    let again = again.expect("what is read could have been signed");
    assert_eq!((again.machine(), again.name()), (machine, claim.name()));
}

/// Acts as one of the two who may sign.
fn with_issuer<T>(issuer: model::MachineId, act: impl FnOnce(&Issuer<'_>) -> T) -> T {
    let admitter = Who::Admitter.keypair();
    if issuer == admitter.machine() {
        let membership = Who::Admitter.membership();
        let issuer = Issuer::admitter(&admitter, &membership, WORLD.trust);
        return act(&issuer.expect("it may admit"));
    }
    let operator = Who::Operator.keypair();
    assert_eq!(issuer, operator.machine(), "signed by nobody");
    act(&Issuer::operator(&operator))
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let body = |bytes: &Bytes| bytes[..bytes.len() - 64].to_vec();
    let (own, admitter) = (Who::Alice.membership(), Who::Admitter.membership());
    let admitted = with_issuer(Who::Admitter.machine(), |issuer| {
        issuer.admit(Who::Alice.grant())
    });
    let admitted = admitted.expect("within its delegation");
    let terms = Terms {
        site: "hall-north".to_owned(),
        roles: [Role::Publish].into(),
        commands: vec!["light/**".to_owned()],
        lifetime: std::time::Duration::from_secs(86_400),
        not_after: NOW,
    };
    let id = InvitationId(*secret().machine().as_bytes());
    let invitations = [Who::Operator, Who::Admitter].map(|who| {
        let invited = with_issuer(who.machine(), |issuer| issuer.invite(id, terms.clone()));
        invited.expect("within the delegation")
    });
    let claims = invitations.clone().map(|invitation| {
        let machine = Who::Bob.machine();
        Claim::sign(WORLD.trust, invitation, &secret(), machine, "press-9").expect("a good name")
    });
    let [claim, claim_by_admitter] = claims;
    let [invitation, invitation_by_admitter] = invitations;
    let placed = [
        (0, Credential::Membership(own.clone()).to_bytes().to_vec()),
        (
            0,
            Credential::Membership(admitted.clone()).to_bytes().to_vec(),
        ),
        (0, Credential::Claim(claim.clone()).to_bytes().to_vec()),
        (1, body(own.as_bytes())),
        (1, body(admitter.as_bytes())),
        (2, body(admitted.as_bytes())),
        (3, body(claim.as_bytes())),
        (3, body(claim_by_admitter.as_bytes())),
        (4, body(invitation.as_bytes())),
        (5, invitation_by_admitter.as_bytes().to_vec()),
    ];
    placed
        .map(|(place, bytes): (u8, Vec<u8>)| [vec![place], bytes].concat())
        .to_vec()
}

/// The secret of every invitation.
fn secret() -> Keypair {
    Keypair::from_seed(&[0x5e; 32])
}

/// A credential of this kind, as it is carried.
fn credential(kind: u8, bytes: Vec<u8>) -> Vec<u8> {
    [vec![kind], bytes].concat()
}

fn signed(label: &[u8], body: &[u8], signer: &Keypair) -> Vec<u8> {
    let digest = Sha256::new()
        .chain_update(label)
        .chain_update(WORLD.network.as_bytes())
        .chain_update(body)
        .finalize();
    [body, &signer.sign(&digest.into()).0].concat()
}
