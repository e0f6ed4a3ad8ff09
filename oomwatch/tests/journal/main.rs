//! The journal from outside: agents that are killed while they write, disks that are full, and `oomwatch history`.
//!
//! Kills are made up here; what is written is a real journal on a real file system. `OOMWATCH_SEED` repeats a run.

#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test says what it expects, and fails by panicking"
)]

/// Agents, and what they are killed in.
mod crash;
/// Disks without room.
mod full;
/// The command.
mod history;
/// Kills and journals to be looked at.
mod made;

use std::{env, process::ExitCode};

use libtest_mimic::{Arguments, Completion, Trial};

#[derive(Clone, Copy)]
enum Test {
    /// Runs everywhere.
    Any(fn()),
    /// Says why, where it cannot run.
    Some(fn() -> Result<(), String>),
}

const TESTS: [(&str, Test); 10] = [
    (
        "agent_that_is_killed_at_any_moment_loses_nothing_and_doubles_nothing",
        Test::Any(crash::any_moment),
    ),
    (
        "full_disk_keeps_all_kills_until_there_is_room",
        Test::Some(full::until_there_is_room),
    ),
    (
        "history_shows_what_is_asked_for_oldest_first",
        Test::Any(history::filters),
    ),
    ("history_is_in_every_form", Test::Any(history::forms)),
    (
        "history_says_when_there_is_more_than_it_shows",
        Test::Any(history::limits),
    ),
    (
        "history_reads_while_the_agent_writes",
        Test::Any(history::while_written),
    ),
    (
        "history_needs_no_right_but_to_read_the_file",
        Test::Some(history::as_nobody),
    ),
    (
        "history_of_what_cannot_be_read_says_what_to_do",
        Test::Any(history::unusable),
    ),
    (
        "history_into_a_closed_pipe_is_done",
        Test::Any(history::closed_pipe),
    ),
    (
        "history_of_an_odd_time_is_wrong_usage",
        Test::Any(history::usage),
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
