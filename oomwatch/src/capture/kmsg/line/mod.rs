//! Parses one line of the kernel log that belongs to an OOM kill. Pure, total, and linear in the length of the line.
//!
//! Names and paths in a line are chosen by processes and may contain its separators. So a line is recognised by its
//! beginning where it has a fixed one, and is split from the right. The formats are those of `mm/oom_kill.c`,
//! `mm/memcontrol.c` and `lib/dump_stack.c` from 3.10 (RHEL 7) to 7.3.

mod killed;
mod parsed;

use bstr::ByteSlice as _;

pub use self::parsed::{Counter, Killed, Line, Message, OomKill};
use super::number::{parse_kib, parse_number};

/// Longest name of a task: `TASK_COMM_LEN` without its NUL.
const MAX_COMM: usize = 15;

/// Parses a line; absent if it is not one of the OOM killer's.
#[must_use]
pub fn parse(text: &[u8]) -> Option<Line<'_>> {
    if let Some(line) = invoked(text) {
        return Some(line);
    }
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
    (b"oom-kill:constraint=", |rest| {
        Some(oom_kill(rest).map_or(Line::Incomplete, Line::OomKill))
    }),
    (b"Task in ", |rest| {
        Some(task_in(rest).unwrap_or(Line::Incomplete))
    }),
    (b"Tasks in ", |rest| {
        Some(group(rest).unwrap_or(Line::Incomplete))
    }),
    (b"memory: usage ", |rest| usage(rest, Counter::Memory)),
    (b"memory+swap: usage ", |rest| usage(rest, Counter::Swap)),
    (b"swap: usage ", |rest| usage(rest, Counter::Swap)),
    (b"Memory limit reached of cgroup ", |rest| {
        Some(
            path(rest).map_or(Line::Incomplete, |oom_memcg| Line::LimitReached {
                oom_memcg,
            }),
        )
    }),
    // Listed here because it holds paths; nothing of it is used.
    (b"Memory cgroup stats for ", |_| None),
    (b"[", task),
    (b"CPU: ", cpu),
    (b"oom_reaper: ", |rest| {
        rest.starts_with(b"reaped process ").then_some(Line::Reaped)
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
    let (text, comm) = split_task(text)?;
    let (text, task_memcg) = text.rsplit_once_str(b",task_memcg=")?;
    let (text, oom_memcg) = match text.strip_suffix(b",global_oom") {
        Some(text) => (text, None),
        None => text
            .rsplit_once_str(b",oom_memcg=")
            .map(|(text, path)| (text, Some(path)))?,
    };
    let (constraint, _) = text.split_once_str(b",nodemask=")?;
    Some(OomKill {
        constraint: constraint
            .strip_prefix(b"CONSTRAINT_")
            .unwrap_or(constraint),
        oom_memcg: oom_memcg.map(|oom| path(oom).ok_or(())).transpose().ok()?,
        task_memcg: path(task_memcg)?,
        comm,
        pid: parse_number(pid)?,
        uid: parse_number(uid)?,
    })
}

/// Parses the text after `Task in `.
fn task_in(text: &[u8]) -> Option<Line<'_>> {
    let (task_memcg, oom_memcg) = text.rsplit_once_str(b" killed as a result of limit of ")?;
    Some(Line::TaskIn {
        task_memcg: path(task_memcg)?,
        oom_memcg: path(oom_memcg)?,
    })
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

/// Splits at the `,task=` that leaves the longest possible thread name after it: any process may put `,task=` into its
/// name, but only a user who may create cgroups can put it into a cgroup's name.
fn split_task(text: &[u8]) -> Option<(&[u8], &[u8])> {
    const TASK: &[u8] = b",task=";
    let from = text.len().saturating_sub(MAX_COMM + TASK.len());
    let at = from + text[from..].find(TASK)?;
    Some((&text[..at], &text[at + TASK.len()..]))
}

/// Parses the text after `memory: usage `.
fn usage(text: &[u8], counter: Counter) -> Option<Line<'_>> {
    let (usage, text) = text.split_once_str(b"kB, limit ")?;
    let (limit, _) = text.split_once_str(b"kB,")?;
    Some(Line::Usage {
        counter,
        usage_bytes: parse_kib(usage)?,
        limit_bytes: Some(parse_kib(limit)?).filter(|limit| *limit < NO_LIMIT_BYTES),
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

/// Parses the text after `[`: `  478]     0   478     5785 …`.
fn task(text: &[u8]) -> Option<Line<'_>> {
    let (tid, text) = text.split_once_str(b"]")?;
    let mut words = text
        .split(|&byte| byte == b' ')
        .filter(|word| !word.is_empty());
    parse_number::<u32>(words.next()?)?;
    let pid = parse_number(words.next()?)?;
    // In a row of the table every column before the name is a number.
    parse_number::<u64>(words.next()?)?;
    Some(Line::Task {
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
