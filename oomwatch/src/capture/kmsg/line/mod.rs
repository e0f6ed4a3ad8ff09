//! One line of the kernel's to what it says of an OOM kill. Pure and total: time is linear in the line.
//!
//! Names in a line are whatever a process chose, separators included, so that a line is recognised by how it begins where
//! it can be, and split from the right. The formats are those of `mm/oom_kill.c`, `mm/memcontrol.c` and
//! `lib/dump_stack.c` from 3.10 (RHEL 7) to 7.3.

mod killed;

use bstr::ByteSlice as _;

use super::record::number;
pub use killed::{Killed, Message};

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// `X invoked oom-killer: gfp_mask=…`: a report begins. One of those that the kernel limits in number.
    Invoked {
        /// The trigger.
        comm: &'a [u8],
        /// `gfp_t`; its bits differ from kernel to kernel.
        gfp_mask: u64,
        /// Power of two of pages; -1 for a kill by sysrq.
        order: i32,
    },
    /// `CPU: 0 UID: 0 PID: 42 Comm: x Not tainted 6.18.0 #1`: the trigger, where it follows [`Line::Invoked`].
    Cpu {
        /// Thread.
        tid: u32,
        /// Its name, and what follows a space behind it: taint and release of the kernel.
        comm_and_rest: &'a [u8],
    },
    /// `memory: usage 20480kB, limit 20480kB, failcnt 81`, of the cgroup that ran out.
    Usage {
        /// Which counter it is.
        counter: Counter,
        /// In bytes.
        usage_bytes: u64,
        /// In bytes; absent where there is none.
        limit_bytes: Option<u64>,
    },
    /// A row of the table of tasks that could have been killed.
    Task {
        /// A thread of the process: the one that would be named as killed.
        tid: u32,
        /// The process.
        pid: u32,
    },
    /// `Task in A killed as a result of limit of B`, before 5.0.
    TaskIn {
        /// Cgroup of the chosen process.
        task_memcg: &'a [u8],
        /// Cgroup that ran out.
        oom_memcg: &'a [u8],
    },
    /// `Memory limit reached of cgroup B`, before 5.0.
    LimitReached {
        /// Cgroup that ran out.
        oom_memcg: &'a [u8],
    },
    /// `oom-kill:constraint=…`, since 5.0.
    OomKill(OomKill<'a>),
    /// `Kill process P (c) score S or sacrifice child`, before 5.1: it, or a child of it, will be killed.
    Chosen {
        /// Why.
        message: Message,
        /// The process.
        pid: u32,
    },
    /// `Killed process P (c) …`: a kill. Never limited in number.
    Killed(Killed<'a>),
    /// `Tasks in X are going to be killed due to memory.oom.group set`: it was the first of a group.
    Group {
        /// The cgroup that is killed as a whole.
        cgroup: &'a [u8],
    },
    /// `OOM victim P (c) is already exiting. Skip killing the task`: no kill after all.
    Exiting,
    /// `Out of memory and no killable processes...`: no kill.
    NoneKillable,
    /// `oom_reaper: reaped process P (c), …`: a victim's memory was freed. Not a kill.
    Reaped,
    /// `oom_kill_process: N callbacks suppressed`: that many headers were held back.
    Suppressed {
        /// How many.
        headers: u64,
    },
    /// `Linux version 5.4.7 …`.
    Version {
        /// The kernel's release, and what follows a space behind it.
        release_and_rest: &'a [u8],
    },
    /// The beginning of one of these whose rest the kernel may write later, or one that is broken.
    Incomplete,
}

/// A counter of a memory cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// `memory`.
    Memory,
    /// `memory+swap` of cgroup v1, or `swap` of v2.
    Swap,
}

/// The line that names everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OomKill<'a> {
    /// `NONE`, `CPUSET`, `MEMORY_POLICY`, `MEMCG`, or what a newer kernel knows.
    pub constraint: &'a [u8],
    /// Cgroup that ran out; absent where the system did.
    pub oom_memcg: Option<&'a [u8]>,
    /// The victim's memory cgroup.
    pub task_memcg: &'a [u8],
    /// Name of the victim's first thread.
    pub comm: &'a [u8],
    /// The victim: the process.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
}

/// Longest name of a task: `TASK_COMM_LEN` without its NUL.
const MAX_COMM: usize = 15;

/// What a line says; absent for all lines that are none of the OOM killer's.
#[must_use]
pub fn parse(text: &[u8]) -> Option<Line<'_>> {
    if let Some(line) = invoked(text) {
        return Some(line);
    }
    // Then what begins in a known way: the rest of these lines is paths, which could hold any of the others.
    for (start, read) in STARTS {
        if let Some(rest) = text.strip_prefix(*start) {
            return read(rest);
        }
    }
    killed::parse(text).or_else(|| anywhere(text))
}

type Read = fn(&[u8]) -> Option<Line<'_>>;

const STARTS: &[(&[u8], Read)] = &[
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
    // Paths too, of no use.
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

/// Behind `oom-kill:constraint=`.
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
    let constraint = &text[..text.find(b",nodemask=")?];
    Some(OomKill {
        constraint: constraint
            .strip_prefix(b"CONSTRAINT_")
            .unwrap_or(constraint),
        oom_memcg: oom_memcg.map(|oom| path(oom).ok_or(())).transpose().ok()?,
        task_memcg: path(task_memcg)?,
        comm,
        pid: number(pid)?,
        uid: number(uid)?,
    })
}

/// Behind `Task in `.
fn task_in(text: &[u8]) -> Option<Line<'_>> {
    let (task_memcg, oom_memcg) = text.rsplit_once_str(b" killed as a result of limit of ")?;
    Some(Line::TaskIn {
        task_memcg: path(task_memcg)?,
        oom_memcg: path(oom_memcg)?,
    })
}

/// Behind `Tasks in `.
fn group(text: &[u8]) -> Option<Line<'_>> {
    let cgroup = text.strip_suffix(b" are going to be killed due to memory.oom.group set")?;
    path(cgroup).map(|cgroup| Line::Group { cgroup })
}

/// A cgroup's path, if it is one.
fn path(text: &[u8]) -> Option<&[u8]> {
    text.starts_with(b"/").then_some(text)
}

/// At the `,task=` that leaves the longest possible name behind it: a process may put one into its name, while for a
/// cgroup's name it takes the right to make one.
fn split_task(text: &[u8]) -> Option<(&[u8], &[u8])> {
    const TASK: &[u8] = b",task=";
    let from = text.len().saturating_sub(MAX_COMM + TASK.len());
    let place = from + text[from..].find(TASK)?;
    Some((&text[..place], &text[place + TASK.len()..]))
}

/// Behind `memory: usage `.
fn usage(text: &[u8], counter: Counter) -> Option<Line<'_>> {
    let (usage, text) = text.split_once_str(b"kB, limit ")?;
    let (limit, _) = text.split_once_str(b"kB,")?;
    Some(Line::Usage {
        counter,
        usage_bytes: kilobytes(usage)?,
        limit_bytes: Some(kilobytes(limit)?).filter(|limit| *limit < NO_LIMIT_BYTES),
    })
}

/// Below what the kernel prints for no limit: `LONG_MAX` bytes in whole pages, of 64 KiB at most, and on 3.10 also
/// `ULLONG_MAX`.
const NO_LIMIT_BYTES: u64 = (i64::MAX as u64 >> 16) << 16;

/// Behind `CPU: `.
fn cpu(text: &[u8]) -> Option<Line<'_>> {
    let (_, text) = text.split_once_str(b" PID: ")?;
    let (tid, text) = text.split_once_str(b" Comm: ")?;
    Some(Line::Cpu {
        tid: number(tid)?,
        comm_and_rest: text,
    })
}

/// Behind `[`: `  478]     0   478     5785 …`.
fn task(text: &[u8]) -> Option<Line<'_>> {
    let (tid, text) = text.split_once_str(b"]")?;
    let mut words = text
        .split(|&byte| byte == b' ')
        .filter(|word| !word.is_empty());
    number::<u32>(words.next()?)?;
    let pid = number(words.next()?)?;
    // The columns are numbers up to the name, and a line of another kind is not.
    number::<u64>(words.next()?)?;
    Some(Line::Task {
        tid: number(tid.trim_ascii_start())?,
        pid,
    })
}

/// `X invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), nodemask=(null),  order=0, oom_score_adj=0`.
fn invoked(text: &[u8]) -> Option<Line<'_>> {
    const INVOKED: &[u8] = b" invoked oom-killer: ";
    // A name cannot hold this much.
    let head = text.get(..text.len().min(MAX_COMM + INVOKED.len()))?;
    let (comm, _) = head.split_once_str(INVOKED)?;
    let text = &text[comm.len() + INVOKED.len()..];
    let read = || {
        let (_, mask) = text.split_once_str(b"gfp_mask=0x")?;
        let digits = mask.iter().take_while(|byte| byte.is_ascii_hexdigit());
        let mask = str::from_utf8(&mask[..digits.count()]).ok()?;
        let (_, order) = text.split_once_str(b" order=")?;
        let (order, rest) = order.split_once_str(b",")?;
        // Until this has come, `pr_cont` may still be at it.
        rest.find(b"_adj=")?;
        Some(Line::Invoked {
            comm,
            gfp_mask: u64::from_str_radix(mask, 16).ok()?,
            order: str::from_utf8(order).ok()?.parse().ok()?,
        })
    };
    Some(read().unwrap_or(Line::Incomplete))
}

/// What has no beginning of its own.
fn anywhere(text: &[u8]) -> Option<Line<'_>> {
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
        headers: number(count)?,
    })
}

/// What the kernel calls kB are KiB.
fn kilobytes(text: &[u8]) -> Option<u64> {
    number::<u64>(text).map(|kilobytes| kilobytes.saturating_mul(1024))
}

#[cfg(test)]
mod tests;
