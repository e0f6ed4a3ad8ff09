//! Programs that `cargo install` builds: the one that this machine has, else one below the target folder.
//!
//! They are not installed into cargo's own folder, where another project may need another version.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::cargo::Workspace;
use crate::exec;
use crate::install::{How, Install};

/// A program of a package on crates.io.
#[derive(Debug)]
pub(crate) struct CargoTool {
    pub(crate) program: &'static str,
    package: &'static str,
    version: &'static str,
    /// Which versions are used if this machine has one.
    accepted: Accepted,
    build: Build,
    /// Time to build it on two cores.
    seconds: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepted {
    Any,
    Exact,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Build {
    /// Without optimization, which takes less time than it saves.
    Debug,
    Release,
}

/// The last bpf-linker that uses rustc's own LLVM with Rust 1.95; later ones need LLVM from the system.
pub(crate) static BPF_LINKER: CargoTool = CargoTool {
    program: "bpf-linker",
    package: "bpf-linker",
    version: "0.10.3",
    accepted: Accepted::Exact,
    build: Build::Release,
    seconds: 60,
};

pub(crate) static TYPOS: CargoTool = CargoTool {
    program: "typos",
    package: "typos-cli",
    version: "1.52.0",
    accepted: Accepted::Any,
    build: Build::Debug,
    seconds: 60,
};

pub(crate) static CARGO_DENY: CargoTool = CargoTool {
    program: "cargo-deny",
    package: "cargo-deny",
    version: "0.20.2",
    accepted: Accepted::Any,
    build: Build::Debug,
    seconds: 60,
};

/// Writes Debian packages.
pub(crate) static CARGO_DEB: CargoTool = CargoTool {
    program: "cargo-deb",
    package: "cargo-deb",
    version: "3.8.0",
    // Another version could write other bytes.
    accepted: Accepted::Exact,
    // Compressing takes a minute otherwise.
    build: Build::Release,
    seconds: 120,
};

/// Writes RPMs, without rpmbuild.
pub(crate) static CARGO_GENERATE_RPM: CargoTool = CargoTool {
    program: "cargo-generate-rpm",
    package: "cargo-generate-rpm",
    version: "0.21.1",
    accepted: Accepted::Exact,
    build: Build::Release,
    seconds: 180,
};

impl CargoTool {
    /// What [`Self::ensure`] would install.
    pub(crate) fn missing(&self, workspace: &Workspace) -> Option<Install> {
        let Self {
            package,
            version,
            seconds,
            ..
        } = self;
        self.find(workspace).is_none().then(|| Install {
            what: format!("{package} {version}"),
            how: How::Cargo,
            seconds: *seconds,
        })
    }

    /// Returns the path of the program, installing it if needed.
    pub(crate) fn ensure(&self, workspace: &Workspace) -> Result<PathBuf> {
        if let Some(found) = self.find(workspace) {
            return Ok(found);
        }
        let wanted = format!("{}@{}", self.package, self.version);
        eprintln!("installing {wanted} into {}", root(workspace).display());
        let mut install = workspace.cargo();
        install
            .args(["install", "--locked", "--force", &wanted])
            .arg("--root")
            .arg(root(workspace))
            .arg("--target-dir")
            .arg(root(workspace).join("build"));
        if self.build == Build::Debug {
            install.arg("--debug").env("CARGO_PROFILE_DEV_DEBUG", "0");
        }
        exec::run(&mut install).with_context(|| format!("failed to install {wanted}"))?;
        let own = self.own(workspace);
        ensure!(
            self.is_version(&own),
            "{} is not {wanted}, which was just installed",
            own.display()
        );
        Ok(own)
    }

    fn find(&self, workspace: &Workspace) -> Option<PathBuf> {
        let path = env::var_os("PATH");
        let path = path.iter().flat_map(env::split_paths);
        let cargo_home = cargo_home().map(|home| home.join("bin"));
        let mut found = path
            .chain(cargo_home)
            .map(|folder| folder.join(self.program))
            .filter(|program| program.is_file());
        let accepted = match self.accepted {
            Accepted::Any => found.next(),
            Accepted::Exact => found.find(|program| self.is_version(program)),
        };
        let own = self.own(workspace);
        accepted.or_else(|| self.is_version(&own).then_some(own))
    }

    fn own(&self, workspace: &Workspace) -> PathBuf {
        root(workspace).join("bin").join(self.program)
    }

    fn is_version(&self, program: &Path) -> bool {
        program.is_file()
            && exec::output(Command::new(program).arg("--version"))
                .is_ok_and(|printed| parse_version(&printed) == Some(self.version))
    }
}

fn root(workspace: &Workspace) -> PathBuf {
    workspace.target.join("tools")
}

/// The version of `typos-cli 1.52.0`; some programs print it alone.
fn parse_version(printed: &str) -> Option<&str> {
    let mut words = printed.split_whitespace().take(2);
    words.find(|word| word.starts_with(|first: char| first.is_ascii_digit()))
}

/// Folder of what cargo has downloaded and installed.
pub(crate) fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_behind_the_name_or_alone() {
        assert_eq!(parse_version("typos-cli 1.52.0\n"), Some("1.52.0"));
        assert_eq!(parse_version("rustc 1.95.0 (59807616e)"), Some("1.95.0"));
        assert_eq!(parse_version("3.8.0\n"), Some("3.8.0"));
        for odd in ["", "typos", "\n", "a b 1.0.0"] {
            assert_eq!(parse_version(odd), None, "{odd:?}");
        }
    }
}
