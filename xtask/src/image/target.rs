//! The Rust target that gives a static executable for an architecture, and what building for it needs on this machine.
//!
//! For the machine's own architecture it is musl. For others Debian has no C compiler with musl; there, and where the standard
//! library for musl is not available, glibc is linked statically. That works because oomwatch looks up users and hosts
//! without glibc's plugins.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use super::elf;
use crate::cargo::Workspace;
use crate::exec::{self, Tool};
use crate::install::{How, Install};
use crate::{apt, toolchain};

/// Architecture of an image, by the OCI's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arch {
    Amd64,
    Arm64,
}

/// A Rust target, and what building for it needs besides its standard library.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) triple: &'static str,
    tool: Option<Tool>,
    /// The linker, where it is not rustc's default.
    linker: Option<&'static str>,
    /// Whether static linking is not the default.
    is_glibc: bool,
    library: Library,
}

/// Where a target's standard library comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Library {
    /// From rustup.
    Prebuilt,
    /// Built from the sources of the same release.
    Source,
}

const MUSL: Tool = Tool {
    program: "musl-gcc",
    package: "musl-tools",
};

// Unlike the C compilers' packages, these depend on the C library.
const CROSS_AMD64: Tool = Tool {
    program: "x86_64-linux-gnu-g++",
    package: "g++-x86-64-linux-gnu",
};
const CROSS_ARM64: Tool = Tool {
    program: "aarch64-linux-gnu-g++",
    package: "g++-aarch64-linux-gnu",
};

impl Arch {
    pub(crate) const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// This machine's architecture.
    pub(crate) fn own() -> Self {
        if cfg!(target_arch = "aarch64") {
            Self::Arm64
        } else {
            Self::Amd64
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    pub(crate) fn elf_machine(self) -> u16 {
        match self {
            Self::Amd64 => elf::X86_64,
            Self::Arm64 => elf::AARCH64,
        }
    }

    /// The targets that can be built on a machine of the architecture `machine`, best first.
    fn targets(self, machine: Self) -> Vec<Target> {
        let (musl, glibc, tool, linker) = match self {
            Self::Amd64 => (
                "x86_64-unknown-linux-musl",
                "x86_64-unknown-linux-gnu",
                CROSS_AMD64,
                "x86_64-linux-gnu-gcc",
            ),
            Self::Arm64 => (
                "aarch64-unknown-linux-musl",
                "aarch64-unknown-linux-gnu",
                CROSS_ARM64,
                "aarch64-linux-gnu-gcc",
            ),
        };
        let is_own = self == machine;
        let glibc = Target {
            triple: glibc,
            tool: (!is_own).then_some(tool),
            linker: (!is_own).then_some(linker),
            is_glibc: true,
            library: Library::Prebuilt,
        };
        let musl = Target {
            triple: musl,
            tool: Some(MUSL),
            linker: None,
            is_glibc: false,
            library: Library::Prebuilt,
        };
        if is_own {
            vec![musl, glibc]
        } else {
            vec![glibc]
        }
    }
}

/// What [`ensure_target`] would install for this machine's architecture, if its best target is available.
pub(crate) fn missing(workspace: &Workspace) -> Vec<Install> {
    let mut targets = Arch::own().targets(Arch::own()).into_iter();
    let Some(target) = targets.next() else {
        return Vec::new();
    };
    let library = library(workspace, &target).is_ok_and(|library| !library.is_dir());
    let library = library.then(|| Install {
        what: format!("target {}", target.triple),
        how: How::Rustup,
        seconds: 15,
    });
    let tools: Vec<Tool> = target.tool.into_iter().collect();
    library.into_iter().chain(apt::missing(&tools)).collect()
}

/// Installs what the best target that is available here needs, and returns it.
pub(crate) fn ensure_target(workspace: &Workspace, arch: Arch) -> Result<Target> {
    let mut targets = arch.targets(Arch::own());
    // Only glibc: musl's own library comes with rustup's.
    let from_source = targets.last().map(|last| Target {
        library: Library::Source,
        ..*last
    });
    targets.extend(from_source);
    let mut refused = Vec::new();
    for target in targets {
        match ensure_parts(workspace, &target) {
            Ok(()) => {
                for why in refused {
                    eprintln!("{why}; using {} instead", target.name());
                }
                return Ok(target);
            }
            Err(error) => refused.push(format!("{}: {error:#}", target.name())),
        }
    }
    anyhow::bail!(
        "no Rust target for {} is available: {}",
        arch.name(),
        refused.join("; ")
    )
}

/// Folder of a target's standard library.
fn library(workspace: &Workspace, target: &Target) -> Result<PathBuf> {
    let sysroot = toolchain::sysroot(workspace)?;
    Ok(sysroot.join("lib/rustlib").join(target.triple).join("lib"))
}

fn ensure_parts(workspace: &Workspace, target: &Target) -> Result<()> {
    match target.library {
        Library::Prebuilt => ensure_library(workspace, target)?,
        Library::Source => toolchain::ensure_source(&toolchain::sysroot(workspace)?, workspace)?,
    }
    target
        .tool
        .map_or(Ok(()), |tool| apt::ensure_tools(&[tool]))
}

fn ensure_library(workspace: &Workspace, target: &Target) -> Result<()> {
    let library = library(workspace, target)?;
    if library.is_dir() {
        return Ok(());
    }
    ensure!(
        exec::find("rustup").is_some(),
        "{} not found, nor rustup to fetch it",
        library.display()
    );
    exec::run(
        Command::new("rustup")
            .args(["target", "add", target.triple])
            .current_dir(&workspace.root),
    )
    .context("failed to fetch its standard library")
}

impl Target {
    fn name(&self) -> String {
        match self.library {
            Library::Prebuilt => self.triple.to_owned(),
            Library::Source => format!("{} with its library built", self.triple),
        }
    }

    /// A cargo command for the target, whose result does not depend on the folder.
    pub(crate) fn cargo(&self, workspace: &Workspace, command: &str) -> Result<Command> {
        let mut cargo = workspace.cargo();
        cargo.args([command, "--target", self.triple]);
        if let Some(linker) = self.linker {
            let linker = format!("target.{}.linker='{linker}'", self.triple);
            cargo.args(["--config", &linker]);
        }
        if self.library == Library::Source {
            cargo.args(["-Z", "build-std=std,panic_abort"]);
            // For `-Z` on stable.
            cargo.env("RUSTC_BOOTSTRAP", "1");
        }
        let sysroot = toolchain::sysroot(workspace)?;
        let flags = toolchain::remap_flags(&workspace.root, &sysroot)?;
        let linking = self
            .is_glibc
            .then(|| "-Ctarget-feature=+crt-static".to_owned());
        let flags = toolchain::encode_flags(flags.into_iter().chain(linking));
        cargo.env(toolchain::RUSTFLAGS, flags);
        // Names of C sources are in messages of failed assertions.
        let c_flags: Vec<String> = toolchain::places(&workspace.root, &sysroot)?
            .into_iter()
            .map(|(place, name)| format!("-ffile-prefix-map={place}={name}"))
            .collect();
        let variable = format!("CFLAGS_{}", self.triple.replace('-', "_"));
        cargo.env(variable, c_flags.join(" "));
        Ok(cargo)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn triples(arch: Arch, machine: Arch) -> Vec<&'static str> {
        arch.targets(machine)
            .iter()
            .map(|target| target.triple)
            .collect()
    }

    #[test]
    fn own_architecture_is_built_with_musl_if_possible() {
        assert_eq!(
            triples(Arch::Amd64, Arch::Amd64),
            ["x86_64-unknown-linux-musl", "x86_64-unknown-linux-gnu"]
        );
        assert_eq!(
            triples(Arch::Arm64, Arch::Arm64),
            ["aarch64-unknown-linux-musl", "aarch64-unknown-linux-gnu"]
        );
    }

    #[test]
    fn other_architecture_has_its_own_compiler() {
        for (arch, machine) in [(Arch::Amd64, Arch::Arm64), (Arch::Arm64, Arch::Amd64)] {
            let targets = arch.targets(machine);
            assert_eq!(targets.len(), 1);
            assert!(targets[0].linker.is_some() && targets[0].tool.is_some());
            assert!(targets[0].is_glibc);
        }
    }
}
