//! What this machine gives: privileges, a memory controller, backends of the hook ladder, and how much to ask of it.

use std::{collections::BTreeMap, env, fs, path::PathBuf, process, sync::Mutex, time::Duration};

use rustix::{
    process::geteuid,
    thread::{CapabilitySet, capabilities},
    time::{ClockId, clock_gettime},
};

use oomwatch::model::backend::Backend;

use crate::{
    Skip,
    cgroups::{Cgroup, Hierarchy, Scene, Version},
};

/// How long a condition may take to come true on a machine that is not emulated.
const PATIENCE: Duration = Duration::from_mins(1);

/// Name of the root cgroup of a run, before its process id.
const ROOT_PREFIX: &str = "oomwatch-test-";

/// A machine on which the tests can run.
pub(crate) struct Machine {
    /// The command under test.
    pub(crate) binary: PathBuf,
    /// How long a condition may take to come true.
    pub(crate) patience: Duration,
    /// Kills in the storm.
    pub(crate) storm: usize,
    /// PID namespaces that die.
    pub(crate) namespaces: usize,
    /// `--backend` for tests that do not choose themselves; absent leaves it to the command.
    pub(crate) backend: Option<String>,
    /// Backends that must not be absent.
    pub(crate) required: Vec<Backend>,
    /// Whether this machine is there for the tests alone: it may run out of memory, and nothing else kills on it.
    pub(crate) is_guest: bool,
    /// Whether the kernel may be locked down at the end, until the next boot.
    pub(crate) may_lock_down: bool,
    /// Backends that have been tried: those that could not be had with the reason.
    tried: Mutex<BTreeMap<Backend, Result<(), String>>>,
    /// Below it lie all cgroups of this run.
    root: Scene,
}

impl Machine {
    /// Looks at the machine, and makes the root cgroup of this run.
    pub(crate) fn probe() -> Result<Self, Skip> {
        if !geteuid().is_root() {
            return Err(Skip("not root".to_owned()));
        }
        let needed = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::SYS_ADMIN;
        let held = capabilities(None).expect("own capabilities").effective;
        if !held.contains(needed) {
            return Err(Skip(format!("lacks {:?}", needed.difference(held))));
        }
        let patience =
            PATIENCE * u32::try_from(number("OOMWATCH_PATIENCE", 1)).expect("a small factor");
        let top = Hierarchy::find("memory")?.root();
        remove_leftovers(&top, patience);
        Ok(Self {
            binary: env::var_os("OOMWATCH_BIN")
                .map_or_else(|| env!("CARGO_BIN_EXE_oomwatch").into(), PathBuf::from),
            patience,
            storm: number("OOMWATCH_STORM", 500),
            namespaces: number("OOMWATCH_NAMESPACES", 5000),
            backend: text("OOMWATCH_BACKEND").inspect(|backend| {
                let complete = ["auto", "fentry", "kprobe", "raw-tracepoint"];
                assert!(
                    complete.contains(&backend.as_str()),
                    "OOMWATCH_BACKEND: {backend}"
                );
            }),
            required: backends(&text("OOMWATCH_BACKENDS").unwrap_or_default()),
            is_guest: text("OOMWATCH_SYSTEM").is_some_and(|value| value == "1"),
            may_lock_down: text("OOMWATCH_LOCKDOWN").is_none_or(|value| value != "0"),
            tried: Mutex::default(),
            root: Scene::new(
                top.make(format!("{ROOT_PREFIX}{}", process::id())),
                patience,
            ),
        })
    }

    /// Which interface the memory controller has.
    pub(crate) fn version(&self) -> Version {
        self.root.version()
    }

    /// Path of the root cgroup of this run.
    pub(crate) fn path(&self) -> &str {
        self.root.text()
    }

    /// The root of the hierarchy, which is not these tests' own.
    pub(crate) fn top(&self) -> Cgroup {
        self.root.top()
    }

    /// What came of trying a backend, if it was tried.
    pub(crate) fn tried(&self, backend: Backend) -> Option<Result<(), String>> {
        self.tried.lock().expect("no panic").get(&backend).cloned()
    }

    /// Remembers what came of trying a backend, which must not be absent if it is required.
    pub(crate) fn remember(&self, backend: Backend, came: Result<(), &str>) {
        if let Err(why) = came {
            let required = self.required.contains(&backend);
            assert!(!required, "{} is required, but: {why}", backend.flag());
        }
        let mut tried = self.tried.lock().expect("no panic");
        tried.insert(backend, came.map_err(str::to_owned));
    }

    /// A cgroup for one test, removed with all below it when it is dropped.
    pub(crate) fn scene(&self, name: &str) -> Scene {
        Scene::new(self.root.make(name), self.patience)
    }
}

/// Removes what killed runs have left.
fn remove_leftovers(top: &Cgroup, patience: Duration) {
    for name in top.children() {
        let owner = str::from_utf8(&name)
            .ok()
            .and_then(|name| name.strip_prefix(ROOT_PREFIX));
        if owner.is_some_and(|pid| !fs::exists(format!("/proc/{pid}")).unwrap_or(true)) {
            drop(Scene::new(top.below(&name), patience));
        }
    }
}

/// A variable that is set to something.
fn text(variable: &str) -> Option<String> {
    env::var(variable).ok().filter(|value| !value.is_empty())
}

fn number(variable: &str, default: usize) -> usize {
    text(variable).map_or(default, |value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {value}"))
    })
}

fn backends(names: &str) -> Vec<Backend> {
    names
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut all = Backend::ALL.into_iter();
            all.find(|backend| backend.flag() == name)
                .unwrap_or_else(|| panic!("OOMWATCH_BACKENDS: {name}"))
        })
        .collect()
}

/// Nanoseconds since boot, suspend included: the clock of process starts and of records.
pub(crate) fn boot_time_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).expect("after boot");
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).expect("nanoseconds")
}
