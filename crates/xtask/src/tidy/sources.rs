//! What a source file must not say, how long it may be, and how wide its comments.

use std::path::Path;

use super::Finding;
use super::table::{Kind, row};

/// Checks one file, named relative to the root of the workspace.
pub(crate) fn check(path: &Path, text: &str) -> Vec<Finding> {
    let file = File::new(path, text);
    let mut findings = Vec::new();
    if file.code_lines > LINES_MAX {
        let problem = format!(
            "{} lines without tests, the limit is {LINES_MAX}; move a concept out",
            file.code_lines
        );
        findings.push(Finding::new(path.display().to_string(), problem));
    }
    for (index, line) in text.lines().enumerate() {
        let columns = line.chars().count();
        let line = line.trim_start();
        if line.starts_with("//") {
            if columns > COLUMNS_MAX {
                let place = format!("{}:{}", path.display(), index + 1);
                let problem = format!("{columns} columns, the limit is {COLUMNS_MAX}; wrap it");
                findings.push(Finding::new(place, problem));
            }
            continue;
        }
        let is_code = index < file.code_lines;
        let said = UNFINISHED.iter().chain(
            IMPURE
                .iter()
                .filter(|_| is_code && file.kind == Some(Kind::Pure)),
        );
        let printed = PRINTING.iter().filter(|_| is_code && !file.is_face);
        for banned in said.chain(printed).filter(|banned| says(line, banned)) {
            let place = format!("{}:{}", path.display(), index + 1);
            findings.push(Finding::new(place, format!("must not say `{banned}`")));
        }
    }
    findings
}

/// Whether a line says something as a word of its own, not as the end of a longer one.
fn says(line: &str, banned: &str) -> bool {
    line.match_indices(banned).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// What the name of a file says about it.
struct File {
    /// How many lines come before the tests; none in a file of tests.
    code_lines: usize,
    kind: Option<Kind>,
    /// What it prints is for people.
    is_face: bool,
}

impl File {
    fn new(path: &Path, text: &str) -> Self {
        let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
        let package = match parts[..] {
            ["crates", name, ..] => name,
            ["node", ..] => "fieldmesh",
            [name, ..] => name,
            [] => "",
        };
        let is_test = parts
            .iter()
            .any(|part| matches!(*part, "tests" | "tests.rs" | "benches" | "build.rs"));
        Self {
            code_lines: if is_test { 0 } else { lines_before_tests(text) },
            kind: row(package).map(|row| row.kind),
            is_face: FACES.contains(&package),
        }
    }
}

/// Counts the lines before the first module of tests inside the file.
fn lines_before_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1] == "mod tests {")
        .unwrap_or(lines.len())
}

/// Longest file, tests aside. Unit: lines. Source: the style guide, section 1.
const LINES_MAX: usize = 600;

/// Longest line of a comment, which rustfmt does not wrap. Unit: characters. Source: the style
/// guide, section 1.
const COLUMNS_MAX: usize = 100;

/// What no file says: work that is not done.
const UNFINISHED: [&str; 3] = [
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("#[", "ignore"),
];

/// What no pure crate says: files, sockets, clocks, threads.
const IMPURE: [&str; 7] = [
    concat!("std::", "fs"),
    concat!("std::", "net"),
    concat!("std::", "thread"),
    concat!("std::", "env::"),
    concat!("System", "Time"),
    concat!("Instant", "::now"),
    concat!("async", " fn"),
];

/// What only faces say.
const PRINTING: [&str; 4] = [
    concat!("print", "!("),
    concat!("println", "!("),
    concat!("eprint", "!("),
    concat!("eprintln", "!("),
];

/// Packages whose output is for people or scripts.
const FACES: [&str; 5] = ["bench", "fieldmesh", "sim", "testnet", "xtask"];

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(path: &str, text: &str) -> Vec<String> {
        let findings = check(Path::new(path), text);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_that_is_too_long_without_its_tests_is_found() {
        let code = "fn f() {}\n".repeat(600);
        let tests = "#[cfg(test)]\nmod tests {\n".to_owned() + &code;

        assert_eq!(
            problems("crates/gossip/src/a.rs", &(code.clone() + &tests)),
            [""; 0]
        );
        assert_eq!(
            problems("crates/gossip/src/a/tests.rs", &code.repeat(2)),
            [""; 0]
        );
        let found = problems("crates/gossip/src/a.rs", &(code + "fn g() {}\n"));
        assert_eq!(
            found,
            [
                "crates/gossip/src/a.rs: 601 lines without tests, the limit is 600; \
              move a concept out"
            ]
        );
    }

    #[test]
    fn a_comment_that_is_too_wide_is_found_and_code_is_left_to_rustfmt() {
        let wide = format!("{}//! {}", " ".repeat(8), "ä".repeat(88));
        let text = format!("{wide}\n{wide}b\nlet text = \"{wide}\";\n");

        assert_eq!(
            problems("crates/store/src/a.rs", &text),
            ["crates/store/src/a.rs:2: 101 columns, the limit is 100; wrap it"]
        );
    }

    #[test]
    fn a_clock_file_or_socket_in_a_pure_crate_is_found_and_elsewhere_is_not() {
        for said in IMPURE {
            let text = format!("//! {said} is not here.\n{said}()\n");
            let expected = [format!("crates/model/src/a.rs:2: must not say `{said}`")];
            assert_eq!(problems("crates/model/src/a.rs", &text), expected);
            assert_eq!(problems("crates/store/src/a.rs", &text), [""; 0]);
            assert_eq!(problems("crates/model/tests/a.rs", &text), [""; 0]);
        }
    }

    #[test]
    fn unfinished_work_is_found_also_in_tests() {
        for said in UNFINISHED {
            let text = format!("    {said}");
            assert_eq!(problems("crates/store/src/a.rs", &text).len(), 1, "{said}");
            assert_eq!(problems("testnet/tests/a.rs", &text).len(), 1, "{said}");
        }
    }

    #[test]
    fn printing_is_found_once_and_only_outside_of_faces() {
        for said in PRINTING {
            let text = format!("    {said}\"\");");
            assert_eq!(problems("crates/store/src/a.rs", &text).len(), 1, "{said}");
            assert_eq!(problems("node/src/a.rs", &text), [""; 0], "{said}");
        }
    }
}
