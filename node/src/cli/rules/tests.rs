use std::path::Path;

use super::*;
use crate::cli::rules_args::RulesTestArgs;

/// The first block of this kind in a part of the manual's page on rules.
fn example(part: &str, kind: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("manual/rules.md");
    let page = std::fs::read_to_string(page).expect("a page");
    let (_, part) = page.split_once(&format!("\n## {part}\n")).expect("a part");
    let (_, block) = part.split_once(&format!("```{kind}\n")).expect("a block");
    block.split_once("```").expect("its end").0.to_owned()
}

/// What `rules test` says of rules and recorded readings.
fn replayed(rules: &str, data: &str, machine: Option<&str>) -> Result<String, Failure> {
    let dir = tempfile::tempdir().expect("a directory");
    let (file, against) = (
        dir.path().join("rules.toml"),
        dir.path().join("press.ndjson"),
    );
    std::fs::write(&file, rules).expect("rules");
    std::fs::write(&against, data).expect("data");
    let args = RulesTestArgs {
        file,
        against,
        machine: machine.map(str::to_owned),
        rule: None,
    };
    let mut out = Vec::new();
    replay::test(&args, Output::Table, &mut out)?;
    Ok(String::from_utf8(out).expect("text"))
}

#[test]
fn the_replay_in_the_manual_says_what_the_manual_says() {
    let of = |kind| example("Trying rules", kind);

    let said = replayed(&of("toml"), &of("json"), None).expect("it runs");

    assert_eq!(said, of("text"));
}

#[test]
fn a_replay_needs_readings_with_times_and_to_know_whose_rules_they_are() {
    let rules = example("Trying rules", "toml");
    let data = example("Trying rules", "json");
    let refused = |data: &str| {
        let refused = replayed(&rules, data, None).expect_err("refused");
        refused.to_string()
    };

    assert!(refused("").contains("no readings"));
    assert!(refused("{\"series\": \"a\", \"value\": 1}").contains("needs a time"));
    let two = data.replacen("\"machine\": \"press\"", "\"machine\": \"saw\"", 1);
    assert!(refused(&two).contains("--machine"));
    let said = replayed(&rules, &two, Some("press")).expect("it runs");
    // The first reading is the saw's, so the press's current is too high a second later.
    assert!(said.starts_with("2026-03-01T08:00:03"), "{said}");
}

#[test]
fn the_mistake_in_the_manual_is_told_as_the_manual_tells_it() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("manual/rules.md");
    let page = std::fs::read_to_string(page).expect("a page");
    let (_, block) = page.split_once("```text\n").expect("a block");
    let said = block.split_once("\n```").expect("its end").0;
    let rules = "[[rule]]\nname = \"too-hot\"\nwhen = 'last(\"boiler:water/temperature\") > hot'\n\
                 alarm = { priority = \"high\", text = \"hot\" }\n";
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("rules.toml");
    std::fs::write(&file, rules).expect("rules");

    let args = RulesFileArgs { file };
    let refused = check(&args, Output::Table, &mut Vec::new()).expect_err("refused");

    assert_eq!(refused.to_string(), said);
}
