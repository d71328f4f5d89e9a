use model::{MachineId, Timestamp};

use super::*;

fn grant(roles: &[Role], commands: &[&str]) -> Grant {
    Grant {
        machine: MachineId::from_bytes([1; 32]),
        name: "phone".to_owned(),
        site: "home".to_owned(),
        roles: roles.iter().copied().collect(),
        commands: commands.iter().map(|&text| text.to_owned()).collect(),
        not_before: Timestamp::MIN,
        not_after: Timestamp::MAX,
        delegation: None,
    }
}

fn rights(commands: &[&str]) -> Rights {
    Rights::of(
        &grant(&[Role::Command], commands),
        &["boiler".to_owned()].into(),
    )
}

fn policy() -> Policy {
    let celsius = Range::new(Some(5.0), Some(30.0), BTreeSet::new()).expect("a range");
    let words = ["eco".to_owned(), "comfort".to_owned()].into();
    let mode = Range::new(None, None, words).expect("a range");
    let set = Allowance {
        pattern: "heating/set".parse().expect("a pattern"),
        callers: vec!["phone".to_owned()],
        arguments: [("celsius".to_owned(), celsius), ("mode".to_owned(), mode)].into(),
    };
    Policy {
        maintenance: false,
        allow: vec![set],
    }
}

fn set(celsius: Argument, mode: &str) -> Argument {
    let mode = Argument::Text(mode.to_owned());
    Argument::Map([("celsius".to_owned(), celsius), ("mode".to_owned(), mode)].into())
}

fn name(text: &str) -> CommandName {
    text.parse().expect("a name")
}

fn code(result: Result<(), Status>) -> Code {
    result.map_or_else(|status| status.code, |()| Code::Ok)
}

#[test]
fn membership_and_policy_must_both_agree() {
    let (policy, heating) = (policy(), name("heating/set"));
    let permit = |rights: &Rights, name: &CommandName| code(policy.permit(rights, name, false));

    assert_eq!(permit(&rights(&["heating/*"]), &heating), Code::Ok);
    assert_eq!(
        permit(&rights(&["lights/*"]), &heating),
        Code::PermissionDenied
    );
    assert_eq!(
        permit(&rights(&["**"]), &name("lights/set")),
        Code::PermissionDenied
    );
    let without_role = Rights::of(&grant(&[Role::Observe], &["**"]), &BTreeSet::new());
    assert_eq!(permit(&without_role, &heating), Code::PermissionDenied);
    let mut other = grant(&[Role::Command], &["**"]);
    other.name = "tablet".to_owned();
    assert_eq!(
        permit(&Rights::of(&other, &BTreeSet::new()), &heating),
        Code::PermissionDenied
    );
}

#[test]
fn a_pattern_for_another_machine_grants_nothing_here() {
    let permit = |pattern| code(policy().permit(&rights(&[pattern]), &name("heating/set"), false));

    assert_eq!(permit("boiler:heating/*"), Code::Ok);
    assert_eq!(permit("oven:heating/*"), Code::PermissionDenied);
}

#[test]
fn maintenance_locks_others_out_of_what_changes_something() {
    let mut policy = policy();
    policy.maintenance = true;
    let permit = |rights: &Rights, safe| code(policy.permit(rights, &name("heating/set"), safe));

    assert_eq!(permit(&rights(&["**"]), false), Code::FailedPrecondition);
    assert_eq!(permit(&rights(&["**"]), true), Code::Ok);
    assert_eq!(permit(&Rights::own(), false), Code::Ok);
}

#[test]
fn an_argument_of_the_wrong_type_or_out_of_range_is_refused_with_its_name() {
    let policy = policy();
    let rights = rights(&["**"]);
    let check = |argument: &Argument| policy.check(&rights, &name("heating/set"), argument);

    assert_eq!(check(&set(Argument::F64(21.5), "eco")), Ok(()));
    assert_eq!(check(&set(Argument::I64(30), "comfort")), Ok(()));
    let hot = check(&set(Argument::I64(31), "eco")).expect_err("too hot");
    assert_eq!(hot.code, Code::OutOfRange);
    assert_eq!(hot.message, "`celsius` is 31; this machine allows 5 to 30");
    let nan = set(Argument::F64(f64::NAN), "eco");
    assert_eq!(code(check(&nan)), Code::OutOfRange);
    let text = set(Argument::Text("21".to_owned()), "eco");
    assert_eq!(code(check(&text)), Code::InvalidArgument);
    assert_eq!(
        code(check(&set(Argument::I64(20), "boost"))),
        Code::OutOfRange
    );
    assert_eq!(code(check(&Argument::Null)), Code::InvalidArgument);
}

#[test]
fn ranges_hold_for_the_machine_itself_too() {
    let check = |celsius| {
        let argument = set(Argument::I64(celsius), "eco");
        code(policy().check(&Rights::own(), &name("heating/set"), &argument))
    };

    assert_eq!(check(20), Code::Ok);
    assert_eq!(check(99), Code::OutOfRange);
}

#[test]
fn a_range_that_nothing_can_meet_is_no_range() {
    let words = || BTreeSet::from(["on".to_owned()]);

    assert!(Range::new(None, None, BTreeSet::new()).is_err());
    assert!(Range::new(Some(2.0), Some(1.0), BTreeSet::new()).is_err());
    assert!(Range::new(Some(f64::NAN), None, BTreeSet::new()).is_err());
    assert!(Range::new(Some(1.0), None, words()).is_err());
    assert!(Range::new(None, None, words()).is_ok());
}
