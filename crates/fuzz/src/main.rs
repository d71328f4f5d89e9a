//! Replays targets without a fuzzer, and writes the bytes that it starts from.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use fuzz::TARGETS;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["seed"] => seed(),
        ["replay", target, files @ ..] if !files.is_empty() => replay(target, files),
        _ => bail!("say `fuzz seed`, or `fuzz replay TARGET FILE…`"),
    }
}

/// Writes the honest bytes of every target into its corpus.
fn seed() -> Result<()> {
    for target in TARGETS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(target.name);
        fs::create_dir_all(&corpus)?;
        for (number, bytes) in (target.seeds)().iter().enumerate() {
            fs::write(corpus.join(format!("seed-{number}")), bytes)?;
        }
    }
    Ok(())
}

fn replay(name: &str, files: &[&str]) -> Result<()> {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.with_context(|| format!("no target is named {name}"))?;
    let mut out = std::io::stdout().lock();
    for file in files {
        let bytes = fs::read(file).with_context(|| format!("cannot read {file}"))?;
        writeln!(out, "{file}: {:?}", (target.run)(&bytes))?;
    }
    Ok(())
}
