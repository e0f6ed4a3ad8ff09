//! The check of the kernel's BTF: whether it can be read, and which facts are unknown because a member is missing. Pure.

use std::path::Path;

use oomwatch_ebpf::record::ABSENT;

use super::{
    check::{self, Check, Group, Status},
    selection::Selection,
};
use crate::{
    capture::bpf::offsets::{KERNEL_BTF, KernelTypes, LoadError},
    model::backend::Backend,
};

/// Checks the BTF read from `path`.
pub(super) fn check_types(
    path: &Path,
    types: &Result<KernelTypes, LoadError>,
    selection: Selection,
) -> Check {
    let path = path.display();
    let offsets = match types {
        Ok(kernel) => &kernel.offsets,
        Err(error) => {
            let remedy = match error {
                LoadError::NoBtf { .. } => format!(
                    "use a kernel with CONFIG_DEBUG_INFO_BTF, or give a file with its BTF with --btf (usually {KERNEL_BTF})"
                ),
                LoadError::Read { .. } => "make the file readable".to_owned(),
                LoadError::Length { .. } | LoadError::Btf { .. } | LoadError::Offsets { .. } => {
                    format!("omit --btf: the running kernel's BTF is {KERNEL_BTF}")
                }
            };
            let status = selection.without_programs();
            return check(status, check::error_chain(error)).remedy(remedy);
        }
    };
    let absent: Vec<_> = offsets
        .iter()
        .filter(|&(_, offset)| offset == ABSENT)
        .map(|(name, _)| name)
        .collect();
    let count = offsets.iter().count();
    if absent.is_empty() {
        return check(Status::Ok, format!("{path} has all {count} members"));
    }
    let unknown = unknown_facts(&absent, selection.backend);
    let finding = format!(
        "{path} has {} of {count} members, without {}",
        count - absent.len(),
        absent.join(", ")
    );
    if unknown.is_empty() {
        return check(Status::Info, finding + ": no fact depends on them");
    }
    check(
        Status::Warn,
        format!("{finding}: unknown are {}", unknown.join(", ")),
    )
    .remedy("none if this is the running kernel's BTF: reports omit what this kernel does not have")
}

/// Facts that are unknown without these members, each once: those that `backend` reads, or any if no backend is selected.
fn unknown_facts(absent: &[&str], backend: Option<Backend>) -> Vec<&'static str> {
    let mut unknown: Vec<&str> = Vec::new();
    for (members, fact, readers) in FACTS {
        let is_read = backend.is_none_or(|backend| readers.contains(&backend));
        if is_read
            && members.iter().any(|member| absent.contains(member))
            && !unknown.contains(fact)
        {
            unknown.push(fact);
        }
    }
    unknown
}

/// The backends that read the kernel's structures.
const ALL: &[Backend] = &Backend::BPF;
const FUNCTIONS: &[Backend] = &[Backend::Fentry, Backend::Kprobe];
const KPROBE: &[Backend] = &[Backend::Kprobe];
const TRACEPOINT: &[Backend] = &[Backend::RawTracepoint];

/// What members are read for (a field of the report if there is one), and by which backends.
const FACTS: &[(&[&str], &str, &[Backend])] = &[
    (&["task_pid", "task_tgid"], "victim.pid", ALL),
    (&["task_comm", "task_group_leader"], "victim.comm", ALL),
    (
        &["task_start_boottime", "task_group_leader"],
        "victim.start_time",
        ALL,
    ),
    (&["task_real_cred", "cred_uid"], "victim.uid", ALL),
    (
        &["task_signal", "signal_oom_score_adj"],
        "victim.oom_score_adj",
        ALL,
    ),
    (&["task_mm", "mm_total_vm"], "victim.total_vm_bytes", ALL),
    (&["task_mm", "mm_anon_rss"], "victim.anon_rss_bytes", ALL),
    (&["task_mm", "mm_file_rss"], "victim.file_rss_bytes", ALL),
    (&["task_mm", "mm_shmem_rss"], "victim.shmem_rss_bytes", ALL),
    (&["task_mm", "mm_swap"], "victim.swap_bytes", ALL),
    (
        &["task_mm", "mm_pgtables_bytes"],
        "victim.pgtables_bytes",
        ALL,
    ),
    (
        &[
            "task_group_leader",
            "task_thread_pid",
            "pid_level",
            "pid_numbers",
            "upid_size",
            "upid_nr",
        ],
        "victim.ns_pid",
        ALL,
    ),
    (
        &[
            "upid_ns",
            "pid_namespace_child_reaper",
            "pid_namespace_parent",
        ],
        "main_process",
        ALL,
    ),
    (
        &[
            "task_cgroups",
            "css_set_memory",
            "css_cgroup",
            "cgroup_kn",
            "kernfs_node_parent",
            "kernfs_node_name",
        ],
        "victim.cgroup.path",
        ALL,
    ),
    (&["kernfs_node_id"], "victim.cgroup.id", ALL),
    (
        &["css_set_dfl_cgrp", "cgroup_root", "cgroup_level"],
        "path below the memory cgroup on cgroup v2",
        ALL,
    ),
    (
        &[
            "css_parent",
            "memcg_css",
            "memcg_memory_usage",
            "memcg_memory_max",
        ],
        "limits",
        ALL,
    ),
    (&["memcg_swap_usage", "memcg_swap_max"], "swap limits", ALL),
    (&["memcg_oom_lock"], "exact oom_cgroup", TRACEPOINT),
    (&["memcg_oom_group"], "group_kill", ALL),
    (&["task_signal", "signal_oom_mm"], "re-kills", TRACEPOINT),
    (&["task_mm"], "killed mm sharers", ALL),
    (&["oom_control_memcg"], "fentry and kprobe", FUNCTIONS),
    (&["pt_regs_argument"], "kprobes", KPROBE),
    (&["oom_control_constraint"], "constraint", FUNCTIONS),
    (
        &[
            "oom_control_order",
            "oom_control_gfp_mask",
            "oom_control_totalpages",
        ],
        "allocation",
        FUNCTIONS,
    ),
    (
        &["oom_control_chosen_points"],
        "victim.oom_points",
        FUNCTIONS,
    ),
    (
        &[
            "task_thread_node",
            "task_real_parent",
            "task_vfork_done",
            "signal_thread_head",
            "mm_flags",
        ],
        "account.candidates",
        FUNCTIONS,
    ),
    (
        &[
            "memcg_memory_watermark",
            "memcg_limit_hits",
            "memcg_vmstats",
            "vmstats_state",
            "vmstats_updates",
        ],
        "parts of account.memory",
        FUNCTIONS,
    ),
    (
        &[
            "task_mems_allowed",
            "task_mempolicy",
            "mempolicy_mode",
            "mempolicy_nodes",
            "oom_control_nodemask",
        ],
        "candidates that a cpuset or memory policy excludes",
        FUNCTIONS,
    ),
    (
        &["oom_control_chosen"],
        "exact points of the victim among the candidates",
        FUNCTIONS,
    ),
    (
        &["task_flags"],
        "distinction of re-kills from the end of a PID namespace",
        TRACEPOINT,
    ),
    (&["mark_victim_argument"], "raw tracepoint", TRACEPOINT),
];

fn check(status: Status, finding: impl Into<String>) -> Check {
    Check::new(Group::Kernel, "BTF", status, finding)
}

#[cfg(test)]
mod tests {
    use oomwatch_ebpf::record::Offsets;
    use rustix::io::Errno;

    use super::*;
    use crate::capture::decode::statistics::StatisticsLayout;

    fn on(backend: Option<Backend>) -> Selection {
        Selection {
            choice: None,
            backend,
        }
    }

    fn with(offsets: Result<Offsets, LoadError>, selection: Selection) -> Check {
        let types = offsets.map(|offsets| KernelTypes {
            offsets,
            is_rss_per_cpu: true,
            statistics: StatisticsLayout::default(),
            functions: Vec::new(),
        });
        check_types(Path::new("/btf"), &types, selection)
    }

    fn all() -> Offsets {
        let mut offsets = Offsets::NONE;
        for offset in zerocopy::IntoBytes::as_mut_bytes(&mut offsets) {
            *offset = 0;
        }
        offsets
    }

    #[test]
    fn every_member_has_a_fact() {
        for (name, _) in Offsets::NONE.iter() {
            assert!(!unknown_facts(&[name], None).is_empty(), "{name}");
        }
        for member in FACTS.iter().flat_map(|(members, ..)| *members) {
            assert!(
                Offsets::NONE.iter().any(|(name, _)| name == *member),
                "{member}"
            );
        }
    }

    #[test]
    fn missing_members_are_named_with_the_unknown_facts() {
        let tracepoint = on(Some(Backend::RawTracepoint));
        assert_eq!(with(Ok(all()), tracepoint).status, Status::Ok);
        let offsets = Offsets {
            cred_uid: ABSENT,
            memcg_oom_group: ABSENT,
            task_real_cred: ABSENT,
            ..all()
        };
        let check = with(Ok(offsets), tracepoint);
        assert_eq!(check.status, Status::Warn);
        assert!(
            check.finding.ends_with(
                "members, without task_real_cred, cred_uid, memcg_oom_group: unknown are victim.uid, group_kill"
            ),
            "{}",
            check.finding
        );
    }

    #[test]
    fn member_that_the_backend_does_not_read_is_not_missed() {
        let offsets = Offsets {
            memcg_oom_lock: ABSENT,
            ..all()
        };
        for (backend, status) in [
            (None, Status::Warn),
            (Some(Backend::Fentry), Status::Info),
            (Some(Backend::RawTracepoint), Status::Warn),
            (Some(Backend::Kmsg), Status::Info),
        ] {
            assert_eq!(with(Ok(offsets), on(backend)).status, status, "{backend:?}");
        }
    }

    #[test]
    fn unusable_btf_fails_with_a_remedy() {
        for (error, remedy) in [
            (
                LoadError::NoBtf {
                    path: "/btf".into(),
                },
                "CONFIG_DEBUG_INFO_BTF",
            ),
            (
                LoadError::Read {
                    path: "/btf".into(),
                    source: Errno::ISDIR.into(),
                },
                "readable",
            ),
            (
                LoadError::Length {
                    path: "/btf".into(),
                },
                "omit --btf",
            ),
        ] {
            let check = with(Err(error), on(None));
            assert_eq!(check.status, Status::Fail, "{check:?}");
            assert!(check.finding.contains("/btf"), "{check:?}");
            assert!(
                check
                    .remedy
                    .as_ref()
                    .is_some_and(|text| text.contains(remedy)),
                "{check:?}"
            );
        }
    }

    #[test]
    fn unusable_btf_is_a_warning_if_a_better_backend_needs_it() {
        let none = || {
            Err(LoadError::Length {
                path: "/btf".into(),
            })
        };
        let log = on(Some(Backend::Kmsg));
        assert_eq!(with(none(), log).status, Status::Warn);
        let chosen = Selection {
            choice: Some(Backend::Kmsg),
            ..log
        };
        assert_eq!(with(none(), chosen).status, Status::Info);
    }
}
