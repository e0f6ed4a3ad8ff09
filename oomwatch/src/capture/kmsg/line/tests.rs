use proptest::prelude::*;

use super::*;

mod forged;

fn killed(text: &str) -> Killed<'_> {
    match parse(text.as_bytes()) {
        Some(Line::Killed(killed)) => killed,
        other => panic!("{text}: {other:?}"),
    }
}

const SIZES: &str = "total-vm:1460016kB, anon-rss:1414008kB, file-rss:4kB";

#[test]
fn kill_line_is_parsed_in_every_format() {
    let bare = Killed {
        message: Message::None,
        tid: 19667,
        comm: b"evil-program2",
        uid: None,
        total_vm_bytes: Some(1_460_016 << 10),
        anon_rss_bytes: Some(1_414_008 << 10),
        file_rss_bytes: Some(4 << 10),
        shmem_rss_bytes: None,
        pgtables_kilobytes: None,
        oom_score_adj: None,
    };
    let shmem = Killed {
        shmem_rss_bytes: Some(0),
        ..bare.clone()
    };
    let uid = Killed {
        uid: Some(27),
        ..bare.clone()
    };
    let new = |message| Killed {
        message,
        uid: Some(1000),
        pgtables_kilobytes: Some(84),
        oom_score_adj: Some(-997),
        ..shmem.clone()
    };
    let sizeless = Killed {
        total_vm_bytes: None,
        anon_rss_bytes: None,
        file_rss_bytes: None,
        ..bare.clone()
    };
    let tail = "shmem-rss:0kB, UID:1000 pgtables:84kB oom_score_adj:-997";
    for (text, expected) in [
        (
            format!("Killed process 19667 (evil-program2) {SIZES}"),
            bare.clone(),
        ),
        (
            format!("Killed process 19667 (evil-program2) {SIZES}, shmem-rss:0kB"),
            shmem.clone(),
        ),
        (
            format!("Killed process 19667, UID 27, (evil-program2) {SIZES}"),
            uid.clone(),
        ),
        (
            format!("Killed process 19667 (evil-program2), UID 27, {SIZES}"),
            uid.clone(),
        ),
        (
            "Killed process 19667 (evil-program2)".to_owned(),
            sizeless.clone(),
        ),
        (
            "Killed process 19667 (evil-program2).".to_owned(),
            sizeless.clone(),
        ),
        (
            format!(
                "Memory cgroup out of memory: Killed process 19667 (evil-program2) {SIZES}, {tail}"
            ),
            new(Message::Memcg),
        ),
        (
            format!("Out of memory: Killed process 19667 (evil-program2) {SIZES}, {tail}"),
            new(Message::System),
        ),
        (
            format!(
                "Out of memory (oom_kill_allocating_task): Killed process 19667 (evil-program2) {SIZES}, {tail} new_in:2030"
            ),
            new(Message::System),
        ),
        (
            format!("tenant 7: all used: Killed process 19667 (evil-program2) {SIZES}, {tail}"),
            new(Message::Other),
        ),
    ] {
        assert_eq!(killed(&text), expected, "{text}");
    }
}

#[test]
fn name_of_a_victim_may_have_any_bytes() {
    for name in [
        "foo",
        "Plex Media Server",
        "[",
        "()",
        "\"with quotes\"",
        "x) (y",
        ") total-vm:1kB",
        "h (o)g \"q,pid=1",
        "), UID 7, x",
        "",
        "Killed process ",
    ] {
        for text in [
            format!("Out of memory: Killed process 7 ({name}) {SIZES}"),
            format!("Killed process 7 ({name}) {SIZES}"),
            format!("Killed process 7, UID 1, ({name}) {SIZES}"),
            format!("Killed process 7 ({name}), UID 1, {SIZES}"),
        ] {
            let killed = killed(&text);
            assert_eq!(killed.tid, 7, "{text}");
            assert_eq!(killed.comm, name.as_bytes(), "{text}");
        }
    }
}

#[test]
fn incomplete_or_quoted_kill_line_is_no_kill() {
    for text in [
        // The beginning of a kill line: its rest may follow, or is cut off.
        "Out of memory: Killed process",
        "Out of memory: Killed process 7 (x",
        "Out of memory: Killed process 7 (x) total-vm:1k",
        "Out of memory: Killed process 7 (x) total-vm:1kB, anon-rss:x",
        "Out of memory: Killed process 99999999999 (x) total-vm:1kB",
    ] {
        let expected = text.contains("process ").then_some(Line::Incomplete);
        assert_eq!(parse(text.as_bytes()), expected, "{text}");
    }
    let kill = "Killed process 7 (x) total-vm:1kB, anon-rss:1kB, file-rss:1kB";
    for text in [
        format!("process '/tmp/a: {kill}' started with executable stack"),
        format!("cgroup: fork rejected by pids controller in /a: {kill}"),
        format!("Memory cgroup stats for /a: {kill}"),
        format!("a {kill}"),
        format!("we saw Memory cgroup out of memory: {kill}"),
        "x: Killed process 7 (x)".to_owned(),
        "x: Killed process 7 (x".to_owned(),
    ] {
        assert_eq!(parse(text.as_bytes()), None, "{text}");
    }
    let text = format!("Task in /a: {kill}");
    assert_eq!(parse(text.as_bytes()), Some(Line::Incomplete));
}

#[test]
fn paths_and_names_are_split_from_the_right() {
    let read = |text: &'static str| match parse(text.as_bytes()) {
        Some(Line::OomKill(line)) => line,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(
        read(
            "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=pod, (x),mems_allowed=0-1,oom_memcg=/pod, (x),task_memcg=/pod, (x)/in,ner=1,task=h (o)g \"q,pid=1,pid=93,uid=7"
        ),
        OomKill {
            constraint: b"MEMCG",
            scope: Scope::Memcg,
            oom_memcg: Some(b"/pod, (x)"),
            task_memcg: Some(b"/pod, (x)/in,ner=1"),
            comm: b"h (o)g \"q,pid=1",
            pid: 93,
            uid: 7,
        }
    );
    assert_eq!(
        read(
            "oom-kill:constraint=CONSTRAINT_CPUSET,nodemask=0,1,cpuset=n,mems_allowed=1,3-5,global_oom,task_memcg=/a,global_oom,task=a,task=b,pid=133,uid=0"
        ),
        OomKill {
            constraint: b"CPUSET",
            scope: Scope::System,
            oom_memcg: None,
            task_memcg: Some(b"/a,global_oom"),
            comm: b"a,task=b",
            pid: 133,
            uid: 0,
        }
    );
    assert_eq!(
        read(
            "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=ef8074,mems_allowed=0,oom_memcg=/kubepods/burstable/podfbdfe8e3-1c87-4ff2-907c-b2ec8e25d012,task_memcg=/kubepods/burstable/podfbdfe8e3-1c87-4ff2-907c-b2ec8e25d012/ef8074,task=manager,pid=966,uid=0"
        )
        .task_memcg,
        Some(&b"/kubepods/burstable/podfbdfe8e3-1c87-4ff2-907c-b2ec8e25d012/ef8074"[..])
    );
}

#[test]
fn trigger_and_allocation_are_parsed_in_old_and_new_format() {
    for (text, comm, gfp_mask, order) in [
        (
            "ruby invoked oom-killer: gfp_mask=0x201da, order=0, oom_score_adj=0",
            &b"ruby"[..],
            0x2_01da,
            0,
        ),
        (
            "a b invoked oom-killer: gfp_mask=0x6000c0(GFP_KERNEL), nodemask=(null),  order=3, oom_score_adj=999",
            b"a b",
            0x60_00c0,
            3,
        ),
        (
            "kworker/1:1 invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=-1, oom_score_adj=0",
            b"kworker/1:1",
            0xcc0,
            -1,
        ),
        (
            "httpd invoked oom-killer: gfp_mask=0x201da, order=0, oom_adj=0",
            b"httpd",
            0x2_01da,
            0,
        ),
        (
            "oom-kill: invoked oom-killer: gfp_mask=0x0, order=0, oom_score_adj=0",
            b"oom-kill:",
            0,
            0,
        ),
        (
            "[x invoked oom-killer: gfp_mask=0x0, order=0, oom_score_adj=0",
            b"[x",
            0,
            0,
        ),
    ] {
        let expected = Line::Invoked {
            comm,
            gfp_mask,
            order,
        };
        assert_eq!(parse(text.as_bytes()), Some(expected), "{text}");
    }
    for text in [
        "x invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), nodemask=(null)",
        "x invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0",
        "x invoked oom-killer: ",
        "x invoked oom-killer: gfp_mask=0x11111111111111111, order=0, oom_score_adj=0",
    ] {
        assert_eq!(parse(text.as_bytes()), Some(Line::Incomplete), "{text}");
    }
}

#[test]
fn counters_of_a_cgroup_are_parsed_and_no_limit_is_absent() {
    let usage = |counter, limit_bytes| {
        Some(Line::Usage {
            counter,
            usage_bytes: 20480 << 10,
            limit_bytes,
            failcnt: Some(81),
        })
    };
    for (text, expected) in [
        (
            "memory: usage 20480kB, limit 20480kB, failcnt 81",
            usage(Counter::Memory, Some(20480 << 10)),
        ),
        (
            "memory: usage 20480kB, limit 9007199254740988kB, failcnt 81",
            usage(Counter::Memory, None),
        ),
        (
            "memory: usage 20480kB, limit 9007199254740928kB, failcnt 81",
            usage(Counter::Memory, None),
        ),
        (
            "memory: usage 20480kB, limit 18014398509481983kB, failcnt 81",
            usage(Counter::Memory, None),
        ),
        (
            "memory+swap: usage 20480kB, limit 1kB, failcnt 81",
            usage(Counter::MemoryAndSwap, Some(1024)),
        ),
        (
            "swap: usage 20480kB, limit 0kB, failcnt 81",
            usage(Counter::Swap, Some(0)),
        ),
        (
            "kmem: usage 20480kB, limit 1kB, failcnt 81",
            usage(Counter::Kernel, Some(1024)),
        ),
        ("kmem:tcp: usage 124kB, limit 1kB, failcnt 0", None),
    ] {
        assert_eq!(parse(text.as_bytes()), expected, "{text}");
    }
}

#[test]
fn lines_of_old_kernels_and_panics_are_parsed() {
    for (text, expected) in [
        (
            "Pid: 24113, comm: sshd Not tainted 2.6.32-431.el6.x86_64 #1",
            Some(Line::Cpu {
                tid: 24113,
                comm_and_rest: b"sshd Not tainted 2.6.32-431.el6.x86_64 #1",
            }),
        ),
        (
            "Kernel panic - not syncing: Out of memory: compulsory panic_on_oom is enabled",
            Some(Line::NoneKillable),
        ),
        ("Kernel panic - not syncing: Fatal exception", None),
    ] {
        assert_eq!(parse(text.as_bytes()), expected, "{text}");
    }
}

#[test]
fn other_lines_are_parsed() {
    let task = |tid, pid| Some(Line::Task { tid, pid });
    for (text, expected) in [
        (
            "Task in /mem2 killed as a result of limit of /mem3",
            Some(Line::TaskIn {
                task_memcg: None,
                oom_memcg: None,
            }),
        ),
        (
            "Task in /mem3/mem2 killed as a result of limit of /mem3  ",
            Some(Line::TaskIn {
                task_memcg: Some(b"/mem3/mem2"),
                oom_memcg: Some(b"/mem3"),
            }),
        ),
        (
            "Memory cgroup out of memory: Kill process 4 (: Kill process ) score 891 or sacrifice child",
            Some(Line::Chosen {
                message: Message::Memcg,
                pid: 4,
            }),
        ),
        ("Task in /mem2", Some(Line::Incomplete)),
        (
            "Task in /mem2 killed as a result of limit of ",
            Some(Line::Incomplete),
        ),
        (
            "Memory limit reached of cgroup /mem3",
            Some(Line::LimitReached {
                oom_memcg: b"/mem3",
            }),
        ),
        (
            "Tasks in /a b are going to be killed due to memory.oom.group set",
            Some(Line::Group { cgroup: b"/a b" }),
        ),
        (
            "Out of memory: Kill process 400 (java) score 891 or sacrifice child",
            Some(Line::Chosen {
                message: Message::System,
                pid: 400,
            }),
        ),
        (
            "[    128]     0   126    23841     5261     5087        1       173    86016        0             0 worker",
            task(128, 126),
        ),
        (
            "[31500]    27 31500   509128   130012     344        0             0 mysqld",
            task(31500, 31500),
        ),
        ("[  pid  ]   uid  tgid total_vm      rss", None),
        ("[<ffffffff97d81340>] dump_stack+0x19/0x1b", None),
        (
            "CPU: 0 UID: 0 PID: 478 Comm: h (o)g \"q,pid=1 Not tainted 6.18.44 #1 PREEMPT(none) ",
            Some(Line::Cpu {
                tid: 478,
                comm_and_rest: b"h (o)g \"q,pid=1 Not tainted 6.18.44 #1 PREEMPT(none)",
            }),
        ),
        (
            "CPU: 2 PID: 9120 Comm: worker Not tainted 4.19.0-27-amd64 #1",
            Some(Line::Cpu {
                tid: 9120,
                comm_and_rest: b"worker Not tainted 4.19.0-27-amd64 #1",
            }),
        ),
        (
            "Memory cgroup out of memory: OOM victim 72 (a) is already exiting. Skip killing the task",
            Some(Line::Exiting),
        ),
        (
            "Out of memory and no killable processes...",
            Some(Line::NoneKillable),
        ),
        (
            "oom_reaper: reaped process 9118 (child), now anon-rss:0kB",
            Some(Line::Reaped {
                tid: 9118,
                comm: b"child",
            }),
        ),
        (
            "oom_kill_process: 2 callbacks suppressed",
            Some(Line::Suppressed { headers: 2 }),
        ),
        ("net_ratelimit: 2 callbacks suppressed", None),
        ("", None),
        ("eth0: link up", None),
    ] {
        assert_eq!(parse(text.as_bytes()), expected, "{text}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_accepted(bytes: Vec<u8>) {
        let _ = parse(&bytes);
    }

    /// Fields of any content are parsed back.
    #[test]
    fn kill_reads_back(tid: u32, comm in proptest::collection::vec(any::<u8>(), 0..16), uid: u32, size in 0..1_u64 << 50) {
        let mut text = format!("Memory cgroup out of memory: Killed process {tid} (").into_bytes();
        text.extend(&comm);
        text.extend(format!(
            ") total-vm:{size}kB, anon-rss:0kB, file-rss:1kB, shmem-rss:2kB, UID:{uid} pgtables:3kB oom_score_adj:-4"
        ).into_bytes());
        let Some(Line::Killed(killed)) = parse(&text) else { panic!("{text:?}") };
        prop_assert_eq!(killed.tid, tid);
        prop_assert_eq!(killed.comm, &comm);
        prop_assert_eq!(killed.uid, Some(uid));
        prop_assert_eq!(killed.total_vm_bytes, Some(size << 10));
        prop_assert_eq!(killed.oom_score_adj, Some(-4));
    }
}
