//! `oomwatch doctor`: what this machine can give, and what to do about the rest.
//!
//! ```text
//! gather (IO, below settable roots) --Facts--> judge (pure) --[Check]--> render (pure)
//! ```
//!
//! One file a topic, each with its own facts, gathering and judging. Only what `watch` cannot do without fails: what one rung
//! of the ladder lacks is no loss while a better one works. It changes nothing: programs that are attached on trial are
//! detached at once. Kubernetes' API server is not asked.

mod backends;
mod bpf_backends;
mod btf;
mod cgroups;
mod check;
mod kernel;
mod mountinfo;
mod privileges;
mod refusal;
mod render;
mod runtimes;
mod sources;

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use self::check::{Check, Status};
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

/// Prints what was found; fails if `watch` cannot work.
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
    let diagnosis = judge(&Facts::gather(roots, *backend));
    let mut stdout = io::stdout().lock();
    let text = match format {
        OutputFormat::Text => render::text(&diagnosis, Color::new(*color, stdout.is_terminal())),
        OutputFormat::Json => render::json(&diagnosis).context("write JSON")?,
    };
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        // The verdict stands even if the reader has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("write to stdout")
        }
        _ if diagnosis.works() => Ok(Exit::Done),
        _ => Ok(Exit::Failed),
    }
}

/// Where to look.
#[derive(Clone, Copy, Debug)]
struct Roots<'a> {
    /// The host's `/proc`.
    proc: &'a Path,
    /// The host's cgroup file system.
    cgroup: &'a Path,
    /// The kernel's BTF.
    btf: &'a Path,
    /// Where an agent pins.
    bpffs: &'a Path,
    /// Above `/sys`, `/dev` and `/run`.
    system: &'a Path,
}

/// Everything that is asked of the machine.
#[derive(Debug)]
struct Facts {
    kernel: kernel::Facts,
    hooks: bpf_backends::Facts,
    cgroups: cgroups::Facts,
    privileges: privileges::Facts,
    sources: sources::Facts,
    runtimes: runtimes::Facts,
}

impl Facts {
    fn gather(roots: Roots<'_>, choice: Option<Backend>) -> Self {
        let kernel = kernel::Facts::gather(roots);
        let cgroups = cgroups::Facts::gather(roots);
        Self {
            hooks: bpf_backends::Facts::gather(roots, choice, kernel.types(), cgroups.count()),
            kernel,
            cgroups,
            privileges: privileges::Facts::gather(roots),
            sources: sources::Facts::gather(roots),
            runtimes: runtimes::Facts::gather(roots),
        }
    }
}

/// What was found.
#[derive(Debug)]
struct Diagnosis {
    checks: Vec<Check>,
    /// What `watch` takes of the ways to see kills; nothing if none works.
    backend: Option<Backend>,
}

impl Diagnosis {
    /// Whether `watch` works.
    fn works(&self) -> bool {
        self.checks.iter().all(|check| check.status != Status::Fail)
    }
}

fn judge(facts: &Facts) -> Diagnosis {
    let Facts {
        kernel,
        hooks,
        cgroups,
        privileges,
        sources,
        runtimes,
    } = facts;
    let may_load = privileges.may_load();
    let stand = hooks.stand();
    let needs = privileges::Needs {
        programs: stand.without_programs(),
        maps: hooks.has_maps(),
        lacks_symbols: sources.lacks_symbols(stand),
    };
    let checks = [
        kernel::judge(kernel, may_load, stand),
        bpf_backends::judge(hooks, may_load, kernel.is_confidential()),
        cgroups::judge(cgroups),
        privileges::judge(privileges, needs),
        sources::judge(sources, stand),
        runtimes::judge(runtimes),
    ]
    .concat();
    Diagnosis {
        checks,
        backend: stand.backend,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::ErrorKind};

    use super::*;

    #[test]
    fn machine_with_nothing_gives_lines_and_remedies() {
        let nowhere = Path::new("/nonexistent");
        let roots = Roots {
            proc: nowhere,
            cgroup: nowhere,
            btf: nowhere,
            bpffs: nowhere,
            system: nowhere,
        };
        let diagnosis = judge(&Facts::gather(roots, None));
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

    /// Every file that is read, filled with what nobody expects.
    #[test]
    fn machine_full_of_garbage_gives_lines_and_no_panic() {
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
        let diagnosis = judge(&Facts::gather(roots, None));
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
    fn answers_of_the_kernel_are_readable() {
        let error = io::Error::from(ErrorKind::NotFound);
        assert!(check::answer(&error).contains("not found"));
        let error = io::Error::from_raw_os_error(libc::EACCES);
        assert_eq!(check::answer(&error), "permission denied");
    }
}
