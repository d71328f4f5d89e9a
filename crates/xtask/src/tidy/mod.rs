//! `cargo xtask tidy`: rules of the house that neither the compiler nor clippy knows.

mod dependencies;
mod sources;
mod table;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::command::say;
use crate::workspace::Workspace;

/// One place where a rule is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// A crate, or a file with a line.
    place: String,
    /// What is wrong, and what to do.
    problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

impl Finding {
    fn new(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            problem: problem.into(),
        }
    }
}

/// Makes every check, and prints all that is found.
///
/// # Errors
///
/// If anything is found, or the workspace cannot be read.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let root = workspace.root();
    let mut findings = dependencies::check(&dependencies::read(&workspace.metadata));
    findings.extend(top_level(&names(&root)?));
    for path in rust_files(&root)? {
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let path = path.strip_prefix(&root).unwrap_or(&path);
        findings.extend(sources::check(path, &text));
    }
    for finding in &findings {
        say(&finding.to_string());
    }
    ensure!(findings.is_empty(), "tidy: {} findings", findings.len());
    say("tidy: nothing found");
    Ok(())
}

/// What may lie at the top level, so that a newcomer sees the house and no lumber.
fn top_level(names: &[String]) -> Vec<Finding> {
    let stray = names
        .iter()
        .filter(|name| !TOP_LEVEL.contains(&name.as_str()) && !name.starts_with("target"));
    stray
        .map(|name| Finding::new(name, "does not belong at the top level"))
        .collect()
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let entries =
        std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Every Rust file of ours, in order.
fn rust_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut dirs: Vec<PathBuf> = SOURCE_DIRS.iter().map(|dir| root.join(dir)).collect();
    while let Some(dir) = dirs.pop() {
        for name in names(&dir)? {
            let path = dir.join(&name);
            if path.is_dir() && name != "target" {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// What the top level holds. Source: `ARCHITECTURE.md`.
const TOP_LEVEL: [&str; 15] = [
    ".cargo",
    ".ci",
    ".git",
    ".gitignore",
    "ARCHITECTURE.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "clippy.toml",
    "crates",
    "deny.toml",
    "node",
    "proto",
    "testnet",
];

/// Where our sources are.
const SOURCE_DIRS: [&str; 4] = ["crates", "node", "proto", "testnet"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lumber_at_the_top_level_is_found_and_the_house_is_not() {
        let names = ["Cargo.toml", "target", "crates", "notes.md"].map(str::to_owned);

        let found = top_level(&names);

        assert_eq!(
            found,
            [Finding::new("notes.md", "does not belong at the top level")]
        );
    }

    #[test]
    fn rust_files_are_found_at_any_depth_but_not_in_what_cargo_built() {
        let root = tempfile::tempdir().unwrap();
        for dir in [
            "crates/a/src/b",
            "crates/fuzz/target",
            "node",
            "proto",
            "testnet",
        ] {
            std::fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        for file in [
            "crates/a/src/b/c.rs",
            "crates/fuzz/target/d.rs",
            "node/e.toml",
        ] {
            std::fs::write(root.path().join(file), "").unwrap();
        }

        let files = rust_files(root.path()).unwrap();

        assert_eq!(files, [root.path().join("crates/a/src/b/c.rs")]);
    }
}
