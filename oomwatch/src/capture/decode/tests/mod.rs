mod account;
mod call;
mod malformed;
mod paths;

use oomwatch_ebpf::record::{MISSING_STACK, STACK_FRAMES};

use super::*;
use crate::{
    model::backend::Backend,
    testing::{NO_LIMIT, RecordBuilder, cgroup, check_seed, level, signal_record, stack},
};

const PAGE: u64 = 4096;

fn marked(record: RecordBuilder) -> VictimMark {
    match decode(&record.bytes(), PAGE).expect("a record") {
        Observation::Mark(mark) => *mark,
        other => panic!("not a mark: {other:?}"),
    }
}

fn signalled(record: &SignalRecord) -> Signal {
    match decode(record.as_bytes(), PAGE).expect("a record") {
        Observation::Signal(signal) => *signal,
        other => panic!("not a signal: {other:?}"),
    }
}

/// What [`RecordBuilder::new`] decodes to.
fn full_mark() -> VictimMark {
    VictimMark {
        backend: Backend::RawTracepoint,
        call: None,
        account_boot_time_ns: None,
        boot_time_ns: 9_000_000_001,
        sigkill: Sigkill::Sent,
        victim: Victim {
            pid: 4242,
            tid: 4243,
            ns_pid: Some(1),
            comm: Some(b"tail".to_vec()),
            uid: Some(65534),
            oom_score_adj: Some(-997),
            oom_points: None,
            total_vm_bytes: Some(1000 * PAGE),
            anon_rss_bytes: Some(101 * PAGE),
            file_rss_bytes: Some(102 * PAGE),
            shmem_rss_bytes: Some(103 * PAGE),
            swap_bytes: Some(104 * PAGE),
            pgtables_bytes: Some(105),
            start_boot_time_ns: Some(8_000_000_002),
            cgroup: Some(cgroup("/a/b", 20)),
            leaf_cgroup: None,
            is_namespace_init: Some(true),
        },
        trigger: Trigger {
            pid: Some(777),
            tid: Some(778),
            comm: Some(b"trigger-thread".to_vec()),
            cgroup: Some(cgroup("/c", 30)),
        },
        limits: vec![
            Limit {
                cgroup: cgroup("/a/b", 20),
                usage_bytes: Some(256 * PAGE),
                limit_bytes: Some(256 * PAGE),
                swap_usage_bytes: Some(0),
                swap_limit_bytes: None,
            },
            Limit {
                cgroup: cgroup("/a", 10),
                usage_bytes: Some(300 * PAGE),
                limit_bytes: None,
                swap_usage_bytes: Some(0),
                swap_limit_bytes: None,
            },
        ],
        levels: vec![
            LevelState {
                free_pages: Some(0),
                ..LevelState::default()
            },
            LevelState::default(),
        ],
        cgroup_v1: false,
        stack: vec![0xffff_ffff_8120_0150, 0xffff_ffff_8120_0250],
        missing: vec![],
    }
}

#[test]
fn fuzz_seeds_are_these_records() {
    check_seed("record", "victim", &RecordBuilder::new().bytes());
    check_seed("record", "signal", signal_record().as_bytes());
}

#[test]
fn full_record_gives_every_field() {
    assert_eq!(marked(RecordBuilder::new()), full_mark());
}

#[test]
fn signal_record_gives_every_field() {
    let expected = Signal {
        boot_time_ns: 9_000_000_003,
        relation: Relation::Rekill,
        pid: 4242,
        tid: 4244,
        comm: b"tail".to_vec(),
        start_boot_time_ns: 8_000_000_002,
        sender_tid: 778,
        sender_exiting: false,
        is_certain: false,
        stack: vec![0xffff_ffff_8120_0150],
    };
    assert_eq!(signalled(&signal_record()), expected);

    let mm_sharer = SignalRecord {
        relation: RELATION_MM_SHARER,
        total_sharers: 9,
        sender_exiting: 1,
        ..signal_record()
    };
    let expected = Signal {
        relation: Relation::MmSharer {
            victim_pid: 4241,
            total: 9,
        },
        sender_exiting: true,
        is_certain: false,
        ..expected
    };
    assert_eq!(signalled(&mm_sharer), expected);
}

#[test]
fn signal_before_a_mark_is_decoded() {
    for (signal, expected) in [
        (SIGNAL_NONE, Sigkill::None),
        (SIGNAL_SENT, Sigkill::Sent),
        (SIGNAL_REPORTED, Sigkill::Reported),
    ] {
        let mark = marked(RecordBuilder::new().set(|record| record.signal = signal));
        assert_eq!(mark.sigkill, expected);
    }
}

#[test]
fn missing_fact_is_absent_and_named_and_nothing_else_changes() {
    type Loss = (u64, &'static str, fn(&mut VictimMark));
    let losses: &[Loss] = &[
        (MISSING_COMM, "comm", |mark| mark.victim.comm = None),
        (MISSING_START_TIME, "start_time", |mark| {
            mark.victim.start_boot_time_ns = None;
        }),
        (MISSING_UID, "uid", |mark| mark.victim.uid = None),
        (MISSING_OOM_SCORE_ADJ, "oom_score_adj", |mark| {
            mark.victim.oom_score_adj = None;
        }),
        (MISSING_TOTAL_VM, "total_vm_bytes", |mark| {
            mark.victim.total_vm_bytes = None;
        }),
        (MISSING_ANON_RSS, "anon_rss_bytes", |mark| {
            mark.victim.anon_rss_bytes = None;
        }),
        (MISSING_FILE_RSS, "file_rss_bytes", |mark| {
            mark.victim.file_rss_bytes = None;
        }),
        (MISSING_SHMEM_RSS, "shmem_rss_bytes", |mark| {
            mark.victim.shmem_rss_bytes = None;
        }),
        (MISSING_SWAP, "swap_bytes", |mark| {
            mark.victim.swap_bytes = None;
        }),
        (MISSING_PGTABLES, "pgtables_bytes", |mark| {
            mark.victim.pgtables_bytes = None;
        }),
        (MISSING_NS_PID, "ns_pid", |mark| {
            mark.victim.ns_pid = None;
            mark.victim.is_namespace_init = None;
        }),
        (MISSING_TRIGGER, "trigger", |mark| mark.trigger.comm = None),
    ];
    for &(bit, name, lose) in losses {
        let mut expected = full_mark();
        lose(&mut expected);
        expected.missing = vec![name];
        let mark = marked(RecordBuilder::new().set(|record| record.missing = bit));
        assert_eq!(mark, expected, "{name}");
    }
    // Tests of their own: the first gives a thread mark, the second an error.
    let own_tests = [MISSING_TASK, MISSING_TGID];
    let of_a_call = ["oom_cgroup", "constraint", "allocation", "oom_points"];
    // Tests of their own: these leave other fields empty too.
    let with_data = [MISSING_CGROUP, MISSING_LIMITS, MISSING_STACK];
    assert_eq!(
        losses.len() + own_tests.len() + with_data.len() + of_a_call.len(),
        MISSING_NAMES.len(),
        "a bit without a test"
    );
}

#[test]
fn failed_stack_is_empty_and_named() {
    let record = RecordBuilder::new().set(|record| {
        record.missing = MISSING_STACK;
        record.stack.length = -14;
    });
    let expected = VictimMark {
        stack: vec![],
        missing: vec!["stack"],
        ..full_mark()
    };
    assert_eq!(marked(record), expected);
}

#[test]
fn unread_memory_cgroup_has_no_path_and_no_limits() {
    let record = RecordBuilder::new()
        .victim_names(b"")
        .levels(&[])
        .set(|record| {
            record.missing = MISSING_CGROUP | MISSING_LIMITS;
            record.victim.memcg_id = 0;
        });
    let mut expected = full_mark();
    expected.victim.cgroup = None;
    expected.victim.is_namespace_init = None;
    expected.limits = vec![];
    expected.levels = vec![];
    expected.missing = vec!["cgroup", "limits"];
    assert_eq!(marked(record), expected);
}

#[test]
fn every_missing_fact_is_named_once() {
    let all = MISSING_NAMES.iter().fold(0, |all, (bit, _)| all | bit);
    let record = RecordBuilder::new()
        .victim_names(b"")
        .set(|record| record.missing = all & !(MISSING_TASK | MISSING_TGID));
    let names: Vec<_> = MISSING_NAMES
        .iter()
        .filter(|(bit, _)| bit & (MISSING_TASK | MISSING_TGID) == 0)
        .map(|&(_, name)| name)
        .collect();
    assert_eq!(marked(record).missing, names);
}

#[test]
fn mark_of_an_unknown_task_keeps_its_thread_id() {
    let record = RecordBuilder::new().set(|record| record.missing = MISSING_TASK | MISSING_TGID);
    assert_eq!(
        decode(&record.bytes(), PAGE),
        Ok(Observation::ThreadMark {
            boot_time_ns: 9_000_000_001,
            tid: 4243
        })
    );
}

#[test]
fn comm_ends_at_its_first_nul() {
    for (bytes, expected) in [
        (*b"tail\0residue\0...", &b"tail"[..]),
        (*b"\0residue of old.", b""),
        (*b"fifteen-bytes-x\0", b"fifteen-bytes-x"),
        (*b"no-nul-at-all-16", b"no-nul-at-all-16"),
        (*b"a\nb\x1b\xff \0\0\0\0\0\0\0\0\0\0", b"a\nb\x1b\xff "),
    ] {
        let mark = marked(RecordBuilder::new().set(|record| {
            record.victim.comm = bytes;
            record.trigger.comm = bytes;
        }));
        assert_eq!(mark.victim.comm.as_deref(), Some(expected));
        assert_eq!(mark.trigger.comm.as_deref(), Some(expected));
    }
}

#[test]
fn quantities_depend_on_the_page_size() {
    for page_bytes in [4096, 16384, 65536] {
        let no_limit = i64::MAX.unsigned_abs() / page_bytes;
        let record = RecordBuilder::new()
            .levels(&[level(20, 256, no_limit - 1), level(10, 300, no_limit)])
            .set(|record| record.anon_rss_pages = 3);
        let Ok(Observation::Mark(mark)) = decode(&record.bytes(), page_bytes) else {
            panic!("not a mark");
        };
        assert_eq!(mark.victim.anon_rss_bytes, Some(3 * page_bytes));
        assert_eq!(mark.victim.total_vm_bytes, Some(1000 * page_bytes));
        assert_eq!(mark.victim.pgtables_bytes, Some(105));
        assert_eq!(mark.limits[0].usage_bytes, Some(256 * page_bytes));
        assert_eq!(
            mark.limits[0].limit_bytes,
            Some((no_limit - 1) * page_bytes)
        );
        assert_eq!(mark.limits[1].limit_bytes, None, "PAGE_COUNTER_MAX");
        assert_eq!(mark.levels[1].free_pages, None);
    }
}

#[test]
fn negative_counts_are_zero_and_huge_ones_saturate() {
    let mark = marked(RecordBuilder::new().set(|record| {
        record.anon_rss_pages = -1;
        record.file_rss_pages = i64::MIN;
        record.shmem_rss_pages = i64::MAX;
        record.swap_pages = i64::MAX;
        record.total_vm_pages = u64::MAX;
    }));
    assert_eq!(mark.victim.anon_rss_bytes, Some(0));
    assert_eq!(mark.victim.file_rss_bytes, Some(0));
    assert_eq!(mark.victim.shmem_rss_bytes, Some(u64::MAX));
    assert_eq!(mark.victim.swap_bytes, Some(u64::MAX));
    assert_eq!(mark.victim.total_vm_bytes, Some(u64::MAX));
}

#[test]
fn level_gives_the_pages_below_its_limit() {
    let swap = |mut level: Level, usage, limit| {
        level.swap_usage_pages = usage;
        level.swap_limit_pages = limit;
        level
    };
    let levels = [
        swap(level(20, 90, 100), 195, 200),
        swap(level(10, 300, 100), 0, 0),
    ];
    let free = |flags| {
        let record = RecordBuilder::new().levels(&levels);
        marked(record.set(|record| record.flags = flags))
            .levels
            .iter()
            .map(|level| (level.free_pages, level.memsw_free_pages))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        free(FLAG_CGROUP_V1),
        [(Some(10), Some(5)), (Some(0), Some(0))]
    );
    // On cgroup v2 the second counter is swap alone, and a swap limit of 0 is not out of memory.
    assert_eq!(free(0), [(Some(10), None), (Some(0), None)]);
}

#[test]
fn level_flags_are_read_one_by_one() {
    let flagged = |flags| {
        let level = Level {
            swap_usage_pages: 7,
            swap_limit_pages: 9,
            flags,
            ..level(20, 90, 100)
        };
        let record = RecordBuilder::new().levels(&[level]);
        let mark = marked(record.set(|record| record.flags = FLAG_CGROUP_V1));
        (mark.limits[0].clone(), mark.levels[0])
    };
    let (limit, state) = flagged(0);
    assert_eq!(limit.swap_usage_bytes, Some(7 * PAGE));
    assert_eq!(limit.swap_limit_bytes, Some(9 * PAGE));
    assert!(!state.oom_lock && !state.oom_group);

    let changed = |change: fn(&mut Limit, &mut LevelState)| {
        let mut changed = (limit.clone(), state);
        change(&mut changed.0, &mut changed.1);
        changed
    };
    assert_eq!(flagged(LEVEL_OOM_LOCK), changed(|_, s| s.oom_lock = true));
    assert_eq!(flagged(LEVEL_OOM_GROUP), changed(|_, s| s.oom_group = true));
    assert_eq!(flagged(LEVEL_NO_ID), changed(|l, _| l.cgroup.id = None));
    let no_memory = changed(|limit, state| {
        limit.usage_bytes = None;
        limit.limit_bytes = None;
        state.free_pages = None;
    });
    assert_eq!(flagged(LEVEL_NO_MEMORY), no_memory);
    let no_swap = changed(|limit, state| {
        limit.swap_usage_bytes = None;
        limit.swap_limit_bytes = None;
        state.memsw_free_pages = None;
    });
    assert_eq!(flagged(LEVEL_NO_SWAP), no_swap);
}

#[test]
fn stack_has_the_frames_that_were_read() {
    let frames = [1, 2, 3, 0, 5];
    for (length, expected) in [
        (-22, &[][..]),
        (i64::MIN, &[]),
        (0, &[]),
        (7, &[]),
        (16, &[1, 2]),
        (40, &[1, 2, 3]),
        (i64::MAX, &[1, 2, 3]),
    ] {
        let stack = Stack {
            length,
            ..stack(&frames)
        };
        let mark = marked(RecordBuilder::new().set(|record| record.stack = stack));
        assert_eq!(mark.stack, expected, "{length}");
        let signal = signalled(&SignalRecord {
            stack,
            ..signal_record()
        });
        assert_eq!(signal.stack, expected, "{length}");
    }
    let full = stack(&[9; STACK_FRAMES]);
    let mark = marked(RecordBuilder::new().set(|record| record.stack = full));
    assert_eq!(mark.stack.len(), STACK_FRAMES);
}

#[test]
fn namespace_init_is_pid_one_of_a_namespace_of_its_cgroup_alone() {
    const YES: Option<bool> = Some(true);
    const NO: Option<bool> = Some(false);
    /// Memory cgroup ids of the victim, of its namespace's init and of the outer namespace's init; nesting level; pid in the
    /// namespace.
    type Case = ((u64, u64, u64), u32, u32, Option<bool>, &'static str);
    let cases: &[Case] = &[
        ((20, 20, 1), 1, 1, YES, "container's init"),
        ((20, 20, 0), 1, 1, YES, "outer init not read"),
        ((20, 20, 1), 1, 7, NO, "child in a container"),
        ((20, 20, 19), 2, 1, YES, "container on a kind node"),
        ((20, 20, 20), 2, 1, NO, "namespace inside a container"),
        ((20, 20, 20), 2, 5, NO, "child in that namespace"),
        ((20, 1, 0), 0, 1, None, "host's namespace"),
        ((20, 20, 0), 0, 1, None, "init in the host's namespace"),
        ((20, 19, 1), 1, 1, None, "namespace shared by a pod"),
        ((20, 19, 1), 1, 9, None, "sidecar in a shared namespace"),
        ((20, 0, 1), 1, 1, None, "init not read"),
        ((0, 0, 0), 1, 1, None, "no memory cgroup read"),
    ];
    for &((own, init, outer), ns_level, ns_pid, expected, what) in cases {
        let mark = marked(RecordBuilder::new().set(|record| {
            record.victim.memcg_id = own;
            record.ns_init_memcg_id = init;
            record.parent_ns_init_memcg_id = outer;
            record.ns_level = ns_level;
            record.ns_pid = ns_pid;
        }));
        assert_eq!(mark.victim.is_namespace_init, expected, "{what}");
    }
}

#[test]
fn cgroup_that_ran_out_above_the_levels_is_the_last_one() {
    let path = "/19/18/17/16/15/14/13/12/11/10/9/8/7/6/5/4/3/2/1/0";
    let levels: Vec<_> = (0..16).map(|id| level(100 + id, 1, NO_LIMIT)).collect();
    let far = |distance, flags| {
        let record = RecordBuilder::new()
            .victim_path(path.as_bytes())
            .trigger_names(b"")
            .levels(&levels);
        marked(record.set(|record| {
            record.trigger.memcg_id = record.victim.memcg_id;
            record.far_distance = distance;
            record.far_level = level(118, 3, 5);
            record.flags |= flags;
        }))
    };
    for (flags, oom_group) in [(0, false), (FLAG_FAR_OOM_GROUP, true)] {
        let mark = far(18, flags);
        assert_eq!((mark.limits.len(), mark.levels.len()), (17, 17));
        let last = &mark.limits[16];
        assert_eq!(last.cgroup, cgroup("/19/18", 118));
        assert_eq!(
            (last.usage_bytes, last.limit_bytes),
            (Some(3 * PAGE), Some(5 * PAGE))
        );
        assert_eq!(mark.levels[16].oom_group, oom_group);
        assert_eq!(mark.missing, ["limits"]);
    }
    // Not filled in, the root, above it, and nonsense.
    for distance in [0, 20, 21, u32::MAX, 1] {
        assert_eq!(far(distance, 0).limits.len(), 16, "{distance}");
    }
}
