//! Test data: lines as the kernel writes them.

/// First line of a header.
pub(crate) fn invoked(comm: &str) -> String {
    format!("{comm} invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n")
}

/// Last line of a header: the cgroup that ran out, and the victim.
pub(crate) fn oom_kill(cgroup: &str, comm: &str, pid: u32) -> String {
    format!(
        "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg={cgroup},task_memcg={cgroup},task={comm},pid={pid},uid=0\n"
    )
}

/// A kill line.
pub(crate) fn killed(tid: u32, comm: &str) -> String {
    format!(
        "Memory cgroup out of memory: Killed process {tid} ({comm}) total-vm:8kB, anon-rss:4kB, file-rss:4kB, shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0\n"
    )
}

/// A row of the task table.
pub(crate) fn row(tid: u32, pid: u32) -> String {
    format!("[{tid:>7}]     0 {pid:>5}     5785     5475    90112        0             0 x\n")
}

/// The line that makes the kill before it the first of a group.
pub(crate) fn group(cgroup: &str) -> String {
    format!("Tasks in {cgroup} are going to be killed due to memory.oom.group set\n")
}

/// Puts the time before a line, as dmesg does.
pub(crate) fn at(milliseconds: u64, line: &str) -> String {
    format!(
        "[{:5}.{:06}] {line}",
        milliseconds / 1000,
        milliseconds % 1000 * 1000
    )
}
