use super::*;
use crate::{Delegation, Grant, InvitationId, Issuer, Keypair, Role, Terms};

fn operator() -> Keypair {
    Keypair::from_seed(&[1; 32])
}

fn admitter() -> Keypair {
    Keypair::from_seed(&[2; 32])
}

fn machine() -> Keypair {
    Keypair::from_seed(&[3; 32])
}

fn roll() -> Roll {
    Roll::new(Trust::new(operator().machine()), GRACE)
}

fn grant(machine: MachineId) -> Grant {
    Grant {
        machine,
        name: "press-3".to_owned(),
        site: "hall-b".to_owned(),
        roles: [Role::Publish].into(),
        commands: Vec::new(),
        not_before: Timestamp::from_nanos(1_000),
        not_after: Timestamp::from_nanos(2_000),
        delegation: None,
    }
}

fn by_operator() -> Membership {
    let operator = operator();
    let issued = Issuer::operator(&operator).admit(grant(machine().machine()));
    issued.expect("a good grant")
}

fn admitters_membership() -> Membership {
    let operator = operator();
    let delegation = Delegation {
        roles: [Role::Publish].into(),
        commands: Vec::new(),
        lifetime: Duration::from_secs(1),
    };
    let grant = Grant {
        roles: [Role::Admit].into(),
        delegation: Some(delegation),
        ..grant(admitter().machine())
    };
    Issuer::operator(&operator)
        .admit(grant)
        .expect("a good grant")
}

fn by_admitter() -> Membership {
    let (key, own) = (admitter(), admitters_membership());
    let issuer = Issuer::admitter(&key, &own, roll().trust()).expect("it may admit");
    issuer
        .admit(grant(machine().machine()))
        .expect("within what it may grant")
}

fn revoked(machine: &Keypair, signer: &Keypair) -> Roll {
    let mut roll = roll();
    let revocation = Revocation {
        machine: machine.machine(),
        signer: signer.machine(),
        time: Timestamp::from_nanos(1_200),
        reason: String::new(),
    };
    assert!(roll.revoke(&revocation));
    assert!(!roll.revoke(&revocation), "the same is no news");
    roll
}

fn at(nanos: i64) -> Option<Timestamp> {
    Some(Timestamp::from_nanos(nanos))
}

#[test]
fn adversarial_45_a_window_is_judged_only_with_a_clock_and_ends_with_the_grace() {
    let judge = |now| roll().judge(&by_operator(), now);

    assert_eq!(judge(at(999)), Err(CredentialError::NotYetValid));
    assert_eq!(judge(at(1_000)), Ok(Standing::Valid));
    assert_eq!(judge(at(1_999)), Ok(Standing::Valid));
    assert_eq!(judge(at(2_000)), Ok(Standing::Grace));
    assert_eq!(judge(at(2_499)), Ok(Standing::Grace));
    assert_eq!(judge(at(2_500)), Err(CredentialError::Expired));
    assert_eq!(judge(None), Ok(Standing::Unjudged));
}

#[test]
fn adversarial_32_the_operator_throws_out_a_machine_whoever_admitted_it_clock_or_not() {
    let roll = revoked(&machine(), &operator());

    for membership in [by_operator(), by_admitter()] {
        assert_eq!(
            roll.judge(&membership, at(1_500)),
            Err(CredentialError::Revoked)
        );
        assert_eq!(roll.judge(&membership, None), Err(CredentialError::Revoked));
    }
    assert!(
        roll.judge(&admitters_membership(), at(1_500)).is_ok(),
        "the control"
    );
}

#[test]
fn an_admitters_word_ends_what_it_has_signed_and_nothing_else() {
    let roll = revoked(&machine(), &admitter());
    let others = revoked(&admitter(), &machine());

    assert_eq!(
        roll.judge(&by_admitter(), at(1_500)),
        Err(CredentialError::Revoked)
    );
    assert!(roll.judge(&by_operator(), at(1_500)).is_ok());
    assert!(others.judge(&admitters_membership(), at(1_500)).is_ok());
    assert!(others.judge(&by_admitter(), at(1_500)).is_ok());
}

#[test]
fn what_a_thrown_out_admitter_has_signed_does_not_count() {
    let roll = revoked(&admitter(), &operator());

    assert_eq!(
        roll.judge(&by_admitter(), at(1_500)),
        Err(CredentialError::Revoked)
    );
    assert!(roll.judge(&by_operator(), at(1_500)).is_ok());
}

/// A claim of [`machine`] on an invitation of the operator's or the admitter's until 2,000.
fn claim(is_operators: bool) -> Claim {
    let (secret, trust) = (Keypair::from_seed(&[9; 32]), roll().trust());
    let terms = Terms {
        site: "hall-b".to_owned(),
        roles: [Role::Publish].into(),
        commands: Vec::new(),
        lifetime: Duration::from_secs(1),
        not_after: Timestamp::from_nanos(2_000),
    };
    let (operator, admitter, own) = (operator(), admitter(), admitters_membership());
    let issuer = match is_operators {
        true => Issuer::operator(&operator),
        false => Issuer::admitter(&admitter, &own, trust).expect("it may admit"),
    };
    let id = InvitationId(*secret.machine().as_bytes());
    let invitation = issuer.invite(id, terms).expect("within what it may grant");
    Claim::sign(trust, invitation, &secret, machine().machine(), "press-3").expect("a good name")
}

#[test]
fn a_claim_counts_until_its_invitation_ends_and_only_with_a_clock() {
    let judge = |now| roll().judge_claim(&claim(true), now);

    assert_eq!(judge(at(1_999)), Ok(()));
    assert_eq!(judge(at(2_000)), Err(CredentialError::InvitationExpired));
    assert_eq!(judge(None), Err(CredentialError::NoClock));
}

#[test]
fn adversarial_32_no_invitation_brings_a_thrown_out_machine_back() {
    let judge = |roll: &Roll, is_operators| roll.judge_claim(&claim(is_operators), at(1_500));

    assert_eq!(judge(&roll(), false), Ok(()), "the control");
    let out = revoked(&machine(), &operator());
    assert_eq!(judge(&out, true), Err(CredentialError::Revoked));
    let admitter_out = revoked(&admitter(), &operator());
    assert_eq!(judge(&admitter_out, false), Err(CredentialError::Revoked));
    assert_eq!(judge(&admitter_out, true), Ok(()));
}

#[test]
fn adversarial_18_a_credential_of_another_machine_is_refused() {
    let shown = Credential::Membership(by_operator()).to_bytes();

    let own = roll().admit(machine().machine(), shown.clone(), at(1_500));
    let others = roll().admit(admitter().machine(), shown, at(1_500));

    assert_eq!(own, Ok(Credential::Membership(by_operator())));
    assert_eq!(
        others,
        Err(CredentialError::OtherMachine(machine().machine()))
    );
}

#[test]
fn adversarial_18_a_claim_is_refused_in_the_handshake_of_another_machine() {
    let shown = Credential::Claim(claim(true)).to_bytes();

    let own = roll().admit(machine().machine(), shown.clone(), None);
    let others = roll().admit(admitter().machine(), shown, None);

    assert_eq!(own, Ok(Credential::Claim(claim(true))));
    assert!(matches!(others, Err(CredentialError::OtherMachine(_))));
}

const GRACE: Duration = Duration::from_nanos(500);
