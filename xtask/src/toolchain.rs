//! What compiling for BPF needs besides stable Rust: the source of the standard library and bpf-linker.
//!
//! Whatever is missing is installed, except for the compiler, which rustup installs (`rust-toolchain.toml`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::apt::{self, Apt, Archive, Candidate};
use crate::cargo::Workspace;
use crate::exec;
use crate::install::{How, Install};
use crate::tools::{self, BPF_LINKER};

/// The Debian suite that has the newer releases of Rust.
const RUST_SUITE: &str = "trixie-backports";

/// The parts that were found.
pub(crate) struct Toolchain {
    pub(crate) sysroot: PathBuf,
    /// Folder of bpf-linker, to be put first in `PATH`.
    pub(crate) linker_folder: PathBuf,
}

/// Finds both parts, installing what is missing.
pub(crate) fn ensure_toolchain(workspace: &Workspace) -> Result<Toolchain> {
    let sysroot = sysroot(workspace)?;
    ensure_source(&sysroot, workspace)?;
    let mut linker_folder = BPF_LINKER.ensure(workspace)?;
    linker_folder.pop();
    Ok(Toolchain {
        sysroot,
        linker_folder,
    })
}

/// What [`ensure_toolchain`] would install.
pub(crate) fn missing(workspace: &Workspace) -> Result<Vec<Install>> {
    let source = (!has_source(&library(&sysroot(workspace)?))).then(|| Install {
        what: "rust-src".to_owned(),
        how: How::Rustup,
        seconds: 15,
    });
    let linker = BPF_LINKER.missing(workspace);
    Ok(source.into_iter().chain(linker).collect())
}

/// The sysroot of the pinned toolchain.
pub(crate) fn sysroot(workspace: &Workspace) -> Result<PathBuf> {
    let mut rustc = Command::new("rustc");
    rustc
        .args(["--print", "sysroot"])
        .current_dir(&workspace.root);
    Ok(PathBuf::from(exec::output(&mut rustc)?.trim_end()))
}

/// Flags that every rustc of a build for the target gets, and that override all other sources of flags.
pub(crate) const RUSTFLAGS: &str = "CARGO_ENCODED_RUSTFLAGS";

/// Flags with the separator of [`RUSTFLAGS`].
pub(crate) fn encode_flags(flags: impl IntoIterator<Item = String>) -> String {
    flags.into_iter().collect::<Vec<_>>().join("\u{1f}")
}

/// Replaces this machine's paths in what rustc builds, so that it is the same everywhere.
pub(crate) fn remap_flags(root: &Path, sysroot: &Path) -> Result<Vec<String>> {
    let flag = |(place, name)| format!("--remap-path-prefix={place}={name}");
    Ok(places(root, sysroot)?.into_iter().map(flag).collect())
}

/// Folders whose paths a build can contain, and the names that replace them.
pub(crate) fn places(root: &Path, sysroot: &Path) -> Result<Vec<(String, &'static str)>> {
    let home = tools::cargo_home().map(|home| (home, "/cargo"));
    [
        (root.to_owned(), "/oomwatch"),
        (sysroot.to_owned(), "/rust"),
    ]
    .into_iter()
    .chain(home)
    .map(|(place, name)| {
        let text = place.to_str();
        let text = text.with_context(|| format!("{} is not UTF-8", place.display()))?;
        Ok((text.to_owned(), name))
    })
    .collect()
}

/// Source of the standard library in a sysroot.
fn library(sysroot: &Path) -> PathBuf {
    sysroot.join("lib/rustlib/src/rust/library")
}

pub(crate) fn ensure_source(sysroot: &Path, workspace: &Workspace) -> Result<()> {
    let library = library(sysroot);
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
            "{} does not have the source of the standard library (run `rustup component add rust-src`)",
            library.display()
        )
    })
}

fn has_source(library: &Path) -> bool {
    library.join("core/Cargo.toml").is_file() && library.join("Cargo.lock").is_file()
}

/// Copies Debian's `rust-src` of the same release, which has the same `core`.
fn copy_debian_source(library: &Path, workspace: &Workspace) -> Result<()> {
    let rustc = exec::output(Command::new("rustc").arg("--version"))?;
    let release = parse_release(&rustc).with_context(|| {
        format!(
            "`rustc --version` does not name a release: {}",
            rustc.trim_end()
        )
    })?;
    let folder = workspace.target.join("tools");
    let apt = Apt::update(&folder.join("apt"), Archive::Main, RUST_SUITE)?;
    let candidates = apt.candidates("^rust-src$")?;
    let candidate = pick_release(&candidates, release)
        .with_context(|| format!("{RUST_SUITE} has no rust-src of Rust {release}"))?;

    let work = folder.join("rust-src");
    remove_if_there(&work)?;
    fs::create_dir_all(&work).with_context(|| format!("failed to create {}", work.display()))?;
    let package = apt.download(candidate, &work)?;
    apt::unpack(&package, &work)?;
    let source = work.join(format!("usr/src/rustc-{release}/library"));
    ensure!(
        has_source(&source),
        "{} does not have the library of Rust {release}",
        package.display()
    );

    // Copied next to its place and renamed, so that an incomplete copy is never used.
    let parent = library
        .parent()
        .with_context(|| format!("{} has no parent", library.display()))?;
    let partial = parent.join("library.partial");
    fs::create_dir_all(parent).with_context(|| format!("failed to create {}", parent.display()))?;
    remove_if_there(&partial)?;
    exec::output(Command::new("cp").arg("-r").arg(&source).arg(&partial))?;
    remove_if_there(library)?;
    fs::rename(&partial, library)
        .with_context(|| format!("failed to create {}", library.display()))?;
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
        fs::remove_dir_all(folder)
            .with_context(|| format!("failed to remove {}", folder.display()))?;
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

/// The candidate with exactly that upstream release, such as `1.95.0+dfsg1-2~bpo13+1`.
fn pick_release<'a>(candidates: &'a [Candidate], release: &str) -> Option<&'a Candidate> {
    candidates.iter().find(|candidate| {
        candidate
            .version
            .strip_prefix(release)
            .is_some_and(|rest| rest.starts_with(['+', '-']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_name_every_place_that_differs_between_machines() {
        let flags = remap_flags(Path::new("/w"), Path::new("/s")).unwrap();
        let flags = encode_flags(flags);
        assert!(
            flags.starts_with("--remap-path-prefix=/w=/oomwatch\u{1f}--remap-path-prefix=/s=/rust")
        );
    }

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
