//! Parses one line of the kernel log that belongs to an OOM kill. Pure, total, and linear in the length of the line.
//!
//! Names and paths in a line are chosen by processes and may contain its separators. So a line is recognised by its
//! beginning where it has a fixed one, and is split where a name cannot have put a separator. Two paths are split so that
//! the victim's cgroup is the one that ran out or below it; if that is not so for exactly one split, both are absent. The formats are those of `mm/oom_kill.c`,
//! `mm/memcontrol.c` and `lib/dump_stack.c` from 3.10 (RHEL 7) to 7.3.

mod killed;
mod parsed;
pub mod table;

use bstr::ByteSlice as _;

pub use self::parsed::{Counter, Killed, Line, Message, OomKill};
use self::table::TableLayout;
use super::number::{parse_kib, parse_number};
use crate::model::kill::Scope;

/// Longest name of a task: `TASK_COMM_LEN` without its NUL.
const MAX_COMM: usize = 15;

/// Parses a line; absent if it is not one of the OOM killer's.
#[must_use]
pub fn parse(text: &[u8]) -> Option<Line<'_>> {
    if let Some(line) = invoked(text) {
        return Some(line);
    }
    // Blanks at the end may be a carrier's, or of the path that ends a line.
    let text = if text.starts_with(b"Task in ") {
        text
    } else {
        trim_end(text)
    };
    // The lines with a fixed beginning come first: the rest of them is paths, which may look like any other line.
    for (start, parse_rest) in STARTS {
        if let Some(rest) = text.strip_prefix(*start) {
            return parse_rest(rest);
        }
    }
    killed::parse(text).or_else(|| without_fixed_start(text))
}

type ParseRest = fn(&[u8]) -> Option<Line<'_>>;

const STARTS: &[(&[u8], ParseRest)] = &[
    (b"Task in ", |rest| {
        Some(task_in(rest).unwrap_or(Line::Incomplete))
    }),
    (b"oom-kill:constraint=", |rest| {
        Some(oom_kill(rest).map_or(Line::Incomplete, Line::OomKill))
    }),
    (b"Tasks in ", |rest| {
        Some(group(rest).unwrap_or(Line::Incomplete))
    }),
    (b"memory: usage ", |rest| usage(rest, Counter::Memory)),
    (b"memory+swap: usage ", |rest| {
        usage(rest, Counter::MemoryAndSwap)
    }),
    (b"swap: usage ", |rest| usage(rest, Counter::Swap)),
    (b"kmem: usage ", |rest| usage(rest, Counter::Kernel)),
    (b"Memory limit reached of cgroup ", |rest| {
        Some(
            path(rest).map_or(Line::Incomplete, |oom_memcg| Line::LimitReached {
                oom_memcg,
            }),
        )
    }),
    // Nothing of it is used, but the name of a cgroup may contain newlines, behind which other lines are imitated.
    (b"Memory cgroup stats for ", |rest| {
        let is_complete = rest.ends_with(b":") || rest.ends_with(b"B");
        (!is_complete).then_some(Line::Incomplete)
    }),
    (b"[", task),
    (b"CPU: ", cpu),
    (b"oom_reaper: ", |rest| {
        let (tid, rest) = killed::leading_number(rest.strip_prefix(b"reaped process ")?)?;
        let (comm, _) = rest
            .strip_prefix(b" (")?
            .rsplit_once_str(b"), now anon-rss:")?;
        Some(Line::Reaped { tid, comm })
    }),
    (b"Pid: ", |rest| {
        let (tid, rest) = killed::leading_number(rest)?;
        Some(Line::Cpu {
            tid,
            comm_and_rest: rest.strip_prefix(b", comm: ")?,
        })
    }),
    (b"Kernel panic - not syncing: ", |rest| {
        let is_oom = rest.starts_with(b"Out of memory")
            || rest.starts_with(b"System is deadlocked on memory")
            || rest.starts_with(b"out of memory");
        is_oom.then_some(Line::NoneKillable)
    }),
    (b"Linux version ", |rest| {
        Some(Line::Version {
            release_and_rest: rest,
        })
    }),
];

/// Parses the text after `oom-kill:constraint=`.
fn oom_kill(text: &[u8]) -> Option<OomKill<'_>> {
    let (text, uid) = text.rsplit_once_str(b",uid=")?;
    let (text, pid) = text.rsplit_once_str(b",pid=")?;
    let (constraint, context) = text.split_once_str(b",nodemask=")?;
    let constraint = constraint
        .strip_prefix(b"CONSTRAINT_")
        .unwrap_or(constraint);
    let (scope, paths) = oom_target(context);
    // A kernel without memory cgroups writes neither path.
    if paths.is_none() && constraint == b"MEMCG" {
        return None;
    }
    let paths = paths.unwrap_or(context);
    let (oom_memcg, task_memcg, comm) = if scope == Scope::Memcg {
        memcg_paths(paths)?
    } else {
        let (task_memcg, comm) = tasks(paths).next()?;
        (None, path(task_memcg), comm)
    };
    Some(OomKill {
        constraint,
        scope,
        oom_memcg,
        task_memcg,
        comm,
        pid: parse_number(pid)?,
        uid: parse_number(uid)?,
    })
}

/// What ran out, and the text from the first path on, if there is one. Before the path stands the name of a cpuset, which
/// may contain any text but `/`: so the first separator with a path behind it is the kernel's own.
fn oom_target(context: &[u8]) -> (Scope, Option<&[u8]>) {
    let behind = |separator: &[u8]| {
        let at = context.find(separator)?;
        Some((at, &context[at + separator.len() - 1..]))
    };
    match (behind(b",oom_memcg=/"), behind(b",global_oom,task_memcg=/")) {
        (Some((memcg, paths)), global) if global.is_none_or(|(global, _)| memcg < global) => {
            (Scope::Memcg, Some(paths))
        }
        (_, Some((_, path))) => (Scope::System, Some(path)),
        (_, None) => (Scope::System, None),
    }
}

type MemcgPaths<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, &'a [u8]);

/// Splits `/OOM,task_memcg=/TASK,task=COMM`. The two paths are absent if not exactly one split puts the victim's cgroup
/// at or below the one that ran out.
fn memcg_paths(text: &[u8]) -> Option<MemcgPaths<'_>> {
    const TASK_MEMCG: &[u8] = b",task_memcg=";
    let (_, longest) = tasks(text).find(|(paths, _)| paths.contains_str(TASK_MEMCG))?;
    let possible = tasks(text).find_map(|(paths, comm)| {
        let mut splits = splits(paths, TASK_MEMCG, |oom, task| is_at_or_below(task, oom));
        let first = splits.next()?;
        Some((splits.next().is_none().then_some(first), comm))
    });
    let (paths, comm) = possible.unwrap_or((None, longest));
    let (oom_memcg, task_memcg) = paths.unzip();
    Some((oom_memcg, task_memcg, comm))
}

/// The splits of a text at a separator, which may also be part of either side, that satisfy a condition.
fn splits<'a>(
    text: &'a [u8],
    separator: &'a [u8],
    satisfies: impl Fn(&[u8], &[u8]) -> bool,
) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    text.find_iter(separator)
        .map(|at| (&text[..at], &text[at + separator.len()..]))
        .filter(move |(left, right)| satisfies(left, right))
}

/// Whether a cgroup is `ancestor` or below it. The root is no ancestor: it has no limit.
fn is_at_or_below(cgroup: &[u8], ancestor: &[u8]) -> bool {
    let below = cgroup.strip_prefix(ancestor);
    let is_below = below.is_some_and(|below| matches!(below, [] | [b'/', ..]));
    is_below && ancestor.len() > 1 && ancestor.starts_with(b"/")
}

/// Parses the text after `Task in `.
fn task_in(text: &[u8]) -> Option<Line<'_>> {
    const LIMIT_OF: &[u8] = b" killed as a result of limit of ";
    let is_complete = text
        .find_iter(LIMIT_OF)
        .any(|at| text[at + LIMIT_OF.len()..].starts_with(b"/"));
    let split = |text| {
        let mut splits = splits(text, LIMIT_OF, is_at_or_below);
        splits.next().filter(|_| splits.next().is_none())
    };
    // A carrier may pad the line with blanks, which would be part of the path.
    let paths = split(text).or_else(|| split(trim_end(text)));
    is_complete.then_some(Line::TaskIn {
        task_memcg: paths.map(|(task_memcg, _)| task_memcg),
        oom_memcg: paths.map(|(_, oom_memcg)| oom_memcg),
    })
}

/// The text without blanks at its end.
fn trim_end(text: &[u8]) -> &[u8] {
    text.trim_end_with(|character| matches!(character, ' ' | '\t' | '\r'))
}

/// Parses the text after `Tasks in `.
fn group(text: &[u8]) -> Option<Line<'_>> {
    let cgroup = text.strip_suffix(b" are going to be killed due to memory.oom.group set")?;
    path(cgroup).map(|cgroup| Line::Group { cgroup })
}

/// The text, if it is an absolute path.
fn path(text: &[u8]) -> Option<&[u8]> {
    text.starts_with(b"/").then_some(text)
}

/// The splits at `,task=`, the one with the longest name of a thread first: any process may put `,task=` into its name,
/// but only a user who may create cgroups can put it into a cgroup's name.
fn tasks(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    const TASK: &[u8] = b",task=";
    let from = text.len().saturating_sub(MAX_COMM + TASK.len());
    text[from..]
        .find_iter(TASK)
        .map(move |at| (&text[..from + at], &text[from + at + TASK.len()..]))
}

/// Parses the text after `memory: usage `.
fn usage(text: &[u8], counter: Counter) -> Option<Line<'_>> {
    let (usage, text) = text.split_once_str(b"kB, limit ")?;
    let (limit, text) = text.split_once_str(b"kB,")?;
    Some(Line::Usage {
        counter,
        usage_bytes: parse_kib(usage)?,
        limit_bytes: Some(parse_kib(limit)?).filter(|limit| *limit < NO_LIMIT_BYTES),
        failcnt: text.strip_prefix(b" failcnt ").and_then(parse_number),
    })
}

/// From this value on, a limit means "no limit": the kernel prints `LONG_MAX` bytes in whole pages, of 64 KiB at most, and
/// on 3.10 also `ULLONG_MAX`.
const NO_LIMIT_BYTES: u64 = (i64::MAX as u64 >> 16) << 16;

/// Parses the text after `CPU: `.
fn cpu(text: &[u8]) -> Option<Line<'_>> {
    let (_, text) = text.split_once_str(b" PID: ")?;
    let (tid, text) = text.split_once_str(b" Comm: ")?;
    Some(Line::Cpu {
        tid: parse_number(tid)?,
        comm_and_rest: text,
    })
}

/// Columns of the task table between the thread id and the name, at least; all are numbers.
const TASK_COLUMNS: usize = 7;

/// Parses the text after `[`: `  478]     0   478     5785 …`.
///
/// All columns are required: a thread whose name begins with a newline could otherwise imitate a row.
fn task(text: &[u8]) -> Option<Line<'_>> {
    let (tid, text) = text.split_once_str(b"]")?;
    if tid.trim_ascii() == b"pid" {
        return TableLayout::parse(text).map(Line::TaskTable);
    }
    let mut columns = text
        .split(|&byte| byte == b' ')
        .filter(|word| !word.is_empty())
        .take(TASK_COLUMNS);
    parse_number::<u32>(columns.next()?)?;
    let pid = parse_number(columns.next()?)?;
    let is_number =
        |word: &[u8]| parse_number::<u64>(word.strip_prefix(b"-").unwrap_or(word)).is_some();
    let numbers = columns.filter(|word| is_number(word)).count();
    (numbers == TASK_COLUMNS - 2).then_some(Line::Task {
        tid: parse_number(tid.trim_ascii_start())?,
        pid,
    })
}

/// Parses `X invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), nodemask=(null),  order=0, oom_score_adj=0`.
fn invoked(text: &[u8]) -> Option<Line<'_>> {
    const INVOKED: &[u8] = b" invoked oom-killer: ";
    // A thread name is too short to contain this text.
    let head = text.get(..text.len().min(MAX_COMM + INVOKED.len()))?;
    let (comm, _) = head.split_once_str(INVOKED)?;
    let text = &text[comm.len() + INVOKED.len()..];
    let parse_rest = || {
        let (_, mask) = text.split_once_str(b"gfp_mask=0x")?;
        let digits = mask.iter().take_while(|byte| byte.is_ascii_hexdigit());
        let mask = str::from_utf8(&mask[..digits.count()]).ok()?;
        let (_, order) = text.split_once_str(b" order=")?;
        let (order, rest) = order.split_once_str(b",")?;
        // Without this field `pr_cont` has not finished the line.
        rest.find(b"_adj=")?;
        Some(Line::Invoked {
            comm,
            gfp_mask: u64::from_str_radix(mask, 16).ok()?,
            order: str::from_utf8(order).ok()?.parse().ok()?,
        })
    };
    Some(parse_rest().unwrap_or(Line::Incomplete))
}

/// Parses the lines that have no fixed beginning.
fn without_fixed_start(text: &[u8]) -> Option<Line<'_>> {
    // `X cpuset=NAME mems_allowed=0`, before 5.0: the name may contain newlines.
    let cpuset = text.find(b" cpuset=").is_some_and(|at| at <= MAX_COMM);
    if cpuset && !text.contains_str(b" mems_allowed=") {
        return Some(Line::Incomplete);
    }
    if text.ends_with(b"is already exiting. Skip killing the task") {
        return text.contains_str(b": OOM victim ").then_some(Line::Exiting);
    }
    if text.contains_str(b"no killable processes") {
        return Some(Line::NoneKillable);
    }
    let (_, count) = text
        .strip_suffix(b" callbacks suppressed")?
        .rsplit_once_str(b": ")?;
    text.starts_with(b"oom_kill_process: ").then_some(())?;
    Some(Line::Suppressed {
        headers: parse_number(count)?,
    })
}

#[cfg(test)]
mod tests;
