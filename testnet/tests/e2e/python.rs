//! Programs in another language.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::solo::Solo;
use crate::{gate, program};

#[tokio::test]
async fn a_program_in_python_finds_publishes_queries_and_watches_over_grpc() {
    let _turn = gate::beside_others();
    let interpreter = interpreter();
    let mut solo = Solo::new("127.0.33.1").await;
    solo.start().await;
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../proto")
        .display()
        .to_string();
    let (script, stubs) = (
        script("grpc_client.py").display().to_string(),
        solo.path("stubs"),
    );
    std::fs::create_dir(&stubs).expect("a directory");

    let arguments = [script.as_str(), &solo.grpc(), &schemas, &stubs];
    let said = program::run(Path::new(&interpreter), &arguments, "")
        .await
        .done();

    assert!(said.trim_end().ends_with("all is well"), "{said}");
}

/// The interpreter with the packages of `tests/python/requirements.txt`.
pub(crate) fn interpreter() -> OsString {
    std::env::var_os("FIELDMESH_PYTHON").expect(
        "FIELDMESH_PYTHON must name a Python with tests/python/requirements.txt installed; \
         `cargo xtask test` sets it up",
    )
}

/// A program in `tests/python`.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/python")
        .join(name)
}
