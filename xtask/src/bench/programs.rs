//! Time in the BPF programs, measured by the kernel: `run_time_ns` and `run_cnt` of their file descriptors.

use std::fs;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Signal, getpid, kill_process};

use super::figure::{Row, Times, time};
use super::interrupt;
use super::storm::Ground;
use super::watcher::{Watcher, dropped_records};

const KILLS: u32 = 200;
/// Each batch gives one mean: a single run is too short to be measured.
const SIGNAL_BATCHES: u32 = 20;
const SIGNALS: u32 = 10_000;
const BUDGET_KILL: Duration = Duration::from_micros(20);
const BUDGET_SIGNAL: Duration = Duration::from_nanos(60);

/// Runs a watcher with the kernel's statistics enabled.
pub(super) fn measure(oomwatch: &Path, ground: &Ground) -> Result<Vec<Row>> {
    let watcher = Watcher::start(oomwatch, &["--output", "json"], Stdio::null())?;
    let programs = Programs::find(&watcher.proc().join("fdinfo"))?;
    watcher.settle()?;
    let _statistics = enable_statistics()?;

    let signals = signals(&programs)?;
    let woken = kills(&programs, ground, KILLS)?;
    // The ring wakes its reader only if it has read every record: a stopped reader is woken by the first record alone.
    watcher.signal(Signal::STOP)?;
    ground.kill_one()?;
    let unwoken = kills(&programs, ground, KILLS)?;
    watcher.signal(Signal::CONT)?;
    watcher.settle()?;
    watcher.signal(Signal::STOP)?;
    let storm = storm(&programs, ground, KILLS)?;
    watcher.signal(Signal::CONT)?;
    let closing_line = watcher.stop()?;
    let dropped = dropped_records(&closing_line);
    ensure!(
        dropped == 0,
        "records were dropped, which makes the programs faster: {closing_line}"
    );

    let per_kill = |how: &str| format!("in the programs: per kill {how}");
    Ok(vec![
        Row::time(
            format!("in the programs: per unrelated signal, {SIGNAL_BATCHES} batches of {SIGNALS}"),
            signals.median(),
            BUDGET_SIGNAL,
        ),
        Row::time(
            per_kill("in a storm, reader not woken, mean"),
            storm,
            BUDGET_KILL,
        ),
        Row::time(
            per_kill("one by one, reader not woken, median"),
            unwoken.both.median(),
            BUDGET_KILL,
        ),
        Row::plain("  of which mark_victim; p99", unwoken.of_which()),
        Row::plain(
            per_kill("one by one, reader woken, median"),
            time(woken.both.median()),
        ),
        Row::plain("  of which mark_victim; p99", woken.of_which()),
    ])
}

/// Signals to this process that are ignored by default, which the kernel traces as well.
fn signals(programs: &Programs) -> Result<Times> {
    let mut means = Vec::new();
    for _ in 0..SIGNAL_BATCHES {
        interrupt::check()?;
        let before = programs.signal_generate.read()?;
        for _ in 0..SIGNALS {
            kill_process(getpid(), Signal::URG).context("failed to send SIGURG to this process")?;
        }
        let spent = programs.signal_generate.read()?.since(before);
        ensure!(
            spent.count >= SIGNALS,
            "{SIGNALS} signals ran signal_generate {} times",
            spent.count
        );
        means.push(spent.time / spent.count);
    }
    Ok(Times::new(means))
}

/// Time for each kill.
struct Kills {
    mark_victim: Times,
    /// With `signal_generate`, including the few unrelated signals on the machine.
    both: Times,
}

impl Kills {
    fn of_which(&self) -> String {
        let mark = time(self.mark_victim.median());
        format!("{mark}; {}", time(self.both.percentile(99)))
    }
}

fn kills(programs: &Programs, ground: &Ground, kills: u32) -> Result<Kills> {
    let Programs {
        mark_victim,
        signal_generate,
    } = programs;
    let (mut marks, mut both) = (Vec::new(), Vec::new());
    for _ in 0..kills {
        let before = (mark_victim.read()?, signal_generate.read()?);
        ground.kill_one()?;
        let mark = mark_victim.read()?.since(before.0);
        let signal = signal_generate.read()?.since(before.1);
        // Other kills on the machine are not measured.
        if mark.count == 1 {
            marks.push(mark.time);
            both.push(mark.time + signal.time);
        }
    }
    ensure!(!marks.is_empty(), "no kill ran mark_victim exactly once");
    Ok(Kills {
        mark_victim: Times::new(marks),
        both: Times::new(both),
    })
}

/// Mean time in both programs for each kill, with the warm caches of many kills in a row.
fn storm(programs: &Programs, ground: &Ground, kills: u32) -> Result<Duration> {
    let Programs {
        mark_victim,
        signal_generate,
    } = programs;
    let before = (mark_victim.read()?, signal_generate.read()?);
    ground.storm(kills)?;
    let mark = mark_victim.read()?.since(before.0);
    let signal = signal_generate.read()?.since(before.1);
    (mark.time + signal.time)
        .checked_div(mark.count)
        .context("no kill ran mark_victim")
}

/// The descriptors of the watcher's two programs.
struct Programs {
    mark_victim: Program,
    signal_generate: Program,
}

impl Programs {
    fn find(fdinfo: &Path) -> Result<Self> {
        let context = || format!("failed to read {}", fdinfo.display());
        let mut files = Vec::new();
        for file in fs::read_dir(fdinfo).with_context(context)? {
            let path = file.with_context(context)?.path();
            // The watcher may have closed it since.
            if let Ok(text) = fs::read_to_string(&path) {
                files.push((path, text));
            }
        }
        let find = |tracepoint: &str| {
            let path = find_program(&files, tracepoint);
            path.map(|path| Program(path.to_owned()))
                .with_context(|| format!("{} has no program at {tracepoint}", fdinfo.display()))
        };
        Ok(Self {
            mark_victim: find("mark_victim")?,
            signal_generate: find("signal_generate")?,
        })
    }
}

/// A link has its tracepoint and its program: `bpf_raw_tp_link_show_fdinfo` in `kernel/bpf/syscall.c`.
fn find_program<'a>(files: &'a [(PathBuf, String)], tracepoint: &str) -> Option<&'a Path> {
    let (_, link) = files
        .iter()
        .find(|(_, text)| field(text, "tp_name") == Some(tracepoint))?;
    let id = field(link, "prog_id")?;
    let is_program =
        |text: &str| field(text, "prog_id") == Some(id) && field(text, "run_cnt").is_some();
    files
        .iter()
        .find_map(|(path, text)| is_program(text).then_some(path.as_path()))
}

/// `name:\tvalue` of a file in `fdinfo`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"))
}

/// The file in `fdinfo` of a program.
struct Program(PathBuf);

impl Program {
    fn read(&self) -> Result<Runs> {
        let context = || format!("failed to read {}", self.0.display());
        let text = fs::read_to_string(&self.0).with_context(context)?;
        parse_runs(&text).with_context(context)
    }
}

/// Number and total time of a program's runs.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Runs {
    time: Duration,
    count: u32,
}

impl Runs {
    fn since(self, before: Self) -> Self {
        Self {
            time: self.time.saturating_sub(before.time),
            count: self.count.saturating_sub(before.count),
        }
    }
}

fn parse_runs(text: &str) -> Option<Runs> {
    Some(Runs {
        time: Duration::from_nanos(field(text, "run_time_ns")?.parse().ok()?),
        count: field(text, "run_cnt")?.parse().ok()?,
    })
}

/// Enables statistics as long as the descriptor is open, unlike `kernel.bpf_stats_enabled`, which would stay set. Since
/// Linux 5.8.
fn enable_statistics() -> Result<OwnedFd> {
    /// `BPF_ENABLE_STATS` and `BPF_STATS_RUN_TIME` of `include/uapi/linux/bpf.h`.
    const ENABLE_STATS: libc::c_long = 32;
    const RUN_TIME: u32 = 0;
    let attributes: u32 = RUN_TIME;
    // SAFETY: `union bpf_attr` of this command is a single u32, whose address and size are given; it is only read.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            ENABLE_STATS,
            &raw const attributes,
            size_of_val(&attributes),
        )
    };
    let fd = libc::c_int::try_from(result)
        .ok()
        .filter(|&fd| fd >= 0)
        .ok_or_else(io::Error::last_os_error)
        .context("failed to enable the kernel's statistics of BPF programs")?;
    // SAFETY: the kernel has just opened it for this call, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: &str =
        "pos:\t0\nprog_type:\t17\nprog_id:\t484\nrun_time_ns:\t31000\nrun_cnt:\t2\n";
    const LINK: &str =
        "link_type:\traw_tracepoint\nprog_id:\t484\ntp_name:\tmark_victim\ncookie:\t0\n";

    fn files(texts: &[&str]) -> Vec<(PathBuf, String)> {
        let file = |(number, text): (usize, &&str)| {
            (PathBuf::from(number.to_string()), (*text).to_owned())
        };
        texts.iter().enumerate().map(file).collect()
    }

    #[test]
    fn program_is_found_through_the_link_at_its_tracepoint() {
        let other = PROGRAM.replace("484", "4840");
        let files = files(&["pos:\t0\n", &other, LINK, PROGRAM]);
        assert_eq!(find_program(&files, "mark_victim"), Some(Path::new("3")));
        assert_eq!(find_program(&files, "mark"), None);
    }

    #[test]
    fn link_or_program_alone_is_not_enough() {
        assert_eq!(find_program(&files(&[LINK]), "mark_victim"), None);
        assert_eq!(find_program(&files(&[PROGRAM]), "mark_victim"), None);
        let unnamed = LINK.replace("prog_id", "prog");
        assert_eq!(
            find_program(&files(&[&unnamed, PROGRAM]), "mark_victim"),
            None
        );
    }

    #[test]
    fn runs_are_time_and_count() {
        let runs = parse_runs(PROGRAM).unwrap();
        assert_eq!((runs.time, runs.count), (Duration::from_micros(31), 2));
        let before = Runs {
            time: Duration::from_micros(11),
            count: 1,
        };
        let spent = runs.since(before);
        assert_eq!((spent.time, spent.count), (Duration::from_micros(20), 1));
        for (from, to) in [
            ("run_time_ns:\t31000", ""),
            ("31000", "-1"),
            ("31000", "18446744073709551616"),
            ("run_cnt:\t2", "run_cnt: 2"),
            ("\nrun_cnt", "\nmisrun_cnt"),
        ] {
            assert_eq!(parse_runs(&PROGRAM.replace(from, to)), None, "{from} {to}");
        }
    }
}
