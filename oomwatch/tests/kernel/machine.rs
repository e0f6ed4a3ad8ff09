//! What this machine gives: privileges, a memory controller, and how much to ask of it.

use std::{env, fs, path::PathBuf, process, time::Duration};

use rustix::{
    process::geteuid,
    thread::{CapabilitySet, capabilities},
    time::{ClockId, clock_gettime},
};

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
        let top = Hierarchy::find()?.root();
        remove_leftovers(&top, patience);
        Ok(Self {
            binary: env::var_os("OOMWATCH_BIN")
                .map_or_else(|| env!("CARGO_BIN_EXE_oomwatch").into(), PathBuf::from),
            patience,
            storm: number("OOMWATCH_STORM", 500),
            namespaces: number("OOMWATCH_NAMESPACES", 5000),
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

fn number(variable: &str, default: usize) -> usize {
    env::var(variable).map_or(default, |value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {value}"))
    })
}

/// Nanoseconds since boot, suspend included: the clock of process starts and of records.
pub(crate) fn boot_time_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).expect("after boot");
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).expect("nanoseconds")
}
