//! `cargo xtask test`: the tests in tiers, from the least powerful to the most, and last what looks for the unforeseen.
//!
//! A tier that cannot run on this machine says why and is skipped, unless it is required. What the tests are is decided
//! by the test targets: a target named like a tier belongs to it, every other to the first.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use clap::ValueEnum;

use crate::apt;
use crate::cargo::Workspace;
use crate::exec::{self, TestsFailed, Tool};
use crate::{ebpf, failures, fuzz, image, kube, kubectl, rules, table, toolchain, vm};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run these tiers only
    #[arg(long, value_name = "TIER", value_delimiter = ',')]
    only: Vec<Tier>,
    /// Fail if one of these tiers cannot run: tiers, or `all`
    #[arg(long, value_name = "TIER", value_delimiter = ',', value_parser = parse_required)]
    require: Vec<Required>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tier {
    /// Everything that needs neither root nor a kernel: unit tests, the command line, documentation
    Unit,
    /// The alert rules and the dashboard's queries, by promtool
    Rules,
    /// The committed BPF object is what its source gives
    Object,
    /// Real kills on this machine's kernel
    Kernel,
    /// Real kills in a container of containerd's, and our image in one
    Container,
    /// Names and Events with a real API server, from `KUBEBUILDER_ASSETS`
    Api,
    /// The agent killed at any moment, its API server away, its disk full: nothing is lost and nothing told twice
    Faults,
    /// The manifests on a real node of `OOMWATCH_KUBE_NODE`, and pods that are killed
    Node,
    /// The manifests, rendered, and before a real API server where `KUBEBUILDER_ASSETS` has one
    Manifests,
    /// The kernel tests on other kernels, in QEMU
    Vm,
    /// Every parser, for a minute, on input that nobody wrote
    Fuzz,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Required {
    All,
    One(Tier),
}

enum Outcome {
    Passed,
    Failed(Failure),
    Skipped(String),
}

/// Why a tier failed.
struct Failure {
    why: String,
    /// What its tests said.
    said: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let Args { only, require } = args;
    let workspace = Workspace::load()?;
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    let mut said = Vec::new();
    for tier in Tier::value_variants() {
        if !only.is_empty() && !only.contains(tier) {
            continue;
        }
        let name = tier.name();
        eprintln!("\n== {name}");
        let start = Instant::now();
        let outcome = run_tier(*tier, &workspace);
        let outcome = match outcome {
            Outcome::Skipped(why) if is_required(*tier, require) => {
                Failure::because(format!("required, but cannot run: {why}"))
            }
            outcome => outcome,
        };
        let told = match outcome {
            Outcome::Passed => "ok".to_owned(),
            Outcome::Failed(Failure { why, said: words }) => {
                failed.push(name.clone());
                said.extend(words.into_iter().map(|line| format!("{name}: {line}")));
                format!("failed: {why}")
            }
            Outcome::Skipped(why) => format!("skipped: {why}"),
        };
        eprintln!("== {name}: {told}");
        rows.push([name, format!("{:.1}", start.elapsed().as_secs_f64()), told]);
    }
    failures::tell(&said);
    print!("\n{}", table::render(["tier", "seconds", "outcome"], &rows));
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// Every tier required but these, which are left out: what CI asks for.
pub(crate) fn require_all_but(without: &[Tier]) -> Result<()> {
    let tiers = Tier::value_variants().iter();
    run(&Args {
        only: tiers
            .filter(|tier| !without.contains(tier))
            .copied()
            .collect(),
        require: vec![Required::All],
    })
}

fn run_tier(tier: Tier, workspace: &Workspace) -> Outcome {
    match tier {
        Tier::Unit => passed_or_failed(unit(workspace)),
        Tier::Rules => match rules::prepare(workspace) {
            Ok(promtool) => passed_or_failed(rules::check(workspace, &promtool)),
            Err(error) => Outcome::Skipped(one_line(&error)),
        },
        Tier::Object => match toolchain::ensure_toolchain(workspace) {
            Ok(toolchain) => passed_or_failed(ebpf::check(workspace, &toolchain)),
            Err(error) => Outcome::Skipped(one_line(&error)),
        },
        Tier::Kernel => as_root(workspace, "kernel", &[]),
        Tier::Container => match apt::ensure_tools(&CONTAINER_TOOLS) {
            Ok(()) => container(workspace),
            Err(error) => Outcome::Skipped(one_line(&error)),
        },
        Tier::Api => match kube::assets() {
            Ok(assets) => passed_or_failed(api(workspace, &assets)),
            Err(error) => Outcome::Skipped(one_line(&error)),
        },
        Tier::Faults => match kube::assets() {
            Ok(assets) => {
                let environment = [
                    ("KUBEBUILDER_ASSETS", assets.as_os_str()),
                    ("OOMWATCH_REQUIRE", OsStr::new("faults")),
                ];
                as_root(workspace, "faults", &environment)
            }
            Err(error) => Outcome::Skipped(one_line(&error)),
        },
        Tier::Node => match kube::Node::found() {
            Ok((command, assets)) => passed_or_failed(node(workspace, command, &assets)),
            Err(error) => Outcome::Skipped(one_line(&error)),
        },
        Tier::Manifests => match kubectl::ensure_kubectl(workspace) {
            Ok(kubectl) => passed_or_failed(manifests(workspace, &kubectl)),
            Err(error) => Outcome::Skipped(one_line(&error)),
        },
        Tier::Vm => match vm::prepare() {
            Ok(()) => vm_outcome(vm::whole_matrix(workspace)),
            Err(error) => Outcome::Skipped(one_line(&error)),
        },
        Tier::Fuzz => match fuzz::prepare() {
            Ok(()) => passed_or_failed(fuzz::every_target(workspace)),
            Err(error) => Outcome::Skipped(one_line(&error)),
        },
    }
}

const CONTAINER_TOOLS: [Tool; 3] = [
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
];

/// Test targets that talk with an API server.
const API_TARGETS: [&str; 2] = ["events", "names"];

fn api(workspace: &Workspace, assets: &Path) -> Result<()> {
    let mut tests = workspace.cargo();
    tests.args(["test", "--locked", "--package", "oomwatch"]);
    for target in API_TARGETS {
        tests.args(["--test", target]);
    }
    // Of the names, what takes no node.
    exec::run_tests(kube::tell(&mut tests, assets, "api"))
}

fn node(workspace: &Workspace, command: PathBuf, assets: &Path) -> Result<()> {
    let image = image::own(workspace)?;
    let node = kube::Node::up(command, assets)?;
    node.load(&image)?;
    let vm = kube::VmNode::up(&node, &image)?;
    let tests = |target: &str| {
        let mut tests = workspace.cargo();
        tests.args(["test", "--locked", "--package", "oomwatch"]);
        tests.args(["--test", target]);
        tests.envs(node.environment.iter().cloned());
        tests.envs(vm.iter().flat_map(kube::VmNode::environment));
        kube::tell(&mut tests, assets, "all");
        tests
    };
    exec::run_tests(&mut tests("node"))?;
    // Of the names, what takes a node.
    exec::run_tests(tests("names").args(["--", "node::"]))
}

fn unit(workspace: &Workspace) -> Result<()> {
    let mut tests = workspace.cargo();
    tests.args(["test", "--locked", "--workspace", "--lib", "--bins"]);
    for target in unit_targets(&workspace.tests) {
        tests.args(["--test", target]);
    }
    exec::run_tests(&mut tests)?;
    exec::run_tests(
        workspace
            .cargo()
            .args(["test", "--locked", "--workspace", "--doc"]),
    )
}

fn unit_targets(targets: &[String]) -> impl Iterator<Item = &str> {
    let is_tier = |target: &str| {
        API_TARGETS.contains(&target)
            || Tier::value_variants()
                .iter()
                .any(|tier| tier.name() == target)
    };
    targets
        .iter()
        .map(String::as_str)
        .filter(move |target| !is_tier(target))
}

fn manifests(workspace: &Workspace, kubectl: &Path) -> Result<()> {
    exec::run_tests(
        workspace
            .cargo()
            .args(["test", "--locked", "--package", "oomwatch"])
            .args(["--test", "manifests"])
            .env("OOMWATCH_KUBECTL", kubectl),
    )
}

/// With the image as it is built from what is tested.
fn container(workspace: &Workspace) -> Outcome {
    match image::own(workspace) {
        Ok(archive) => {
            let environment = [("OOMWATCH_IMAGE", archive.as_os_str())];
            as_root(workspace, "container", &environment)
        }
        Err(error) => Failure::of(&error),
    }
}

/// Runs a test target of oomwatch's as root. It is built as who we are: only what was built goes through `sudo`.
fn as_root(workspace: &Workspace, target: &str, environment: &[(&str, &OsStr)]) -> Outcome {
    let mut tests = workspace.cargo();
    tests.envs(environment.iter().copied());
    if !exec::is_root() {
        if !exec::has_passwordless_sudo() {
            return Outcome::Skipped("needs root, and sudo asks for a password".to_owned());
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
    passed_or_failed(exec::run_tests(&mut tests))
}

/// Cargo's way of running an executable through another.
const SUDO_RUNNER: &str = r#"target."cfg(unix)".runner = ["sudo", "-n", "-E", "--"]"#;

fn vm_outcome(summary: Result<vm::Summary>) -> Outcome {
    match summary {
        Err(error) => Failure::of(&error),
        Ok(vm::Summary {
            missing,
            failed,
            said,
        }) => {
            if !failed.is_empty() {
                let why = [failed, missing].concat().join("; ");
                Outcome::Failed(Failure { why, said })
            } else if !missing.is_empty() {
                Outcome::Skipped(missing.join("; "))
            } else {
                Outcome::Passed
            }
        }
    }
}

fn passed_or_failed(result: Result<()>) -> Outcome {
    result.map_or_else(|error| Failure::of(&error), |()| Outcome::Passed)
}

impl Failure {
    fn of(error: &anyhow::Error) -> Outcome {
        let failed = error.downcast_ref::<TestsFailed>();
        Outcome::Failed(Self {
            why: one_line(error),
            said: failed.map(|failed| failed.said.clone()).unwrap_or_default(),
        })
    }

    fn because(why: String) -> Outcome {
        let said = Vec::new();
        Outcome::Failed(Self { why, said })
    }
}

fn one_line(error: &anyhow::Error) -> String {
    format!("{error:#}")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

fn is_required(tier: Tier, required: &[Required]) -> bool {
    required.contains(&Required::All) || required.contains(&Required::One(tier))
}

fn parse_required(text: &str) -> Result<Required> {
    if text == "all" {
        return Ok(Required::All);
    }
    let names: Vec<String> = Tier::value_variants()
        .iter()
        .map(|tier| tier.name())
        .collect();
    Tier::from_str(text, false)
        .map(Required::One)
        .map_err(|_| anyhow!("the tiers are {}, or all", names.join(", ")))
}

impl Tier {
    fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_other_tiers_are_not_unit_tests() {
        let targets = ["cli", "container", "golden", "kernel"].map(str::to_owned);
        assert_eq!(
            unit_targets(&targets).collect::<Vec<_>>(),
            ["cli", "golden"]
        );
        assert_eq!(unit_targets(&[]).count(), 0);
    }

    #[test]
    fn required_is_a_tier_or_all() {
        assert_eq!(parse_required("all").unwrap(), Required::All);
        assert_eq!(parse_required("vm").unwrap(), Required::One(Tier::Vm));
        for odd in ["", "ALL", "vms", "kernel,vm"] {
            assert_eq!(
                parse_required(odd).unwrap_err().to_string(),
                "the tiers are unit, rules, object, kernel, container, api, faults, node, manifests, vm, fuzz, or all"
            );
        }
    }

    #[test]
    fn matrix_with_a_kernel_missing_is_not_passed() {
        let summary = |missing: &[&str], failed: &[&str]| {
            let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
            vm_outcome(Ok(vm::Summary {
                missing: owned(missing),
                failed: owned(failed),
                said: vec!["a: odd".to_owned()],
            }))
        };
        assert!(matches!(summary(&[], &[]), Outcome::Passed));
        assert!(matches!(summary(&["a"], &[]), Outcome::Skipped(why) if why == "a"));
        assert!(
            matches!(summary(&["a"], &["b"]), Outcome::Failed(failure) if failure.why == "b; a" && failure.said == ["a: odd"])
        );
    }
}
