//! Compiles the schemas without `protoc`.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=fieldmesh");
    let wire = protox::compile(["fieldmesh/wire/v1/frame.proto"], ["."])?;
    tonic_prost_build::configure()
        .bytes(".fieldmesh.wire.v1")
        .compile_fds(wire)?;
    if std::env::var_os("CARGO_FEATURE_GRPC").is_some() {
        compile_services()?;
    }
    Ok(())
}

fn compile_services() -> Result<(), Box<dyn Error>> {
    let files = [
        "fieldmesh/v1/readings.proto",
        "fieldmesh/v1/mesh.proto",
        "fieldmesh/v1/admin.proto",
        "fieldmesh/v1/commands.proto",
        "fieldmesh/v1/rules.proto",
    ];
    let mut compiler = protox::Compiler::new(["."])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(files)?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(
        out.join("fieldmesh.v1.fds"),
        compiler.encode_file_descriptor_set(),
    )?;
    tonic_prost_build::configure()
        .btree_map(".")
        .codec_path("crate::codec::BoundedCodec")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
