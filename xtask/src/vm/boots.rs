//! The matrix: which kernel is booted with which cgroups, on which rung its tests run, and which of them.
//!
//! A kernel is booted more than once where it can have its memory controller on either version of cgroups.

use std::fmt;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use super::kernels::{self, Release};

/// A place in the matrix.
#[derive(Debug)]
pub(crate) struct Boot {
    pub(crate) name: &'static str,
    pub(crate) release: &'static Release,
    pub(crate) cgroup: CgroupVersion,
    pub(crate) hooks: Hooks,
    /// Tests with one of these in their names are left out.
    pub(crate) without: &'static [&'static str],
}

/// Where the guest has its memory controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CgroupVersion {
    V1,
    V2,
}

/// What the tests ask of the command with `--hooks`, save those that try every rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Hooks {
    Auto,
    Function,
    Fentry,
    Kprobe,
    Tracepoint,
}

/// Tests that take long, and in which kernels differ no more than the oldest and the newest do, which have them: of what
/// outlives a command or an agent, of what a rung takes, and of the command line.
const LONG: &[&str] = &[
    "kills_while_nobody_runs",
    "agents_are_killed_and_follow",
    "two_agents_have_seen",
    "had_no_room_for",
    "one_rung_takes_over",
    "cleanup_leaves_nothing",
    "agent_keeps_its_record",
    "agent_survives",
    "agent_has_every_kill",
    "gives_up_what",
    "another_user_learns",
    "capabilities_of_the_document",
    "doctor_says_of_each_rung",
    "files_that_the_document_says",
    "kernels_symbols_where_the_document",
    "ends_the_command",
    "reader",
    "filters_show",
    "arguments_are",
    "colour_is",
];

pub(crate) static MATRIX: [Boot; 8] = [
    Boot {
        name: "5.10-old",
        release: &kernels::OLD_5_10,
        cgroup: CgroupVersion::V2,
        hooks: Hooks::Tracepoint,
        without: LONG,
    },
    Boot {
        name: "5.10",
        release: &kernels::LINUX_5_10,
        cgroup: CgroupVersion::V2,
        hooks: Hooks::Fentry,
        without: &[],
    },
    Boot {
        name: "5.10-v1",
        release: &kernels::LINUX_5_10,
        cgroup: CgroupVersion::V1,
        hooks: Hooks::Kprobe,
        without: LONG,
    },
    Boot {
        name: "6.1",
        release: &kernels::LINUX_6_1,
        cgroup: CgroupVersion::V2,
        hooks: Hooks::Kprobe,
        without: LONG,
    },
    Boot {
        name: "6.1-v1",
        release: &kernels::LINUX_6_1,
        cgroup: CgroupVersion::V1,
        hooks: Hooks::Tracepoint,
        without: LONG,
    },
    Boot {
        name: "6.12",
        release: &kernels::LINUX_6_12,
        cgroup: CgroupVersion::V2,
        hooks: Hooks::Tracepoint,
        without: LONG,
    },
    Boot {
        name: "6.18",
        release: &kernels::LINUX_6_18,
        cgroup: CgroupVersion::V2,
        hooks: Hooks::Fentry,
        without: LONG,
    },
    Boot {
        name: "newest",
        release: &kernels::NEWEST,
        cgroup: CgroupVersion::V2,
        hooks: Hooks::Fentry,
        without: &[],
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

impl fmt::Display for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name(self).as_str())
    }
}

/// As it is typed.
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
    fn unknown_name_is_told_the_names() {
        for odd in ["4.19", "", "5.1", "5.10-v2", "6.12-v1"] {
            assert_eq!(
                parse_name(odd).unwrap_err().to_string(),
                "the boots are 5.10-old, 5.10, 5.10-v1, 6.1, 6.1-v1, 6.12, 6.18, newest"
            );
        }
    }

    #[test]
    fn oldest_and_newest_leave_nothing_out() {
        let has_all = MATRIX.iter().filter(|boot| boot.without.is_empty());
        let names: Vec<_> = has_all.map(|boot| boot.name).collect();
        assert_eq!(names, ["5.10", "newest"]);
    }

    #[test]
    fn guest_is_told_in_plain_words() {
        assert_eq!(CgroupVersion::V1.to_string(), "v1");
        let hooks = Hooks::value_variants();
        let names: Vec<String> = hooks.iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            ["auto", "function", "fentry", "kprobe", "tracepoint"]
        );
    }
}
