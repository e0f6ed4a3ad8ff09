//! `cargo xtask vm`: boots other kernels in QEMU, without hardware acceleration, and runs the kernel tests in the guest.
//!
//! The guest has the test executable, oomwatch and busybox. The test executable decides what is tested; its results for each
//! backend are collected into tables here.

mod backend;
mod boots;
mod build;
mod compatibility;
mod console;
mod guest;
pub(crate) mod host;
mod initramfs;
mod interface;
mod kernels;
mod plan;
mod qemu;
mod report;

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::apt;
use crate::cargo::Workspace;
use crate::exec::Tool;
use crate::failures;
use crate::install::{How, Install};
use crate::table;
use backend::Results;
use boots::{BackendChoice, Boot, CgroupVersion, Tests};
use compatibility::Compatibility;
use plan::Plan;
use qemu::{Guest, Run};

/// What booting needs.
pub(crate) const TOOLS: [Tool; 2] = [
    Tool {
        program: qemu::PROGRAM,
        package: "qemu-system-x86",
    },
    Tool {
        program: "busybox",
        package: "busybox-static",
    },
];

/// The document that states what each backend reports on which kernel.
const DOCUMENT: &str = "docs/compatibility.md";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Boot this kernel image instead of the matrix (can be repeated)
    #[arg(long, value_name = "FILE")]
    kernel: Vec<PathBuf>,
    /// Boot only this entry of the matrix (can be repeated)
    #[arg(long, value_name = "NAME", value_parser = boots::parse_name)]
    only: Vec<&'static Boot>,
    /// Print the matrix, and which kernels have been fetched
    #[arg(long)]
    list: bool,
    /// Fetch the kernels again, the newest of each release
    #[arg(long)]
    refresh: bool,
    /// Version of cgroups that has the memory controller [default: the matrix's; v2 with --kernel]
    #[arg(long, value_name = "VERSION", value_enum)]
    cgroup: Option<CgroupVersion>,
    /// Backend of the tests that do not choose one [default: the matrix's; auto with --kernel]
    #[arg(long, value_name = "BACKEND", value_enum)]
    backend: Option<BackendChoice>,
    /// Which tests to run [default: the matrix's; all with --kernel or ARGS]
    #[arg(long, value_name = "SET", value_enum)]
    tests: Option<Tests>,
    /// Number of guests that run at a time [default: the number of processors]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    /// Time limit of a guest
    #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT_SECONDS)]
    timeout: u64,
    /// If all tests pass, write the table of backends and kernels into this document
    #[arg(long, value_name = "FILE", conflicts_with_all = ["only", "kernel", "cgroup", "backend", "tests", "test"])]
    markdown: Option<PathBuf>,
    /// Arguments for the test executable, such as a part of a test's name
    #[arg(last = true, value_name = "ARGS")]
    test: Vec<String>,
}

const TIMEOUT_SECONDS: u64 = 1200;

/// The boots that did not pass, each with its reason.
pub(crate) struct Summary {
    /// Their kernel could not be fetched.
    pub(crate) missing: Vec<String>,
    /// They booted, or should have, and did not pass.
    pub(crate) failed: Vec<String>,
    /// Messages of failed tests, each line prefixed with the boot's name.
    pub(crate) messages: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = Workspace::load()?;
    if args.list {
        print!("{}", list(&folder(&workspace)));
        return Ok(());
    }
    apt::ensure_tools(&TOOLS)?;
    let Summary {
        missing,
        failed,
        messages,
    } = matrix(&workspace, args)?;
    failures::print(&messages);
    let problems = [missing, failed].concat();
    if problems.is_empty() {
        return Ok(());
    }
    bail!("{}", problems.join("; "))
}

/// The whole matrix without options: the tier `vm`.
pub(crate) fn whole_matrix(workspace: &Workspace) -> Result<Summary> {
    matrix(
        workspace,
        &Args {
            kernel: Vec::new(),
            only: Vec::new(),
            list: false,
            refresh: false,
            cgroup: None,
            backend: None,
            tests: None,
            jobs: None,
            timeout: TIMEOUT_SECONDS,
            markdown: None,
            test: Vec::new(),
        },
    )
}

/// The kernels of the matrix that have not been fetched.
pub(crate) fn missing(workspace: &Workspace) -> Vec<Install> {
    let folder = folder(workspace);
    boots::MATRIX
        .iter()
        .filter(|boot| kernels::cached(boot.release, &folder).is_none())
        .map(|boot| Install {
            what: format!("kernel {}", boot.release.name),
            how: How::Unpack,
            seconds: 15,
        })
        .collect()
}

fn matrix(workspace: &Workspace, args: &Args) -> Result<Summary> {
    let folder = folder(workspace);
    let (plans, missing) = plan::make(args, &folder)?;
    let mut summary = Summary {
        missing,
        failed: Vec::new(),
        messages: Vec::new(),
    };
    if plans.is_empty() {
        return Ok(summary);
    }
    let initramfs = build::initramfs(workspace, &folder, &args.test)?;
    let runs = boot_all(&plans, &initramfs, args)?;

    let results: Vec<(&str, &Results)> = plans
        .iter()
        .zip(&runs)
        .map(|(plan, run)| (plan.name.as_str(), &run.results))
        .collect();
    print!("{}", tables(&plans, &runs, &results));
    for (plan, run) in plans.iter().zip(&runs) {
        if let Err(reason) = &run.outcome {
            summary.failed.push(format!("boot {}: {reason}", plan.name));
            let messages = run.messages.iter();
            let messages = messages.map(|line| format!("{}: {line}", plan.name));
            summary.messages.extend(messages);
        }
    }
    if summary.missing.is_empty() && summary.failed.is_empty() {
        summary.failed = document(workspace, args, &results)?;
    }
    Ok(summary)
}

/// After a run that passed: writes the document, or returns where it contradicts the run.
fn document(
    workspace: &Workspace,
    args: &Args,
    results: &[(&str, &Results)],
) -> Result<Vec<String>> {
    let compatibility = Compatibility::of(results);
    if let Some(document) = &args.markdown {
        compatibility.write(document)?;
        return Ok(Vec::new());
    }
    if !args.is_whole() {
        return Ok(Vec::new());
    }
    let contradictions = compatibility.contradictions(&workspace.root.join(DOCUMENT))?;
    let named = contradictions.iter();
    Ok(named.map(|what| format!("{DOCUMENT}: {what}")).collect())
}

impl Args {
    /// Whether the whole matrix is booted without options.
    fn is_whole(&self) -> bool {
        let Self {
            kernel,
            only,
            list: _,
            refresh: _,
            cgroup,
            backend,
            tests,
            jobs: _,
            timeout: _,
            markdown: _,
            test,
        } = self;
        kernel.is_empty()
            && only.is_empty()
            && test.is_empty()
            && cgroup.is_none()
            && backend.is_none()
            && tests.is_none()
    }
}

/// Boots a few at a time: a guest keeps little more than one processor busy. The longest start first, so that none of them
/// runs alone at the end. The results are in the order of the plans.
fn boot_all(plans: &[Plan], initramfs: &Path, args: &Args) -> Result<Vec<Run>> {
    let jobs = match args.jobs {
        Some(jobs) => jobs.get(),
        None => thread::available_parallelism().map_or(1, NonZero::get),
    };
    let width = plans.iter().map(|plan| plan.name.len()).max();
    let timeout = Duration::from_secs(args.timeout);
    let boot = |plan: &Plan| {
        let prefix = format!("{:1$} | ", plan.name, width.unwrap_or(0));
        println!("{prefix}{}", plan.title());
        let guest = Guest {
            image: &plan.kernel.image,
            initramfs,
            words: &guest::words(plan),
        };
        let run = qemu::boot(&guest, &prefix, timeout)?;
        if run.is_emulators_fault() {
            println!(
                "{prefix}the emulator ran a breakpoint that the kernel had removed, booting once more"
            );
            return qemu::boot(&guest, &prefix, timeout);
        }
        Ok(run)
    };
    let mut order: Vec<(usize, &Plan)> = plans.iter().enumerate().collect();
    order.sort_by_key(|(_, plan)| plan.tests == Tests::Short);
    let waiting = Mutex::new(order.into_iter());
    let next = || waiting.lock().ok()?.next();
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..jobs.min(plans.len()) {
            scope.spawn(|| {
                while let Some((at, plan)) = next() {
                    let run = boot(plan);
                    if let Ok(mut done) = done.lock() {
                        done.push((at, run));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, run)| run).collect()
}

/// The tests' results for each backend, boot by boot and together, and the outcome of each boot.
fn tables(plans: &[Plan], runs: &[Run], results: &[(&str, &Results)]) -> String {
    let has_results = |run: &Run| !run.results.scenarios.is_empty();
    let mut tables: Vec<String> = plans
        .iter()
        .zip(runs)
        .filter(|(_, run)| has_results(run))
        .map(|(plan, run)| format!("{}\n{}", plan.title(), report::scenarios(&run.results)))
        .collect();
    if runs.iter().any(has_results) {
        tables.push(format!(
            "scenarios on each backend\n{}",
            report::boots(results)
        ));
        let unknown = report::unknown(results);
        tables.push(format!("facts that a backend did not report\n{unknown}"));
    }
    let rows: Vec<[String; 10]> = plans
        .iter()
        .zip(runs)
        .map(|(plan, run)| row(plan, run))
        .collect();
    let head = [
        "boot", "version", "cgroup", "backend", "tests", "passed", "failed", "ignored", "seconds",
        "outcome",
    ];
    tables.push(table::render(head, &rows));
    format!("\n{}", tables.join("\n"))
}

fn row(plan: &Plan, run: &Run) -> [String; 10] {
    let count = |pick: fn(&console::Counts) -> u32| {
        run.counts
            .as_ref()
            .map_or_else(|| "?".to_owned(), |counts| pick(counts).to_string())
    };
    [
        plan.name.clone(),
        plan.kernel.version.clone(),
        plan.cgroup.to_string(),
        plan.backend.to_string(),
        plan.tests.to_string(),
        count(|counts| counts.passed),
        count(|counts| counts.failed),
        count(|counts| counts.ignored),
        format!("{:.1}", run.duration.as_secs_f64()),
        run.outcome
            .as_ref()
            .map_or_else(ToString::to_string, |()| "ok".to_owned()),
    ]
}

fn list(folder: &Path) -> String {
    let rows: Vec<[String; 6]> = boots::MATRIX
        .iter()
        .map(|boot| {
            let fetched = kernels::cached(boot.release, folder);
            [
                boot.name.to_owned(),
                fetched.map_or_else(|| "not fetched".to_owned(), |kernel| kernel.version),
                boot.cgroup.to_string(),
                boot.backend.to_string(),
                boot.tests.to_string(),
                boot.release.about.to_owned(),
            ]
        })
        .collect();
    let head = [
        "boot",
        "version",
        "cgroup",
        "backend",
        "tests",
        "description",
    ];
    table::render(head, &rows)
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("vm")
}
