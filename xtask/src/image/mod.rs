//! `cargo xtask image`: a static release build as an OCI image archive, without a container engine.

mod archive;
mod elf;
mod target;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::cargo::{self, Workspace};
use crate::tarball::Entry;
use archive::Image;
use target::Target;

pub(crate) use target::{Arch, missing};

/// The image's name in the manifests of `deploy`, so that they find it after an import.
pub(crate) const NAME: &str = concat!("ghcr.io/oomwatch/oomwatch:", env!("CARGO_PKG_VERSION"));

const LABELS: [(&str, &str); 5] = [
    ("title", "oomwatch"),
    (
        "description",
        "Every OOM kill, once, with the right owner and the right limit",
    ),
    ("licenses", env!("CARGO_PKG_LICENSE")),
    ("source", env!("CARGO_PKG_REPOSITORY")),
    ("version", env!("CARGO_PKG_VERSION")),
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of the image after its import
    #[arg(long, value_name = "NAME:TAG", default_value = NAME, value_parser = parse_name)]
    tag: String,
    /// Archive to write [default: image/oomwatch-VERSION-ARCH.tar in the target folder]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Architecture of the image [default: this machine's]
    #[arg(long, value_enum)]
    arch: Option<Arch>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let Args { tag, output, arch } = args;
    let workspace = Workspace::load()?;
    let arch = arch.unwrap_or_else(Arch::own);
    let path = output
        .clone()
        .unwrap_or_else(|| default_output(&workspace, arch));
    write(&workspace, arch, tag, &path)
}

/// Writes the image for this machine's architecture under its default name, and returns the path.
pub(crate) fn own(workspace: &Workspace) -> Result<PathBuf> {
    let path = default_output(workspace, Arch::own());
    write(workspace, Arch::own(), NAME, &path)?;
    Ok(path)
}

fn default_output(workspace: &Workspace, arch: Arch) -> PathBuf {
    let name = format!("oomwatch-{}-{}.tar", env!("CARGO_PKG_VERSION"), arch.name());
    workspace.target.join("image").join(name)
}

fn write(workspace: &Workspace, arch: Arch, name: &str, path: &Path) -> Result<()> {
    let built = build(workspace, arch)?.bytes;
    let root = vec![Entry::executable("oomwatch", &*built)];
    let archive = archive(name, &[(arch, root)])?;
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    fs::write(path, &archive).with_context(|| format!("failed to write {}", path.display()))?;
    eprintln!(
        "wrote {name} for {} to {} ({} KiB; the executable has {} KiB)",
        arch.name(),
        path.display(),
        archive.len() >> 10,
        built.len() >> 10
    );
    Ok(())
}

/// The archive of an image for one or several architectures, with these files.
pub(crate) fn archive(name: &str, roots: &[(Arch, Vec<Entry>)]) -> Result<Vec<u8>> {
    let images: Vec<Image<'_>> = roots
        .iter()
        .map(|(arch, files)| Image {
            files,
            architecture: arch.name(),
            labels: &LABELS,
        })
        .collect();
    archive::archive(name, &images)
}

/// An executable that runs in an empty root.
pub(crate) struct Built {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    /// The Rust target.
    pub(crate) triple: &'static str,
}

pub(crate) fn build(workspace: &Workspace, arch: Arch) -> Result<Built> {
    let target = target::ensure_target(workspace, arch)?;
    let path = cargo::build_executable(&mut cargo_build(workspace, &target)?, "bin", "oomwatch")?;
    let bytes = fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
    elf::ensure_static(&bytes, arch.elf_machine())
        .with_context(|| format!("{} cannot run in an image", path.display()))?;
    Ok(Built {
        path,
        bytes,
        triple: target.triple,
    })
}

/// The command that builds the executable for this machine's architecture.
pub(crate) fn build_command(workspace: &Workspace) -> Result<Command> {
    cargo_build(workspace, &target::ensure_target(workspace, Arch::own())?)
}

fn cargo_build(workspace: &Workspace, target: &Target) -> Result<Command> {
    let mut cargo = target.cargo(workspace, "build")?;
    cargo.args(["--release", "--locked"]);
    cargo.args(["--package", "oomwatch", "--bin", "oomwatch"]);
    Ok(cargo)
}

/// A name that containerd accepts unchanged: a registry or `localhost`, a path, and a tag.
fn parse_name(text: &str) -> Result<String> {
    let (path, tag) = text.rsplit_once(':').unwrap_or((text, ""));
    let of = |text: &str, others: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || others.contains(c))
    };
    ensure!(
        of(tag, "_.-") && path.contains('/') && path.split('/').all(|part| of(part, "_.-:")),
        "expected a name such as registry.example/oomwatch:1 or localhost/oomwatch:1"
    );
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_has_registry_path_and_tag() {
        for name in [NAME, "localhost/oomwatch:1", "r.example:5000/a/b_c:v1.2-x"] {
            assert_eq!(parse_name(name).unwrap(), name);
        }
        for odd in [
            "",
            ":",
            "oomwatch",
            "oomwatch:1",
            "localhost/oomwatch",
            "localhost/oomwatch:",
            "/oomwatch:1",
            "a//b:1",
            "r.example:5000/a",
            "a/b c:1",
            "a/b:1@sha256",
        ] {
            assert!(parse_name(odd).is_err(), "{odd}");
        }
    }
}
