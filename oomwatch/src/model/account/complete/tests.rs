use super::*;
use crate::model::account::{AccountSource, Before, Candidate, MemoryOf, ProcessMemory, Zone};

fn candidates(source: AccountSource, complete: bool, pids: &[u32]) -> Candidates {
    let process = |&pid| Candidate {
        pid,
        comm: b"c".to_vec(),
        uid: None,
        memory: ProcessMemory::default(),
        is_rss_split: true,
        oom_score_adj: 0,
        oom_points: None,
        excluded: None,
        cgroup_id: (source == AccountSource::Kernel).then_some(u64::from(pid) + 100),
    };
    Candidates {
        source,
        complete,
        scored: pids.len() as u64,
        excluded: 0,
        rss_error_bytes: 0,
        sum: ProcessMemory::default(),
        processes: pids.iter().map(process).collect(),
    }
}

fn memory(source: AccountSource, unflushed: bool, parts: MemoryParts) -> Memory {
    let is_log = source == AccountSource::Log;
    Memory {
        of: MemoryOf::Cgroup,
        source,
        unflushed,
        usage_bytes: Some(if is_log { 1000 } else { 990 }),
        limit_bytes: is_log.then_some(1000),
        peak_bytes: (!is_log).then_some(1001),
        swap_bytes: is_log.then_some(7),
        parts,
    }
}

fn log() -> Account {
    Account {
        candidates: Some(candidates(AccountSource::Log, true, &[1, 2, 3])),
        memory: Some(memory(
            AccountSource::Log,
            false,
            MemoryParts {
                anon_bytes: Some(500),
                kernel_other_bytes: Some(300),
                ..MemoryParts::default()
            },
        )),
        zones: vec![Zone {
            node: 0,
            name: "DMA".to_owned(),
            free_bytes: 1,
            min_bytes: None,
            managed_bytes: None,
            free_blocks: Vec::new(),
        }],
        before: Some(Before {
            limit_hits: Some(9),
            stall_us: None,
        }),
    }
}

#[test]
fn missing_parts_come_from_the_log() {
    let mut account = Account::default();
    account.complete_with(&log());
    assert_eq!(account, log());
    let mut with_before = Account {
        before: Some(Before {
            limit_hits: None,
            stall_us: Some(3),
        }),
        ..Account::default()
    };
    with_before.complete_with(&log());
    let expected = Before {
        limit_hits: Some(9),
        stall_us: Some(3),
    };
    assert_eq!(with_before.before, Some(expected));
    let shared = Arc::new(log());
    let completed = Account::completed(None, Some(&shared)).expect("account");
    assert!(Arc::ptr_eq(&completed, &shared));
    assert_eq!(Account::completed(None, None), None);
    assert_eq!(Account::completed(Some(completed), None), Some(shared));
}

#[test]
fn parts_of_the_kernel_win() {
    let parts = MemoryParts {
        anon_bytes: Some(600),
        shmem_bytes: Some(10),
        ..MemoryParts::default()
    };
    let kernel = Account {
        candidates: Some(candidates(AccountSource::Kernel, true, &[1])),
        memory: Some(memory(AccountSource::Kernel, false, parts)),
        zones: Vec::new(),
        before: Some(Before {
            limit_hits: Some(8),
            stall_us: None,
        }),
    };
    let completed = Account::completed(Some(Arc::new(kernel.clone())), Some(&Arc::new(log())))
        .expect("account");
    assert_eq!(completed.candidates, kernel.candidates);
    assert_eq!(completed.before, kernel.before);
    let memory = completed.memory.expect("memory");
    assert_eq!(memory.source, AccountSource::Kernel);
    assert_eq!(memory.usage_bytes, Some(990));
    assert_eq!(memory.limit_bytes, Some(1000));
    assert_eq!(memory.peak_bytes, Some(1001));
    assert_eq!(memory.swap_bytes, Some(7));
    assert_eq!(memory.parts.anon_bytes, Some(600));
    assert_eq!(memory.parts.kernel_other_bytes, Some(300));
}

#[test]
fn walk_that_was_cut_is_replaced_by_a_complete_table() {
    for (own, log_complete, replaced) in [
        (false, true, true),
        (false, false, false),
        (true, true, false),
        (true, false, false),
    ] {
        let mut account = Account {
            candidates: Some(candidates(AccountSource::Kernel, own, &[2])),
            ..Account::default()
        };
        account.complete_with(&Account {
            candidates: Some(candidates(AccountSource::Log, log_complete, &[1, 2, 3])),
            ..Account::default()
        });
        let candidates = account.candidates.expect("candidates");
        assert_eq!(candidates.source == AccountSource::Log, replaced);
        let ids: Vec<Option<u64>> = candidates
            .processes
            .iter()
            .map(|process| process.cgroup_id)
            .collect();
        let expected = if replaced {
            vec![None, Some(102), None]
        } else {
            vec![Some(102)]
        };
        assert_eq!(ids, expected);
    }
}

#[test]
fn statistics_with_pending_updates_are_replaced() {
    let parts = MemoryParts {
        anon_bytes: Some(100),
        ..MemoryParts::default()
    };
    let mut account = Account {
        memory: Some(memory(AccountSource::Kernel, true, parts)),
        ..Account::default()
    };
    account.complete_with(&log());
    let completed = account.memory.expect("memory");
    assert!(!completed.unflushed);
    assert_eq!(completed.source, AccountSource::Log);
    assert_eq!(completed.usage_bytes, Some(1000));
    assert_eq!(completed.peak_bytes, Some(1001));
    assert_eq!(completed.parts.anon_bytes, Some(500));
    // Counters without statistics replace nothing.
    let mut account = Account {
        memory: Some(memory(AccountSource::Kernel, true, parts)),
        ..Account::default()
    };
    let counters = memory(AccountSource::Log, false, MemoryParts::default());
    account.complete_with(&Account {
        memory: Some(counters),
        ..Account::default()
    });
    assert_eq!(account.memory.expect("memory").parts, parts);
}

#[test]
fn memory_of_the_node_is_not_mixed_with_that_of_a_cgroup() {
    let mut account = Account {
        memory: Some(Memory {
            of: MemoryOf::Node,
            ..memory(AccountSource::Kernel, false, MemoryParts::default())
        }),
        ..Account::default()
    };
    let before = account.memory;
    account.complete_with(&log());
    assert_eq!(account.memory, before);
}

#[test]
fn kernel_memory_is_not_counted_twice() {
    // The log's other kernel memory contains the page tables that the kernel's record has of their own.
    let own = MemoryParts {
        pagetables_bytes: Some(50),
        ..MemoryParts::default()
    };
    let log = MemoryParts {
        sock_bytes: Some(5),
        kernel_other_bytes: Some(300),
        ..MemoryParts::default()
    };
    let mut parts = own;
    parts.complete_with(&log);
    assert_eq!(parts.kernel_other_bytes, None);
    assert_eq!(parts.sock_bytes, Some(5));
    // And the other way round.
    let mut parts = log;
    parts.complete_with(&own);
    assert_eq!(parts.pagetables_bytes, None);
    assert_eq!(parts.kernel_other_bytes, Some(300));
    // The log knows all kinds that the kernel's record has.
    let mut parts = own;
    parts.complete_with(&MemoryParts {
        pagetables_bytes: Some(60),
        ..log
    });
    assert_eq!(parts.pagetables_bytes, Some(50));
    assert_eq!(parts.kernel_other_bytes, Some(300));
}
