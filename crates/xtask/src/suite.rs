//! `cargo xtask test`: every test, with everything that they talk to.

use anyhow::{Context as _, Result};

use crate::command::{cargo, execute, search_path};
use crate::counterparts;
use crate::workspace::Workspace;

/// Sets up the counterparts, builds the programs that tests start, and runs every test.
///
/// Tests find our programs in `FIELDMESH_BIN_DIR`, the interpreter in `FIELDMESH_PYTHON`, and all
/// servers in the search path.
///
/// # Errors
///
/// If a counterpart is missing, or a test fails.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let root = workspace.root();
    counterparts::servers()?;
    let requirements = root.join("testnet/tests/python/requirements.txt");
    let python = counterparts::python(&workspace.target(), &requirements)?;
    let servers = python
        .parent()
        .context("an interpreter is in a directory")?;
    let programs = ["build", "--package", "fieldmesh", "--package", "testnet"];
    execute(&mut cargo(&root, &programs))?;
    let mut tests = cargo(&root, &["test", "--workspace", "--no-fail-fast"]);
    tests
        .env("PATH", search_path(servers)?)
        .env("FIELDMESH_PYTHON", &python)
        .env("FIELDMESH_BIN_DIR", workspace.target().join("debug"));
    execute(&mut tests).map(drop)
}
