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
        };
        let musl = Target {
            triple: musl,
            tool: Some(MUSL),
            linker: None,
            is_glibc: false,
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
    let mut refused = Vec::new();
    for target in arch.targets(Arch::own()) {
        match ensure_parts(workspace, &target) {
            Ok(()) => {
                for why in refused {
                    eprintln!("{why}; using {} instead", target.triple);
                }
                return Ok(target);
            }
            Err(error) => refused.push(format!("{}: {error:#}", target.triple)),
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
    let library = library(workspace, target)?;
    if !library.is_dir() {
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
        .context("failed to fetch its standard library")?;
    }
    target
        .tool
        .map_or(Ok(()), |tool| apt::ensure_tools(&[tool]))
}

impl Target {
    /// A cargo command that is configured for the target.
    pub(crate) fn cargo(&self, workspace: &Workspace) -> Command {
        let Self {
            triple,
            tool: _,
            linker,
            is_glibc,
        } = self;
        let mut cargo = workspace.cargo();
        let mut configure = |key: &str, value: &str| {
            cargo.args(["--config", &format!("target.{triple}.{key}={value}")]);
        };
        if let Some(linker) = linker {
            configure("linker", &format!("'{linker}'"));
        }
        if *is_glibc {
            configure("rustflags", "['-Ctarget-feature=+crt-static']");
        }
        cargo
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
