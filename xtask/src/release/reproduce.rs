//! Builds the release of the same commit in another folder and compares every byte.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::cargo::Workspace;
use crate::image::Arch;
use crate::tarball::Entry;
use crate::{ebpf, exec, toolchain};

const TARGET_FOLDER: &str = "CARGO_TARGET_DIR";

/// Fails if the release that is built from a fresh clone is not `first`.
pub(super) fn check(workspace: &Workspace, arches: &[Arch], first: &[Entry]) -> Result<()> {
    let git = || {
        let mut git = Command::new("git");
        git.current_dir(&workspace.root);
        git
    };
    let changes = exec::output(git().args(["status", "--porcelain"]))?;
    ensure!(
        changes.is_empty(),
        "the check builds what is committed, and there are changes:\n{changes}"
    );
    ensure!(
        env::var_os(TARGET_FOLDER).is_none(),
        "the check needs a target folder for each clone (unset {TARGET_FOLDER})"
    );
    let folder = workspace.target.join("release-check");
    toolchain::remove_if_there(&folder)?;
    exec::output(
        git()
            .args(["clone", "--quiet", "--shared"])
            .arg(&workspace.root)
            .arg(&folder),
    )?;
    let clone = Workspace::of(&folder.join("xtask"))?;
    share_tools(workspace, &clone)?;
    let second = super::build(&clone, arches)?;
    let differences = differences(first, &second);
    ensure!(
        differences.is_empty(),
        "two builds of one commit differ ({} is kept):\n{}",
        folder.display(),
        differences.join("\n")
    );
    toolchain::remove_if_there(&folder)?;
    println!("{} files are the same from two folders", first.len());
    Ok(())
}

/// The tools are not what is checked, and take longer to build than the release.
fn share_tools(from: &Workspace, to: &Workspace) -> Result<()> {
    let link = || {
        fs::create_dir_all(&to.target)?;
        symlink(from.target.join("tools"), to.target.join("tools"))
    };
    link().with_context(|| format!("failed to link the tools into {}", to.target.display()))
}

/// One line for each file that is not in both, or has other bytes.
fn differences(first: &[Entry], second: &[Entry]) -> Vec<String> {
    fn find<'a>(entries: &'a [Entry], path: &str) -> Option<&'a [u8]> {
        let found = entries.iter().find(|entry| entry.path == path);
        found.map(|entry| &*entry.content)
    }
    let mut paths: Vec<&str> = first
        .iter()
        .chain(second)
        .map(|entry| &*entry.path)
        .collect();
    paths.sort_unstable();
    paths.dedup();
    let line = |path: &str| match (find(first, path), find(second, path)) {
        (Some(one), Some(two)) => {
            let difference = ebpf::describe_difference(one, two)?;
            Some(format!("{path}: {difference}"))
        }
        _ => Some(format!("{path}: only in one of them")),
    };
    paths.into_iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_compared_by_its_name() {
        let of = |files: &[(&str, &str)]| -> Vec<Entry> {
            let entry = |&(path, content): &(&str, &str)| Entry::new(path, content);
            files.iter().map(entry).collect()
        };
        let first = of(&[("a", "1"), ("b", "2"), ("c", "3")]);
        assert_eq!(differences(&first, &first), [""; 0]);
        assert_eq!(
            differences(&first, &of(&[("a", "1"), ("b", "x"), ("d", "4")])),
            [
                "b: 1 bytes against 1, the first difference at byte 0",
                "c: only in one of them",
                "d: only in one of them",
            ]
        );
    }
}
