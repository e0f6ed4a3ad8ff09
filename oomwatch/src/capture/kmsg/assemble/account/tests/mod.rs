mod carriers;
mod memory;
mod oracle;
mod rows;

use jiff::tz::Offset;

use crate::{
    capture::kmsg::{
        assemble::{LogItem, Trust},
        log_file::LogFile,
        testing::{invoked, killed, oom_kill},
    },
    model::{
        account::{Account, Candidates, Memory},
        kill::Kill,
    },
};

const HEAD: &str =
    "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name\n";
const SPLIT_HEAD: &str = "[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj name\n";

/// The kills of a saved log.
fn kills(log: &[u8]) -> Vec<Kill> {
    let latest = "2026-11-24T00:00:00Z".parse().expect("time");
    let mut file = LogFile::new(Offset::UTC, latest, Trust::Kernel);
    for line in log.split(|&byte| byte == b'\n') {
        file.push(line);
    }
    file.finish();
    std::iter::from_fn(|| file.next_item())
        .filter_map(|item| match item {
            LogItem::Kill(kill) => Some(kill.kill),
            LogItem::Rekill { .. } => None,
        })
        .collect()
}

/// The account of a log's only kill.
fn account(log: &str) -> Account {
    let kills = kills(log.as_bytes());
    assert_eq!(kills.len(), 1, "{log}");
    kills[0].account.as_deref().cloned().unwrap_or_default()
}

fn candidates(log: &str) -> Candidates {
    account(log).candidates.expect("candidates")
}

fn memory(log: &str) -> Memory {
    account(log).memory.expect("memory")
}

/// A report of a limit with these lines between the first and the last of its header.
fn report(lines: &str) -> String {
    [
        &invoked("t"),
        lines,
        &oom_kill("/a", "v", 7),
        &killed(7, "v"),
    ]
    .concat()
}

/// A system OOM's.
fn system_report(lines: &str) -> String {
    let last = "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/a,task=v,pid=7,uid=0\n";
    let kill = killed(7, "v").replace("Memory cgroup out of memory", "Out of memory");
    [&invoked("t"), lines, last, &kill].concat()
}

/// The row of a process, in the layout of [`HEAD`].
fn row(pid: u32, rss: u64, adj: i32, name: &str) -> String {
    format!("[{pid:>7}]     0 {pid:>5}  1000000 {rss:>8}    40960       10 {adj:>13} {name}\n")
}

/// The lines of a log, each behind a prefix.
fn with_prefix(log: &str, prefix: &str) -> String {
    let lines = log.lines().flat_map(|line| [prefix, line, "\n"]);
    lines.collect()
}

/// The lines of a log as records of `/dev/kmsg`, without the one of this number.
fn records_without(log: &str, missing: usize) -> String {
    let mut records = String::new();
    for (number, line) in log.lines().enumerate() {
        if number != missing {
            let record = format!("6,{},{number},-;{line}\n", number + 100);
            records += &record;
        }
    }
    records
}

fn records(log: &str) -> String {
    records_without(log, usize::MAX)
}
