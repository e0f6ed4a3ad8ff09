//! The kernel itself: its types, its BPF, and what it refuses.

use std::{fs, io, path::PathBuf};

use oomwatch_ebpf::record::ABSENT;
use rustix::{io::Errno, system::uname};

use super::{
    Roots,
    check::{self, Check, Group, Status},
};
use crate::probe::{
    features,
    offsets::{self, KERNEL_BTF, Kernel, LoadError},
};

#[derive(Debug)]
pub(super) struct Facts {
    /// System, release and machine, as `uname -srm` has them.
    system: String,
    release: String,
    machine: String,
    btf: PathBuf,
    types: Result<Kernel, LoadError>,
    /// The text of securityfs' `lockdown`.
    lockdown: io::Result<String>,
    /// The answer of `bpf(2)` to a ring buffer.
    ring_buffers: io::Result<bool>,
}

impl Facts {
    pub(super) fn gather(roots: Roots<'_>) -> Self {
        let uname = uname();
        Self {
            system: uname.sysname().to_string_lossy().into_owned(),
            release: uname.release().to_string_lossy().into_owned(),
            machine: uname.machine().to_string_lossy().into_owned(),
            btf: roots.btf.to_owned(),
            types: offsets::load(roots.btf),
            lockdown: fs::read_to_string(roots.system.join("sys/kernel/security/lockdown")),
            ring_buffers: features::has_ring_buffers(),
        }
    }

    /// What is known of the kernel's types.
    pub(super) fn types(&self) -> Option<&Kernel> {
        self.types.as_ref().ok()
    }
}

/// `may_load`: whether this process has the capabilities to load programs.
pub(super) fn judge(facts: &Facts, may_load: bool) -> Vec<Check> {
    let Facts {
        system,
        release,
        machine,
        btf: _,
        types: _,
        lockdown,
        ring_buffers,
    } = facts;
    vec![
        check("release", Status::Ok, format!("{system} {release}")),
        architecture(machine),
        btf(facts),
        bpf(ring_buffers, may_load),
        locked_down(lockdown),
    ]
}

fn architecture(machine: &str) -> Check {
    match machine {
        "x86_64" | "aarch64" => check("architecture", Status::Ok, machine),
        _ => check(
            "architecture",
            Status::Warn,
            format!("{machine}: never tried"),
        )
        .remedy("use x86_64 or aarch64; what the hooks below say counts"),
    }
}

fn btf(facts: &Facts) -> Check {
    let path = facts.btf.display();
    let offsets = match &facts.types {
        Ok(kernel) => &kernel.offsets,
        Err(error) => {
            let remedy = match error {
                LoadError::NoBtf { .. } => format!(
                    "use a kernel with CONFIG_DEBUG_INFO_BTF, or say with --btf where its BTF is (usually {KERNEL_BTF})"
                ),
                LoadError::Read { .. } => "make the file readable".to_owned(),
                LoadError::Length { .. } | LoadError::Btf { .. } | LoadError::Offsets { .. } => {
                    format!("leave --btf out: the running kernel's BTF is {KERNEL_BTF}")
                }
            };
            return check("BTF", Status::Fail, check::chain(error)).remedy(remedy);
        }
    };
    let absent: Vec<_> = offsets
        .iter()
        .filter(|&(_, offset)| offset == ABSENT)
        .map(|(name, _)| name)
        .collect();
    let count = offsets.iter().count();
    if absent.is_empty() {
        return check("BTF", Status::Ok, format!("{path} has all {count} members"));
    }
    check(
        "BTF",
        Status::Warn,
        format!(
            "{path} has {} of {count} members; without {} there is no {}",
            count - absent.len(),
            absent.join(", "),
            lost(&absent).join(", "),
        ),
    )
    .remedy(
        "nothing, if this is the running kernel's BTF: reports leave out what this kernel does not tell",
    )
}

/// What cannot be told without some members, each once.
fn lost(absent: &[&str]) -> Vec<&'static str> {
    let mut lost: Vec<&str> = Vec::new();
    for (members, fact) in FACTS {
        if members.iter().any(|member| absent.contains(member)) && !lost.contains(fact) {
            lost.push(fact);
        }
    }
    lost
}

/// What each member is read for: a field of the report where there is one.
const FACTS: &[(&[&str], &str)] = &[
    (&["task_pid", "task_tgid"], "victim.pid"),
    (&["task_comm", "task_group_leader"], "victim.comm"),
    (
        &["task_start_boottime", "task_group_leader"],
        "victim.start_time",
    ),
    (&["task_real_cred", "cred_uid"], "victim.uid"),
    (
        &["task_signal", "signal_oom_score_adj"],
        "victim.oom_score_adj",
    ),
    (&["task_mm", "mm_total_vm"], "victim.total_vm_bytes"),
    (&["task_mm", "mm_anon_rss"], "victim.anon_rss_bytes"),
    (&["task_mm", "mm_file_rss"], "victim.file_rss_bytes"),
    (&["task_mm", "mm_shmem_rss"], "victim.shmem_rss_bytes"),
    (&["task_mm", "mm_swap"], "victim.swap_bytes"),
    (&["task_mm", "mm_pgtables_bytes"], "victim.pgtables_bytes"),
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
    ),
    (
        &[
            "upid_ns",
            "pid_namespace_child_reaper",
            "pid_namespace_parent",
        ],
        "main_process",
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
    ),
    (&["kernfs_node_id"], "victim.cgroup.id"),
    (
        &["css_set_dfl_cgrp", "cgroup_root", "cgroup_level"],
        "path below the memory cgroup on cgroup v2",
    ),
    (
        &[
            "css_parent",
            "memcg_css",
            "memcg_memory_usage",
            "memcg_memory_max",
        ],
        "limits",
    ),
    (&["memcg_swap_usage", "memcg_swap_max"], "swap limits"),
    (&["memcg_oom_lock"], "certain oom_cgroup"),
    (&["memcg_oom_group"], "group_kill"),
    (&["task_signal", "signal_oom_mm"], "re-kills"),
    (&["task_mm"], "killed memory sharers"),
    (&["oom_control_memcg"], "function hooks"),
    (&["pt_regs_argument"], "kprobes"),
    (&["oom_control_constraint"], "constraint"),
    (
        &[
            "oom_control_order",
            "oom_control_gfp_mask",
            "oom_control_totalpages",
        ],
        "allocation",
    ),
    (&["oom_control_chosen_points"], "victim.oom_points"),
    (
        &["task_flags"],
        "telling of re-kills from the end of a PID namespace",
    ),
    (
        &["mark_victim_argument"],
        "certain layout of mark_victim, so that kills may be missed",
    ),
];

fn bpf(ring_buffers: &io::Result<bool>, may_load: bool) -> Check {
    let error = match ring_buffers {
        Ok(true) => return check("bpf", Status::Ok, "bpf(2) answers and has ring buffers"),
        Ok(false) => {
            return check("bpf", Status::Fail, "bpf(2) has no ring buffers")
                .remedy("use Linux 5.8 or later");
        }
        Err(error) => error,
    };
    match Errno::from_io_error(error) {
        Some(Errno::NOSYS) => check("bpf", Status::Fail, "there is no bpf(2)")
            .remedy("use a kernel with CONFIG_BPF_SYSCALL"),
        Some(Errno::PERM) if !may_load => check(
            "bpf",
            Status::Info,
            "bpf(2) is there, but does not answer without CAP_BPF",
        ),
        _ => check(
            "bpf",
            Status::Warn,
            format!("bpf(2) refuses a ring buffer: {}", check::answer(error)),
        )
        .remedy("see maps, under Hooks"),
    }
}

fn locked_down(lockdown: &io::Result<String>) -> Check {
    let text = match lockdown {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return check(
                "lockdown",
                Status::Info,
                "not told: no lockdown in this kernel, or securityfs is not mounted",
            );
        }
        Err(error) => {
            return check(
                "lockdown",
                Status::Info,
                format!("not told: {}", check::answer(error)),
            );
        }
    };
    match lockdown_mode(text) {
        Some("confidentiality") => check(
            "lockdown",
            Status::Warn,
            "confidentiality: programs may not read the kernel's memory",
        )
        .remedy("boot with lockdown=integrity, or without lockdown= on the kernel's command line"),
        Some(mode) => check("lockdown", Status::Ok, mode),
        None => check(
            "lockdown",
            Status::Info,
            "not told: the kernel's text is not known",
        ),
    }
}

/// The mode in brackets in `none [integrity] confidentiality`.
fn lockdown_mode(text: &str) -> Option<&str> {
    text.split_ascii_whitespace()
        .find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))
        .filter(|mode| !mode.is_empty())
}

fn check(name: &'static str, status: Status, finding: impl Into<String>) -> Check {
    Check::new(Group::Kernel, name, status, finding)
}

#[cfg(test)]
mod tests {
    use oomwatch_ebpf::record::Offsets;

    use super::*;

    fn with(offsets: Result<Offsets, LoadError>) -> Check {
        btf(&Facts {
            system: String::new(),
            release: String::new(),
            machine: String::new(),
            btf: "/btf".into(),
            types: offsets.map(|offsets| Kernel {
                offsets,
                functions: Vec::new(),
            }),
            lockdown: Ok(String::new()),
            ring_buffers: Ok(true),
        })
    }

    fn all() -> Offsets {
        let mut offsets = Offsets::NONE;
        for offset in zerocopy::IntoBytes::as_mut_bytes(&mut offsets) {
            *offset = 0;
        }
        offsets
    }

    #[test]
    fn every_member_is_read_for_something() {
        for (name, _) in Offsets::NONE.iter() {
            assert!(!lost(&[name]).is_empty(), "{name}");
        }
        for member in FACTS.iter().flat_map(|(members, _)| *members) {
            assert!(
                Offsets::NONE.iter().any(|(name, _)| name == *member),
                "{member}"
            );
        }
    }

    #[test]
    fn absent_members_are_named_with_what_is_lost() {
        assert_eq!(with(Ok(all())).status, Status::Ok);
        let check = with(Ok(Offsets {
            cred_uid: ABSENT,
            memcg_oom_group: ABSENT,
            task_real_cred: ABSENT,
            ..all()
        }));
        assert_eq!(check.status, Status::Warn);
        assert!(
            check.finding.ends_with(
                "members; without task_real_cred, cred_uid, memcg_oom_group there is no victim.uid, group_kill"
            ),
            "{}",
            check.finding
        );
    }

    #[test]
    fn btf_that_cannot_be_used_fails_with_a_remedy() {
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
                "leave --btf out",
            ),
        ] {
            let check = with(Err(error));
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
    fn bpf_fails_only_where_it_is_not_there() {
        for (answer, may_load, status) in [
            (Ok(true), true, Status::Ok),
            (Ok(false), true, Status::Fail),
            (Err(Errno::NOSYS.into()), false, Status::Fail),
            (Err(Errno::PERM.into()), false, Status::Info),
            (Err(Errno::PERM.into()), true, Status::Warn),
            (Err(io::ErrorKind::Other.into()), true, Status::Warn),
        ] {
            assert_eq!(
                bpf(&answer, may_load).status,
                status,
                "{answer:?} {may_load}"
            );
        }
    }

    #[test]
    fn lockdown_is_the_word_in_brackets() {
        for (text, mode) in [
            ("none [integrity] confidentiality\n", Some("integrity")),
            ("[none] integrity confidentiality\n", Some("none")),
            ("none integrity\n", None),
            ("[]\n", None),
            ("[ ] [integrity", None),
            ("", None),
        ] {
            assert_eq!(lockdown_mode(text), mode, "{text:?}");
        }
        for (lockdown, status) in [
            (Ok("none integrity [confidentiality]"), Status::Warn),
            (Ok("[none] integrity confidentiality"), Status::Ok),
            (Ok("\u{0}"), Status::Info),
            (Err(Errno::NOENT), Status::Info),
            (Err(Errno::ACCESS), Status::Info),
        ] {
            let lockdown = lockdown.map(str::to_owned).map_err(io::Error::from);
            assert_eq!(locked_down(&lockdown).status, status, "{lockdown:?}");
        }
    }
}
