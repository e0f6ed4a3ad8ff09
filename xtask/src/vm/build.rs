//! The initramfs as a file: oomwatch and the test executable built, and looked at for what the boots leave out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{boots, guest};
use crate::cargo::{self, Workspace};
use crate::exec;
use crate::image::{self, Arch};

/// Builds it and returns its path.
pub(crate) fn initramfs(
    workspace: &Workspace,
    folder: &Path,
    test_args: &[String],
) -> Result<PathBuf> {
    // The one that nodes have; unoptimised, emulation takes ten times as long.
    let oomwatch = image::executable(workspace, Arch::own())?;
    let test = cargo::build_executable(
        workspace.cargo().args([
            "test",
            "--locked",
            "--package",
            "oomwatch",
            "--test",
            "kernel",
            "--no-run",
        ]),
        "test",
        "kernel",
    )?;
    let listed = exec::output(Command::new(&test).arg("--list"))?;
    for boot in &boots::MATRIX {
        let idle = idle(boot.without, &listed);
        ensure!(
            idle.is_empty(),
            "the boot {} leaves out tests of {}, and no test has that in its name",
            boot.name,
            idle.join(", ")
        );
    }
    let initramfs = guest::initramfs(&oomwatch, &test, test_args)?;
    let path = folder.join("initramfs.cpio");
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    fs::write(&path, initramfs).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

/// What is in no name of a list of tests, whose lines are `NAME: test`.
fn idle<'a>(without: &[&'a str], listed: &str) -> Vec<&'a str> {
    let names = || {
        listed
            .lines()
            .filter_map(|line| line.strip_suffix(": test"))
    };
    let is_idle = |word: &&str| !names().any(|name| name.contains(*word));
    without.iter().copied().filter(is_idle).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_nothing_out_is_told() {
        let listed = "storm_of_kills: test\nslow_reader: test\n\n2 tests, 0 benchmarks\n";
        assert_eq!(idle(&["reader", "of_kills"], listed), [""; 0]);
        assert_eq!(
            idle(&["reader", "writer", "tests"], listed),
            ["writer", "tests"]
        );
        assert_eq!(idle(&["reader"], ""), ["reader"]);
        assert_eq!(idle(&[], listed), [""; 0]);
    }
}
