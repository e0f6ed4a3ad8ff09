//! The same kills in the output of `watch` and in the kernel log: how many arrived, and how long they took.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Result;

use super::figure::{Row, Times, time};
use super::readers::{KernelLog, Lines, Reported, killed, oom_kill_lines, reported};
use super::relay::Relay;
use super::storm::{AT_ONCE, Ground};
use super::watcher::{Watcher, dropped_records};

/// Time between kills that are measured one by one.
const PAUSE: Duration = Duration::from_millis(10);

/// The kills as each reader saw them.
struct Observed {
    reported: Vec<Reported>,
    /// By pid, the time at which the line `Killed process` was read from the kernel log.
    logged: HashMap<u32, Duration>,
    /// The same through a process that copies the kernel log.
    relayed: HashMap<u32, Duration>,
    oom_kill_lines: usize,
    closing_line: String,
}

/// Runs `cause` while a watcher and readers of the kernel log run.
fn observe<T>(
    oomwatch: &Path,
    ground: &Ground,
    cause: impl FnOnce() -> Result<T>,
) -> Result<(T, Observed)> {
    let mut watcher = Watcher::start(oomwatch, &["--output", "json"], Stdio::piped())?;
    let lines = Lines::of(watcher.stdout()?);
    watcher.settle()?;
    let (relay, stdout) = Relay::start()?;
    let relayed = Lines::of(stdout);
    let log = KernelLog::open()?;
    let result = cause()?;
    let log = log.finish()?;
    // When the watcher is idle again, the relay has copied everything too.
    watcher.settle()?;
    let closing_line = watcher.stop()?;
    drop(relay);
    let observed = Observed {
        reported: reported(&lines.finish()?, &ground.prefix),
        logged: killed(&log),
        relayed: killed(&relayed.finish()?),
        oom_kill_lines: oom_kill_lines(&log),
        closing_line,
    };
    Ok((result, observed))
}

/// Kills one by one: the latency of both paths.
pub(super) fn spaced(oomwatch: &Path, ground: &Ground, kills: u32) -> Result<Vec<Row>> {
    let ((), observed) = observe(oomwatch, ground, || ground.kill_spaced(kills, PAUSE))?;
    let (reported, caused) = (observed.reported.len(), usize::try_from(kills)?);
    let mut rows = vec![Row::with_budget(
        "one by one: kills reported",
        reported.to_string(),
        kills.to_string(),
        reported == caused,
    )];
    rows.extend(latency("one by one", &observed));
    Ok(rows)
}

/// Kills as fast as the machine can cause them: how many arrived, the latency of both paths, and the cost of watching.
///
/// Also returns the watcher's closing line.
pub(super) fn storm(oomwatch: &Path, ground: &Ground, kills: u32) -> Result<(Vec<Row>, String)> {
    // One half before and one after, so that a machine that becomes busier does not look like a cost.
    let half = kills.div_ceil(2);
    let before = unwatched(ground, half)?;
    let (watched, observed) = observe(oomwatch, ground, || ground.storm(kills))?;
    let after = unwatched(ground, half)?;
    let Observed {
        reported,
        logged,
        closing_line,
        ..
    } = &observed;

    let cgroups: HashSet<&str> = reported.iter().map(|kill| kill.cgroup.as_str()).collect();
    let number = |what: &str, measured: usize| {
        let measured = u64::try_from(measured)?;
        anyhow::Ok(Row::number(what, measured, kills.into()))
    };
    let dropped = dropped_records(closing_line);
    let log_lines = |what: &str, lines: usize| {
        let measured = format!("{lines} of {kills}");
        Row::plain(format!("storm, kernel log: lines `{what}`"), measured)
    };
    let rate = |kills: u32, time: Duration| f64::from(kills) / time.as_secs_f64();
    let (with, without) = (rate(kills, watched), rate(half * 2, before + after));
    let (before, after) = (rate(half, before), rate(half, after));
    let mut rows = vec![
        number("storm: kills reported", reported.len())?,
        number("storm: distinct cgroups", cgroups.len())?,
        Row::number("storm: records dropped", dropped, 0),
        log_lines("Killed process", logged.len()),
        log_lines("oom-kill:", observed.oom_kill_lines),
        Row::plain(
            format!("storm: kills per second, {AT_ONCE} at a time"),
            format!(
                "{with:.0}; without oomwatch {before:.0} and {after:.0}; ratio {:.2}",
                with / without
            ),
        ),
    ];
    rows.extend(latency("storm", &observed));
    Ok((rows, observed.closing_line))
}

/// The same without a watcher. The kernel log is read here too.
fn unwatched(ground: &Ground, kills: u32) -> Result<Duration> {
    let log = KernelLog::open()?;
    let took = ground.storm(kills)?;
    log.finish()?;
    Ok(took)
}

/// Time from `mark_victim` until the line has been read. The kernel log is read directly, without the pipe that `watch` and
/// the relay have.
fn latency(which: &str, observed: &Observed) -> Vec<Row> {
    let Observed {
        reported,
        logged,
        relayed,
        ..
    } = observed;
    let (ours, log) = latencies(reported, logged);
    let (_, relayed) = latencies(reported, relayed);
    [50, 99]
        .into_iter()
        .flat_map(|percent| {
            let (ours, log) = (ours.percentile(percent), log.percentile(percent));
            let relayed = relayed.percentile(percent);
            [
                Row::with_budget(
                    format!("{which}: mark_victim to line, p{percent}"),
                    format!("{}, ratio {:.2}", time(ours), ours.div_duration_f64(log)),
                    format!("kernel log {}", time(log)),
                    ours <= log,
                ),
                Row::plain("  kernel log copied by a process", time(relayed)),
            ]
        })
        .collect()
}

/// Latencies of the reports and of the log, for victims that are in both.
fn latencies(reported: &[Reported], logged: &HashMap<u32, Duration>) -> (Times, Times) {
    let (ours, log) = reported
        .iter()
        .filter_map(|kill| {
            let logged = logged.get(&kill.pid)?;
            Some((
                kill.arrived_at.saturating_sub(kill.marked_at),
                logged.saturating_sub(kill.marked_at),
            ))
        })
        .unzip();
    (Times::new(ours), Times::new(log))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_is_of_victims_that_are_in_both() {
        let ms = Duration::from_millis;
        let reported = |pid: u32, arrived: u64| Reported {
            pid,
            cgroup: String::new(),
            marked_at: ms(100),
            arrived_at: ms(arrived),
        };
        let logged = [(2, ms(105)), (1, ms(103)), (4, ms(900))].into();
        let reported = [reported(1, 101), reported(2, 102), reported(3, 900)];
        let (ours, log) = latencies(&reported, &logged);
        assert_eq!((ours.median(), ours.longest()), (ms(1), ms(2)));
        assert_eq!((log.median(), log.longest()), (ms(3), ms(5)));
    }
}
