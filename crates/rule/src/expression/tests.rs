use super::*;

fn check(source: &str) -> Result<(Expression, Vec<SeriesCall>), Refused> {
    let mut calls = Vec::new();
    Expression::check(source, &mut calls).map(|expression| (expression, calls))
}

fn refused(source: &str) -> (Option<(usize, usize)>, String) {
    let refused = check(source).expect_err(source);
    let place = refused.place.map(|place| (place.line, place.column));
    (place, refused.message)
}

fn evaluate(source: &str, values: &[Option<Value>]) -> Result<Argument, EvalError> {
    let (expression, calls) = check(source).expect(source);
    expression.evaluate(&Language::default(), &Slots(values.to_vec()), &calls)
}

#[test]
fn series_calls_become_values_and_the_same_call_is_made_once() {
    let source =
        r#"last("boiler:water") > 60.0 && avg("air", "5m") < 20 && last("boiler:water") < 90"#;
    let (_, calls) = check(source).expect("an expression");
    let value = |water: f64, air: f64| evaluate(source, &[water, air].map(|v| Some(Value::F64(v))));

    assert_eq!(calls.len(), 2);
    assert_eq!(value(70.0, 18.0), Ok(Argument::Bool(true)));
    assert_eq!(value(95.0, 18.0), Ok(Argument::Bool(false)));
}

#[test]
fn a_missing_series_leaves_no_value_unless_it_does_not_matter() {
    let source = r#"last("a") > 1.0 || last("b") > 1.0"#;
    let of = |values: &[Option<Value>]| evaluate(source, values);

    assert_eq!(
        of(&[None, Some(Value::F64(0.0))]),
        Err(EvalError::Blind("a".to_owned()))
    );
    assert_eq!(of(&[Some(Value::F64(2.0)), None]), Ok(Argument::Bool(true)));
    assert_eq!(of(&[None, Some(Value::F64(2.0))]), Ok(Argument::Bool(true)));
}

#[test]
fn integers_and_truth_of_series_compare_with_literals() {
    assert_eq!(
        evaluate(r#"last("n") > 3"#, &[Some(Value::I64(4))]),
        Ok(Argument::Bool(true))
    );
    assert_eq!(
        evaluate(r#"last("b") == true"#, &[Some(Value::Bool(true))]),
        Ok(Argument::Bool(true))
    );
    let text = Some(Value::Text("open".to_owned()));
    assert_eq!(
        evaluate(r#"last("t") in ["open", "ajar"]"#, &[text]),
        Ok(Argument::Bool(true))
    );
}

#[test]
fn json_is_an_expression() {
    let value = evaluate(
        r#"{"celsius": 5.5, "rooms": [1, "bath"], "eco": true}"#,
        &[],
    );

    let rooms = Argument::List(vec![Argument::I64(1), Argument::Text("bath".to_owned())]);
    let members = [
        ("celsius".to_owned(), Argument::F64(5.5)),
        ("rooms".to_owned(), rooms),
        ("eco".to_owned(), Argument::Bool(true)),
    ];
    assert_eq!(value, Ok(Argument::Map(members.into())));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    assert_eq!(refused("last(\"a\") >").0.map(|(line, _)| line), Some(1));
    let (place, message) = refused("last(\"a\") > 1.0\n  && water > 2.0");
    assert_eq!(place, Some((2, 6)));
    assert!(
        message.starts_with("`water` is not known here"),
        "{message}"
    );
    let (place, message) = refused("1 < 2 && average(\"a\", \"5m\") > 2.0");
    assert!(
        place.is_some_and(|(line, column)| line == 1 && column >= 10),
        "{place:?}"
    );
    assert!(
        message.starts_with("there is no function `average`"),
        "{message}"
    );
    for (source, part) in [
        ("last(5)", "last takes one text"),
        ("avg(\"a\")", "avg takes a series and a duration"),
        ("avg(\"a\", \"5\")", "no duration"),
        ("last(\"a b\")", "no pattern of series"),
        ("rate(\"a/*\", \"5m\")", "one series"),
        (
            "last(\"a\") + 1 > 2.0",
            "it has no value whatever the series are",
        ),
        ("last(\"a\").b", "no fields"),
    ] {
        let (_, message) = refused(source);
        assert!(message.contains(part), "{source}: {message}");
    }
}

#[test]
fn what_loops_is_refused() {
    for source in [
        "[1, 2].all(x, x > 0)",
        "[1, 2].map(x, x * 2) == [2, 4]",
        "[[1]].exists(x, x.exists(y, y > 0))",
        "has({\"a\": 1}.a)",
    ] {
        assert!(check(source).is_err(), "{source}");
    }
}

#[test]
fn an_expression_as_large_as_may_be_is_taken_and_a_larger_one_refused() {
    let sum = |terms: usize| vec!["1.0"; terms].join(" + ");
    let nested = |depth: usize| format!("{}1.0{}", "(".repeat(depth), ")".repeat(depth));

    assert!(check(&sum(20)).is_ok());
    assert!(check(&sum(200)).is_err());
    assert!(check(&nested(3)).is_ok());
    assert!(check(&nested(1_000)).is_err());
    assert!(check(&"x".repeat(5_000)).is_err());
    let strings = vec!["\"aaaaaaaa\""; 200].join(" + ");
    assert!(check(&strings).is_err());
}
