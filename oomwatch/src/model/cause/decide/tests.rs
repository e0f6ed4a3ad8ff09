use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    model::{
        account::{
            Account, AccountSource, Candidate, Candidates, Exclusion, Memory, MemoryKind, MemoryOf,
            MemoryParts, ProcessMemory, Zone,
        },
        cause::CauseKind,
        kill::{Allocation, Constraint, Scope},
        limit_owner::LimitOwner,
        report::{Explanation, PodUsage},
    },
    testing::{self, HOSTILE},
};

const MIB: u64 = 1 << 20;

/// A kill at a limit of 1000 MiB; the victim is process 14665, `tail`, and held 50 MiB.
fn report() -> Report {
    let mut report = testing::report();
    report.explanation = None;
    report.kill.account = None;
    report.kill.trigger = None;
    report.kill.allocation = None;
    report.kill.limits[0].limit_bytes = Some(1000 * MIB);
    report.kill.limits[0].usage_bytes = Some(1000 * MIB);
    held(&mut report, 50);
    report
}

fn held(report: &mut Report, mib: u64) {
    report.kill.victim.anon_rss_bytes = Some(mib * MIB);
    report.kill.victim.shmem_rss_bytes = Some(0);
}

fn process(pid: u32, comm: &str, anon_mib: u64, excluded: Option<Exclusion>) -> Candidate {
    Candidate {
        pid,
        comm: comm.as_bytes().to_vec(),
        uid: None,
        memory: ProcessMemory {
            anon_rss_bytes: anon_mib * MIB,
            ..ProcessMemory::default()
        },
        is_rss_split: true,
        oom_score_adj: 0,
        oom_points: None,
        excluded,
        cgroup_id: None,
    }
}

fn candidates(processes: Vec<Candidate>) -> Candidates {
    let scored = processes.iter().filter(|one| one.excluded.is_none());
    let sum = scored.clone().map(|one| one.memory.anon_rss_bytes).sum();
    Candidates {
        source: AccountSource::Kernel,
        complete: true,
        scored: scored.count() as u64,
        excluded: 0,
        rss_error_bytes: 0,
        sum: ProcessMemory {
            anon_rss_bytes: sum,
            ..ProcessMemory::default()
        },
        processes,
    }
}

/// The log of cgroup v1 has one number for all memory of the kernel.
#[test]
fn page_tables_of_the_processes_are_taken_out_of_the_kernels_one_number() {
    for (tables_mib, kind) in [(550, CauseKind::PageTables), (40, CauseKind::KernelMemory)] {
        let mut report = report();
        let mut candidates = candidates(vec![process(7, "db", 100, None)]);
        candidates.sum.pgtables_bytes = tables_mib * MIB;
        let parts = MemoryParts {
            anon_bytes: Some(200 * MIB),
            kernel_other_bytes: Some(800 * MIB),
            ..MemoryParts::default()
        };
        report.kill.account = Some(Arc::new(Account {
            candidates: Some(candidates),
            memory: Some(Memory {
                source: AccountSource::Log,
                ..memory_of(MemoryOf::Cgroup, 1000, parts)
            }),
            ..Account::default()
        }));
        assert_eq!(decide(&report).kind, kind, "{tables_mib}");
    }
}

fn memory_of(of: MemoryOf, mib: u64, parts: MemoryParts) -> Memory {
    Memory {
        of,
        source: AccountSource::Kernel,
        unflushed: false,
        usage_bytes: Some(mib * MIB),
        limit_bytes: Some(1000 * MIB),
        peak_bytes: None,
        swap_bytes: None,
        parts,
    }
}

fn memory(parts: MemoryParts) -> Memory {
    memory_of(MemoryOf::Cgroup, 1000, parts)
}

fn with(mut report: Report, change: impl FnOnce(&mut Account)) -> Report {
    let mut account = report
        .kill
        .account
        .take()
        .map(Arc::unwrap_or_clone)
        .unwrap_or_default();
    change(&mut account);
    report.kill.account = Some(Arc::new(account));
    report
}

fn said(report: &Report) -> String {
    let Cause {
        kind,
        share_permille,
        sentence,
        pod_sentence,
    } = decide(report);
    let share = share_permille.map_or_else(String::new, |share| format!(" {share}"));
    let pod = pod_sentence.map_or_else(String::new, |pod| format!(" | {pod}"));
    format!("{}{share}: {sentence}{pod}", kind.as_str())
}

/// A report with these kinds of memory, in MiB, and its candidates.
fn kinds(kinds: &[(MemoryKind, u64)]) -> MemoryParts {
    let mut parts = MemoryParts::default();
    for &(kind, mib) in kinds {
        let bytes = Some(mib * MIB);
        match kind {
            MemoryKind::Anon => parts.anon_bytes = bytes,
            MemoryKind::Shmem => parts.shmem_bytes = bytes,
            MemoryKind::File => parts.file_bytes = bytes,
            MemoryKind::KernelOther => parts.kernel_other_bytes = bytes,
            MemoryKind::SlabUnreclaimable => parts.slab_unreclaimable_bytes = bytes,
            MemoryKind::Sock => parts.sock_bytes = bytes,
            MemoryKind::PageTables => parts.pagetables_bytes = bytes,
            _ => unreachable!("not used here"),
        }
    }
    parts
}

#[test]
fn kind_that_holds_half_of_the_limit_is_the_cause() {
    use MemoryKind::{Anon, File, KernelOther, PageTables, Shmem, SlabUnreclaimable, Sock};
    let said: Vec<String> = [
        &[(Shmem, 812), (Anon, 180)][..],
        &[(File, 600), (Anon, 390)],
        &[(SlabUnreclaimable, 300), (KernelOther, 300), (Anon, 390)],
        &[(Sock, 700), (Anon, 200)],
        &[(PageTables, 500), (Anon, 480)],
        // Not half.
        &[(Shmem, 499), (Anon, 490)],
        // The remainder could be of another kind.
        &[(Shmem, 500), (Anon, 100)],
    ]
    .into_iter()
    .map(|parts| {
        said(&with(report(), |account| {
            account.memory = Some(memory(kinds(parts)));
        }))
    })
    .collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn what_outlives_the_victim_is_a_cause_and_its_own_memory_is_not() {
    use MemoryKind::{Anon, File, Shmem};
    let of = |parts: &[(MemoryKind, u64)]| {
        let mut memory = memory(kinds(parts));
        memory.source = AccountSource::After;
        memory.usage_bytes = Some(parts.iter().map(|(_, mib)| mib * MIB).sum());
        decide(&with(report(), |account| account.memory = Some(memory))).kind
    };
    assert_eq!(of(&[(Shmem, 600), (Anon, 10)]), CauseKind::Shmem);
    // Half of what is left, not of the limit.
    assert_eq!(of(&[(Shmem, 400), (Anon, 10)]), CauseKind::Unknown);
    assert_eq!(of(&[(Anon, 900)]), CauseKind::Unknown);
    assert_eq!(of(&[(File, 900)]), CauseKind::Unknown);
    let mut lowered = report();
    lowered.kill.limits[0].usage_bytes = Some(900 * MIB);
    assert_ne!(decide(&lowered).kind, CauseKind::LimitLowered);
}

#[test]
fn processes_are_one_or_many() {
    let anon = memory(kinds(&[(MemoryKind::Anon, 950)]));
    let of = |processes: Vec<Candidate>, error: u64, complete| {
        let mut candidates = candidates(processes);
        candidates.rss_error_bytes = error * MIB;
        candidates.complete = complete;
        with(report(), |account| {
            account.memory = Some(anon);
            account.candidates = Some(candidates);
        })
    };
    let neighbour = || {
        vec![
            process(7, "worker", 900, None),
            process(14665, "tail", 50, None),
        ]
    };
    let mut alone = of(vec![process(14665, "tail", 500, None)], 200, true);
    held(&mut alone, 520);
    let many = || (0..9).map(|pid| process(pid, "w", 105, None)).collect();
    let said: Vec<String> = [
        // An idle process killed because of a growing neighbour.
        said(&of(neighbour(), 0, true)),
        // The victim's own counters are exact.
        said(&alone),
        said(&of(many(), 0, true)),
        // The largest may not be among those that were seen.
        said(&of(many(), 0, false)),
        // The error of the counters could turn the answer.
        said(&of(
            vec![process(7, "worker", 550, None), process(8, "w", 400, None)],
            64,
            true,
        )),
        said(&of(
            vec![process(7, "worker", 460, None), process(8, "w", 440, None)],
            64,
            true,
        )),
    ]
    .into();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn without_statistics_the_processes_decide() {
    let of = |processes| {
        with(report(), |account| {
            account.candidates = Some(candidates(processes));
        })
    };
    let mut alone = report();
    held(&mut alone, 700);
    let said: Vec<String> = [
        said(&of(vec![process(7, "worker", 900, None)])),
        said(&of(vec![process(7, "worker", 100, None)])),
        said(&alone),
        said(&report()),
    ]
    .into();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn lowered_limit_is_seen_in_the_stack_or_by_the_trigger() {
    let mut stack = report();
    stack.kill.limit_lowered = Some(true);
    stack.kill.limits[0].limit_bytes = Some(400 * MIB);
    let mut outside = report();
    outside.kill.limits[0].limit_bytes = Some(40 * MIB);
    outside.kill.limits[0].usage_bytes = Some(200 * MIB);
    outside.kill.trigger = testing::kill().trigger;
    let trigger = outside.kill.trigger.as_mut().expect("a trigger");
    trigger.cgroup = Some(testing::cgroup("/system.slice/sshd.service", 9));
    assert_eq!(decide(&stack).kind, CauseKind::LimitLowered);
    insta::assert_snapshot!(format!("{}\n{}", said(&stack), said(&outside)));
    // A kernel thread may charge on behalf of the cgroup: the usage is not above the limit.
    outside.kill.limits[0].usage_bytes = Some(40 * MIB);
    assert_ne!(decide(&outside).kind, CauseKind::LimitLowered);
    outside.kill.limits[0].usage_bytes = Some(200 * MIB);
    outside.kill.limit_lowered = Some(false);
    assert_ne!(decide(&outside).kind, CauseKind::LimitLowered);
}

#[test]
fn statistics_that_lag_behind_decide_nothing() {
    let lagging = |unflushed| {
        let mut report = report();
        held(&mut report, 900);
        let parts = MemoryParts {
            anon_bytes: Some(0),
            shmem_bytes: Some(300 * MIB),
            ..MemoryParts::default()
        };
        let memory = Memory {
            unflushed,
            ..memory(parts)
        };
        decide(&with(report, |account| account.memory = Some(memory))).kind
    };
    assert_eq!(lagging(true), CauseKind::OneProcess);
    assert_ne!(lagging(false), CauseKind::OneProcess);
}

#[test]
fn limit_above_the_victim_is_shared_with_others() {
    let mut pods = report();
    pods.limit_owner = Some(LimitOwner::Kubepods);
    let mut pods = with(pods, |account| {
        let processes = vec![
            process(7, "other", 800, None),
            process(14665, "tail", 50, None),
        ];
        account.candidates = Some(candidates(processes));
    });
    let mut slice = report();
    slice.limit_owner = Some(LimitOwner::Slice);
    slice.container = None;
    slice.pod = None;
    slice.unit = Some("web.service".to_owned());
    slice.kill.limits[0].cgroup.path = b"/web.slice".to_vec();
    let own = said(&pods);
    // Its owner is known to be in the same pod.
    let owner = testing::explanation().owners;
    pods.explanation = Some(Explanation {
        owners: owner,
        ..Explanation::default()
    });
    insta::assert_snapshot!([own, said(&pods), said(&slice)].join("\n"));
}

#[test]
fn processes_that_may_not_be_killed_are_named_as_such() {
    let adj = Some(Exclusion::OomScoreAdj);
    let report = with(report(), |account| {
        account.candidates = Some(candidates(vec![
            process(14665, "tail", 50, None),
            process(7, "guard", 600, adj),
            process(8, "guard", 300, adj),
        ]));
    });
    insta::assert_snapshot!(said(&report));
}

fn system() -> Report {
    let mut report = report();
    report.kill.scope = Scope::System;
    report.kill.constraint = Some(Constraint::None);
    report.kill.oom_level = None;
    report.limit_owner = Some(LimitOwner::Node);
    report
}

fn zone(node: u32, name: &str, free_mib: u64, free_blocks: Vec<u64>) -> Zone {
    Zone {
        node,
        name: name.to_owned(),
        free_bytes: free_mib * MIB,
        min_bytes: Some(40 * MIB),
        managed_bytes: Some(1000 * MIB),
        free_blocks,
    }
}

fn ordered(mut report: Report, order: i32) -> Report {
    report.kill.allocation = Some(Allocation {
        order,
        gfp_mask: 0,
        total_pages: None,
    });
    report
}

#[test]
fn system_oom_names_what_ate_the_node_or_why_free_memory_did_not_help() {
    let node = memory_of(MemoryOf::Node, 990, kinds(&[(MemoryKind::Anon, 900)]));
    let shmem = memory_of(MemoryOf::Node, 990, kinds(&[(MemoryKind::Shmem, 700)]));
    let mut cpuset = with(system(), |account| {
        account.zones = vec![
            zone(0, "Normal", 10, vec![]),
            zone(1, "Normal", 900, vec![]),
        ];
    });
    cpuset.kill.constraint = Some(Constraint::Cpuset);
    let mut policy = system();
    policy.kill.constraint = Some(Constraint::MemoryPolicy);
    let pieces = |blocks| {
        with(system(), |account| {
            account.zones = vec![zone(0, "Normal", 200, blocks)];
        })
    };
    let mut pods = with(system(), |account| account.memory = Some(node));
    let pod = |name: &str, usage_mib: u64| PodUsage {
        namespace: "batch".to_owned(),
        name: name.to_owned(),
        usage_bytes: usage_mib * MIB,
        request_bytes: 100 * MIB,
        limit_bytes: None,
        oom_score_adj: None,
    };
    pods.explanation = Some(Explanation {
        pods: vec![pod("etl-1", 700), pod("etl-2", 90)],
        ..Explanation::default()
    });
    let one = with(system(), |account| {
        account.memory = Some(node);
        account.candidates = Some(candidates(vec![process(7, "db", 800, None)]));
    });
    let many = with(system(), |account| {
        account.memory = Some(node);
        account.candidates = Some(candidates(vec![
            process(7, "db", 300, None),
            process(8, "w", 290, None),
        ]));
    });
    let said: Vec<String> = [
        said(&cpuset),
        said(&policy),
        said(&ordered(pieces(vec![900, 7, 0, 0]), 2)),
        // There was a block that is large enough.
        said(&ordered(pieces(vec![900, 7, 0, 1]), 2)),
        said(&pods),
        said(&with(system(), |account| account.memory = Some(shmem))),
        said(&one),
        said(&many),
        said(&system()),
        said(&ordered(system(), -1)),
    ]
    .into();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn nothing_known_is_unknown_and_no_account_has_no_cause() {
    let mut report = testing::minimal_report();
    assert_eq!(decide(&report).kind, CauseKind::Unknown);
    explain(&mut report);
    assert_eq!(report.explanation, None);
    report.kill.account = Some(Arc::new(Account::default()));
    explain(&mut report);
    let cause = report
        .explanation
        .and_then(|why| why.cause)
        .expect("a cause");
    assert_eq!(cause.kind, CauseKind::Unknown);
}

proptest! {
    #[test]
    fn any_account_has_a_printable_sentence(
        numbers in prop::collection::vec(any::<u64>(), 12),
        order in -1..40_i32,
        owner in prop::sample::select(vec![None, Some(LimitOwner::Pod), Some(LimitOwner::Kubepods), Some(LimitOwner::Cgroup)]),
        scope in prop::sample::select(vec![Scope::Memcg, Scope::System, Scope::Unknown]),
        name in 0..HOSTILE.len(),
        complete in any::<bool>(),
    ) {
        let mut report = testing::report();
        report.limit_owner = owner;
        report.kill.scope = scope;
        report.kill.limits[0].limit_bytes = Some(numbers[0]);
        report.kill.limits[0].usage_bytes = Some(numbers[1]);
        report.kill.victim.anon_rss_bytes = Some(numbers[2]);
        report = ordered(report, order);
        let report = with(report, |account| {
            let candidates = account.candidates.as_mut().expect("candidates");
            candidates.complete = complete;
            candidates.rss_error_bytes = numbers[3];
            candidates.sum.anon_rss_bytes = numbers[4];
            candidates.scored = numbers[5];
            let process = &mut candidates.processes[1];
            process.comm = HOSTILE[name].to_vec();
            process.memory.anon_rss_bytes = numbers[6];
            process.memory.shmem_rss_bytes = numbers[7];
            candidates.processes[2].memory.anon_rss_bytes = numbers[8];
            let memory = account.memory.as_mut().expect("memory");
            memory.usage_bytes = Some(numbers[9]);
            memory.parts.anon_bytes = Some(numbers[10]);
            memory.parts.shmem_bytes = Some(numbers[11]);
        });
        let Cause { kind, share_permille, sentence, pod_sentence } = decide(&report);
        prop_assert!(share_permille.is_none_or(|share| share <= 1000));
        for sentence in pod_sentence.iter().chain([&sentence]) {
            prop_assert!(sentence.chars().all(|char| !char.is_control()), "{sentence:?}");
            prop_assert!(sentence.ends_with('.') || sentence.ends_with(").") , "{kind:?} {sentence}");
            prop_assert!(sentence.len() < 400, "{sentence}");
        }
    }
}
