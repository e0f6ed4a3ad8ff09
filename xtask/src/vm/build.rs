//! Builds oomwatch and the test executable, and writes the initramfs that has them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::boots;
use super::guest::{self, Contents};
use crate::cargo::{self, Workspace};
use crate::exec;
use crate::image::{self, Arch};

/// Builds the archive and returns its path.
pub(crate) fn initramfs(
    workspace: &Workspace,
    folder: &Path,
    test_args: &[String],
) -> Result<PathBuf> {
    // The release build: without optimization, emulation takes ten times as long.
    let oomwatch = image::build(workspace, Arch::own())?.path;
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
    let initramfs = guest::initramfs(&Contents {
        oomwatch: &oomwatch,
        test: &test,
        test_args,
        left_out: &left_out(&listed, boots::SHORT)?,
    })?;
    let path = folder.join("initramfs.cpio");
    fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    fs::write(&path, initramfs).with_context(|| format!("failed to write {}", path.display()))?;
    Ok(path)
}

/// The tests that are not in the short set, from a list of all whose lines are `NAME: test`.
fn left_out<'a>(listed: &'a str, short: &[&str]) -> Result<Vec<&'a str>> {
    let names = || {
        listed
            .lines()
            .filter_map(|line| line.strip_suffix(": test"))
    };
    for part in short {
        ensure!(
            names().any(|name| name.contains(part)),
            "the short set of kernel tests (xtask/src/vm/boots.rs) names `{part}`, which is in no test's name"
        );
    }
    let is_left_out = |name: &&str| !short.iter().any(|part| name.contains(part));
    Ok(names().filter(is_left_out).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_set_leaves_out_the_other_tests() {
        let listed = "storm_of_kills: test\nslow_reader: test\n\n2 tests, 0 benchmarks\n";
        assert_eq!(left_out(listed, &["storm"]).unwrap(), ["slow_reader"]);
        assert_eq!(left_out(listed, &["_"]).unwrap(), [""; 0]);
        assert_eq!(left_out("", &[]).unwrap(), [""; 0]);
    }

    #[test]
    fn part_that_no_test_has_is_an_error_that_names_it() {
        for part in ["writer", "tests", "benchmarks"] {
            let error = left_out("slow_reader: test\n", &["reader", part]).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
