//! What cargo knows: the workspace's folders.
//!
//! It reads cargo's JSON as far as it needs it and ignores the rest, as cargo's documentation asks.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::exec;

/// The workspace, as `cargo metadata` describes it.
#[derive(Debug, PartialEq)]
pub(crate) struct Workspace {
    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// The target folder in force, `CARGO_TARGET_DIR` included.
    pub(crate) target: PathBuf,
}

/// The cargo that runs us, so that a pinned toolchain stays the same one.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

impl Workspace {
    pub(crate) fn load() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let json = exec::output(
            cargo()
                .args(["metadata", "--no-deps", "--locked", "--format-version", "1"])
                .arg("--manifest-path")
                .arg(manifest),
        )?;
        parse_metadata(&json)
    }

    /// A cargo command in the workspace's root.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(&self.root);
        command
    }
}

fn parse_metadata(json: &str) -> Result<Workspace> {
    let metadata: Value = serde_json::from_str(json).context("parse cargo's metadata")?;
    let folder = |key: &str| {
        metadata[key]
            .as_str()
            .map(PathBuf::from)
            .with_context(|| format!("find {key} in cargo's metadata"))
    };
    Ok(Workspace {
        root: folder("workspace_root")?,
        target: folder("target_directory")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_gives_folders() {
        let json = r#"{"workspace_root":"/w","target_directory":"/w/target","packages":[{}]}"#;
        let workspace = Workspace {
            root: PathBuf::from("/w"),
            target: PathBuf::from("/w/target"),
        };
        assert_eq!(parse_metadata(json).unwrap(), workspace);
    }

    #[test]
    fn metadata_without_folders_is_an_error_that_names_them() {
        for json in ["", "[]", "{}", r#"{"workspace_root":7}"#] {
            assert!(parse_metadata(json).is_err(), "{json}");
        }
        let error = parse_metadata(r#"{"workspace_root":"/w"}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "find target_directory in cargo's metadata"
        );
    }
}
