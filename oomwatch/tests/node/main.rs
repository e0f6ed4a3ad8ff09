//! The agent on a real node: deployed by its manifests, beside real pods, and what people see of their kills.
//!
//! `cargo xtask test --only node` brings the node up and the image on it, and says in the environment where they are.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test says what it expects, and fails by panicking"
)]

mod agent;
mod cluster;
#[path = "../events/delivery.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod delivery;
#[path = "../events/kills.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod kills;
mod kubelet;
mod scenarios;

use std::{env, process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Completion, Trial};

use crate::{
    agent::{Agent, Overlay},
    cluster::Cluster,
};

type Run = Box<dyn FnOnce(&Cluster, &Agent) + Send>;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(1);
    let found = if arguments.list {
        Err("listed only".to_owned())
    } else {
        Cluster::find().and_then(|cluster| Agent::find().map(|agent| (cluster, agent)))
    };
    if let Err(why) = &found
        && !arguments.list
    {
        if env::var_os("OOMWATCH_REQUIRE").is_some() {
            eprintln!("required, but there is no node: {why}");
            return ExitCode::FAILURE;
        }
        eprintln!("skipped: all tests on a real node: {why}");
    }
    let found = Arc::new(found);
    let trial = |name: String, run: Run| {
        let found = found.clone();
        Trial::ignorable_test(name, move || {
            Ok(match &*found {
                Ok((cluster, agent)) => {
                    run(cluster, agent);
                    Completion::Completed
                }
                Err(why) => Completion::ignored_with(format!("skipped: {why}")),
            })
        })
    };
    let name = "system_oom_is_recorded_as_the_kubelet_does".to_owned();
    let mut trials = vec![trial(
        name,
        Box::new(|cluster, _| kubelet::forged_system_oom(cluster)),
    )];
    // The second follows the first as after an upgrade.
    for (overlay, more) in [
        (Overlay::Base, scenarios::WITH_A_RUNTIME),
        (Overlay::Hardened, &[]),
    ] {
        for (name, run) in scenarios::ALL.iter().chain(more) {
            let run = move |cluster: &Cluster, agent: &Agent| {
                agent.deploy(cluster, overlay);
                run(&cluster.for_one(overlay.name()));
            };
            trials.push(trial(format!("{}_{name}", overlay.name()), Box::new(run)));
        }
    }
    let name = "uninstall_leaves_nothing_on_the_node".to_owned();
    trials.push(trial(name, Box::new(scenarios::uninstalled)));
    libtest_mimic::run(&arguments, trials).exit_code()
}
