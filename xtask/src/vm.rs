//! `cargo xtask vm`: boots other kernels in QEMU, without hardware acceleration, and runs the kernel tests in the guest.
//!
//! The guest has nothing but the test executable, oomwatch and busybox. What is tested is the test executable's
//! business, and so is what it tells of the rungs of the hook ladder, which is collected into tables here.

mod boots;
mod build;
mod compatibility;
mod console;
mod guest;
mod initramfs;
mod kernels;
mod plan;
mod qemu;
mod report;
mod rungs;

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
use crate::table;
use boots::{Boot, CgroupVersion, Hooks};
use compatibility::Compatibility;
use plan::Plan;
use qemu::{Guest, Run};
use rungs::Rungs;

const TOOLS: [Tool; 2] = [
    Tool {
        program: qemu::PROGRAM,
        package: "qemu-system-x86",
    },
    Tool {
        program: "busybox",
        package: "busybox-static",
    },
];

/// Where the project says what each rung can do on which kernel.
const DOCUMENT: &str = "docs/compatibility.md";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Boot this kernel image instead of the matrix; more than once for more
    #[arg(long, value_name = "FILE")]
    kernel: Vec<PathBuf>,
    /// Make this boot of the matrix only; more than once for more
    #[arg(long, value_name = "NAME", value_parser = boots::parse_name)]
    only: Vec<&'static Boot>,
    /// Print the matrix and what of it has been fetched
    #[arg(long)]
    list: bool,
    /// Fetch again what has been fetched: the newest of each release
    #[arg(long)]
    refresh: bool,
    /// Boot with the memory controller on this version of cgroups; with a kernel image v2 if this is not given
    #[arg(long, value_name = "VERSION", value_enum)]
    cgroup: Option<CgroupVersion>,
    /// Run the tests on this rung, save those that try every rung; with a kernel image auto if this is not given
    #[arg(long, value_name = "RUNG", value_enum)]
    hooks: Option<Hooks>,
    /// Boot that many at a time; by default as many as there are processors
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    /// Give a guest that many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT_SECONDS)]
    timeout: u64,
    /// If all pass, write what each rung can do on which kernel into this document, in its block for that
    #[arg(long, value_name = "FILE", conflicts_with_all = ["only", "kernel", "cgroup", "hooks", "test"])]
    markdown: Option<PathBuf>,
    /// Passed to the test executable, instead of what a boot leaves out
    #[arg(last = true, value_name = "ARGS")]
    test: Vec<String>,
}

const TIMEOUT_SECONDS: u64 = 1200;

/// What became of the boots that were asked for, each with its reason.
pub(crate) struct Summary {
    /// Not to be had.
    pub(crate) missing: Vec<String>,
    /// Booted, or should have, and did not pass.
    pub(crate) failed: Vec<String>,
    /// What their failed tests said, each line behind the boot's name.
    pub(crate) said: Vec<String>,
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
        said,
    } = matrix(&workspace, args)?;
    failures::print(&said);
    let problems = [missing, failed].concat();
    if problems.is_empty() {
        return Ok(());
    }
    bail!("{}", problems.join("; "))
}

/// The whole matrix with nothing special asked for: the test tier.
pub(crate) fn whole_matrix(workspace: &Workspace) -> Result<Summary> {
    matrix(
        workspace,
        &Args {
            kernel: Vec::new(),
            only: Vec::new(),
            list: false,
            refresh: false,
            cgroup: None,
            hooks: None,
            jobs: None,
            timeout: TIMEOUT_SECONDS,
            markdown: None,
            test: Vec::new(),
        },
    )
}

/// Installs what booting needs.
pub(crate) fn prepare() -> Result<()> {
    apt::ensure_tools(&TOOLS)
}

fn matrix(workspace: &Workspace, args: &Args) -> Result<Summary> {
    let folder = folder(workspace);
    let (plans, missing) = plan::make(args, &folder)?;
    let mut summary = Summary {
        missing,
        failed: Vec::new(),
        said: Vec::new(),
    };
    if plans.is_empty() {
        return Ok(summary);
    }
    let initramfs = build::initramfs(workspace, &folder, &args.test)?;
    let runs = boot_all(&plans, &initramfs, args)?;

    let told: Vec<(&str, &Rungs)> = plans
        .iter()
        .zip(&runs)
        .map(|(plan, run)| (plan.name.as_str(), &run.rungs))
        .collect();
    print!("{}", tables(&plans, &runs, &told));
    for (plan, run) in plans.iter().zip(&runs) {
        if let Err(reason) = &run.outcome {
            summary.failed.push(format!("boot {}: {reason}", plan.name));
            let said = run.said.iter();
            let said = said.map(|line| format!("{}: {line}", plan.name));
            summary.said.extend(said);
        }
    }
    if summary.missing.is_empty() && summary.failed.is_empty() {
        summary.failed = document(workspace, args, &told)?;
    }
    Ok(summary)
}

/// Of a run that has passed: writes the document, or says where it contradicts.
fn document(workspace: &Workspace, args: &Args, told: &[(&str, &Rungs)]) -> Result<Vec<String>> {
    let compatibility = Compatibility::of(told);
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
    /// Whether it is the whole matrix as it stands.
    fn is_whole(&self) -> bool {
        let Self {
            kernel,
            only,
            list: _,
            refresh: _,
            cgroup,
            hooks,
            jobs: _,
            timeout: _,
            markdown: _,
            test,
        } = self;
        kernel.is_empty()
            && only.is_empty()
            && test.is_empty()
            && cgroup.is_none()
            && hooks.is_none()
    }
}

/// A few at a time: a guest keeps little more than one processor busy. The longest begin, or the last would run alone. The
/// results are in the order of the plans.
fn boot_all(plans: &[Plan], initramfs: &Path, args: &Args) -> Result<Vec<Run>> {
    let jobs = match args.jobs {
        Some(jobs) => jobs.get(),
        None => thread::available_parallelism().map_or(1, NonZero::get),
    };
    let width = plans.iter().map(|plan| plan.name.len()).max();
    let timeout = Duration::from_secs(args.timeout);
    let boot = |plan: &Plan| {
        let prefix = format!("{:1$} | ", plan.name, width.unwrap_or(0));
        if !plan.without.is_empty() {
            println!("{prefix}without tests of {}", plan.without.join(", "));
        }
        let guest = Guest {
            image: &plan.kernel.image,
            initramfs,
            words: &guest::words(plan.cgroup, plan.hooks, plan.without),
        };
        qemu::boot(&guest, &prefix, timeout)
    };
    let mut order: Vec<(usize, &Plan)> = plans.iter().enumerate().collect();
    order.sort_by_key(|(_, plan)| plan.without.len());
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

/// What the tests have told of the rungs, boot by boot and together, and how the boots went.
fn tables(plans: &[Plan], runs: &[Run], told: &[(&str, &Rungs)]) -> String {
    let told_of_rungs = |run: &Run| !run.rungs.scenarios.is_empty();
    let mut tables: Vec<String> = plans
        .iter()
        .zip(runs)
        .filter(|(_, run)| told_of_rungs(run))
        .map(|(plan, run)| format!("{}\n{}", plan.title(), report::scenarios(&run.rungs)))
        .collect();
    if runs.iter().any(told_of_rungs) {
        tables.push(format!("scenarios on each rung\n{}", report::boots(told)));
        let unknown = report::unknown(told);
        tables.push(format!("what each rung could not know\n{unknown}"));
    }
    let rows: Vec<[String; 9]> = plans
        .iter()
        .zip(runs)
        .map(|(plan, run)| row(plan, run))
        .collect();
    let head = [
        "boot", "version", "cgroup", "hooks", "passed", "failed", "ignored", "seconds", "outcome",
    ];
    tables.push(table::render(head, &rows));
    format!("\n{}", tables.join("\n"))
}

fn row(plan: &Plan, run: &Run) -> [String; 9] {
    let count = |pick: fn(&console::Counts) -> u32| {
        run.counts
            .as_ref()
            .map_or_else(|| "?".to_owned(), |counts| pick(counts).to_string())
    };
    [
        plan.name.clone(),
        plan.kernel.version.clone(),
        plan.cgroup.to_string(),
        plan.hooks.to_string(),
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
    let rows: Vec<[String; 5]> = boots::MATRIX
        .iter()
        .map(|boot| {
            let fetched = kernels::cached(boot.release, folder);
            [
                boot.name.to_owned(),
                fetched.map_or_else(|| "not fetched".to_owned(), |kernel| kernel.version),
                boot.cgroup.to_string(),
                boot.hooks.to_string(),
                boot.release.about.to_owned(),
            ]
        })
        .collect();
    let head = ["boot", "version", "cgroup", "hooks", "what it is"];
    table::render(head, &rows)
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("vm")
}
