//! `cargo xtask vm`: boots other kernels in QEMU, without hardware acceleration, and runs the kernel tests in the guest.
//!
//! One kernel after the other: the guest has nothing but the test executable, oomwatch and busybox. What is tested is
//! the test executable's business.

mod console;
mod guest;
mod initramfs;
mod kernels;
mod qemu;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::apt;
use crate::cargo::{self, Workspace};
use crate::exec::Tool;
use crate::table;
use kernels::{Kernel, Release};
use qemu::Boot;

const TOOLS: [Tool; 2] = [
    Tool {
        program: qemu::PROGRAM,
        package: "qemu-system-x86",
    },
    Tool {
        program: "busybox",
        package: "busybox-static",
    },
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Boot this kernel image instead of the matrix; more than once for more
    #[arg(long, value_name = "FILE")]
    kernel: Vec<PathBuf>,
    /// Boot this kernel of the matrix only; more than once for more
    #[arg(long, value_name = "NAME", value_parser = kernels::parse_name)]
    only: Vec<&'static Release>,
    /// Print the matrix and what of it has been fetched
    #[arg(long)]
    list: bool,
    /// Fetch again what has been fetched: the newest of each release
    #[arg(long)]
    refresh: bool,
    /// Give a guest that many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// Passed to the test executable
    #[arg(last = true, value_name = "ARGS")]
    test: Vec<String>,
}

/// What became of the kernels that were asked for, each with its reason.
pub(crate) struct Summary {
    /// Not to be had.
    pub(crate) missing: Vec<String>,
    /// Booted, or should have, and did not pass.
    pub(crate) failed: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = Workspace::load()?;
    if args.list {
        print!("{}", list(&folder(&workspace)));
        return Ok(());
    }
    apt::ensure_tools(&TOOLS)?;
    let Summary { missing, failed } = matrix(&workspace, args)?;
    let problems = [missing, failed].concat();
    if problems.is_empty() {
        return Ok(());
    }
    bail!("{}", problems.join("; "))
}

/// The whole matrix with nothing special asked for: the test tier.
pub(crate) fn whole_matrix(workspace: &Workspace) -> Result<Summary> {
    matrix(
        workspace,
        &Args {
            kernel: Vec::new(),
            only: Vec::new(),
            list: false,
            refresh: false,
            timeout: 600,
            test: Vec::new(),
        },
    )
}

/// Installs what booting needs.
pub(crate) fn prepare() -> Result<()> {
    apt::ensure_tools(&TOOLS)
}

fn matrix(workspace: &Workspace, args: &Args) -> Result<Summary> {
    let Args {
        kernel,
        only,
        list: _,
        refresh,
        timeout,
        test,
    } = args;
    let folder = folder(workspace);
    let mut kernels = Vec::new();
    let mut missing = Vec::new();
    for path in kernel {
        kernels.push(Kernel::from_file(path)?);
    }
    for release in selection(only, kernel.is_empty()) {
        match kernels::obtain(release, &folder, *refresh) {
            Ok(kernel) => kernels.push(kernel),
            Err(error) => {
                eprintln!("kernel {} is not to be had", release.name);
                missing.push(format!("kernel {}: {error:#}", release.name));
            }
        }
    }
    let mut summary = Summary {
        missing,
        failed: Vec::new(),
    };
    if kernels.is_empty() {
        return Ok(summary);
    }

    let initramfs = build_initramfs(workspace, &folder, test)?;
    let width = kernels.iter().map(|kernel| kernel.name.len()).max();
    let mut rows = Vec::new();
    for kernel in &kernels {
        let prefix = format!("{:width$} | ", kernel.name, width = width.unwrap_or(0));
        let boot = qemu::boot(
            &kernel.image,
            &initramfs,
            &prefix,
            Duration::from_secs(*timeout),
        )?;
        rows.push(row(kernel, &boot));
        if let Err(reason) = boot.outcome {
            summary
                .failed
                .push(format!("kernel {}: {reason}", kernel.name));
        }
    }
    let head = [
        "kernel", "version", "passed", "failed", "seconds", "outcome",
    ];
    print!("\n{}", table::render(head, &rows));
    Ok(summary)
}

/// With a file, only what is named beside it; with nothing, everything.
fn selection<'a>(
    only: &'a [&'static Release],
    no_file: bool,
) -> impl Iterator<Item = &'static Release> + 'a {
    let everything = only.is_empty() && no_file;
    let named: BTreeSet<&str> = only.iter().map(|release| release.name).collect();
    kernels::MATRIX
        .iter()
        .filter(move |release| everything || named.contains(release.name))
}

fn row(kernel: &Kernel, boot: &Boot) -> [String; 6] {
    let count = |pick: fn(&console::Counts) -> u32| {
        boot.counts
            .as_ref()
            .map_or_else(|| "?".to_owned(), |counts| pick(counts).to_string())
    };
    [
        kernel.name.clone(),
        kernel.version.clone(),
        count(|counts| counts.passed),
        count(|counts| counts.failed),
        format!("{:.1}", boot.duration.as_secs_f64()),
        boot.outcome
            .as_ref()
            .map_or_else(ToString::to_string, |()| "ok".to_owned()),
    ]
}

fn build_initramfs(workspace: &Workspace, folder: &Path, test_args: &[String]) -> Result<PathBuf> {
    let oomwatch = cargo::build_executable(
        workspace.cargo().args([
            "build",
            // The one that users have; unoptimised, emulation takes ten times as long.
            "--release",
            "--locked",
            "--package",
            "oomwatch",
            "--bin",
            "oomwatch",
        ]),
        "bin",
        "oomwatch",
    )?;
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
    let initramfs = guest::initramfs(&oomwatch, &test, test_args)?;
    let path = folder.join("initramfs.cpio");
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    fs::write(&path, initramfs).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

fn list(folder: &Path) -> String {
    let rows: Vec<[String; 3]> = kernels::MATRIX
        .iter()
        .map(|release| {
            let fetched = kernels::cached(release, folder);
            [
                release.name.to_owned(),
                fetched.map_or_else(|| "not fetched".to_owned(), |kernel| kernel.version),
                release.about.to_owned(),
            ]
        })
        .collect();
    table::render(["kernel", "version", "what it is"], &rows)
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("vm")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(only: &[&'static Release], no_file: bool) -> Vec<&'static str> {
        selection(only, no_file)
            .map(|release| release.name)
            .collect()
    }

    #[test]
    fn nothing_asked_for_is_the_whole_matrix() {
        assert_eq!(names(&[], true), ["5.10-old", "5.10", "6.1", "newest"]);
    }

    #[test]
    fn file_replaces_the_matrix_save_what_is_named() {
        let newest = kernels::parse_name("newest").unwrap();
        assert!(names(&[], false).is_empty());
        assert_eq!(names(&[newest], false), ["newest"]);
        assert_eq!(names(&[newest, newest], true), ["newest"]);
    }
}
