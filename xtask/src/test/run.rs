//! Runs one tier: prepares what it needs, starts its tests, and returns the outcome.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::tier::{API_TARGETS, Tier};
use crate::cargo::Workspace;
use crate::exec::{self, TestsFailed, Tool};
use crate::tools::{CARGO_DENY, TYPOS};
use crate::{apt, check, ebpf, fuzz, helm, image, kube, kubectl, rules, toolchain, vm};

pub(crate) enum Outcome {
    Passed,
    Failed(Failure),
    /// With the reason.
    Skipped(String),
}

/// The reason for a failed tier.
pub(crate) struct Failure {
    pub(crate) why: String,
    /// Messages of its failed tests.
    pub(crate) messages: Vec<String>,
}

/// Programs that the tier `container` runs.
pub(crate) const CONTAINER_TOOLS: [Tool; 4] = [
    Tool {
        program: "containerd",
        package: "containerd",
    },
    Tool {
        program: "ctr",
        package: "containerd",
    },
    Tool {
        program: "runc",
        package: "runc",
    },
    Tool {
        program: "busybox",
        package: "busybox-static",
    },
];

/// Whether a tier whose tests cannot run fails or is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Required,
    Optional,
}

pub(crate) fn run_tier(tier: Tier, need: Need, workspace: &Workspace) -> Outcome {
    let outcome = prepare_and_run(tier, need, workspace);
    match outcome {
        Outcome::Skipped(why) if need == Need::Required => Outcome::Failed(Failure {
            why: format!("it is required and cannot run: {why}"),
            messages: Vec::new(),
        }),
        outcome => outcome,
    }
}

fn prepare_and_run(tier: Tier, need: Need, workspace: &Workspace) -> Outcome {
    match tier {
        Tier::Format => check::format(workspace).into(),
        Tier::Clippy => check::clippy(workspace).into(),
        Tier::Typos => after(TYPOS.ensure(workspace), |typos| {
            check::typos(workspace, &typos).into()
        }),
        Tier::Deny => after(CARGO_DENY.ensure(workspace), |deny| {
            check::deny(workspace, &deny).into()
        }),
        Tier::Unit => check::unit(workspace).into(),
        Tier::Docs => check::docs(workspace).into(),
        Tier::Object => after(toolchain::ensure_toolchain(workspace), |toolchain| {
            let lint = ebpf::lint(workspace, &toolchain);
            lint.and_then(|()| ebpf::check(workspace, &toolchain))
                .into()
        }),
        Tier::Kernel => as_root(workspace, "kernel", need.variable()),
        Tier::Container => after(apt::ensure_tools(&CONTAINER_TOOLS), |()| {
            container(workspace, need)
        }),
        Tier::Rules => after(rules::prepare(workspace), |promtool| {
            rules::check(workspace, &promtool).into()
        }),
        Tier::Manifests => after(kubectl::ensure_kubectl(workspace), |kubectl| {
            with_kubectl(workspace, "manifests", &kubectl, &[]).into()
        }),
        Tier::Chart => after(kubectl::ensure_kubectl(workspace), |kubectl| {
            after(helm::ensure_helm(workspace), |helm| {
                let helm = [(HELM, &*helm)];
                with_kubectl(workspace, "chart", &kubectl, &helm).into()
            })
        }),
        Tier::Api => after(kube::assets(), |assets| api(workspace, &assets).into()),
        Tier::Faults => after(kube::assets(), |assets| {
            let environment = [
                ("KUBEBUILDER_ASSETS", assets.as_os_str()),
                ("OOMWATCH_REQUIRE", OsStr::new("faults")),
            ];
            as_root(workspace, "faults", environment)
        }),
        Tier::Node => after(kube::Node::found(), |(command, assets)| {
            after(helm::ensure_helm(workspace), |helm| {
                node(workspace, command, &assets, &helm).into()
            })
        }),
        Tier::Host => after(vm::host::prepare(workspace), |system| {
            vm::host::run(workspace, &system).into()
        }),
        Tier::Vm => after(apt::ensure_tools(&vm::TOOLS), |()| {
            vm_outcome(vm::whole_matrix(workspace))
        }),
        Tier::Fuzz => after(apt::ensure_tools(&fuzz::TOOLS), |()| {
            fuzz::every_target(workspace).into()
        }),
    }
}

/// Runs a tier if its preparation succeeded, else skips it.
fn after<T>(prepared: Result<T>, run: impl FnOnce(T) -> Outcome) -> Outcome {
    match prepared {
        Ok(prepared) => run(prepared),
        Err(error) => Outcome::Skipped(one_line(&error)),
    }
}

fn api(workspace: &Workspace, assets: &Path) -> Result<()> {
    let mut tests = workspace.cargo();
    tests.args(["test", "--locked", "--package", "oomwatch"]);
    for target in API_TARGETS {
        tests.args(["--test", target]);
    }
    // The tests of `names` that need a node are skipped.
    exec::run_tests(kube::tell(&mut tests, assets, "api"))
}

fn node(workspace: &Workspace, command: PathBuf, assets: &Path, helm: &Path) -> Result<()> {
    let image = image::own(workspace)?;
    let node = kube::Node::up(command, assets)?;
    node.load(&image)?;
    let vm = kube::VmNode::up(&node, &image)?;
    let tests = |target: &str| {
        let mut tests = workspace.cargo();
        tests.args(["test", "--locked", "--package", "oomwatch"]);
        tests.args(["--test", target]);
        tests.envs(node.environment.iter().cloned());
        tests.env(HELM, helm);
        tests.envs(vm.iter().flat_map(kube::VmNode::environment));
        kube::tell(&mut tests, assets, "all");
        tests
    };
    exec::run_tests(&mut tests("node"))?;
    // The tests of `names` that need a node.
    exec::run_tests(tests("names").args(["--", "node::"]))
}

/// Names the Helm that tests run.
const HELM: &str = "OOMWATCH_HELM";

fn with_kubectl(
    workspace: &Workspace,
    target: &str,
    kubectl: &Path,
    others: &[(&str, &Path)],
) -> Result<()> {
    exec::run_tests(
        workspace
            .cargo()
            .args(["test", "--locked", "--package", "oomwatch"])
            .args(["--test", target])
            .env("OOMWATCH_KUBECTL", kubectl)
            .envs(others.iter().copied()),
    )
}

/// With an image that is built first.
fn container(workspace: &Workspace, need: Need) -> Outcome {
    match image::own(workspace) {
        Ok(archive) => {
            let archive = ("OOMWATCH_IMAGE", archive.as_os_str());
            let environment = need.variable().into_iter().chain([archive]);
            as_root(workspace, "container", environment)
        }
        Err(error) => Failure::of(&error),
    }
}

impl Need {
    /// For the environment of tests that skip themselves otherwise.
    fn variable(self) -> Option<(&'static str, &'static OsStr)> {
        (self == Self::Required).then(|| ("OOMWATCH_REQUIRE", OsStr::new("1")))
    }
}

/// Runs a test target of oomwatch as root. It is built as the current user: only the executable is run through `sudo`.
fn as_root<'a>(
    workspace: &Workspace,
    target: &str,
    environment: impl IntoIterator<Item = (&'a str, &'a OsStr)>,
) -> Outcome {
    let mut tests = workspace.cargo();
    tests.envs(environment);
    if !exec::is_root() {
        if !exec::has_passwordless_sudo() {
            return Outcome::Skipped("it needs root, and sudo asks for a password".to_owned());
        }
        tests.args(["--config", SUDO_RUNNER]);
    }
    tests.args([
        "test",
        "--locked",
        "--package",
        "oomwatch",
        "--test",
        target,
    ]);
    exec::run_tests(&mut tests).into()
}

/// Makes cargo run executables through `sudo`.
const SUDO_RUNNER: &str = r#"target."cfg(unix)".runner = ["sudo", "-n", "-E", "--"]"#;

fn vm_outcome(summary: Result<vm::Summary>) -> Outcome {
    match summary {
        Err(error) => Failure::of(&error),
        Ok(vm::Summary {
            missing,
            failed,
            messages,
        }) => {
            if !failed.is_empty() {
                let why = [failed, missing].concat().join("; ");
                Outcome::Failed(Failure { why, messages })
            } else if !missing.is_empty() {
                Outcome::Skipped(missing.join("; "))
            } else {
                Outcome::Passed
            }
        }
    }
}

impl From<Result<()>> for Outcome {
    fn from(result: Result<()>) -> Self {
        result.map_or_else(|error| Failure::of(&error), |()| Self::Passed)
    }
}

impl Failure {
    fn of(error: &anyhow::Error) -> Outcome {
        let failed = error.downcast_ref::<TestsFailed>();
        Outcome::Failed(Self {
            why: one_line(error),
            messages: failed
                .map(|failed| failed.messages.clone())
                .unwrap_or_default(),
        })
    }
}

fn one_line(error: &anyhow::Error) -> String {
    format!("{error:#}")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrix_without_a_kernel_is_not_passed() {
        let summary = |missing: &[&str], failed: &[&str]| {
            let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
            vm_outcome(Ok(vm::Summary {
                missing: owned(missing),
                failed: owned(failed),
                messages: vec!["a: odd".to_owned()],
            }))
        };
        assert!(matches!(summary(&[], &[]), Outcome::Passed));
        assert!(matches!(summary(&["a"], &[]), Outcome::Skipped(why) if why == "a"));
        assert!(
            matches!(summary(&["a"], &["b"]), Outcome::Failed(failure) if failure.why == "b; a" && failure.messages == ["a: odd"])
        );
    }
}
