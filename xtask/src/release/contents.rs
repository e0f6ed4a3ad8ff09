//! The files of a release beside the executable, and where an archive and a package have them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::cargo::Workspace;
use crate::exec;
use crate::tarball::{self, Entry};

/// One file of a release. Its kind decides where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) content: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Executable,
    Manual,
    Completion,
    Unit,
    Logrotate,
    Document,
}

/// Packages whose conventions differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Deb,
    Rpm,
}

/// Shells with completions, and the script's usual name.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "oomwatch"),
    ("zsh", "_oomwatch"),
    ("fish", "oomwatch.fish"),
];

const DOCUMENTS: [&str; 4] = ["CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT", "README.md"];

/// Where a unit may expect the executable, and where a package has it.
const LOCAL: &str = "/usr/local/bin/oomwatch";
const PACKAGED: &str = "/usr/bin/oomwatch";

impl File {
    pub(super) fn new(name: impl Into<String>, kind: Kind, content: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            kind,
            content: content.into(),
        }
    }

    /// The file in an archive whose files are in `folder`.
    pub(super) fn in_archive(&self, folder: &str) -> Entry {
        let Self {
            name,
            kind,
            content,
        } = self;
        let below = match kind {
            Kind::Executable | Kind::Document => "",
            Kind::Manual => "man/",
            Kind::Completion => "completions/",
            Kind::Unit | Kind::Logrotate => "systemd/",
        };
        self.entry(format!("{folder}/{below}{name}"), content)
    }

    /// The file in an image.
    pub(super) fn in_image(&self) -> Entry {
        let folder = match self.kind {
            Kind::Executable => "",
            _ => "usr/share/doc/oomwatch/",
        };
        self.entry(format!("{folder}{}", self.name), &self.content)
    }

    /// The file where a package installs it.
    pub(super) fn in_package(&self, format: Format) -> Result<Entry> {
        let Self {
            name,
            kind,
            content,
        } = self;
        let folder = match kind {
            Kind::Executable => "usr/bin",
            Kind::Manual => {
                let content = tarball::gzip(content)?;
                return Ok(self.entry(format!("usr/share/man/man1/{name}.gz"), &content));
            }
            Kind::Completion => match (name.as_str(), format) {
                ("oomwatch", _) => "usr/share/bash-completion/completions",
                ("_oomwatch", Format::Deb) => "usr/share/zsh/vendor-completions",
                ("_oomwatch", Format::Rpm) => "usr/share/zsh/site-functions",
                _ => "usr/share/fish/vendor_completions.d",
            },
            Kind::Unit => {
                let unit = packaged_unit(std::str::from_utf8(content)?)?;
                let path = format!("usr/lib/systemd/system/{name}");
                return Ok(self.entry(path, unit.as_bytes()));
            }
            Kind::Logrotate => return Ok(self.entry("etc/logrotate.d/oomwatch", content)),
            Kind::Document => "usr/share/doc/oomwatch",
        };
        Ok(self.entry(format!("{folder}/{name}"), content))
    }

    fn entry(&self, path: impl Into<String>, content: &[u8]) -> Entry {
        if self.kind == Kind::Executable {
            Entry::executable(path, content)
        } else {
            Entry::new(path, content)
        }
    }
}

/// What is the same for every architecture. `oomwatch` is an executable that runs here.
pub(super) fn common(workspace: &Workspace, oomwatch: &Path) -> Result<Vec<File>> {
    let mut files = manual(workspace, oomwatch)?;
    for (shell, name) in COMPLETIONS {
        let script = exec::output(Command::new(oomwatch).args(["completions", shell]))?;
        files.push(File::new(name, Kind::Completion, script));
    }
    let systemd = workspace.root.join("deploy/systemd");
    for (name, kind) in [
        ("oomwatch.service", Kind::Unit),
        ("oomwatch.logrotate", Kind::Logrotate),
    ] {
        let path = systemd.join(name);
        if path.exists() {
            files.push(File::new(name, kind, read(&path)?));
        }
    }
    for name in DOCUMENTS {
        let content = read(&workspace.root.join(name))?;
        files.push(File::new(name, Kind::Document, content));
    }
    Ok(files)
}

fn manual(workspace: &Workspace, oomwatch: &Path) -> Result<Vec<File>> {
    let folder = workspace.target.join("release-man");
    crate::toolchain::remove_if_there(&folder)?;
    fs::create_dir_all(&folder)
        .with_context(|| format!("failed to create {}", folder.display()))?;
    exec::output(Command::new(oomwatch).arg("man").arg(&folder))?;
    let mut pages = Vec::new();
    for page in fs::read_dir(&folder)? {
        let path = page?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        pages.push(File::new(name, Kind::Manual, read(&path)?));
    }
    pages.sort_by(|one, other| one.name.cmp(&other.name));
    ensure!(!pages.is_empty(), "`oomwatch man` wrote no page");
    Ok(pages)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}

/// The unit with a package's path of the executable, and without the lines that say how to install both.
fn packaged_unit(unit: &str) -> Result<String> {
    let lines = unit
        .lines()
        .filter(|line| !line.starts_with("#   install "))
        .map(|line| format!("{line}\n"));
    let unit = lines.collect::<String>().replace(LOCAL, PACKAGED);
    ensure!(
        unit.contains(&format!("ExecStart={PACKAGED} ")),
        "the unit does not start {PACKAGED}"
    );
    Ok(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str, kind: Kind, format: Format) -> String {
        let content = format!("#   install x\nExecStart={LOCAL} watch\n");
        let file = File::new(name, kind, content);
        file.in_package(format).unwrap().path
    }

    #[test]
    fn packages_have_files_where_their_systems_look() {
        let table = [
            (Kind::Executable, "oomwatch", "usr/bin/oomwatch"),
            (
                Kind::Manual,
                "oomwatch.1",
                "usr/share/man/man1/oomwatch.1.gz",
            ),
            (
                Kind::Completion,
                "oomwatch",
                "usr/share/bash-completion/completions/oomwatch",
            ),
            (
                Kind::Completion,
                "oomwatch.fish",
                "usr/share/fish/vendor_completions.d/oomwatch.fish",
            ),
            (
                Kind::Unit,
                "oomwatch.service",
                "usr/lib/systemd/system/oomwatch.service",
            ),
            (
                Kind::Logrotate,
                "oomwatch.logrotate",
                "etc/logrotate.d/oomwatch",
            ),
            (
                Kind::Document,
                "LICENSE-MIT",
                "usr/share/doc/oomwatch/LICENSE-MIT",
            ),
        ];
        for (kind, name, expected) in table {
            for format in [Format::Deb, Format::Rpm] {
                assert_eq!(path(name, kind, format), expected);
            }
        }
        let zsh = |format| path("_oomwatch", Kind::Completion, format);
        assert_eq!(
            zsh(Format::Deb),
            "usr/share/zsh/vendor-completions/_oomwatch"
        );
        assert_eq!(zsh(Format::Rpm), "usr/share/zsh/site-functions/_oomwatch");
    }

    #[test]
    fn only_the_executable_can_be_run() {
        let mode = |kind| File::new("x", kind, "").in_archive("f").mode;
        assert_eq!(mode(Kind::Executable), 0o755);
        assert_eq!(mode(Kind::Manual), 0o644);
        let archived = File::new("x.1", Kind::Manual, "").in_archive("oomwatch-1-amd64");
        assert_eq!(archived.path, "oomwatch-1-amd64/man/x.1");
    }

    #[test]
    fn packaged_unit_starts_the_packaged_executable() {
        let unit = include_str!("../../../deploy/systemd/oomwatch.service");
        let packaged = packaged_unit(unit).unwrap();
        assert!(packaged.contains("\nExecStart=/usr/bin/oomwatch "));
        assert!(!packaged.contains("/usr/local") && !packaged.contains("install -m"));
        let lines = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(lines(&packaged), lines(unit));
        assert!(packaged_unit("ExecStart=/opt/oomwatch watch\n").is_err());
    }
}
