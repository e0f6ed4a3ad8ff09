use std::{fmt::Write, fs, path::Path};

use oomwatch_ebpf::record::{ABSENT, MARK_PID, MARK_TASK, Offsets};

use super::{
    FUNCTIONS, KERNEL_BTF, KernelTypes, LoadError, MAX_LENGTH, OffsetsError, find,
    kernel::{INT, NEW, OLD, POINTER, Registers, Shape, Statistics, Swap, bytes},
    load,
};
use crate::{
    capture::{
        bpf::btf::{Btf, BtfError, build::Builder},
        decode::statistics::StatisticsLayout,
    },
    testing::check_seed,
};

fn offsets(shape: Shape) -> Offsets {
    find(&Btf::parse(&bytes(shape)).unwrap()).unwrap()
}

/// Without those of statistics, which older kernels do not have.
fn names_of_absent(offsets: &Offsets) -> Vec<&'static str> {
    offsets
        .iter()
        .filter(|(name, offset)| *offset == ABSENT && !name.starts_with("vmstats_"))
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn fuzz_seeds_are_these_kernels() {
    check_seed("btf", "new", &bytes(NEW));
    check_seed("btf", "old", &bytes(OLD));
}

#[test]
fn every_offset_of_a_new_kernel_is_found() {
    let mut text = String::new();
    for (name, offset) in offsets(NEW).iter() {
        match offset {
            ABSENT => writeln!(text, "{name} absent").unwrap(),
            offset => writeln!(text, "{name} {offset}").unwrap(),
        }
    }
    insta::assert_snapshot!(text, @"
    task_pid 32
    task_tgid 36
    task_flags 16
    task_comm 80
    task_group_leader 40
    task_start_boottime 64
    task_real_cred 72
    task_mm 24
    task_signal 96
    task_cgroups 104
    task_thread_pid 48
    task_thread_node 112
    task_real_parent 128
    task_vfork_done 136
    task_mems_allowed 152
    task_mempolicy 144
    mempolicy_mode 4
    mempolicy_nodes 8
    signal_thread_head 24
    signal_oom_score_adj 10
    signal_oom_mm 16
    cred_uid 8
    mm_total_vm 16
    mm_pgtables_bytes 8
    mm_flags 24
    mm_file_rss 40
    mm_anon_rss 80
    mm_swap 120
    mm_shmem_rss 160
    css_set_memory 40
    css_set_dfl_cgrp 112
    css_cgroup 0
    css_parent 184
    cgroup_kn 256
    cgroup_level 216
    cgroup_root 696
    kernfs_node_parent 8
    kernfs_node_name 16
    kernfs_node_id 96
    memcg_css 0
    memcg_memory_usage 192
    memcg_memory_max 232
    memcg_swap_usage 240
    memcg_swap_max 280
    memcg_memory_watermark 200
    memcg_limit_hits 368
    memcg_vmstats 424
    vmstats_state 8
    vmstats_updates 328
    memcg_oom_lock absent
    memcg_oom_group 336
    pid_level 4
    pid_numbers 96
    upid_size 16
    upid_nr 0
    upid_ns 8
    pid_namespace_child_reaper 48
    pid_namespace_parent 72
    oom_control_memcg 16
    oom_control_nodemask 8
    oom_control_gfp_mask 24
    oom_control_order 28
    oom_control_totalpages 32
    oom_control_chosen 40
    oom_control_chosen_points 48
    oom_control_constraint 56
    pt_regs_argument 112
    mark_victim_argument 0
    ");
}

fn statistics_of(shape: Shape) -> StatisticsLayout {
    super::statistics(&Btf::parse(&bytes(shape)).unwrap())
}

#[test]
fn statistics_are_found_wherever_a_kernel_has_them() {
    for (statistics, vmstats, state, is_indexed) in [
        (Statistics::Array, 424, ABSENT, false),
        (Statistics::Structure, 424 + 8, ABSENT, false),
        (Statistics::Pointer, 424, 8, false),
        (Statistics::Indexed, 424, 8, true),
    ] {
        let shape = Shape { statistics, ..NEW };
        let found = offsets(shape);
        assert_eq!((found.memcg_vmstats, found.vmstats_state), (vmstats, state));
        let mut expected = StatisticsLayout {
            count: 40,
            is_indexed,
            ..StatisticsLayout::default()
        };
        for (number, enumerator) in [(0, 17), (2, 20)] {
            expected.enumerators[number] = Some(enumerator);
        }
        assert_eq!(statistics_of(shape), expected);
    }
}

#[test]
fn first_argument_is_in_the_register_of_the_architecture() {
    assert_eq!(offsets(NEW).pt_regs_argument, 112);
    let arm64 = Shape {
        registers: Registers::Numbered,
        ..NEW
    };
    assert_eq!(offsets(arm64).pt_regs_argument, 0);
}

#[test]
fn an_old_kernel_differs_in_the_expected_offsets() {
    let expected = Offsets {
        mm_file_rss: 32,
        mm_anon_rss: 40,
        mm_swap: 48,
        mm_shmem_rss: 56,
        vmstats_state: ABSENT,
        vmstats_updates: ABSENT,
        memcg_oom_lock: 337,
        mark_victim_argument: MARK_PID,
        ..offsets(NEW)
    };
    assert_eq!(offsets(OLD), expected);
    assert_eq!(offsets(NEW).mark_victim_argument, MARK_TASK);
}

#[test]
fn counters_that_depend_on_the_cgroup_version_are_absent() {
    assert_eq!(
        names_of_absent(&offsets(Shape {
            swap: Swap::Apart,
            ..OLD
        })),
        ["memcg_swap_usage", "memcg_swap_max"]
    );
    assert_eq!(
        offsets(Shape {
            swap: Swap::Alone,
            ..OLD
        }),
        offsets(OLD)
    );
}

#[test]
fn missing_member_is_absent_and_no_error() {
    let absent = |shape| names_of_absent(&offsets(shape));
    assert_eq!(
        absent(Shape {
            oom_lock: None,
            ..OLD
        }),
        ["memcg_oom_lock"]
    );
    assert_eq!(
        absent(Shape {
            oom_lock: Some("long"),
            ..OLD
        }),
        ["memcg_oom_lock"]
    );
    assert_eq!(
        absent(Shape {
            parent: "above",
            ..OLD
        }),
        ["kernfs_node_parent"]
    );
    assert_eq!(
        absent(Shape {
            start_time: "other",
            ..OLD
        }),
        ["task_start_boottime"]
    );
    assert_eq!(
        absent(Shape {
            memory_controller: "other",
            ..OLD
        }),
        ["css_set_memory"]
    );
}

#[test]
fn a_tracepoint_of_another_shape_is_absent() {
    for parameters in [&[][..], &[POINTER], &[INT, INT], &[POINTER, INT, INT]] {
        let shape = Shape {
            mark_victim: parameters,
            ..OLD
        };
        assert_eq!(
            names_of_absent(&offsets(shape)),
            ["mark_victim_argument"],
            "{parameters:?}"
        );
    }
}

#[test]
fn a_kernel_without_process_ids_is_an_error_that_names_them() {
    let error = find(
        &Btf::parse(&bytes(Shape {
            tgid: "group",
            ..NEW
        }))
        .unwrap(),
    )
    .unwrap_err();
    assert_eq!(
        error,
        OffsetsError::Missing {
            members: vec!["task_struct.tgid"]
        }
    );
    let error = find(&Btf::parse(&Builder::new().finish()).unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "BTF has no task_struct.pid and no task_struct.tgid of the expected size"
    );
}

#[test]
fn a_file_is_loaded_or_the_error_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vmlinux");

    let error = load(&path).unwrap_err();
    assert!(matches!(error, LoadError::NoBtf { .. }));
    assert!(
        error
            .to_string()
            .starts_with("failed to find the kernel's BTF: there is no ")
    );

    assert!(matches!(
        load(folder.path()).unwrap_err(),
        LoadError::Read { .. }
    ));

    fs::write(&path, "#!/bin/sh\n").unwrap();
    let LoadError::Btf { source, .. } = load(&path).unwrap_err() else {
        panic!("not BTF")
    };
    assert_eq!(source, BtfError::Magic { magic: 0x2123 });
    assert_eq!(
        source.to_string(),
        "the file is not BTF (it begins with 0x2123, not 0xeb9f)"
    );

    fs::write(&path, Builder::new().finish()).unwrap();
    assert!(matches!(
        load(&path).unwrap_err(),
        LoadError::Offsets { .. }
    ));

    fs::write(&path, bytes(OLD)).unwrap();
    let KernelTypes {
        offsets: found,
        is_rss_per_cpu,
        statistics,
        functions,
    } = load(&path).unwrap();
    assert_eq!(found, offsets(OLD));
    assert!(!is_rss_per_cpu);
    assert_eq!(statistics, statistics_of(OLD));
    let names: Vec<_> = functions.iter().map(|&(_, name)| name).collect();
    assert_eq!(names, FUNCTIONS);

    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(MAX_LENGTH + 1)
        .unwrap();
    assert!(matches!(load(&path).unwrap_err(), LoadError::Length { .. }));
}

#[test]
fn offsets_of_this_kernel_are_found() {
    let path = Path::new(KERNEL_BTF);
    if !path.exists() {
        println!("skipped: this kernel has no {KERNEL_BTF}");
        return;
    }
    let KernelTypes {
        offsets, functions, ..
    } = load(path).unwrap();
    assert_eq!(functions.len(), FUNCTIONS.len(), "{functions:?}");
    // Absent from some kernels.
    let absent: Vec<_> = names_of_absent(&offsets)
        .into_iter()
        .filter(|name| *name != "memcg_oom_lock")
        .collect();
    assert_eq!(absent, [""; 0]);
    for (name, offset) in offsets.iter() {
        assert!(offset == ABSENT || offset < 1 << 14, "{name} {offset}");
    }
    assert_eq!(offsets.task_tgid, offsets.task_pid + 4);

    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let Some(column) = RELEASES.iter().position(|known| release.starts_with(known)) else {
        println!(
            "skipped: there are no reference offsets for {}",
            release.trim_end()
        );
        return;
    };
    let found: Vec<_> = offsets
        .iter()
        .filter(|(name, _)| KNOWN.iter().any(|(known, _)| known == name))
        .collect();
    let known: Vec<_> = KNOWN
        .iter()
        .map(|(name, offsets)| (*name, offsets[column]))
        .collect();
    assert_eq!(found, known);
}

/// Beginnings of `uname -r`, for the columns of [`KNOWN`].
const RELEASES: [&str; 4] = [
    "5.10.0-46-cloud-amd64",
    "6.1.0-56-cloud-amd64",
    "6.18.44-fc",
    "7.3.4+deb13-cloud-amd64",
];

/// Reference offsets on these kernels, found by other tools.
const KNOWN: [(&str, [u32; 4]); 38] = [
    ("task_pid", [2232, 2416, 1264, 2872]),
    ("task_tgid", [2236, 2420, 1268, 2876]),
    ("task_comm", [2736, 2976, 1752, 3408]),
    ("task_group_leader", [2296, 2480, 1328, 2936]),
    ("task_start_boottime", [2544, 2784, 1560, 3224]),
    ("task_real_cred", [2712, 2952, 1728, 3384]),
    ("task_mm", [2056, 2272, 1136, 2744]),
    ("task_signal", [2832, 3072, 1848, 3520]),
    ("task_cgroups", [3328, 3600, 2376, 4072]),
    ("signal_oom_score_adj", [1010, 1026, 1058, 1074]),
    ("cred_uid", [8, 8, 8, 8]),
    ("mm_total_vm", [192, 192, 360, 608]),
    ("mm_pgtables_bytes", [104, 96, 168, 392]),
    ("mm_file_rss", [712, 728, 960 + 8, 1208 + 8]),
    ("mm_anon_rss", [712 + 8, 728 + 8, 960 + 48, 1208 + 48]),
    ("mm_swap", [712 + 16, 728 + 16, 960 + 88, 1208 + 88]),
    ("mm_shmem_rss", [712 + 24, 728 + 24, 960 + 128, 1208 + 128]),
    ("css_set_memory", [32, 32, 32, 32]),
    ("css_set_dfl_cgrp", [120, 128, 112, 128]),
    ("css_cgroup", [0, 0, 0, 0]),
    ("css_parent", [192, 192, 184, 184]),
    ("cgroup_kn", [248, 248, 256, 296]),
    ("cgroup_level", [208, 208, 216, 256]),
    ("cgroup_root", [480, 656, 696, 808]),
    ("kernfs_node_parent", [8, 8, 8, 8]),
    ("kernfs_node_name", [16, 16, 16, 16]),
    ("kernfs_node_id", [104, 104, 96, 96]),
    ("memcg_css", [0, 0, 0, 0]),
    ("memcg_memory_usage", [208, 256, 256, 256]),
    ("memcg_memory_max", [240, 408, 416, 416]),
    ("oom_control_memcg", [16; 4]),
    ("oom_control_gfp_mask", [24; 4]),
    ("oom_control_order", [28; 4]),
    ("oom_control_totalpages", [32; 4]),
    ("oom_control_chosen_points", [48; 4]),
    ("oom_control_constraint", [56; 4]),
    ("pt_regs_argument", [112; 4]),
    ("mark_victim_argument", [MARK_TASK; 4]),
];
