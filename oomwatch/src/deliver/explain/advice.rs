//! What to change, by the cause of a kill.

/// What may help against a cause, by its word in the JSON record. `docs/causes.md` has the same sentences.
pub(super) fn advice(cause: &str) -> &'static str {
    match cause {
        "one_process" => {
            "Find out whether the process needs that much (a leak grows without end, a cache has a size to set). If it does, raise \
             the limit; else set its own bound below the limit, such as a heap size."
        }
        "many_processes" => {
            "Start fewer processes (workers, jobs, threads of a build), or raise the limit to their number times what one needs."
        }
        "shmem" => {
            "Look for files in memory: an emptyDir with medium Memory (set sizeLimit), /dev/shm, a tmpfs, or shared memory of a \
             database. They stay charged until they are deleted, whichever process is killed."
        }
        "page_cache" => {
            "Files that are locked in memory (mlock) or in a ramfs cannot be dropped. Unlock them, or raise the limit."
        }
        "kernel_memory" => {
            "The kernel holds it for the processes: many open files and directory entries, pipes, threads. Close what is not \
             used; look at slab in memory.stat and at slabtop."
        }
        "sockets" => {
            "Data that is not read piles up in sockets. Look for slow readers, and bound queues and buffer sizes."
        }
        "page_tables" => {
            "Many processes map the same large memory. Use huge pages for it, or fewer processes."
        }
        "limit_lowered" => {
            "The limit was set below what was in use: by an in-place resize of the pod, or by a write to memory.max. Raise it, or \
             stop the process first."
        }
        "parent_limit" => {
            "The limit is that of a cgroup that others share. Look at what else is in it, raise it, or give this one a limit of \
             its own that fits."
        }
        "node_pressure" => {
            "The node has less memory than its processes use. Set requests that fit what pods use, so that fewer are placed here; \
             reserve memory for the system; or add memory."
        }
        "numa_or_cpuset" => {
            "Allow more NUMA nodes (cpuset.mems, numactl), or move what else uses the allowed ones."
        }
        "fragmentation" => {
            "Memory was free, but not in one piece. Look at what asks for large blocks (network drivers, many in one kernel \
             version), raise vm.min_free_kbytes, or compact memory."
        }
        "protected_processes" => {
            "Processes with oom_score_adj -1000 hold the memory, so another one had to go. Take the protection from those that do \
             not need it, or bound their memory."
        }
        _ => {
            "The facts do not decide it. Keep the kernel log (it has the table of tasks and the memory by kind), or run oomwatch \
             with the backend fentry or kprobe."
        }
    }
}
