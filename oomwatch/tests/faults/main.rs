//! Nothing lost, nothing twice: the agent is killed at any moment, its API server goes away and comes back, its disk is full, its
//! history is gone; real processes are killed all the while. At the end every kill is in the history once, and the Events'
//! counts add up.
//!
//! | variable | does |
//! |---|---|
//! | `KUBEBUILDER_ASSETS` | the folder of `etcd`, `kube-apiserver` and `kubectl`; without it nothing here runs. Needs root and BPF, too |
//! | `OOMWATCH_SEED` | a number: the moments at which the agent is killed; each run prints its own |
//! | `OOMWATCH_REQUIRE` | `faults` or `all`, among other words: what cannot run fails instead of being skipped |
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test says what it expects, and fails by panicking"
)]

/// The command under test.
#[path = "../agent/mod.rs"]
mod agent;
/// A real API server.
#[path = "../api_server/mod.rs"]
mod api_server;
/// Cgroups of these tests.
#[path = "../kernel/cgroups.rs"]
#[allow(
    dead_code,
    clippy::allow_attributes,
    reason = "the tests of hooks use more of it"
)]
mod cgroups;
/// The victims.
#[path = "../kernel/hog.rs"]
mod hog;
/// The moment at which things happen.
mod moment;
/// Pods of the API server, with cgroups in which processes are killed.
mod pods;
/// Starting victims and waiting for their end.
#[path = "../kernel/process.rs"]
#[allow(
    dead_code,
    clippy::allow_attributes,
    reason = "the tests of hooks use more of it"
)]
mod process;
/// The tests themselves.
mod scenarios;

use std::{env, ffi::OsStr, process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Completion, Trial};
use rustix::process::geteuid;

use crate::api_server::ApiServer;

/// Why a test cannot run here; never that it would fail.
#[derive(Clone, Debug)]
pub(crate) struct Skip(pub(crate) String);

/// The clock of the victims' start.
mod machine {
    use rustix::time::{ClockId, clock_gettime};

    pub(crate) fn boot_time_ns() -> u64 {
        let now = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).expect("after boot");
        seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).expect("nanoseconds")
    }
}

fn main() -> ExitCode {
    let mut words = env::args_os().skip(1).peekable();
    if words.next_if(|word| word == OsStr::new("hog")).is_some() {
        return hog::run(words);
    }
    let mut arguments = Arguments::from_args();
    // The kernel's count is of the whole machine.
    arguments.test_threads = Some(1);
    let server = if arguments.list {
        Err("listed only".to_owned())
    } else {
        start()
    };
    if let Err(why) = &server
        && !arguments.list
    {
        eprintln!("skipped: all faults: {why}");
        if is_required() {
            eprintln!("but they are required");
            return ExitCode::FAILURE;
        }
    }
    let server = Arc::new(server);
    let trials = scenarios::ALL
        .iter()
        .map(|&(name, run)| {
            let server = server.clone();
            Trial::ignorable_test(name, move || {
                Ok(match &*server {
                    Ok(server) => {
                        run(server);
                        Completion::Completed
                    }
                    Err(why) => Completion::ignored_with(format!("skipped: {why}")),
                })
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn start() -> Result<ApiServer, String> {
    if !geteuid().is_root() {
        return Err("not root".to_owned());
    }
    cgroups::Hierarchy::find("memory").map_err(|Skip(why)| why)?;
    let server = ApiServer::start(api_server::assets()?);
    server.apply(include_str!("objects.yaml"));
    Ok(server)
}

fn is_required() -> bool {
    let required = env::var("OOMWATCH_REQUIRE").unwrap_or_default();
    required
        .split(',')
        .any(|word| matches!(word, "faults" | "all" | "1"))
}
