//! Which Rust target gives a static executable for an architecture, and what building for it takes on this machine.
//!
//! For the machine's own architecture that is musl, which is made for static linking. For another one Debian has no C
//! compiler with musl; there, and where no standard library for musl can be had, glibc is linked statically. The command
//! looks up no user and no host by glibc's plugins, which is what a static glibc cannot do.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use super::elf;
use crate::apt;
use crate::cargo::Workspace;
use crate::exec::{self, Tool};

/// Architectures of images, by the OCI's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arch {
    Amd64,
    Arm64,
}

/// A Rust target, and what it takes beside its standard library.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) triple: &'static str,
    tool: Option<Tool>,
    /// The linker, where it is not the one that rustc takes by itself.
    linker: Option<&'static str>,
    /// Whether static linking has to be asked for.
    is_glibc: bool,
}

const MUSL: Tool = Tool {
    program: "musl-gcc",
    package: "musl-tools",
};

// These packages, unlike those of the C compilers, bring the C library with them.
const CROSS_AMD64: Tool = Tool {
    program: "x86_64-linux-gnu-g++",
    package: "g++-x86-64-linux-gnu",
};
const CROSS_ARM64: Tool = Tool {
    program: "aarch64-linux-gnu-g++",
    package: "g++-aarch64-linux-gnu",
};

impl Arch {
    /// The machine's own.
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

/// The best target that can be built here, after what it takes was installed.
pub(crate) fn ensure_target(workspace: &Workspace, arch: Arch) -> Result<Target> {
    let mut refused = Vec::new();
    for target in arch.targets(Arch::own()) {
        match ensure_parts(workspace, &target) {
            Ok(()) => {
                for why in refused {
                    eprintln!("{why}; taking {} instead", target.triple);
                }
                return Ok(target);
            }
            Err(error) => refused.push(format!("{}: {error:#}", target.triple)),
        }
    }
    anyhow::bail!(
        "no target for {} can be built here: {}",
        arch.name(),
        refused.join("; ")
    )
}

fn ensure_parts(workspace: &Workspace, target: &Target) -> Result<()> {
    let sysroot = exec::output(
        Command::new("rustc")
            .args(["--print", "sysroot"])
            .current_dir(&workspace.root),
    )?;
    let library = Path::new(sysroot.trim_end())
        .join("lib/rustlib")
        .join(target.triple)
        .join("lib");
    if !library.is_dir() {
        ensure!(
            exec::find("rustup").is_some(),
            "{} is missing, and there is no rustup to fetch it",
            library.display()
        );
        exec::run(
            Command::new("rustup")
                .args(["target", "add", target.triple])
                .current_dir(&workspace.root),
        )
        .context("fetch its standard library")?;
    }
    target
        .tool
        .map_or(Ok(()), |tool| apt::ensure_tools(&[tool]))
}

impl Target {
    /// A cargo that builds for it.
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
    fn own_architecture_is_built_with_musl_if_that_can_be() {
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
    fn other_architecture_takes_its_own_compiler() {
        for (arch, machine) in [(Arch::Amd64, Arch::Arm64), (Arch::Arm64, Arch::Amd64)] {
            let targets = arch.targets(machine);
            assert_eq!(targets.len(), 1);
            assert!(targets[0].linker.is_some() && targets[0].tool.is_some());
            assert!(targets[0].is_glibc);
        }
    }
}
