//! Events as a real API server takes them, and as a scripted one answers what a real one cannot be made to.
//!
//! `KUBEBUILDER_ASSETS` names a folder with etcd, kube-apiserver and kubectl. Without it the tests on the real one are
//! skipped, unless `OOMWATCH_REQUIRE` has `api` or `all` among its words.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test says what it expects, and fails by panicking"
)]

use std::{env, process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Completion, Trial};

use crate::api_server::ApiServer;

mod answers;
#[path = "../api_server/mod.rs"]
mod api_server;
mod delivery;
mod kills;
mod real;
mod scripted;

/// What there is at the start: a node, namespaces, a pod, and the agent's role, which is bound everywhere but in `closed`.
const OBJECTS: &str = include_str!("objects.yaml");

/// Runs a test on the one real API server, if there is one.
macro_rules! on_real_server {
    ($server:expr, $($name:ident),+ $(,)?) => {
        [$({
            let server = $server.clone();
            Trial::ignorable_test(concat!("real::", stringify!($name)), move || {
                Ok(match &*server {
                    Ok(server) => {
                        block_on(real::$name(server));
                        Completion::Completed
                    }
                    Err(why) => Completion::ignored_with(format!("skipped: {why}")),
                })
            })
        }),+]
    };
}

/// Runs a test on a scripted server of its own.
macro_rules! on_scripted_server {
    ($($name:ident),+ $(,)?) => {
        [$(Trial::test(concat!("scripted::", stringify!($name)), || {
            block_on(answers::$name());
            Ok(())
        })),+]
    };
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // There is one real server, and one test takes it away for a while.
    arguments.test_threads.get_or_insert(1);
    let server = if arguments.list {
        Err("listed only".to_owned())
    } else {
        api_server::assets().map(|assets| {
            let server = ApiServer::start(assets);
            server.apply(OBJECTS);
            server
        })
    };
    if let Err(why) = &server
        && !arguments.list
    {
        eprintln!("skipped: all tests on a real API server: {why}");
        if is_required() {
            eprintln!("but they are required");
            return ExitCode::FAILURE;
        }
    }
    let server = Arc::new(server);
    let mut trials = Vec::from(on_real_server!(
        server,
        pod_event_is_kept_as_it_was_sent,
        further_incidents_are_counted_on_the_same_event,
        node_event_is_seen_by_kubectl,
        node_event_has_the_nodes_uid,
        pod_event_is_seen_by_kubectl,
        node_that_is_not_there_has_its_events_without_a_uid,
        event_that_was_deleted_is_made_anew_with_its_count,
        same_kill_told_twice_is_one_event,
        missing_namespace_refuses_for_good_and_blocks_nobody,
        ending_namespace_refuses_for_good_and_blocks_nobody,
        missing_permission_delays_only_what_it_is_for,
        unknown_token_delays_and_ends_with_one_more_try,
        node_event_needs_no_permission_for_nodes,
        event_that_is_too_large_is_refused_and_blocks_nobody,
        server_that_is_killed_and_comes_back_is_told_all,
        storm_of_pods_is_told_within_the_budget,
        agent_that_was_killed_goes_on_with_the_same_events,
        agent_that_has_lost_its_history_lowers_no_count,
    ));
    trials.extend(on_scripted_server!(
        server_that_asks_for_time_is_given_it,
        every_passing_failure_is_tried_again,
        answer_that_never_comes_blocks_nobody,
        answer_that_was_lost_is_no_second_event,
        invalid_event_is_refused_once,
        drain_gives_up_in_time,
        drain_can_keep_what_is_left_for_the_next_start,
    ));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn is_required() -> bool {
    let required = env::var("OOMWATCH_REQUIRE").unwrap_or_default();
    required
        .split(',')
        .any(|word| matches!(word, "api" | "all" | "1"))
}

/// On a runtime as the agent has one.
fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(test);
}
