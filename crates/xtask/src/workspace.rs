//! The workspace, as cargo describes it.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use cargo_metadata::{Metadata, MetadataCommand};

/// The workspace, as cargo describes it.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// Its packages and what they depend on directly.
    pub(crate) metadata: Metadata,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn read() -> Result<Self> {
        let metadata = MetadataCommand::new()
            .no_deps()
            .exec()
            .context("cargo cannot describe the workspace")?;
        Ok(Self { metadata })
    }

    /// Where `Cargo.toml` and `Cargo.lock` are.
    pub(crate) fn root(&self) -> PathBuf {
        self.metadata.workspace_root.clone().into()
    }

    /// Where cargo builds.
    pub(crate) fn target(&self) -> PathBuf {
        self.metadata.target_directory.clone().into()
    }
}
