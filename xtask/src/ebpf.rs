//! `cargo xtask ebpf`: builds the committed BPF object from its source, byte for byte the same on every machine.
//!
//! It does not load the object; the kernel tests do.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::cargo::Workspace;
use crate::exec;
use crate::toolchain::{self, Toolchain};

const TARGET: &str = "bpfel-unknown-none";
const PROFILE: &str = "ebpf";
const BINARY: &str = "oomwatch-bpf";
/// The feature of the programs that makes them log.
const LOG_FEATURE: &str = "bpf-log";
/// Where the object is committed.
const OBJECT: &str = "oomwatch/bpf/oomwatch.bpf.o";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build and compare with the committed object, without changing it
    #[arg(long)]
    check: bool,
    /// Build an object whose programs log, for `oomwatch watch --bpf-log FILE`; leave the committed one alone
    #[arg(long, conflicts_with = "check")]
    bpf_log: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = Workspace::load()?;
    let toolchain = toolchain::ensure_toolchain(&workspace)?;
    if args.check {
        check(&workspace, &toolchain)
    } else if args.bpf_log {
        build_with_log(&workspace, &toolchain)
    } else {
        rebuild(&workspace, &toolchain)
    }
}

/// Builds the object and compares it with the committed one.
pub(crate) fn check(workspace: &Workspace, toolchain: &Toolchain) -> Result<()> {
    let built = build(workspace, toolchain)?;
    let committed = match fs::read(workspace.root.join(OBJECT)) {
        Ok(committed) => committed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("{OBJECT} does not exist (run `cargo xtask ebpf` and commit it)");
        }
        Err(error) => return Err(error).with_context(|| format!("failed to read {OBJECT}")),
    };
    if let Some(difference) = describe_difference(&committed, &built) {
        bail!(
            "{OBJECT} differs from what its source builds: {difference} (run `cargo xtask ebpf` and commit it)"
        );
    }
    eprintln!("{OBJECT} is what its source builds ({} bytes)", built.len());
    Ok(())
}

fn rebuild(workspace: &Workspace, toolchain: &Toolchain) -> Result<()> {
    let built = build(workspace, toolchain)?;
    let path = workspace.root.join(OBJECT);
    if fs::read(&path).is_ok_and(|committed| committed == built) {
        eprintln!("{OBJECT} is up to date ({} bytes)", built.len());
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("failed to create {}", folder.display()))?;
    }
    fs::write(&path, &built).with_context(|| format!("failed to write {OBJECT}"))?;
    eprintln!("{OBJECT} was rebuilt ({} bytes)", built.len());
    Ok(())
}

/// Lints the programs. For the host, where clippy runs over the workspace, they are an empty `main`.
pub(crate) fn lint(workspace: &Workspace, toolchain: &Toolchain) -> Result<()> {
    let mut clippy = cargo(workspace, toolchain, "clippy", &target(workspace))?;
    exec::run(clippy.args(["--", "--deny", "warnings"]))
}

fn build(workspace: &Workspace, toolchain: &Toolchain) -> Result<Vec<u8>> {
    let target = target(workspace);
    exec::run(&mut cargo(workspace, toolchain, "build", &target)?)?;
    let built = object_in(&target);
    fs::read(&built).with_context(|| format!("failed to read {}", built.display()))
}

/// Builds the object with log lines, in a target folder of its own, and prints its path.
fn build_with_log(workspace: &Workspace, toolchain: &Toolchain) -> Result<()> {
    let target = workspace.target.join("ebpf-log");
    let mut cargo = cargo(workspace, toolchain, "build", &target)?;
    exec::run(cargo.args(["--features", LOG_FEATURE]))?;
    eprintln!("built {}", object_in(&target).display());
    Ok(())
}

fn object_in(target: &Path) -> PathBuf {
    let built: PathBuf = [TARGET, PROFILE, BINARY].iter().collect();
    target.join(built)
}

fn target(workspace: &Workspace) -> PathBuf {
    workspace.target.join("ebpf")
}

/// A cargo command on the programs, for the BPF target.
fn cargo(
    workspace: &Workspace,
    toolchain: &Toolchain,
    command: &str,
    target: &Path,
) -> Result<Command> {
    let Toolchain {
        sysroot,
        linker_folder,
    } = toolchain;
    let mut cargo = workspace.cargo();
    cargo
        .args([command, "--locked", "--profile", PROFILE])
        .args(["--package", "oomwatch-ebpf", "--bin", BINARY])
        .args(["-Z", "build-std=core", "--target", TARGET])
        .arg("--target-dir")
        .arg(target)
        // For `-Z build-std` on stable.
        .env("RUSTC_BOOTSTRAP", "1")
        // Decides aya-ebpf's layout of `pt_regs`. No program reads registers, so one object serves every architecture.
        .env("AYA_BPF_TARGET_ARCH", "x86_64")
        .env("PATH", path_with(linker_folder)?)
        // It overrides every other source of flags, so that a developer's own do not change the object.
        .env(
            toolchain::RUSTFLAGS,
            toolchain::encode_flags(toolchain::remap_flags(&workspace.root, sysroot)?),
        );
    Ok(cargo)
}

fn path_with(first: &Path) -> Result<OsString> {
    let rest = env::var_os("PATH").unwrap_or_default();
    env::join_paths(
        [first.to_path_buf()]
            .into_iter()
            .chain(env::split_paths(&rest)),
    )
    .with_context(|| format!("failed to put {} into PATH", first.display()))
}

/// `None` if they are the same.
pub(crate) fn describe_difference(committed: &[u8], built: &[u8]) -> Option<String> {
    if committed == built {
        return None;
    }
    let same = committed
        .iter()
        .zip(built)
        .take_while(|(left, right)| left == right)
        .count();
    Some(format!(
        "{} bytes against {}, the first difference at byte {same}",
        committed.len(),
        built.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difference_names_sizes_and_place() {
        assert_eq!(describe_difference(b"abc", b"abc"), None);
        assert_eq!(describe_difference(b"", b""), None);
        assert_eq!(
            describe_difference(b"abc", b"abx").unwrap(),
            "3 bytes against 3, the first difference at byte 2"
        );
        assert_eq!(
            describe_difference(b"", b"abx").unwrap(),
            "0 bytes against 3, the first difference at byte 0"
        );
    }
}
