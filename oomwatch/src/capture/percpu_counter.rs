//! How exact the kernel's per-CPU counters are (`lib/percpu_counter.c`).

/// By how many units the count of a `struct percpu_counter` may be off: each CPU holds back less than a batch.
pub(crate) fn error(cpus: u64) -> u64 {
    let batch = cpus.saturating_mul(2).max(32);
    batch.saturating_mul(cpus)
}
