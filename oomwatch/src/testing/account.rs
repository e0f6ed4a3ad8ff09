//! The account of a kill, with every field set.

use crate::{
    model::{
        account::{
            Account, AccountSource, Before, Candidate, Candidates, Exclusion, Memory, MemoryOf,
            MemoryParts, ProcessMemory, Zone,
        },
        cause::{Cause, CauseKind},
        report::{CandidateOwner, Explanation, PodUsage},
    },
    testing::{bare_report, container_path},
};

/// The account of [`kill`]: two candidates, one process left out, and every kind of memory.
pub(crate) fn account() -> Account {
    let memory = |anon_rss_bytes, shmem_rss_bytes| ProcessMemory {
        anon_rss_bytes,
        file_rss_bytes: 4096,
        shmem_rss_bytes,
        swap_bytes: 8192,
        pgtables_bytes: 126_976,
    };
    let candidate = |pid, comm: &[u8], memory, oom_score_adj, oom_points, excluded| Candidate {
        pid,
        comm: comm.to_vec(),
        uid: Some(1000),
        memory,
        is_rss_split: true,
        oom_score_adj,
        oom_points,
        excluded,
        cgroup_id: Some(5005),
    };
    Account {
        candidates: Some(Candidates {
            source: AccountSource::Kernel,
            complete: true,
            scored: 2,
            excluded: 1,
            rss_error_bytes: 262_144,
            sum: memory(32 << 20, 2 << 20),
            processes: vec![
                candidate(
                    14665,
                    b"tail",
                    memory(31 << 20, 2 << 20),
                    -997,
                    Some(8450),
                    None,
                ),
                candidate(14670, b"writer", memory(1 << 20, 0), 0, Some(290), None),
                candidate(
                    14680,
                    b"guard",
                    memory(3 << 20, 0),
                    -1000,
                    None,
                    Some(Exclusion::OomScoreAdj),
                ),
            ],
        }),
        memory: Some(Memory {
            of: MemoryOf::Cgroup,
            source: AccountSource::Kernel,
            unflushed: false,
            usage_bytes: Some(40 << 20),
            limit_bytes: Some(40 << 20),
            peak_bytes: Some(40 << 20),
            swap_bytes: Some(4096),
            parts: MemoryParts {
                anon_bytes: Some(35 << 20),
                shmem_bytes: Some(2 << 20),
                file_bytes: Some(100_001),
                slab_reclaimable_bytes: Some(100_002),
                slab_unreclaimable_bytes: Some(100_003),
                kernel_stack_bytes: Some(100_004),
                pagetables_bytes: Some(100_005),
                sock_bytes: Some(100_006),
                percpu_bytes: Some(100_007),
                vmalloc_bytes: Some(100_008),
                kernel_other_bytes: Some(100_009),
                hugetlb_bytes: Some(0),
                zswap_bytes: Some(100_010),
            },
        }),
        zones: vec![Zone {
            node: 0,
            name: "Normal".to_owned(),
            free_bytes: 50 << 20,
            min_bytes: Some(40 << 20),
            managed_bytes: Some(4 << 30),
            free_blocks: vec![12, 3, 0],
        }],
        before: Some(Before {
            limit_hits: Some(812),
            stall_us: Some(1_500_000),
        }),
    }
}

/// What [`account`] means.
pub(crate) fn explanation() -> Explanation {
    let report = bare_report();
    let owner = CandidateOwner {
        cgroup_path: container_path().into_bytes(),
        container: report.container,
        pod: report.pod,
        unit: Some("kubelet.service".to_owned()),
    };
    Explanation {
        cause: Some(Cause {
            kind: CauseKind::OneProcess,
            share_permille: Some(825),
            sentence: "One process, tail (pid 14665), held 33 MiB of the 40 MiB limit.".to_owned(),
            pod_sentence: None,
        }),
        owners: vec![Some(owner), None, None],
        pods: vec![PodUsage {
            namespace: "shop".to_owned(),
            name: "cart-0".to_owned(),
            usage_bytes: 40 << 20,
            request_bytes: 20 << 20,
            limit_bytes: Some(40 << 20),
            oom_score_adj: Some(985),
        }],
    }
}
