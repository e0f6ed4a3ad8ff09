//! Statistics of a cgroup and of the node.

use super::*;
use crate::model::account::{MemoryOf, MemoryParts};

const V1: &str = "memory: usage 100kB, limit 100kB, failcnt 9\nmemory+swap: usage 130kB, limit 200kB, failcnt 0\nkmem: usage 20kB, limit 9007199254740988kB, failcnt 0\n";
const V2: &str =
    "memory: usage 100kB, limit 100kB, failcnt 9\nswap: usage 30kB, limit 200kB, failcnt 0\n";

/// The known parts, in KiB.
fn parts(memory: &Memory) -> Vec<(String, u64)> {
    let parts = memory.parts.iter();
    parts
        .map(|(kind, bytes)| (format!("{kind:?}"), bytes / 1024))
        .collect()
}

fn named(parts: &[(&str, u64)]) -> Vec<(String, u64)> {
    parts
        .iter()
        .map(|(name, kib)| ((*name).to_owned(), *kib))
        .collect()
}

#[test]
fn list_of_statistics_gives_parts_that_do_not_overlap() {
    let list = "Memory cgroup stats for /a:\nanon 40960\nfile 20480\nkernel 30720\nkernel_stack 1024\npagetables 2048\nsec_pagetables 1024\npercpu 1024\nsock 3072\nvmalloc 1024\nshmem 8192\nzswap 2048\nzswapped 999999\nfile_mapped 4096\nslab_reclaimable 4096\nslab_unreclaimable 5120\nslab 9216\nhugetlb 2048\npgfault 5\n";
    let found = memory(&report(&[V2, list].concat()));
    let expected = named(&[
        ("Anon", 40),
        ("Shmem", 8),
        ("File", 12),
        ("SlabReclaimable", 4),
        ("SlabUnreclaimable", 5),
        ("KernelStack", 1),
        ("PageTables", 3),
        ("Sock", 3),
        ("Percpu", 1),
        ("Vmalloc", 1),
        ("KernelOther", 30 - 1 - 2 - 1 - 1 - 1 - 2 - 4 - 5),
        ("Hugetlb", 2),
        ("Zswap", 2),
    ]);
    assert_eq!(parts(&found), expected);
    assert_eq!(found.of, MemoryOf::Cgroup);
    assert_eq!(found.usage_bytes, Some(100 << 10));
    assert_eq!(found.limit_bytes, Some(100 << 10));
    assert_eq!(found.swap_bytes, Some(30 << 10));
    assert_eq!(found.other_bytes(), Some(5 << 10));
    // One record with line ends, up to 6.4; and the kernel memory of cgroup v1, before there is a sum.
    let list = "Memory cgroup stats for /a:\n";
    let record =
        "anon 40960\\x0afile 20480\\x0akernel_stack 1024\\x0ashmem 8192\\x0aslab_reclaimable 4096";
    let log = report(&[V1, list, record, "\n"].concat());
    let log = records(&log);
    let expected = named(&[
        ("Anon", 40),
        ("Shmem", 8),
        ("File", 12),
        ("SlabReclaimable", 4),
        ("KernelStack", 1),
        ("KernelOther", 20 - 4 - 1),
    ]);
    let found = account(&log);
    let memory = found.memory.expect("memory");
    assert_eq!(parts(&memory), expected);
    assert_eq!(memory.swap_bytes, Some(30 << 10));
    assert_eq!(found.before.and_then(|before| before.limit_hits), Some(9));
}

#[test]
fn limit_hits_are_those_of_cgroup_v1() {
    assert_eq!(account(&report(V2)).before, None);
    let before = account(&report(V1)).before.expect("before");
    assert_eq!(before.limit_hits, Some(9));
    assert_eq!(before.stall_us, None);
}

#[test]
fn number_that_may_be_cut_is_not_used() {
    let padding = format!("pgfault {}\\x0a", "1".repeat(960));
    let list = "Memory cgroup stats for /a:\n";
    let log = |padding: &str| {
        let log = report(&[V2, list, padding, "anon 40960\\x0ashmem 81\n"].concat());
        records(&log)
    };
    let expected = |shmem_bytes| MemoryParts {
        anon_bytes: Some(40960),
        shmem_bytes,
        ..MemoryParts::default()
    };
    assert_eq!(memory(&log("")).parts, expected(Some(81)));
    assert_eq!(memory(&log(&padding)).parts, expected(None));
}

#[test]
fn lines_of_several_cgroups_are_summed() {
    let line = "cache:6KB rss:20KB rss_huge:0KB shmem:2KB mapped_file:0KB swap:5KB\n";
    let lines = [
        "Memory cgroup stats for /a: ",
        line,
        "Memory cgroup stats for /a/b: cache:900KB rss:1KB: ",
        line,
        "Memory cgroup stats for /a/b:c d: ",
        line,
    ]
    .concat();
    let found = memory(&report(&[V1, &lines].concat()));
    let expected = named(&[
        ("Anon", 60),
        ("Shmem", 6),
        ("File", 12),
        ("KernelOther", 20),
    ]);
    assert_eq!(parts(&found), expected);
    assert_eq!(found.swap_bytes, Some(15 << 10));
}

#[test]
fn shmem_of_old_kernels_is_the_cache_that_is_not_of_files() {
    let line = |unevictable: u32| {
        format!(
            "Memory cgroup stats for /a: cache:30KB rss:50KB mapped_file:0KB inactive_anon:60KB active_anon:10KB inactive_file:4KB active_file:6KB unevictable:{unevictable}KB\n"
        )
    };
    let found = memory(&report(&[V1, &line(0)].concat()));
    let expected = named(&[
        ("Anon", 50),
        ("Shmem", 20),
        ("File", 10),
        ("KernelOther", 20),
    ]);
    assert_eq!(parts(&found), expected);
    // What is locked may be of either.
    let found = memory(&report(&[V1, &line(8)].concat()));
    assert_eq!(parts(&found), named(&[("Anon", 50), ("KernelOther", 20)]));
}

#[test]
fn list_of_cgroup_v1_is_of_the_subtree() {
    let list = "Memory cgroup stats for /a:\ncache 0\nrss 0\nshmem 0\nswap 0\nhierarchical_memory_limit 20971520\ntotal_cache 30720\ntotal_rss 40960\ntotal_shmem 10240\ntotal_swap 5120\n";
    let found = memory(&report(&[V1, list].concat()));
    let expected = named(&[
        ("Anon", 40),
        ("Shmem", 10),
        ("File", 20),
        ("KernelOther", 20),
    ]);
    assert_eq!(parts(&found), expected);
    assert_eq!(found.swap_bytes, Some(5 << 10));
}

/// Statistics count only where they belong.
#[test]
fn malformed_and_misplaced_statistics_are_ignored() {
    for lines in [
        "anon 40960\n",
        "Memory cgroup stats for /a:\nanon\n",
        "Memory cgroup stats for /a:\nanon 40960 1\n",
        "Memory cgroup stats for /a:\nanon -1\n",
        "Memory cgroup stats for /a:\nanon 4x\n",
        "Memory cgroup stats for /a:\nanon 99999999999999999999\n",
        "Memory cgroup stats for /a: rss:x\n",
        "Memory cgroup stats for /a: rss:5KB x\n",
        "Memory cgroup stats for /a: rss:5\n",
        "Memory cgroup stats for /a:\nMem-Info:\nanon 5\n",
        &[HEAD, "anon 40960\n"].concat(),
    ] {
        let found = memory(&report(&[V2, lines].concat()));
        assert_eq!(found.parts, MemoryParts::default(), "{lines}");
    }
}

/// 2.6.38 without NUMA, in the words of its time; 3.10; and today's.
#[test]
fn memory_of_the_node_is_read_from_each_form() {
    let old = "Mem-Info:\nNormal per-cpu:\nCPU    0: hi:   18, btch:   3 usd:   3\nactive_anon:6800 inactive_anon:6900 isolated_anon:0\n active_file:22 inactive_file:125 isolated_file:0\n unevictable:0 dirty:0 writeback:0 unstable:0\n free:250 slab_reclaimable:190 slab_unreclaimable:360\n mapped:14 shmem:831 pagetables:134 bounce:0\nNormal free:1000kB min:1016kB low:1268kB high:1524kB active_anon:27200kB present:65024kB kernel_stack:360kB pagetables:536kB pages_scanned:890 all_unreclaimable? yes\nlowmem_reserve[]: 0 0\nNormal: 8*4kB 2*8kB 0*16kB 0*32kB 1*64kB 1*128kB 1*256kB 1*512kB 0*1024kB 0*2048kB 0*4096kB = 1008kB\n980 total pagecache pages\n16384 pages of RAM\n250 free pages\n1087 reserved pages\n560 slab pages\n140 pages shared\n2 pages swap cached\n";
    let found = account(&system_report(old));
    let memory = found.memory.expect("memory");
    let pages = |name: &'static str, pages: u64| (name, pages * 4);
    let expected = named(&[
        pages("Anon", 6800 + 6900 + 22 + 125 - 978),
        pages("Shmem", 831),
        pages("File", 978 - 831),
        pages("SlabReclaimable", 190),
        pages("SlabUnreclaimable", 360),
        ("KernelStack", 360),
        pages("PageTables", 134),
    ]);
    assert_eq!(parts(&memory), expected);
    assert_eq!(memory.of, MemoryOf::Node);
    assert_eq!(memory.limit_bytes, Some((16384 - 1087) * 4096));
    assert_eq!(memory.usage_bytes, Some((16384 - 1087 - 250) * 4096));
    assert_eq!(memory.swap_bytes, None);
    assert_eq!(found.zones.len(), 1);
    let zone = &found.zones[0];
    assert_eq!((zone.node, zone.name.as_str()), (0, "Normal"));
    assert_eq!(
        (zone.free_bytes, zone.min_bytes),
        (1000 << 10, Some(1016 << 10))
    );
    assert_eq!(zone.managed_bytes, None);
    assert_eq!(zone.free_blocks, [8, 2, 0, 0, 1, 1, 1, 1, 0, 0, 0]);
    let new = "Mem-Info:\nactive_anon:100 inactive_anon:200 isolated_anon:1\n active_file:10 inactive_file:20 isolated_file:2\n unevictable:40 dirty:0 writeback:0\n slab_reclaimable:5 slab_unreclaimable:6\n mapped:1 shmem:30 pagetables:7\n sec_pagetables:3 bounce:0\n kernel_misc_reclaimable:0\n free:300 free_pcp:50 free_cma:0\nNode 0 active_anon:400kB shmem:1kB kernel_stack:16kB all_unreclaimable? no\nNode 1 active_anon:400kB shmem:1kB kernel_stack:32kB all_unreclaimable? no\nNode 0 Normal free:800kB boost:0kB min:40kB present:2400kB managed:2000kB free_pcp:0kB\nNode 1 Movable free:400kB boost:0kB min:40kB present:2400kB managed:2000kB\nNode 0 Normal: 200*4kB (UME) 0*8kB = 800kB\nNode 0 hugepages_total=2 hugepages_free=0 hugepages_surp=0 hugepages_size=64kB\nNode 1 hugepages_total=3 hugepages_free=0 hugepages_surp=0 hugepages_size=64kB\n90 total pagecache pages\n8 pages in swap cache\nFree swap  = 100kB\nTotal swap = 300kB\n1200 pages RAM\n0 pages HighMem/MovableOnly\n200 pages reserved\n";
    let found = account(&system_report(new));
    let memory = found.memory.expect("memory");
    let expected = named(&[
        pages("Anon", 100 + 200 + 1 + 10 + 20 + 2 + 40 - 82),
        pages("Shmem", 30),
        pages("File", 82 - 30),
        pages("SlabReclaimable", 5),
        pages("SlabUnreclaimable", 6),
        ("KernelStack", 48),
        pages("PageTables", 10),
        ("Hugetlb", 320),
    ]);
    assert_eq!(parts(&memory), expected);
    assert_eq!(memory.usage_bytes, Some((1000 - 350) * 4096));
    assert_eq!(memory.swap_bytes, Some(200 << 10));
    let zones: Vec<(u32, &str, usize)> = found
        .zones
        .iter()
        .map(|zone| (zone.node, zone.name.as_str(), zone.free_blocks.len()))
        .collect();
    assert_eq!(zones, [(0, "Normal", 2), (1, "Movable", 0)]);
    // The allocation was confined to one node: what is a sum of nodes is not known of the machine.
    let confined: String = new
        .lines()
        .filter(|line| !line.starts_with("Node 1"))
        .flat_map(|line| {
            [
                line, "
",
            ]
        })
        .collect();
    let memory = self::memory(&system_report(&confined));
    assert_eq!(memory.parts.kernel_stack_bytes, None);
    assert_eq!(memory.parts.hugetlb_bytes, None);
    assert_eq!(memory.parts.shmem_bytes, Some(30 * 4096));
}

#[test]
fn memory_is_that_of_what_ran_out() {
    let node = "Mem-Info:\nfree:300\n1200 pages RAM\n200 pages reserved\nNode 0 Normal free:800kB min:40kB\n";
    // Kernels before 3.9 print the node's memory for a limit too.
    let found = account(&report(&[V1, node].concat()));
    assert_eq!(found.memory.expect("memory").of, MemoryOf::Cgroup);
    assert_eq!(found.zones, []);
    let found = account(&system_report(node));
    assert_eq!(found.memory.expect("memory").of, MemoryOf::Node);
    assert_eq!(found.zones.len(), 1);
    assert_eq!(found.before, None);
    // Another CPU printed its memory information at the same time: whose numbers are whose is not known.
    let found = account(&system_report(&[node, node].concat()));
    assert_eq!(found, Account::default());
}

#[test]
fn malformed_lines_of_the_node_are_ignored() {
    for lines in [
        "Node\n",
        "Node x\n",
        "Node 0\n",
        "Node 99999999999 Normal free:1kB\n",
        "Node 0 Other free:1kB\n",
        "Node 0 Normal free:1\n",
        "Node 0 Normal: x*4kB = 4kB\n",
        "Node 0 Normal: 1*4kB 1*7kB = 4kB\n",
        "Node 0 hugepages_total=x hugepages_size=4kB\n",
        "free:1 x\n",
        "free:\n",
        "x pages RAM\n",
        " pages RAM\n",
        "Total swap = x\n",
    ] {
        let found = account(&system_report(&["Mem-Info:\n", lines].concat()));
        assert_eq!(found, Account::default(), "{lines}");
    }
}

#[test]
fn stack_shows_a_lowered_limit() {
    let stack = |frame: &str| {
        report(&format!(
            "CPU: 1 PID: 4 Comm: t Not tainted 6.12.0 #1\nCall Trace:\n <TASK>\n dump_stack_lvl+0x5d/0x80\n out_of_memory+0x217/0x4b0\n mem_cgroup_out_of_memory+0xc0/0xe0\n {frame}+0x3ec/0x710\n </TASK>\n{V2}"
        ))
    };
    let lowered = |log: &str| kills(log.as_bytes())[0].limit_lowered;
    assert_eq!(lowered(&stack("memory_max_write")), Some(true));
    assert_eq!(lowered(&stack("try_charge_memcg")), Some(false));
    assert_eq!(lowered(&stack("moom_callback")), None);
    assert_eq!(lowered(&report(V2)), None);
    // A second stack is another CPU's.
    let two = stack("moom_callback").replace(V2, "Call Trace:\n memory_max_write+0x1/0x2\n");
    assert_eq!(lowered(&two), None);
    let without_head = report(" memory_max_write+0x3ec/0x710\n");
    assert_eq!(lowered(&without_head), None);
}
