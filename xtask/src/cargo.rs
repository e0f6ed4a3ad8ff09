//! The workspace's folders and test targets, and the executables of a build, from cargo's JSON output.
//!
//! Unknown fields and messages are ignored, as cargo's documentation asks.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::exec;

/// The workspace, from `cargo metadata`.
#[derive(Debug, PartialEq)]
pub(crate) struct Workspace {
    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// The target folder, with `CARGO_TARGET_DIR` respected.
    pub(crate) target: PathBuf,
    /// Names of the integration test targets, sorted.
    pub(crate) tests: Vec<String>,
}

/// The cargo that started this process, which keeps the pinned toolchain.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

impl Workspace {
    pub(crate) fn load() -> Result<Self> {
        Self::of(Path::new(env!("CARGO_MANIFEST_DIR")))
    }

    /// The workspace of the package in a folder.
    pub(crate) fn of(package: &Path) -> Result<Self> {
        let manifest = package.join("Cargo.toml");
        let json = exec::output(
            cargo()
                .args(["metadata", "--no-deps", "--locked", "--format-version", "1"])
                .arg("--manifest-path")
                .arg(manifest),
        )?;
        parse_metadata(&json)
    }

    /// A cargo command that runs in the workspace's root.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(&self.root);
        command
    }
}

/// Runs a build and returns the path of the executable of that target: `kind` is `bin` or `test`.
pub(crate) fn build_executable(command: &mut Command, kind: &str, name: &str) -> Result<PathBuf> {
    find_executable(&build(command)?, kind, name)
}

/// Runs a build and returns the paths of the executables of these targets: `kind` is `bin` or `test`.
pub(crate) fn build_executables(
    command: &mut Command,
    kind: &str,
    names: &[String],
) -> Result<Vec<PathBuf>> {
    let messages = build(command)?;
    names
        .iter()
        .map(|name| find_executable(&messages, kind, name))
        .collect()
}

/// Runs a build and returns cargo's messages, one a line.
fn build(command: &mut Command) -> Result<String> {
    command
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = command
        .output()
        .with_context(|| format!("failed to start `{}`", exec::shown(command)))?;
    ensure!(
        output.status.success(),
        "`{}`: {}",
        exec::shown(command),
        output.status
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn parse_metadata(json: &str) -> Result<Workspace> {
    let metadata: Value = serde_json::from_str(json).context("failed to parse cargo's metadata")?;
    let folder = |key: &str| {
        metadata[key]
            .as_str()
            .map(PathBuf::from)
            .with_context(|| format!("cargo's metadata has no {key}"))
    };
    let packages = metadata["packages"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let mut tests: Vec<String> = packages
        .iter()
        .filter_map(|package| package["targets"].as_array())
        .flatten()
        .filter(|target| has_kind(target, "test"))
        .filter_map(|target| target["name"].as_str().map(str::to_owned))
        .collect();
    tests.sort();
    tests.dedup();
    Ok(Workspace {
        root: folder("workspace_root")?,
        target: folder("target_directory")?,
        tests,
    })
}

fn find_executable(messages: &str, kind: &str, name: &str) -> Result<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact")
        .filter(|message| message["target"]["name"] == name && has_kind(&message["target"], kind))
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo built no {kind} target named {name}"))
}

fn has_kind(target: &Value, kind: &str) -> bool {
    target["kind"]
        .as_array()
        .is_some_and(|kinds| kinds.iter().any(|found| found == kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: &str = r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"kernel"},"executable":null}
not json at all
{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"oomwatch"},"executable":"/t/debug/oomwatch"}
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"kernel"},"executable":"/t/debug/deps/kernel-0123"}
{"reason":"build-finished","success":true}
"#;

    #[test]
    fn executable_is_found_by_kind_and_name() {
        assert_eq!(
            find_executable(MESSAGES, "test", "kernel").unwrap(),
            PathBuf::from("/t/debug/deps/kernel-0123")
        );
        assert_eq!(
            find_executable(MESSAGES, "bin", "oomwatch").unwrap(),
            PathBuf::from("/t/debug/oomwatch")
        );
    }

    #[test]
    fn absent_or_malformed_messages_give_no_executable() {
        let malformed = [
            "",
            "{",
            "[]",
            "null",
            r#"{"reason":"compiler-artifact"}"#,
            r#"{"reason":"compiler-artifact","target":{"kind":"test","name":"kernel"},"executable":"/x"}"#,
            r#"{"reason":"compiler-artifact","target":{"kind":["test"],"name":"kernel"},"executable":7}"#,
            r#"{"reason":"compiler-artifact","target":{"kind":["test"],"name":"other"},"executable":"/x"}"#,
        ];
        for messages in malformed {
            let error = find_executable(messages, "test", "kernel").unwrap_err();
            assert_eq!(
                error.to_string(),
                "cargo built no test target named kernel",
                "{messages}"
            );
        }
    }

    #[test]
    fn metadata_gives_folders_and_test_targets() {
        let json = r#"{"workspace_root":"/w","target_directory":"/w/target","packages":[
            {"targets":[{"kind":["test"],"name":"kernel"},{"kind":["lib"],"name":"oomwatch"}]},
            {"targets":[{"kind":["test"],"name":"cli"},{"name":"odd"}]},{}]}"#;
        let workspace = Workspace {
            root: PathBuf::from("/w"),
            target: PathBuf::from("/w/target"),
            tests: vec!["cli".to_owned(), "kernel".to_owned()],
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
            "cargo's metadata has no target_directory"
        );
    }
}
