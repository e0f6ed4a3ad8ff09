//! The Debian package and the RPM, written by cargo-deb and cargo-generate-rpm.
//!
//! Both read a manifest that is generated beside a copy of the files: one list of files serves the archive and both packages.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::contents::{File, Format};
use super::{EPOCH, VERSION};
use crate::cargo::Workspace;
use crate::image::Arch;
use crate::tarball::Entry;
use crate::tools::{CARGO_DEB, CARGO_GENERATE_RPM, CargoTool};
use crate::{exec, toolchain};

/// `systemctl` does nothing where systemd is not running, as in a container or an installer. The service is enabled only if the
/// system's presets say so.
const AFTER_INSTALL: &str = r#"
if [ "$1" -eq 1 ]; then systemctl --no-reload preset oomwatch.service >/dev/null 2>&1 || :; fi
systemctl daemon-reload >/dev/null 2>&1 || :
"#;
const BEFORE_REMOVAL: &str = r#"
if [ "$1" -eq 0 ]; then systemctl --no-reload disable --now oomwatch.service >/dev/null 2>&1 || :; fi
"#;
const AFTER_REMOVAL: &str = r#"
systemctl daemon-reload >/dev/null 2>&1 || :
if [ "$1" -ge 1 ]; then systemctl try-restart oomwatch.service >/dev/null 2>&1 || :; fi
"#;

impl Format {
    pub(super) const ALL: [Self; 2] = [Self::Deb, Self::Rpm];

    fn tool(self) -> &'static CargoTool {
        match self {
            Self::Deb => &CARGO_DEB,
            Self::Rpm => &CARGO_GENERATE_RPM,
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Rpm => "rpm",
        }
    }

    /// The package's usual name. Packaging the same version again would raise the 1.
    fn file_name(self, arch: Arch) -> String {
        match self {
            Self::Deb => format!("oomwatch_{VERSION}-1_{}.deb", arch.name()),
            Self::Rpm => format!("oomwatch-{VERSION}-1.{}.rpm", machine(arch)),
        }
    }
}

/// As RPM and Rust's targets call it.
fn machine(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "x86_64",
        Arch::Arm64 => "aarch64",
    }
}

/// Writes the package of the files and returns it.
pub(super) fn build(
    workspace: &Workspace,
    format: Format,
    arch: Arch,
    files: &[File],
    epoch: u64,
) -> Result<Entry> {
    let tool = format.tool().ensure(workspace)?;
    let entries: Vec<Entry> = files
        .iter()
        .map(|file| file.in_package(format))
        .collect::<Result<_>>()?;
    let folder = workspace.target.join("release-package");
    stage(&folder, &entries)?;
    let name = format.file_name(arch);
    let package = folder.join(&name);
    let target = format!("{}-unknown-linux-gnu", machine(arch));
    let mut command = Command::new(tool);
    match format {
        Format::Deb => command.args(["deb", "--no-build", "--no-strip", "--no-dbgsym", "--quiet"]),
        // zstd, the default, is unknown to the RPM of RHEL 8's first releases.
        Format::Rpm => command.args(["generate-rpm", "--payload-compress", "xz"]),
    };
    command
        .args(["--target", &target, "--output"])
        .arg(&package)
        .current_dir(&folder)
        .env(EPOCH, epoch.to_string());
    exec::output(&mut command)
        .with_context(|| format!("failed to write the .{}", format.extension()))?;
    let content =
        fs::read(&package).with_context(|| format!("failed to read {}", package.display()))?;
    toolchain::remove_if_there(&folder)?;
    Ok(Entry::new(name, content))
}

/// Writes the files and the manifest that names them.
fn stage(folder: &Path, entries: &[Entry]) -> Result<()> {
    toolchain::remove_if_there(folder)?;
    let write = |path: &str, content: &[u8], mode| {
        let path = folder.join(path);
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(folder))?;
            fs::write(&path, content)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))
        };
        write().with_context(|| format!("failed to write {}", path.display()))
    };
    write("Cargo.toml", manifest(entries).as_bytes(), 0o644)?;
    // What a manifest needs to be a package's.
    write("main.rs", b"fn main() {}\n", 0o644)?;
    // cargo-deb writes the scripts for the unit if there is a folder of others.
    fs::create_dir_all(folder.join("scripts"))?;
    entries
        .iter()
        .try_for_each(|entry| write(&entry.path, &entry.content, entry.mode))
}

fn manifest(entries: &[Entry]) -> String {
    let (mut deb, mut rpm) = (String::new(), String::new());
    for Entry { path, mode, .. } in entries {
        let _ = writeln!(deb, "  [{path:?}, {path:?}, \"{mode:o}\"],");
        let kind = if path.starts_with("etc/") {
            ", config = \"noreplace\""
        } else if path.starts_with("usr/share/doc/") {
            ", doc = true"
        } else {
            ""
        };
        let _ = writeln!(
            rpm,
            "  {{ source = {path:?}, dest = \"/{path}\", mode = \"{mode:o}\"{kind} }},"
        );
    }
    let configuration: Vec<String> = entries
        .iter()
        .filter(|entry| entry.path.starts_with("etc/"))
        .map(|entry| format!("/{}", entry.path))
        .collect();
    format!(
        r#"[package]
name = "oomwatch"
version = "{VERSION}"
edition = "2024"
description = "Every OOM kill, once, with the right owner and the right limit"
license = "{license}"
repository = "{repository}"
homepage = "{repository}"

[workspace]

[[bin]]
name = "oomwatch"
path = "main.rs"

[package.metadata.deb]
maintainer = "The oomwatch authors"
copyright = "2026, The oomwatch authors"
license-file = ["usr/share/doc/oomwatch/LICENSE-MIT", "0"]
extended-description = """
oomwatch hooks the OOM killer with eBPF and records the victim, its cgroup
and every limit above it inside the kernel, at the kill. It reports which
process was killed, in which container or unit, and whose limit was reached."""
section = "admin"
# The executable is static.
depends = ""
conf-files = {configuration:?}
maintainer-scripts = "scripts"
systemd-units = {{ unit-name = "oomwatch", enable = false, start = false, restart-after-upgrade = true }}
assets = [
{deb}]

[package.metadata.generate-rpm]
auto-req = "no"
post_install_script = '''{AFTER_INSTALL}'''
pre_uninstall_script = '''{BEFORE_REMOVAL}'''
post_uninstall_script = '''{AFTER_REMOVAL}'''
assets = [
{rpm}]
"#,
        license = env!("CARGO_PKG_LICENSE"),
        repository = env!("CARGO_PKG_REPOSITORY"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_have_their_usual_names() {
        let name = |format: Format, arch| format.file_name(arch);
        assert_eq!(
            name(Format::Deb, Arch::Arm64),
            format!("oomwatch_{VERSION}-1_arm64.deb")
        );
        assert_eq!(
            name(Format::Rpm, Arch::Arm64),
            format!("oomwatch-{VERSION}-1.aarch64.rpm")
        );
        assert_eq!(
            name(Format::Rpm, Arch::Amd64),
            format!("oomwatch-{VERSION}-1.x86_64.rpm")
        );
    }

    #[test]
    fn manifest_names_each_file_for_both_packages() {
        let manifest = manifest(&[
            Entry::executable("usr/bin/oomwatch", ""),
            Entry::new("etc/logrotate.d/oomwatch", ""),
            Entry::new("usr/share/doc/oomwatch/README.md", ""),
        ]);
        for line in [
            r#"  ["usr/bin/oomwatch", "usr/bin/oomwatch", "755"],"#,
            r#"  { source = "usr/bin/oomwatch", dest = "/usr/bin/oomwatch", mode = "755" },"#,
            r#"  { source = "etc/logrotate.d/oomwatch", dest = "/etc/logrotate.d/oomwatch", mode = "644", config = "noreplace" },"#,
            r#"  { source = "usr/share/doc/oomwatch/README.md", dest = "/usr/share/doc/oomwatch/README.md", mode = "644", doc = true },"#,
            r#"conf-files = ["/etc/logrotate.d/oomwatch"]"#,
        ] {
            assert!(manifest.lines().any(|found| found == line), "{line}");
        }
    }
}
