//! Completes the account that a BPF program took with that of the kernel log.

use std::sync::Arc;

use super::{Account, Candidates, Memory, MemoryParts};

impl Account {
    /// The account of the kernel, of the log, or of both. Shared where it is the log's alone.
    #[must_use]
    pub fn completed(kernel: Option<Arc<Self>>, log: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        match (kernel, log) {
            (None, log) => log.cloned(),
            (Some(mut kernel), Some(log)) => {
                Arc::make_mut(&mut kernel).complete_with(log);
                Some(kernel)
            }
            (kernel, None) => kernel,
        }
    }

    /// Adds what the kernel log has of the same incident and this account lacks.
    ///
    /// The kernel's own numbers win. Candidates that were cut are replaced by the log's table if that is complete, and
    /// statistics with pending updates by the log's: the kernel flushes before it prints them.
    pub fn complete_with(&mut self, log: &Self) {
        let Self {
            candidates,
            memory,
            zones,
            before,
        } = self;
        match (candidates.as_mut(), &log.candidates) {
            (Some(own), Some(log)) if !own.complete && log.complete => own.replace_by(log),
            (None, log) => candidates.clone_from(log),
            (Some(_), _) => {}
        }
        match (memory.as_mut(), &log.memory) {
            (Some(own), Some(log)) if own.of == log.of => own.complete_with(log),
            (None, log) => *memory = *log,
            (Some(_), _) => {}
        }
        if zones.is_empty() {
            zones.clone_from(&log.zones);
        }
        if let Some(log) = &log.before {
            let before = before.get_or_insert_default();
            before.limit_hits = before.limit_hits.or(log.limit_hits);
            before.stall_us = before.stall_us.or(log.stall_us);
        }
    }
}

impl Candidates {
    /// Takes the log's table. The cgroups of its processes are not in the log.
    fn replace_by(&mut self, log: &Self) {
        let own = std::mem::replace(self, log.clone());
        for process in &mut self.processes {
            let is_same = |own: &&super::Candidate| own.pid == process.pid;
            process.cgroup_id = own
                .processes
                .iter()
                .find(is_same)
                .and_then(|own| own.cgroup_id);
        }
    }
}

impl Memory {
    fn complete_with(&mut self, log: &Self) {
        let Self {
            of: _,
            source,
            unflushed,
            usage_bytes,
            limit_bytes,
            peak_bytes,
            swap_bytes,
            parts,
        } = self;
        if *unflushed && !log.unflushed && log.parts != MemoryParts::default() {
            *parts = log.parts;
            *usage_bytes = log.usage_bytes.or(*usage_bytes);
            *source = log.source;
            *unflushed = false;
        } else {
            parts.complete_with(&log.parts);
        }
        *usage_bytes = usage_bytes.or(log.usage_bytes);
        *limit_bytes = limit_bytes.or(log.limit_bytes);
        *peak_bytes = peak_bytes.or(log.peak_bytes);
        *swap_bytes = swap_bytes.or(log.swap_bytes);
    }
}

impl MemoryParts {
    /// Adds the kinds that are not known, as far as they cannot overlap with one that is: what is in `kernel_other_bytes`
    /// depends on the other kinds of kernel memory that were known to its source.
    fn complete_with(&mut self, log: &Self) {
        let own = *self;
        let of_kernel = [
            (own.slab_reclaimable_bytes, log.slab_reclaimable_bytes),
            (own.slab_unreclaimable_bytes, log.slab_unreclaimable_bytes),
            (own.kernel_stack_bytes, log.kernel_stack_bytes),
            (own.pagetables_bytes, log.pagetables_bytes),
            (own.percpu_bytes, log.percpu_bytes),
            (own.vmalloc_bytes, log.vmalloc_bytes),
            (own.zswap_bytes, log.zswap_bytes),
        ];
        let is_in_other_of_log = of_kernel
            .iter()
            .any(|(own, log)| own.is_some() && log.is_none());
        let kernel = |own: Option<u64>, log: Option<u64>| match self.kernel_other_bytes {
            Some(_) => own,
            None => own.or(log),
        };
        *self = Self {
            anon_bytes: own.anon_bytes.or(log.anon_bytes),
            shmem_bytes: own.shmem_bytes.or(log.shmem_bytes),
            file_bytes: own.file_bytes.or(log.file_bytes),
            slab_reclaimable_bytes: kernel(own.slab_reclaimable_bytes, log.slab_reclaimable_bytes),
            slab_unreclaimable_bytes: kernel(
                own.slab_unreclaimable_bytes,
                log.slab_unreclaimable_bytes,
            ),
            kernel_stack_bytes: kernel(own.kernel_stack_bytes, log.kernel_stack_bytes),
            pagetables_bytes: kernel(own.pagetables_bytes, log.pagetables_bytes),
            sock_bytes: own.sock_bytes.or(log.sock_bytes),
            percpu_bytes: kernel(own.percpu_bytes, log.percpu_bytes),
            vmalloc_bytes: kernel(own.vmalloc_bytes, log.vmalloc_bytes),
            kernel_other_bytes: own
                .kernel_other_bytes
                .or(log.kernel_other_bytes.filter(|_| !is_in_other_of_log)),
            hugetlb_bytes: own.hugetlb_bytes.or(log.hugetlb_bytes),
            zswap_bytes: kernel(own.zswap_bytes, log.zswap_bytes),
        };
    }
}

#[cfg(test)]
mod tests;
