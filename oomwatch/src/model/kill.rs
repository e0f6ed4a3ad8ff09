//! One OOM kill as it was found: facts, without any meaning that Kubernetes or a container runtime would add.
//!
//! Its `serde` form is the one in the history ([`crate::model::{serde_bytes, serde_missing}`]), not the JSON of the reports.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{
    account::{Account, Candidates},
    backend::Backend,
    serde_bytes, serde_missing,
};

/// A process that the OOM killer sent SIGKILL, in one incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kill {
    /// When the victim was marked: nanoseconds since boot, suspend included; from a saved kernel log, suspend not included.
    /// Absent in one that does not tell.
    pub boot_time_ns: Option<u64>,
    /// When the first victim of the same incident was marked, likewise. Incidents never overlap, so this names one.
    pub incident_boot_time_ns: Option<u64>,
    /// Where the facts come from.
    pub source: Source,
    /// The backend that captured the kill.
    pub backend: Backend,
    /// Where the victim's cgroup comes from, if it is known.
    pub attribution: Attribution,
    /// What ran out: a memory cgroup or the system.
    pub scope: Scope,
    /// What the allocation was bound to; the kernel says so only to function hooks and in its log.
    pub constraint: Option<Constraint>,
    /// The allocation that failed; known likewise.
    pub allocation: Option<Allocation>,
    /// Whether `memory.oom.group` made the killer take the whole group.
    pub group_kill: Option<bool>,
    /// The cgroup that was killed as a whole: the victim's own or above it. The kernel log alone tells it.
    pub group_cgroup: Option<Cgroup>,
    /// Index into `limits` of the cgroup that ran out.
    pub oom_level: Option<usize>,
    /// Index into `limits` of the innermost cgroup with `memory.oom.group`; absent if none of them has it.
    pub oom_group_level: Option<usize>,
    /// The victim's memory cgroup and its ancestors without the root, innermost first. From the kernel log only the
    /// victim's, or else the group's, and the one that ran out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
    /// Who was killed.
    pub victim: Victim,
    /// Whose allocation invoked the killer.
    pub trigger: Option<Trigger>,
    /// Whether a lowered limit invoked the killer, not an allocation: the kernel stack shows a write of `memory.max` or of
    /// `memory.limit_in_bytes`. Absent without the stack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_lowered: Option<bool>,
    /// The processes that the killer chose from, and where the memory was; shared by the victims of one incident. The
    /// history keeps it beside the kill.
    #[serde(skip)]
    pub account: Option<Arc<Account>>,
    /// What identifies the kill in the kernel log; absent if BPF programs captured it. It is in the report's ids.
    #[serde(skip)]
    pub log_key: Option<LogKey>,
    /// Facts that could not be read, by their names in the report.
    #[serde(default, with = "serde_missing", skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<&'static str>,
}

impl Kill {
    /// The processes that the killer chose from.
    #[must_use]
    pub fn candidates(&self) -> Option<&Candidates> {
        self.account.as_ref()?.candidates.as_ref()
    }
}

/// What identifies a kill in a kernel log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogKey {
    /// The time of its line as the log states it, else the number of the kill in the log.
    pub kill: u64,
    /// The same of the first victim of its incident.
    pub incident: u64,
    /// The thread named as the first victim of its incident: in a saved log, time and thread identify an incident.
    pub incident_tid: u32,
    /// When the line was written, where the log states a date.
    pub time: Option<Timestamp>,
    /// Name of the machine, where the log states it.
    pub host: Option<String>,
}

/// Where the kill was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The BPF programs.
    Bpf,
    /// The kernel log.
    Kmsg,
}

impl Source {
    /// The word for it in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bpf => "bpf",
            Self::Kmsg => "kmsg",
        }
    }
}

/// Where the victim's cgroup comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attribution {
    /// The kernel's own structures, at the kill.
    Kernel,
    /// `/proc`, after it.
    Proc,
    /// The kernel log.
    Kmsg,
}

impl Attribution {
    /// The word for it in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Proc => "proc",
            Self::Kmsg => "kmsg",
        }
    }
}

/// What ran out of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// A memory cgroup reached its limit.
    Memcg,
    /// The machine, or the nodes of memory that the allocation was bound to.
    System,
    /// Not known; never a guess.
    Unknown,
}

impl Scope {
    /// The word for it in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memcg => "memcg",
            Self::System => "system",
            Self::Unknown => "unknown",
        }
    }
}

/// `enum oom_constraint` of `include/linux/oom.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Constraint {
    /// `CONSTRAINT_NONE`: the whole machine.
    None,
    /// `CONSTRAINT_CPUSET`: the nodes of memory that a cpuset allows.
    Cpuset,
    /// `CONSTRAINT_MEMORY_POLICY`: the nodes that a memory policy allows.
    MemoryPolicy,
    /// `CONSTRAINT_MEMCG`.
    Memcg,
}

/// The allocation that invoked the killer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// Power of two of pages; -1 where sysrq asked for a kill.
    pub order: i32,
    /// `gfp_t`; its bits differ from kernel to kernel.
    pub gfp_mask: u64,
    /// Pages that the allocation could have come from, of memory and swap.
    pub total_pages: Option<u64>,
}

/// Whether the victim was its container's main process, with which the container ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MainProcess {
    /// It was.
    Yes,
    /// It was another one.
    No,
    /// Not known.
    #[default]
    Unknown,
}

/// A process, and what it held when it was killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Victim {
    /// The process (thread group), in the initial PID namespace. From the kernel log it is the thread's number where
    /// nothing tells the process's, which is the same unless the first thread is gone.
    pub pid: u32,
    /// The thread that was marked, in the initial PID namespace.
    pub tid: u32,
    /// The process in its own PID namespace.
    pub ns_pid: Option<u32>,
    /// Name of the process; any bytes but NUL.
    #[serde(default, with = "serde_bytes::optional")]
    pub comm: Option<Vec<u8>>,
    /// User in the initial user namespace.
    pub uid: Option<u32>,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// `oom_control.chosen_points`: for how bad the kernel took it, in pages, when it chose it. Of the first victim of an
    /// incident alone, and only function hooks tell it.
    pub oom_points: Option<i64>,
    /// Address space.
    pub total_vm_bytes: Option<u64>,
    /// Resident anonymous memory.
    pub anon_rss_bytes: Option<u64>,
    /// Resident memory of files.
    pub file_rss_bytes: Option<u64>,
    /// Resident shared memory, tmpfs included.
    pub shmem_rss_bytes: Option<u64>,
    /// Memory swapped out.
    pub swap_bytes: Option<u64>,
    /// Page tables.
    pub pgtables_bytes: Option<u64>,
    /// When the process started: nanoseconds since boot.
    pub start_boot_time_ns: Option<u64>,
    /// Its memory cgroup: what it was charged to.
    pub cgroup: Option<Cgroup>,
    /// Its own cgroup on cgroup v2, where that lies below its memory cgroup.
    pub leaf_cgroup: Option<Cgroup>,
    /// Whether it was PID 1 of the outermost PID namespace that its cgroup has to itself; absent if that namespace is shared
    /// or unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_namespace_init: Option<bool>,
}

impl Victim {
    /// Resident anonymous and shared memory: what the victim's exit frees at once. Absent if either is. File pages are left
    /// out: they are charged to the cgroup that read them first, and the kernel can drop them.
    #[must_use]
    pub fn rss_bytes(&self) -> Option<u64> {
        Some(self.anon_rss_bytes?.saturating_add(self.shmem_rss_bytes?))
    }
}

/// The task whose allocation invoked the killer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// The process, in the initial PID namespace.
    pub pid: Option<u32>,
    /// The thread, in the initial PID namespace.
    pub tid: Option<u32>,
    /// Name of the thread; any bytes but NUL.
    #[serde(default, with = "serde_bytes::optional")]
    pub comm: Option<Vec<u8>>,
    /// Its memory cgroup.
    pub cgroup: Option<Cgroup>,
}

/// A cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// From the root of its hierarchy, `/` itself for the root; any bytes but NUL.
    #[serde(with = "serde_bytes")]
    pub path: Vec<u8>,
    /// `kernfs_node.id`: on 64-bit machines the inode number of its directory.
    pub id: Option<u64>,
}

/// A memory cgroup with what was used and allowed at the kill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// The cgroup.
    pub cgroup: Cgroup,
    /// Memory charged.
    pub usage_bytes: Option<u64>,
    /// `memory.max` or `memory.limit_in_bytes`; absent where there is none.
    pub limit_bytes: Option<u64>,
    /// `memory.swap.current`; on cgroup v1 `memory.memsw.usage_in_bytes`.
    pub swap_usage_bytes: Option<u64>,
    /// `memory.swap.max`; on cgroup v1 `memory.memsw.limit_in_bytes`; absent where there is none.
    pub swap_limit_bytes: Option<u64>,
}

/// What happened to a process besides a kill; counted, and shown in the wide output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonKill {
    /// Nanoseconds since boot; absent in a saved log that does not tell.
    pub boot_time_ns: Option<u64>,
    /// What it was.
    pub kind: NonKillKind,
    /// The process; 0 where the kernel named only a thread.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// Name of the process; any bytes but NUL.
    pub comm: Option<Vec<u8>>,
    /// Its memory cgroup.
    pub cgroup: Option<Cgroup>,
}

/// What the OOM killer does besides killing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonKillKind {
    /// A process that was a victim already was sent SIGKILL once more; `/proc/vmstat` counts it again.
    Rekill,
    /// A task that was dying already was given the reserves, not killed.
    Mark,
    /// A process was killed because it shares the victim's memory; the kernel neither logs nor counts it.
    Sharer {
        /// The victim whose memory it shares.
        victim_pid: u32,
    },
}
