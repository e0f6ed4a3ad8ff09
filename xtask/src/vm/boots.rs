//! The matrix: which kernels are booted, with which version of cgroups, on which backend their tests run, and which tests.
//!
//! A kernel that can have its memory controller on either version of cgroups is booted with both.

use std::fmt;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use super::interface::RAW_TRACEPOINT;
use super::kernels::{self, Release};

/// One boot of the matrix.
#[derive(Debug)]
pub(crate) struct Boot {
    pub(crate) name: &'static str,
    pub(crate) release: &'static Release,
    pub(crate) cgroup: CgroupVersion,
    pub(crate) backend: BackendChoice,
    pub(crate) tests: Tests,
}

/// Version of cgroups that has the memory controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CgroupVersion {
    V1,
    V2,
}

/// Backend of the tests that do not choose one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackendChoice {
    Auto,
    Fentry,
    Kprobe,
    RawTracepoint,
}

/// Which of the kernel tests a boot runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tests {
    /// Every test
    All,
    /// Each kind of kill on each backend, and what differs from kernel to kernel
    Short,
}

/// The short set: tests with one of these in their names.
///
/// It holds each kind of kill on each backend (one process, threads, memory sharers, a group, a storm, the whole system,
/// sysrq, the allocating task, a cpuset, a memory policy), one kill of each kind in full on the boot's own backend, the
/// choice of a backend, and the facts of this kernel that `docs/compatibility.md` states. What is left out is the same on
/// every kernel: restarts, the agent, the command line, names and layouts of cgroups. The oldest and the newest series
/// run that too.
pub(crate) const SHORT: &[&str] = &[
    "_agree_on_",
    "_agree_when_",
    "_agree_too",
    "kill_is_printed_when_it_happens",
    "figures_agree_with_the_kernel_log",
    "process_over_its_own_limit",
    "ancestor_limit",
    "trigger_in_another_cgroup",
    "multi_threaded_victim",
    "leader_has_exited",
    "group_kill_is_one_incident",
    "group_of_memory_sharers",
    "lowered_limit",
    "storm_of_kills_is_complete",
    "without_function_hooks",
    "without_btf",
    "kernel_is_as_the_document_says",
    "report_has_the_facts",
    "locked_down_kernel",
];

pub(crate) static MATRIX: [Boot; 13] = [
    Boot {
        name: "5.10-old",
        release: &kernels::OLD_5_10,
        cgroup: CgroupVersion::V2,
        backend: BackendChoice::RawTracepoint,
        tests: Tests::Short,
    },
    Boot {
        name: "5.10",
        release: &kernels::LINUX_5_10,
        cgroup: CgroupVersion::V2,
        backend: BackendChoice::Fentry,
        tests: Tests::All,
    },
    Boot {
        name: "5.10-v1",
        release: &kernels::LINUX_5_10,
        cgroup: CgroupVersion::V1,
        backend: BackendChoice::Kprobe,
        tests: Tests::Short,
    },
    Boot {
        name: "6.1",
        release: &kernels::LINUX_6_1,
        cgroup: CgroupVersion::V2,
        backend: BackendChoice::Kprobe,
        tests: Tests::Short,
    },
    Boot {
        name: "6.1-v1",
        release: &kernels::LINUX_6_1,
        cgroup: CgroupVersion::V1,
        backend: BackendChoice::RawTracepoint,
        tests: Tests::Short,
    },
    Boot {
        name: "6.12",
        release: &kernels::LINUX_6_12,
        cgroup: CgroupVersion::V2,
        backend: BackendChoice::RawTracepoint,
        tests: Tests::Short,
    },
    Boot {
        name: "6.12-rt",
        release: &kernels::LINUX_6_12_RT,
        cgroup: CgroupVersion::V2,
        backend: BackendChoice::RawTracepoint,
        tests: Tests::Short,
    },
    Boot {
        name: "6.17",
        release: &kernels::LINUX_6_17,
        cgroup: CgroupVersion::V2,
        backend: BackendChoice::Kprobe,
        tests: Tests::Short,
    },
    Boot {
        name: "6.18",
        release: &kernels::LINUX_6_18,
        cgroup: CgroupVersion::V2,
        backend: BackendChoice::Fentry,
        tests: Tests::Short,
    },
    Boot {
        name: "6.19",
        release: &kernels::LINUX_6_19,
        cgroup: CgroupVersion::V2,
        backend: BackendChoice::RawTracepoint,
        tests: Tests::Short,
    },
    Boot {
        name: "7.1",
        release: &kernels::LINUX_7_1,
        cgroup: CgroupVersion::V2,
        backend: BackendChoice::Fentry,
        tests: Tests::Short,
    },
    Boot {
        name: "7.2-rt",
        release: &kernels::LINUX_7_2_RT,
        cgroup: CgroupVersion::V2,
        backend: BackendChoice::Fentry,
        tests: Tests::Short,
    },
    Boot {
        name: "newest",
        release: &kernels::NEWEST,
        cgroup: CgroupVersion::V2,
        backend: BackendChoice::Fentry,
        tests: Tests::All,
    },
];

/// The boot of that name, for clap.
pub(crate) fn parse_name(name: &str) -> Result<&'static Boot> {
    let names: Vec<&str> = MATRIX.iter().map(|boot| boot.name).collect();
    MATRIX
        .iter()
        .find(|boot| boot.name == name)
        .with_context(|| format!("the boots are {}", names.join(", ")))
}

impl fmt::Display for CgroupVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name(self).as_str())
    }
}

impl BackendChoice {
    /// As the kernel tests call it.
    pub(crate) fn value(self) -> String {
        match self {
            Self::RawTracepoint => RAW_TRACEPOINT.to_owned(),
            Self::Auto | Self::Fentry | Self::Kprobe => self.to_string(),
        }
    }
}

impl fmt::Display for BackendChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name(self).as_str())
    }
}

impl fmt::Display for Tests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name(self).as_str())
    }
}

/// As it is written on the command line.
fn name(value: &impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_of_one_boot() {
        let names: BTreeSet<&str> = MATRIX.iter().map(|boot| boot.name).collect();
        assert_eq!(names.len(), MATRIX.len());
        for boot in &MATRIX {
            assert_eq!(parse_name(boot.name).unwrap().name, boot.name);
        }
    }

    #[test]
    fn unknown_name_is_an_error_that_lists_the_names() {
        for odd in ["4.19", "", "5.1", "5.10-v2", "6.12-v1"] {
            assert_eq!(
                parse_name(odd).unwrap_err().to_string(),
                "the boots are 5.10-old, 5.10, 5.10-v1, 6.1, 6.1-v1, 6.12, 6.12-rt, 6.17, 6.18, 6.19, 7.1, 7.2-rt, newest"
            );
        }
    }

    #[test]
    fn oldest_and_newest_series_run_every_test() {
        let run_all = MATRIX.iter().filter(|boot| boot.tests == Tests::All);
        let names: Vec<_> = run_all.map(|boot| boot.name).collect();
        assert_eq!(names, ["5.10", "newest"]);
    }

    #[test]
    fn backends_have_the_names_of_the_command() {
        let choices = BackendChoice::value_variants();
        let names: Vec<String> = choices.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["auto", "fentry", "kprobe", "raw-tracepoint"]);
        let values: Vec<String> = choices.iter().map(|choice| choice.value()).collect();
        assert_eq!(values, ["auto", "fentry", "kprobe", RAW_TRACEPOINT]);
    }
}
