//! `cargo xtask fuzz`: runs every parser on input that libFuzzer generates.
//!
//! Stable Rust suffices: the coverage that libFuzzer needs is a pass of LLVM's. The address sanitizer needs nightly and is left
//! out; the parsers have no `unsafe`, and SQLite's C code is fuzzed by its authors. Findings, and inputs that reached new code,
//! are kept below the target folder. A run starts from those inputs and the committed seeds.

mod log;

use std::fs::{self, File};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::{self, available_parallelism};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use self::log::Log;
use crate::cargo::{self, Workspace};
use crate::exec::{self, Tool};
use crate::{apt, table};

/// Folder of the fuzz targets, which are a workspace of their own.
const FOLDER: &str = "oomwatch/fuzz";
/// Their manifest, relative to the root.
pub(crate) const MANIFEST: &str = "oomwatch/fuzz/Cargo.toml";
/// libFuzzer is C++ and is compiled with its crate.
pub(crate) const TOOLS: [Tool; 1] = [Tool {
    program: "c++",
    package: "g++",
}];
/// Counts edges of the code and records operands of comparisons, which guide libFuzzer.
const FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    // Keeps `a && b` as two edges.
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];
/// Default time for each target.
const SECONDS: u32 = 60;
/// Time for each target in the tier `fuzz`.
const TIER_SECONDS: u32 = 10;
/// Maximum length of an input in bytes. A record has at most 3,480, a kill in the kernel log half of that.
const MAX_LENGTH: u32 = 4096;
/// Maximum resident memory of a target, most of which are remembered inputs. More is a finding.
const MAX_MEMORY_MIB: u32 = 512;
/// Maximum time for one input, some 10,000 times the usual. More is a finding.
const MAX_INPUT_SECONDS: u32 = 10;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Seconds to run each target
    #[arg(long, value_name = "N", default_value_t = SECONDS, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    seconds: u32,
    /// Run this target only (can be repeated)
    #[arg(long, value_name = "TARGET")]
    only: Vec<String>,
    /// Run the target on this input only, such as a finding
    #[arg(long, value_name = "FILE", conflicts_with = "seconds")]
    input: Option<PathBuf>,
}

/// A fuzz target that is built.
struct Target {
    name: String,
    executable: PathBuf,
}

/// A target that has run.
struct Run {
    target: String,
    duration: Duration,
    log: Log,
    /// An error has what was found, on which input, and the command that repeats it.
    outcome: Result<(), String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let Args {
        seconds,
        only,
        input,
    } = args;
    let workspace = Workspace::load()?;
    let names = select(list(&workspace)?, only)?;
    apt::ensure_tools(&TOOLS)?;
    match input {
        None => fuzz(&workspace, &names, *seconds),
        Some(input) => repeat(&workspace, &names, input),
    }
}

/// Every target for [`TIER_SECONDS`].
pub(crate) fn every_target(workspace: &Workspace) -> Result<()> {
    fuzz(workspace, &list(workspace)?, TIER_SECONDS)
}

fn fuzz(workspace: &Workspace, names: &[String], seconds: u32) -> Result<()> {
    let targets = build(workspace, names)?;
    let folder = folder(workspace);
    let runs = side_by_side(&targets, |target| {
        fuzz_one(workspace, &folder, target, seconds)
    })?;
    let rows: Vec<_> = runs.iter().map(row).collect();
    let head = [
        "target",
        "runs",
        "seconds",
        "edges",
        "new inputs",
        "outcome",
    ];
    print!("\n{}", table::render(head, &rows));
    let findings: Vec<String> = runs
        .into_iter()
        .filter_map(|run| run.outcome.err())
        .collect();
    ensure!(findings.is_empty(), "{}", findings.join(";\n"));
    Ok(())
}

/// Runs the target on one input and prints its output.
fn repeat(workspace: &Workspace, names: &[String], input: &Path) -> Result<()> {
    let [_] = names else {
        bail!("--input needs one target (name it with --only)");
    };
    // libFuzzer takes a path that does not exist for a folder to fill.
    ensure!(input.is_file(), "{} is not a file", input.display());
    for target in build(workspace, names)? {
        exec::run(
            Command::new(target.executable)
                .args(limits())
                .arg(input)
                .env("RUST_BACKTRACE", "1"),
        )?;
    }
    Ok(())
}

/// The targets are the files of `fuzz_targets`.
fn list(workspace: &Workspace) -> Result<Vec<String>> {
    let folder = workspace.root.join(FOLDER).join("fuzz_targets");
    let read = || format!("failed to list {}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(read)? {
        let path = entry.with_context(read)?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into()));
        }
    }
    names.sort();
    Ok(names)
}

/// All targets if none is named.
fn select(all: Vec<String>, only: &[String]) -> Result<Vec<String>> {
    if let Some(odd) = only.iter().find(|name| !all.contains(name)) {
        bail!(
            "unknown fuzz target {odd}: the targets are {}",
            all.join(", ")
        );
    }
    let is_wanted = |name: &String| only.is_empty() || only.contains(name);
    Ok(all.into_iter().filter(is_wanted).collect())
}

fn build(workspace: &Workspace, names: &[String]) -> Result<Vec<Target>> {
    eprintln!("building {}", names.join(", "));
    let executables = cargo::build_executables(&mut cargo_build(workspace, names), "bin", names)?;
    let targets = names.iter().zip(executables);
    Ok(targets
        .map(|(name, executable)| Target {
            name: name.clone(),
            executable,
        })
        .collect())
}

/// The command that builds every target.
pub(crate) fn build_command(workspace: &Workspace) -> Result<Command> {
    Ok(cargo_build(workspace, &list(workspace)?))
}

fn cargo_build(workspace: &Workspace, names: &[String]) -> Command {
    let mut build = workspace.cargo();
    build
        .args(["build", "--release", "--locked"])
        .args(["--manifest-path", MANIFEST])
        .arg("--target-dir")
        .arg(folder(workspace))
        // The default, but given explicitly so that the flags do not apply to build scripts and macros.
        .args(["--target", "host-tuple"])
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    for name in names {
        build.args(["--bin", name]);
    }
    build
}

/// Runs as many at a time as there are cores. The results are sorted by target.
fn side_by_side(
    targets: &[Target],
    work: impl Fn(&Target) -> Result<Run> + Sync,
) -> Result<Vec<Run>> {
    let cores = available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..cores.min(targets.len()) {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // The receiver outlives the scope.
                    let _ = sender.send(work(target));
                }
            });
        }
        drop(sender);
    });
    let mut runs = results.into_iter().collect::<Result<Vec<Run>>>()?;
    runs.sort_by(|left, right| left.target.cmp(&right.target));
    Ok(runs)
}

fn fuzz_one(workspace: &Workspace, folder: &Path, target: &Target, seconds: u32) -> Result<Run> {
    let Target { name, executable } = target;
    let place = |kind: &str| {
        let path = folder.join(kind).join(name);
        fs::create_dir_all(&path)
            .with_context(|| format!("failed to create {}", path.display()))?;
        Ok::<_, anyhow::Error>(path)
    };
    let (corpus, findings) = (place("corpus")?, place("findings")?);
    let seeds = workspace.root.join(FOLDER).join("seeds").join(name);
    let log = folder.join(format!("{name}.log"));
    let output =
        File::create(&log).with_context(|| format!("failed to create {}", log.display()))?;
    let mut command = Command::new(executable);
    command
        .args(limits())
        .arg(format!("-max_len={MAX_LENGTH}"))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", findings.display()))
        .arg("-print_final_stats=1")
        .arg(corpus)
        // A broken link is passed on, for libFuzzer to refuse.
        .args(seeds.symlink_metadata().is_ok().then_some(seeds))
        // Without a backtrace, which repeating a finding prints.
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(output.try_clone().context("failed to share the log")?)
        .stderr(output);
    exec::end_with_us(&mut command, libc::SIGKILL);
    eprintln!("fuzzing {name} for {seconds} s");
    let start = Instant::now();
    let status = command
        .status()
        .with_context(|| format!("failed to start {}", executable.display()))?;
    let duration = start.elapsed();
    let text = fs::read(&log).with_context(|| format!("failed to read {}", log.display()))?;
    let parsed = Log::parse(&String::from_utf8_lossy(&text));
    Ok(Run {
        target: name.clone(),
        duration,
        outcome: evaluate(name, status, &parsed, &log),
        log: parsed,
    })
}

/// Limits on every input.
fn limits() -> [String; 2] {
    [
        format!("-timeout={MAX_INPUT_SECONDS}"),
        format!("-rss_limit_mb={MAX_MEMORY_MIB}"),
    ]
}

fn evaluate(name: &str, status: ExitStatus, parsed: &Log, log: &Path) -> Result<(), String> {
    if status.success() {
        return Ok(());
    }
    let what = parsed.failure.as_deref().unwrap_or("no reason given");
    Err(match &parsed.input {
        Some(input) => {
            format!("{name}: {what}; repeat with `cargo xtask fuzz --only {name} --input {input}`")
        }
        // After a stack overflow libFuzzer cannot write the input.
        None => format!(
            "{name}: {what} ({status}), without an input; see {}",
            log.display()
        ),
    })
}

fn row(run: &Run) -> [String; 6] {
    let Run {
        target,
        duration,
        log,
        outcome,
    } = run;
    let shown = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |it| it.to_string());
    [
        target.clone(),
        shown(log.runs),
        format!("{:.0}", duration.as_secs_f64()),
        format!("{} of {}", shown(log.edges), shown(log.all_edges)),
        shown(log.new_inputs),
        outcome.as_ref().map_or("finding", |()| "ok").to_owned(),
    ]
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("fuzz")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn no_names_select_every_target() {
        let all = names(&["btf", "kmsg", "record"]);
        assert_eq!(select(all.clone(), &[]).unwrap(), all);
        assert_eq!(
            select(all, &names(&["record", "btf", "btf"])).unwrap(),
            ["btf", "record"]
        );
    }

    #[test]
    fn unknown_target_is_an_error_with_the_known_ones() {
        let error = select(names(&["btf", "kmsg"]), &names(&["btf", "x"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown fuzz target x: the targets are btf, kmsg"
        );
    }

    #[test]
    fn every_target_runs_once_and_results_are_sorted() {
        let targets: Vec<Target> = names(&["a", "b", "c", "d", "e", "f", "g"])
            .into_iter()
            .map(|name| Target {
                name,
                executable: PathBuf::new(),
            })
            .collect();
        let runs = side_by_side(&targets, |target| {
            Ok(Run {
                target: target.name.clone(),
                duration: Duration::ZERO,
                log: Log::default(),
                outcome: Ok(()),
            })
        })
        .unwrap();
        let ran: Vec<&str> = runs.iter().map(|run| run.target.as_str()).collect();
        assert_eq!(ran, ["a", "b", "c", "d", "e", "f", "g"]);
    }

    #[test]
    fn finding_has_the_command_that_repeats_it() {
        let parsed = Log {
            failure: Some("panicked at a.rs:1:1: b".to_owned()),
            input: Some("/t/crash-1".to_owned()),
            ..Log::default()
        };
        let outcome = |raw, parsed: &Log| {
            evaluate(
                "kmsg",
                ExitStatus::from_raw(raw),
                parsed,
                Path::new("/t/kmsg.log"),
            )
        };
        assert_eq!(outcome(0, &Log::default()), Ok(()));
        assert_eq!(
            outcome(77 << 8, &parsed).unwrap_err(),
            "kmsg: panicked at a.rs:1:1: b; repeat with `cargo xtask fuzz --only kmsg --input /t/crash-1`"
        );
        assert_eq!(
            outcome(libc::SIGSEGV, &Log::default()).unwrap_err(),
            "kmsg: no reason given (signal: 11 (SIGSEGV)), without an input; see /t/kmsg.log"
        );
    }
}
