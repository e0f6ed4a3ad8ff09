//! `oomwatch doctor`: what works on this machine, and what to do about the rest.
//!
//! ```text
//! gather (IO, below settable roots) --facts--> check (pure) --[Check]--> render (pure)
//! ```
//!
//! There is one file per topic, which gathers the topic's facts and checks them. A check fails only if `watch` cannot work:
//! what a backend lacks does not matter while a better one works. Nothing is changed: programs that are attached for a trial
//! are detached immediately. The API server is not contacted.

mod backends;
mod btf;
mod cgroups;
mod check;
mod diagnosis;
mod kernel;
mod mountinfo;
mod privileges;
mod refusal;
mod render;
mod roots;
mod runtimes;
mod selection;
mod sources;
mod trials;

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use self::{
    cgroups::CgroupFacts,
    diagnosis::Diagnosis,
    kernel::KernelFacts,
    privileges::{CapabilityNeeds, PrivilegeFacts},
    roots::Roots,
    runtimes::RuntimeFacts,
    sources::SourceFacts,
    trials::TrialFacts,
};
use crate::{
    capture::config::CaptureConfig,
    commands::exit::Exit,
    deliver::color::{Color, ColorChoice},
    model::backend::Backend,
};

/// Configuration of `oomwatch doctor`.
#[derive(Debug)]
pub struct DoctorConfig {
    /// Output format.
    pub format: OutputFormat,
    /// When to color the lines.
    pub color: ColorChoice,
    /// The BPF file system with an agent's pins.
    pub bpffs: PathBuf,
    /// How kills are captured.
    pub capture: CaptureConfig,
}

/// Output formats of the doctor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// Lines by topic.
    Text,
    /// One JSON object, schema `oomwatch-doctor/v1`.
    Json,
}

/// Prints the results to stdout. The exit code tells whether `watch` works.
pub fn run(config: &DoctorConfig) -> anyhow::Result<Exit> {
    let DoctorConfig {
        format,
        color,
        bpffs,
        capture:
            CaptureConfig {
                backend,
                btf,
                proc_root,
                cgroup_root,
                kmsg: _,
            },
    } = config;
    let roots = Roots {
        proc: proc_root,
        cgroup: cgroup_root,
        btf,
        bpffs,
        system: Path::new("/"),
    };
    let diagnosis = diagnose(&MachineFacts::gather(roots, *backend));
    let mut stdout = io::stdout().lock();
    let text = match format {
        OutputFormat::Text => render::text(&diagnosis, Color::new(*color, stdout.is_terminal())),
        OutputFormat::Json => render::json(&diagnosis).context("failed to write JSON")?,
    };
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        // The result is the same if the reader has closed the pipe.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("failed to write to stdout")
        }
        _ if diagnosis.works() => Ok(Exit::Done),
        _ => Ok(Exit::Failed),
    }
}

/// Everything that is read from the machine.
#[derive(Debug)]
struct MachineFacts {
    kernel: KernelFacts,
    trials: TrialFacts,
    cgroups: CgroupFacts,
    privileges: PrivilegeFacts,
    sources: SourceFacts,
    runtimes: RuntimeFacts,
}

impl MachineFacts {
    fn gather(roots: Roots<'_>, choice: Option<Backend>) -> Self {
        let kernel = KernelFacts::gather(roots);
        let cgroups = CgroupFacts::gather(roots);
        Self {
            trials: TrialFacts::gather(roots, choice, kernel.types(), cgroups.count()),
            kernel,
            cgroups,
            privileges: PrivilegeFacts::gather(roots),
            sources: SourceFacts::gather(roots),
            runtimes: RuntimeFacts::gather(roots),
        }
    }
}

fn diagnose(facts: &MachineFacts) -> Diagnosis {
    let MachineFacts {
        kernel,
        trials,
        cgroups,
        privileges,
        sources,
        runtimes,
    } = facts;
    let may_load = privileges.may_load();
    let selection = trials.selection();
    let needs = CapabilityNeeds {
        programs: selection.without_programs(),
        maps: trials.has_maps(),
        lacks_symbols: sources.lacks_symbols(selection),
    };
    let checks = [
        kernel::checks(kernel, may_load, selection),
        trials::checks(trials, may_load, kernel.is_confidential()),
        cgroups::checks(cgroups),
        privileges::checks(privileges, needs),
        sources::checks(sources, selection),
        runtimes::checks(runtimes),
    ]
    .concat();
    Diagnosis {
        checks,
        backend: selection.backend,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::ErrorKind};

    use super::{check::Status, *};

    #[test]
    fn machine_without_files_has_findings_and_remedies() {
        let nowhere = Path::new("/nonexistent");
        let roots = Roots {
            proc: nowhere,
            cgroup: nowhere,
            btf: nowhere,
            bpffs: nowhere,
            system: nowhere,
        };
        let diagnosis = diagnose(&MachineFacts::gather(roots, None));
        assert!(!diagnosis.works());
        for check in &diagnosis.checks {
            assert!(!check.finding.is_empty(), "{check:?}");
            assert!(
                check.status != Status::Fail && check.status != Status::Warn
                    || check.remedy.is_some(),
                "{check:?}"
            );
        }
    }

    #[test]
    fn files_full_of_garbage_cause_no_panic() {
        let root = tempfile::tempdir().expect("make a folder");
        for path in [
            "vmlinux",
            "proc/self/mountinfo",
            "proc/self/cgroup",
            "proc/self/uid_map",
            "proc/self/ns/cgroup",
            "proc/cmdline",
            "proc/vmstat",
            "proc/kallsyms",
            "proc/sys/kernel/random/boot_id",
            "proc/sys/kernel/dmesg_restrict",
            "proc/sys/kernel/perf_event_paranoid",
            "proc/sys/kernel/kptr_restrict",
            "cgroup/cgroup.controllers",
            "sys/kernel/security/lockdown",
            "sys/bus/event_source/devices/kprobe/type",
            "sys/kernel/tracing/events/signal/signal_generate/format",
            "sys/kernel/tracing/events/oom/mark_victim/format",
            "sys/fs/bpf",
            "dev/kmsg",
            "run/docker.sock",
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("below the root")).expect("make a folder");
            fs::write(
                path,
                b"\xff\0 - \x1b[31m \\400 \\ 99999999999999999999 -\n:\n::\n",
            )
            .expect("write a file");
        }
        let roots = Roots {
            proc: &root.path().join("proc"),
            cgroup: &root.path().join("cgroup"),
            btf: &root.path().join("vmlinux"),
            bpffs: &root.path().join("sys/fs/bpf"),
            system: root.path(),
        };
        let diagnosis = diagnose(&MachineFacts::gather(roots, None));
        assert!(!diagnosis.works());
        let text = render::text(&diagnosis, Color::Never);
        assert!(
            text.chars()
                .all(|character| character == '\n' || !character.is_control()),
            "{text}"
        );
        let json = render::json(&diagnosis).expect("serialize");
        assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
        assert_eq!(json.matches('\n').count(), 1, "{json}");
    }

    #[test]
    fn errors_of_the_kernel_are_readable() {
        let error = io::Error::from(ErrorKind::NotFound);
        assert!(check::os_error(&error).contains("not found"));
        let error = io::Error::from_raw_os_error(libc::EACCES);
        assert_eq!(check::os_error(&error), "permission denied");
    }
}
