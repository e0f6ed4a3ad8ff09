//! What compiling for BPF needs beside stable Rust: the standard library's source and bpf-linker.
//!
//! Both are looked for, and installed when they are missing. The compiler itself is rustup's business
//! (`rust-toolchain.toml`) and is left alone.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::apt::{self, Apt, Archive, Candidate};
use crate::cargo::Workspace;
use crate::exec;

/// The last bpf-linker that takes rustc's own LLVM at Rust 1.95; later ones want a system LLVM.
const LINKER_VERSION: &str = "0.10.3";
/// The Debian suite that carries the newer releases of Rust.
const RUST_SUITE: &str = "trixie-backports";

/// Where the parts are.
pub(crate) struct Toolchain {
    pub(crate) sysroot: PathBuf,
    /// The folder of the right bpf-linker, to be put first in `PATH`.
    pub(crate) linker_folder: PathBuf,
}

/// Finds both parts, installing what is missing.
pub(crate) fn ensure_toolchain(workspace: &Workspace) -> Result<Toolchain> {
    let sysroot = exec::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let sysroot = PathBuf::from(sysroot.trim_end());
    ensure_source(&sysroot, workspace)?;
    Ok(Toolchain {
        linker_folder: ensure_linker(workspace)?,
        sysroot,
    })
}

fn ensure_source(sysroot: &Path, workspace: &Workspace) -> Result<()> {
    let library = sysroot.join("lib/rustlib/src/rust/library");
    if has_source(&library) {
        return Ok(());
    }
    if exec::find("rustup").is_some() {
        let add = exec::run(
            Command::new("rustup")
                .args(["component", "add", "rust-src"])
                .current_dir(&workspace.root),
        );
        if has_source(&library) {
            return Ok(());
        }
        if let Err(error) = add {
            eprintln!("{error:#}; trying Debian's package of the same release");
        }
    }
    copy_debian_source(&library, workspace).with_context(|| {
        format!(
            "the standard library's source is not in {}: run `rustup component add rust-src`",
            library.display()
        )
    })
}

fn has_source(library: &Path) -> bool {
    library.join("core/Cargo.toml").is_file() && library.join("Cargo.lock").is_file()
}

/// Debian's `rust-src` of the very same release has the same `core`.
fn copy_debian_source(library: &Path, workspace: &Workspace) -> Result<()> {
    let rustc = exec::output(Command::new("rustc").arg("--version"))?;
    let release = parse_release(&rustc)
        .with_context(|| format!("`rustc --version` is no release: {}", rustc.trim_end()))?;
    let folder = workspace.target.join("tools");
    let apt = Apt::update(&folder.join("apt"), Archive::Main, RUST_SUITE)?;
    let candidates = apt.candidates("^rust-src$")?;
    let candidate = pick_release(&candidates, release)
        .with_context(|| format!("{RUST_SUITE} has no rust-src of Rust {release}"))?;

    let work = folder.join("rust-src");
    remove_if_there(&work)?;
    fs::create_dir_all(&work).with_context(|| format!("create {}", work.display()))?;
    let package = apt.download(candidate, &work)?;
    apt::unpack(&package, &work)?;
    let source = work.join(format!("usr/src/rustc-{release}/library"));
    ensure!(
        has_source(&source),
        "{} has no library of Rust {release}",
        package.display()
    );

    // Beside its place first, so that one that broke off is never taken for whole.
    let parent = library
        .parent()
        .with_context(|| format!("{} has no parent", library.display()))?;
    let partial = parent.join("library.partial");
    fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    remove_if_there(&partial)?;
    exec::output(Command::new("cp").arg("-r").arg(&source).arg(&partial))?;
    remove_if_there(library)?;
    fs::rename(&partial, library).with_context(|| format!("create {}", library.display()))?;
    eprintln!(
        "installed Debian's rust-src {} in {}",
        candidate.version,
        library.display()
    );
    remove_if_there(&work)
}

/// Removes a folder that may not exist.
pub(crate) fn remove_if_there(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    Ok(())
}

/// `rustc 1.95.0 (59807616e 2026-04-14)` to `1.95.0`; a beta or nightly is not a release.
fn parse_release(version: &str) -> Option<&str> {
    let release = version.strip_prefix("rustc ")?.split_whitespace().next()?;
    let is_release = release
        .split('.')
        .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    is_release.then_some(release)
}

/// The candidate of exactly that upstream release, such as `1.95.0+dfsg1-2~bpo13+1`.
fn pick_release<'a>(candidates: &'a [Candidate], release: &str) -> Option<&'a Candidate> {
    candidates.iter().find(|candidate| {
        candidate
            .version
            .strip_prefix(release)
            .is_some_and(|rest| rest.starts_with(['+', '-']))
    })
}

fn ensure_linker(workspace: &Workspace) -> Result<PathBuf> {
    let own = workspace.target.join("tools/bin");
    let installed = cargo_home().map(|home| home.join("bin"));
    let in_path = env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>());
    let found = in_path
        .into_iter()
        .flatten()
        .chain(installed)
        .chain([own.clone()])
        .find(|folder| is_right_linker(&folder.join("bpf-linker")));
    if let Some(folder) = found {
        return Ok(folder);
    }
    // Not into cargo's own folder, where another project may need another version.
    eprintln!("bpf-linker {LINKER_VERSION} is not installed; this takes a minute, once");
    exec::run(
        workspace
            .cargo()
            .args(["install", "--locked", "--force"])
            .arg(format!("bpf-linker@{LINKER_VERSION}"))
            .arg("--root")
            .arg(workspace.target.join("tools"))
            .arg("--target-dir")
            .arg(workspace.target.join("tools/build")),
    )
    .with_context(|| format!("install bpf-linker {LINKER_VERSION}"))?;
    if !is_right_linker(&own.join("bpf-linker")) {
        bail!(
            "the bpf-linker in {} is not {LINKER_VERSION}",
            own.display()
        );
    }
    Ok(own)
}

/// Where cargo keeps what it fetched.
pub(crate) fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")))
}

fn is_right_linker(program: &Path) -> bool {
    program.is_file()
        && exec::output(Command::new(program).arg("--version"))
            .is_ok_and(|version| version.trim_end() == format!("bpf-linker {LINKER_VERSION}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_release_has_a_debian_package() {
        assert_eq!(
            parse_release("rustc 1.95.0 (59807616e 2026-04-14)\n"),
            Some("1.95.0")
        );
        assert_eq!(
            parse_release("rustc 1.85.0 (4d91de4e4 2025-02-17) (built from a source tarball)"),
            Some("1.85.0")
        );
        for odd in [
            "",
            "rustc",
            "rustc ",
            "1.95.0",
            "rustc 1.97.0-nightly (x)",
            "rustc 1.95.",
            "rustc (x)",
        ] {
            assert_eq!(parse_release(odd), None, "{odd}");
        }
    }

    #[test]
    fn package_is_of_exactly_the_release() {
        let candidates = [
            "1.95.10+dfsg1-1",
            "1.95.0~beta+dfsg1-1",
            "1.95.0+dfsg1-2~bpo13+1",
            "1.95.0-1",
        ]
        .map(|version| Candidate {
            package: "rust-src".to_owned(),
            version: version.to_owned(),
        });
        assert_eq!(pick_release(&candidates, "1.95.0"), Some(&candidates[2]));
        assert_eq!(pick_release(&candidates, "1.95"), None);
        assert_eq!(pick_release(&[], "1.95.0"), None);
    }
}
