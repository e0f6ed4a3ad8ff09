//! Builds BTF for tests: the types that the look-ups read, in the shapes that they had in different kernels.

use crate::capture::bpf::btf::build::Builder;

/// The differences between kernels.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) rss: Rss,
    pub(crate) swap: Swap,
    pub(crate) start_time: &'static str,
    pub(crate) parent: &'static str,
    /// Parameters of the tracepoint after the first: [`INT`] or [`POINTER`].
    pub(crate) mark_victim: &'static [u32],
    /// The type of `mem_cgroup.oom_lock`.
    pub(crate) oom_lock: Option<&'static str>,
    pub(crate) memory_controller: &'static str,
    pub(crate) tgid: &'static str,
    pub(crate) registers: Registers,
    pub(crate) statistics: Statistics,
}

/// Where the statistics of a memory cgroup are.
#[derive(Clone, Copy)]
pub(crate) enum Statistics {
    /// In an array: up to 5.11.
    Array,
    /// In a structure inside of the cgroup's.
    Structure,
    /// Behind a pointer: 6.0 and later.
    Pointer,
    /// Likewise, only those of memory cgroups: 6.11 and later.
    Indexed,
}

#[derive(Clone, Copy)]
pub(crate) enum Registers {
    /// x86-64: each register is a member.
    Named,
    /// arm64: an array, inside unnamed structures.
    Numbered,
}

#[derive(Clone, Copy)]
pub(crate) enum Rss {
    /// `struct mm_rss_stat`: 6.1 and earlier.
    Atomic,
    /// `struct percpu_counter[]`: 6.2 and later.
    PerCpu,
}

#[derive(Clone, Copy)]
pub(crate) enum Swap {
    /// 5.10 and later.
    Union,
    /// Up to 5.9.
    Apart,
    /// A single counter, of cgroup v2.
    Alone,
}

/// Like 7.3 without `CONFIG_MEMCG_V1`.
pub(crate) const NEW: Shape = Shape {
    rss: Rss::PerCpu,
    swap: Swap::Union,
    start_time: "start_boottime",
    parent: "__parent",
    mark_victim: &[POINTER, INT],
    oom_lock: None,
    memory_controller: "memory_cgrp_id",
    tgid: "tgid",
    registers: Registers::Named,
    statistics: Statistics::Indexed,
};

/// Like 5.10 with the old tracepoint, and with a member name from before 5.5.
pub(crate) const OLD: Shape = Shape {
    rss: Rss::Atomic,
    start_time: "real_start_time",
    parent: "parent",
    mark_victim: &[INT],
    oom_lock: Some("bool"),
    statistics: Statistics::Array,
    ..NEW
};

/// Ids of the types that every file begins with.
pub(crate) const INT: u32 = 1;
pub(crate) const POINTER: u32 = 2;
const LONG: u32 = 3;
const ATOMIC_LONG: u32 = 5;

/// The BTF of a kernel of this shape.
pub(crate) fn bytes(shape: Shape) -> Vec<u8> {
    let mut file = Builder::new();
    let int = file.int("int", 4);
    let pointer = file.ptr(0);
    let long = file.int("long", 8);
    let counter = file.structure("", 8, &[("counter", long, 0)]);
    let atomic_long = file.typedef("atomic_long_t", counter);
    assert_eq!(
        [int, pointer, long, atomic_long],
        [INT, POINTER, LONG, ATOMIC_LONG]
    );
    add_tasks(&mut file, shape);
    add_memory(&mut file, shape.rss);
    add_cgroups(&mut file, shape);
    add_memory_cgroups(&mut file, shape);
    add_pids(&mut file);
    add_oom_killer(&mut file, shape.registers);
    add_tracepoint(&mut file, shape.mark_victim);
    file.finish()
}

fn add_tasks(file: &mut Builder, shape: Shape) {
    let nodes = file.array(LONG, 16);
    let list = file.structure(
        "list_head",
        16,
        &[("next", POINTER, 0), ("prev", POINTER, 8)],
    );
    let character = file.int("char", 1);
    let comm = file.array(character, 16);
    let short = file.int("short", 2);
    let kuid = file.structure("", 4, &[("val", INT, 0)]);
    let kuid = file.typedef("kuid_t", kuid);
    // Structure randomization puts the members into an unnamed structure.
    let inner = file.structure(
        "",
        264,
        &[
            ("flags", INT, 0),
            ("mm", POINTER, 8),
            ("pid", INT, 16),
            (shape.tgid, INT, 20),
            ("group_leader", POINTER, 24),
            ("thread_pid", POINTER, 32),
            ("start_time", LONG, 40),
            (shape.start_time, LONG, 48),
            ("real_cred", POINTER, 56),
            ("comm", comm, 64),
            ("signal", POINTER, 80),
            ("cgroups", POINTER, 88),
            ("thread_node", list, 96),
            ("real_parent", POINTER, 112),
            ("vfork_done", POINTER, 120),
            ("mempolicy", POINTER, 128),
            ("mems_allowed", nodes, 136),
        ],
    );
    file.structure(
        "task_struct",
        304,
        &[("thread_info", LONG, 0), ("", inner, 16)],
    );
    file.structure(
        "signal_struct",
        64,
        &[
            ("oom_score_adj", short, 10),
            ("oom_mm", POINTER, 16),
            ("thread_head", list, 24),
        ],
    );
    // Up to 5.13 the nodes are in a union.
    let union = file.union(
        "",
        128,
        &[("preferred_node", short, 0), ("nodes", nodes, 0)],
    );
    let nodes = match shape.rss {
        Rss::Atomic => ("v", union, 8),
        Rss::PerCpu => ("nodes", nodes, 8),
    };
    file.structure("mempolicy", 144, &[("mode", short, 4), nodes]);
    file.structure("cred", 64, &[("usage", ATOMIC_LONG, 0), ("uid", kuid, 8)]);
}

fn add_memory(file: &mut Builder, rss: Rss) {
    let rss = match rss {
        Rss::Atomic => {
            let counts = file.array(ATOMIC_LONG, 4);
            file.structure("mm_rss_stat", 32, &[("count", counts, 0)])
        }
        Rss::PerCpu => {
            let counter = file.structure(
                "percpu_counter",
                40,
                &[("lock", INT, 0), ("count", LONG, 8)],
            );
            file.array(counter, 4)
        }
    };
    let inner = file.structure(
        "",
        512,
        &[
            ("pgtables_bytes", ATOMIC_LONG, 8),
            ("total_vm", LONG, 16),
            ("flags", LONG, 24),
            ("rss_stat", rss, 32),
        ],
    );
    file.structure("mm_struct", 512, &[("", inner, 0)]);
    let names = [
        ("NR_MM_COUNTERS", 4),
        ("MM_FILEPAGES", 0),
        ("MM_ANONPAGES", 1),
        ("MM_SWAPENTS", 2),
        ("MM_SHMEMPAGES", 3),
    ];
    file.enumeration("", &names);
}

fn add_cgroups(file: &mut Builder, shape: Shape) {
    let subsys = file.array(POINTER, 12);
    file.structure(
        "css_set",
        128,
        &[("subsys", subsys, 8), ("dfl_cgrp", POINTER, 112)],
    );
    file.enumeration(
        "cgroup_subsys_id",
        &[("cpuset_cgrp_id", 0), (shape.memory_controller, 4)],
    );
    let css = file.structure(
        "cgroup_subsys_state",
        192,
        &[("cgroup", POINTER, 0), ("parent", POINTER, 184)],
    );
    file.structure(
        "cgroup",
        720,
        &[
            ("self", css, 0),
            ("level", INT, 216),
            ("kn", POINTER, 256),
            ("root", POINTER, 696),
        ],
    );
    file.structure(
        "kernfs_node",
        128,
        &[
            (shape.parent, POINTER, 8),
            ("name", POINTER, 16),
            ("id", LONG, 96),
        ],
    );
}

fn add_memory_cgroups(file: &mut Builder, shape: Shape) {
    let boolean = file.int("_Bool", 1);
    let boolean = file.typedef("bool", boolean);
    let counter = file.structure(
        "page_counter",
        48,
        &[
            ("usage", ATOMIC_LONG, 0),
            ("watermark", LONG, 8),
            ("max", LONG, 40),
        ],
    );
    let swap = match shape.swap {
        Swap::Union => file.union("", 48, &[("swap", counter, 0), ("memsw", counter, 0)]),
        Swap::Apart => file.structure("", 96, &[("swap", counter, 0), ("memsw", counter, 48)]),
        Swap::Alone => file.structure("", 48, &[("swap", counter, 0)]),
    };
    let vmstats = add_statistics(file, shape.statistics);
    let events = file.array(ATOMIC_LONG, 9);
    let mut members = vec![
        ("memory_events", events, 352),
        ("vmstats", vmstats, 424),
        ("css", LONG, 0),
        ("memory", counter, 192),
        ("", swap, 240),
        ("oom_group", boolean, 336),
    ];
    match shape.oom_lock {
        Some("bool") => members.push(("oom_lock", boolean, 337)),
        Some(_) => members.push(("oom_lock", LONG, 344)),
        None => {}
    }
    file.structure("mem_cgroup", 760, &members);
}

/// Number of enumerators of statistics.
pub(crate) const STATISTICS_COUNT: u32 = 40;

fn add_statistics(file: &mut Builder, statistics: Statistics) -> u32 {
    file.enumeration(
        "node_stat_item",
        &[("NR_ANON_MAPPED", 17), ("NR_SHMEM", 20)],
    );
    file.enumeration("memcg_stat_item", &[("MEMCG_NR_STAT", STATISTICS_COUNT)]);
    file.enumeration("memcg_memory_event", &[("MEMCG_HIGH", 1), ("MEMCG_MAX", 2)]);
    let (element, length) = match statistics {
        Statistics::Array => return file.array(ATOMIC_LONG, STATISTICS_COUNT),
        Statistics::Structure | Statistics::Pointer => (LONG, STATISTICS_COUNT),
        Statistics::Indexed => (LONG, 30),
    };
    let state = file.array(element, length);
    let vmstats = file.structure(
        "memcg_vmstats",
        336,
        &[("state", state, 8), ("stats_updates", INT, 328)],
    );
    match statistics {
        Statistics::Structure | Statistics::Array => vmstats,
        Statistics::Pointer | Statistics::Indexed => file.ptr(vmstats),
    }
}

fn add_pids(file: &mut Builder) {
    let upid = file.structure("upid", 16, &[("nr", INT, 0), ("ns", POINTER, 8)]);
    let numbers = file.array(upid, 0);
    file.structure("pid", 144, &[("level", INT, 4), ("numbers", numbers, 96)]);
    file.structure(
        "pid_namespace",
        128,
        &[("child_reaper", POINTER, 48), ("parent", POINTER, 72)],
    );
}

fn add_oom_killer(file: &mut Builder, registers: Registers) {
    let constraint = file.enumeration("oom_constraint", &[("CONSTRAINT_NONE", 0)]);
    let gfp = file.typedef("gfp_t", INT);
    let gfp = file.modifier(10, gfp);
    file.structure(
        "oom_control",
        64,
        &[
            ("nodemask", POINTER, 8),
            ("memcg", POINTER, 16),
            ("gfp_mask", gfp, 24),
            ("order", INT, 28),
            ("totalpages", LONG, 32),
            ("chosen", POINTER, 40),
            ("chosen_points", LONG, 48),
            ("constraint", constraint, 56),
        ],
    );
    match registers {
        Registers::Named => file.structure(
            "pt_regs",
            168,
            &[("si", LONG, 104), ("di", LONG, 112), ("ip", LONG, 128)],
        ),
        Registers::Numbered => {
            let array = file.array(LONG, 31);
            let inner = file.structure("", 272, &[("regs", array, 0), ("sp", LONG, 248)]);
            let user = file.structure("user_pt_regs", 272, &[("regs", array, 0)]);
            let both = file.union("", 272, &[("user_regs", user, 0), ("", inner, 0)]);
            file.structure("pt_regs", 336, &[("", both, 0), ("orig_x0", LONG, 272)])
        }
    };
    let prototype = file.prototype(&[POINTER]);
    for name in super::FUNCTIONS {
        file.function(name, prototype);
    }
}

fn add_tracepoint(file: &mut Builder, parameters: &[u32]) {
    let parameters: Vec<_> = [&[POINTER], parameters].concat();
    let prototype = file.prototype(&parameters);
    let function = file.ptr(prototype);
    file.typedef("btf_trace_mark_victim", function);
}
