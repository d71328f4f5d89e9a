//! Entry point.

use std::process::ExitCode;

fn main() -> ExitCode {
    fieldmesh::cli::main()
}
