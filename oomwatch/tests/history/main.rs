//! Tests the history database from outside: agents that are killed while they write, full disks, and `oomwatch history`.
//!
//! The kills are generated, the databases are real files. `OOMWATCH_SEED` repeats a run.

#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test says what it expects, and fails by panicking"
)]

/// `oomwatch history`.
mod command;
/// Agents that are killed while they write.
mod crash;
/// Generated kills and databases.
mod fixtures;
/// Full disks.
mod full;

use std::{env, process::ExitCode};

use libtest_mimic::{Arguments, Completion, Trial};

#[derive(Clone, Copy)]
enum Test {
    /// Runs everywhere.
    Any(fn()),
    /// Returns the reason if it cannot run here.
    Some(fn() -> Result<(), String>),
}

const TESTS: [(&str, Test); 10] = [
    (
        "agent_killed_at_any_moment_loses_nothing_and_duplicates_nothing",
        Test::Any(crash::any_moment),
    ),
    (
        "kills_are_kept_in_memory_while_the_disk_is_full",
        Test::Some(full::until_there_is_room),
    ),
    (
        "history_shows_selected_kills_oldest_first",
        Test::Any(command::filters),
    ),
    ("history_has_every_output_format", Test::Any(command::forms)),
    (
        "history_says_when_its_limit_hides_kills",
        Test::Any(command::limits),
    ),
    (
        "history_reads_while_the_agent_writes",
        Test::Any(command::while_written),
    ),
    (
        "history_needs_no_privilege_but_to_read_the_file",
        Test::Some(command::unprivileged),
    ),
    (
        "history_of_an_unreadable_file_says_what_to_do",
        Test::Any(command::unusable),
    ),
    (
        "history_into_a_closed_pipe_succeeds",
        Test::Any(command::closed_pipe),
    ),
    (
        "malformed_arguments_are_usage_errors",
        Test::Any(command::usage),
    ),
];

fn main() -> ExitCode {
    let mut words = env::args().skip(1);
    match (words.next().as_deref(), words.next()) {
        (Some("crash"), Some(folder)) => return crash::agent(&folder),
        (Some("full"), Some(folder)) => return full::agent(&folder),
        _ => {}
    }
    let trials = TESTS.map(|(name, test)| {
        Trial::ignorable_test(name, move || {
            let done = match test {
                Test::Any(test) => {
                    test();
                    Ok(())
                }
                Test::Some(test) => test(),
            };
            Ok(match done {
                Ok(()) => Completion::Completed,
                Err(why) => Completion::ignored_with(format!("skipped: {why}")),
            })
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}
