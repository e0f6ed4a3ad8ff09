//! Real kills on a real kernel: the whole path from the OOM killer to the command's output.
//!
//! Needs root, BPF, and a memory controller (cgroup v1 or v2). It makes cgroups below one of its own and removes them, and uses
//! no other program, so that it runs in a VM from an init script too. Only where the machine is reserved for it
//! alone does it bring the machine itself out of memory.
//!
//! | variable | does |
//! |---|---|
//! | `OOMWATCH_BIN` | the command to test; by default the one that cargo built |
//! | `OOMWATCH_REQUIRE` | `1`: what cannot run at all fails instead of being skipped |
//! | `OOMWATCH_PATIENCE` | factor on all deadlines, for emulated machines; 1 |
//! | `OOMWATCH_STORM` | kills in the storm; 500 |
//! | `OOMWATCH_NAMESPACES` | PID namespaces that die before the kills; 5000 |
//! | `OOMWATCH_BACKEND` | the backend for tests that do not choose one: `fentry`, `kprobe` or `raw-tracepoint`; `auto` |
//! | `OOMWATCH_BACKENDS` | backends that must not be absent, with commas |
//! | `OOMWATCH_SYSTEM` | `1`: the machine is there for these tests alone, and may run out of memory |
//! | `OOMWATCH_LOCKDOWN` | `0`: leave the kernel's lockdown alone, which lasts until the next boot |
//!
//! Scenarios that compare the backends of the hook ladder print a line for each backend:
//! `@backend SCENARIO BACKEND ok|failed|absent WHAT`, where WHAT is what the best backend reported and this one did not, or why it is absent.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test says what it expects, and fails by panicking"
)]

/// The agent.
#[path = "../agent/mod.rs"]
mod agent;
/// Whether the backends agree.
mod agreement;
/// The backends of the hook ladder.
/// The same kills seen from every backend.
mod backends;
/// A place to pin.
mod bpffs;
/// Making, limiting and removing cgroups.
mod cgroups;
/// Two reports of one kill.
mod compare;
/// The command with less than root has.
mod confined;
/// Reading `docs/compatibility.md`.
#[path = "../document/mod.rs"]
mod document;
/// The command after its end.
mod ended;
/// What a report of a kill must say.
mod expected;
/// The victims.
mod hog;
/// An observer that is started again and again.
mod keeper;
/// The kernel's own words and counts.
mod kernel;
/// What this machine gives.
mod machine;
/// Starting victims and waiting for their end.
mod process;
/// A report, read back.
mod report;
/// The tests themselves, one file a concern.
mod scenarios;
/// The command under test.
mod watcher;

use std::{env, ffi::OsStr, process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Completion, Trial};

use crate::machine::Machine;

/// Why a test cannot run here; never that it would fail.
#[derive(Clone, Debug)]
pub(crate) struct Skip(pub(crate) String);

/// A test: its name is what it claims.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    name: &'static str,
    needs: fn(&Machine) -> Result<(), Skip>,
    run: fn(&Machine),
}

impl Scenario {
    /// One that needs no more than all do.
    pub(crate) const fn new(name: &'static str, run: fn(&Machine)) -> Self {
        Self {
            name,
            needs: |_| Ok(()),
            run,
        }
    }

    /// One that is skipped where this says so.
    pub(crate) const fn needing(self, needs: fn(&Machine) -> Result<(), Skip>) -> Self {
        Self { needs, ..self }
    }

    fn try_run(self, machine: &Machine) -> Result<(), Skip> {
        (self.needs)(machine)?;
        (self.run)(machine);
        Ok(())
    }
}

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1).peekable();
    if arguments
        .next_if(|word| word == OsStr::new("hog"))
        .is_some()
    {
        return hog::run(arguments);
    }
    if arguments
        .next_if(|word| word == OsStr::new("keeper"))
        .is_some()
    {
        return keeper::run(arguments);
    }
    let mut arguments = Arguments::from_args();
    // Each watcher sees the whole machine's kills, and the kernel's count is compared.
    arguments.test_threads.get_or_insert(1);
    let machine = if arguments.list {
        Err(Skip("listed only".to_owned()))
    } else {
        Machine::probe()
    };
    if let Err(Skip(why)) = &machine
        && !arguments.list
    {
        if env::var_os("OOMWATCH_REQUIRE").is_some_and(|value| value == "1") {
            eprintln!("required, but this machine cannot run it: {why}");
            return ExitCode::FAILURE;
        }
        eprintln!("skipped: all tests on a real kernel: {why}");
    }
    let machine = Arc::new(machine);
    let trials = scenarios::all()
        .map(|scenario| {
            let machine = machine.clone();
            Trial::ignorable_test(scenario.name, move || {
                let done = match &*machine {
                    Ok(machine) => scenario.try_run(machine),
                    Err(skip) => Err(skip.clone()),
                };
                Ok(match done {
                    Ok(()) => Completion::Completed,
                    Err(Skip(why)) => Completion::ignored_with(format!("skipped: {why}")),
                })
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
