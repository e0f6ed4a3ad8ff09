//! `cargo xtask release`: everything that is released, from one commit, as files that depend on the commit alone.

mod contents;
mod dependencies;
mod notes;
mod packages;
mod reproduce;
mod sign;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::cargo::Workspace;
use crate::image::{self, Arch, Built};
use crate::tarball::{self, Entry};
use crate::{exec, helm, toolchain};
use contents::{File, Format, Kind};
use dependencies::Dependencies;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The time of all files, in seconds since 1970: that of the commit, unless it is set.
const EPOCH: &str = "SOURCE_DATE_EPOCH";
const SUMS: &str = "SHA256SUMS";
/// What the executable is built of, in JSON of `CycloneDX`.
const SBOM: &str = "oomwatch.cdx.json";
const LICENSES: &str = "LICENSES-THIRD-PARTY.txt";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder to write; an earlier release in it is removed [default: dist in the target folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Architecture; may be repeated [default: all]
    #[arg(long, value_enum)]
    arch: Vec<Arch>,
    /// Sign the checksums with this SSH key: a private key, or a public one whose private key ssh-agent has
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// Build the commit in a second folder, too, and fail if a byte differs
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = Workspace::load()?;
    let arches = if args.arch.is_empty() {
        &Arch::ALL[..]
    } else {
        &args.arch
    };
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| workspace.target.join("dist"));
    let artefacts = build(&workspace, arches)?;
    write(&artefacts, &out)?;
    if args.check {
        reproduce::check(&workspace, arches, &artefacts)?;
    }
    if let Some(key) = &args.sign {
        sign::sign(&out.join(SUMS), key)?;
    }
    println!("wrote to {}:", out.display());
    for Entry { path, content, .. } in &artefacts {
        println!("{:>9} KiB  {path}", content.len().div_ceil(1 << 10));
    }
    Ok(())
}

/// The files of the release, sorted by name, the last of them the checksums of the others.
fn build(workspace: &Workspace, arches: &[Arch]) -> Result<Vec<Entry>> {
    let epoch = epoch(workspace)?;
    // Manual pages and completions are the same for every architecture.
    let own = image::build(workspace, Arch::own())?;
    let common = contents::common(workspace, &own.path)?;
    let mut artefacts = Vec::new();
    let mut roots = Vec::new();
    for &arch in arches {
        let files = of_arch(workspace, image::build(workspace, arch)?)?;
        roots.push((arch, files.iter().map(File::in_image).collect::<Vec<_>>()));
        let files = [files, common.clone()].concat();
        artefacts.push(archive(arch, &files, epoch)?);
        for format in Format::ALL {
            let package = packages::build(workspace, format, arch, &files, epoch)?;
            artefacts.push(package);
        }
        let sbom = files.iter().find(|file| file.name == SBOM);
        let name = format!("oomwatch-{VERSION}-{}.cdx.json", arch.name());
        artefacts.extend(sbom.map(|sbom| Entry::new(name, &*sbom.content)));
    }
    let image = image::archive(image::NAME, &roots)?;
    artefacts.push(Entry::new(format!("oomwatch-{VERSION}-image.tar"), image));
    artefacts.push(chart(workspace, epoch)?);
    let changelog = fs::read_to_string(workspace.root.join("CHANGELOG.md"))
        .context("failed to read CHANGELOG.md")?;
    let notes = notes::section(&changelog, VERSION)?;
    artefacts.push(Entry::new("RELEASE_NOTES.md", notes));
    artefacts.sort_by(|one, other| one.path.cmp(&other.path));
    artefacts.push(Entry::new(SUMS, checksums(&artefacts)));
    Ok(artefacts)
}

/// What is different for each architecture.
fn of_arch(workspace: &Workspace, built: Built) -> Result<Vec<File>> {
    let dependencies = Dependencies::load(workspace, built.triple)?;
    let apache = workspace.root.join("LICENSE-APACHE");
    let apache = fs::read_to_string(&apache)
        .with_context(|| format!("failed to read {}", apache.display()))?;
    Ok(vec![
        File::new("oomwatch", Kind::Executable, built.bytes),
        File::new(SBOM, Kind::Document, dependencies.sbom()?),
        File::new(LICENSES, Kind::Document, dependencies.licenses(&apache)?),
    ])
}

/// The archive for machines without a package manager.
fn archive(arch: Arch, files: &[File], epoch: u64) -> Result<Entry> {
    let folder = format!("oomwatch-{VERSION}-{}", arch.name());
    let mut entries: Vec<Entry> = files.iter().map(|file| file.in_archive(&folder)).collect();
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    let archive = tarball::gzip(&tarball::tar(&entries, epoch)?)?;
    Ok(Entry::new(format!("{folder}.tar.gz"), archive))
}

/// The chart as Helm packages it, but for the times of its files, which are those of this checkout.
fn chart(workspace: &Workspace, epoch: u64) -> Result<Entry> {
    let folder = workspace.target.join("release-chart");
    toolchain::remove_if_there(&folder)?;
    let helm = helm::ensure_helm(workspace)?;
    exec::output(
        Command::new(helm)
            .arg("package")
            .arg(workspace.root.join("deploy/helm/oomwatch"))
            .arg("--destination")
            .arg(&folder),
    )?;
    let name = format!("oomwatch-{VERSION}.tgz");
    let packaged = fs::read(folder.join(&name))
        .with_context(|| format!("Helm wrote no {name}: the chart has another version"))?;
    toolchain::remove_if_there(&folder)?;
    let files = tarball::untar_gzip(&packaged)?;
    Ok(Entry::new(
        name,
        tarball::gzip(&tarball::tar(&files, epoch)?)?,
    ))
}

/// What `sha256sum --check` reads.
fn checksums(artefacts: &[Entry]) -> String {
    let line =
        |Entry { path, content, .. }: &Entry| format!("{}  {path}\n", tarball::digest(content));
    artefacts.iter().map(line).collect()
}

fn write(artefacts: &[Entry], out: &Path) -> Result<()> {
    let is_empty = |out: &Path| out.read_dir().is_ok_and(|mut files| files.next().is_none());
    ensure!(
        !out.exists() || is_empty(out) || out.join(SUMS).is_file(),
        "{} has other files than those of a release",
        out.display()
    );
    toolchain::remove_if_there(out)?;
    fs::create_dir_all(out).with_context(|| format!("failed to create {}", out.display()))?;
    for Entry { path, content, .. } in artefacts {
        let path = out.join(path);
        fs::write(&path, content).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(())
}

fn epoch(workspace: &Workspace) -> Result<u64> {
    let time = match std::env::var(EPOCH) {
        Ok(time) => time,
        Err(_) => exec::output(
            Command::new("git")
                .args(["log", "-1", "--format=%ct"])
                .current_dir(&workspace.root),
        )
        .with_context(|| format!("no commit here (set {EPOCH})"))?,
    };
    time.trim()
        .parse()
        .with_context(|| format!("not a time in seconds since 1970: {}", time.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_is_sorted_and_of_the_commits_time() {
        let files = [
            File::new("oomwatch", Kind::Executable, "\x7fELF"),
            File::new("oomwatch.1", Kind::Manual, ".TH"),
            File::new("README.md", Kind::Document, "#"),
        ];
        let archive = |files: &[File]| archive(Arch::Arm64, files, 7).unwrap();
        let built = archive(&files);
        assert_eq!(built.path, format!("oomwatch-{VERSION}-arm64.tar.gz"));
        let entries = tarball::untar_gzip(&built.content).unwrap();
        let names: Vec<&str> = entries
            .iter()
            .filter_map(|entry| entry.path.split_once('/'))
            .map(|(_, name)| name)
            .collect();
        assert_eq!(names, ["README.md", "man/oomwatch.1", "oomwatch"]);
        let [one, two, three] = files;
        assert_eq!(archive(&[three, one, two]), built);
    }

    #[test]
    fn checksums_are_in_the_form_of_sha256sum() {
        assert_eq!(
            checksums(&[Entry::new("a.deb", "abc")]),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a.deb\n"
        );
    }
}
