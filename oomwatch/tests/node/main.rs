//! The agent on real nodes: deployed by its manifests, beside real pods, and what people see of their kills.
//!
//! `cargo xtask test --only node` brings the nodes up with the image on them, and sets these variables:
//!
//! | variable | means |
//! |---|---|
//! | `KUBEBUILDER_ASSETS` | the folder of `kubectl` |
//! | `KUBECONFIG`, `KUBE_NODE_NAME`, `KUBE_NODE_DIR` | a node on this machine, and a folder with all that is its own |
//! | `OOMWATCH_KUBE_VM_NODE`, `OOMWATCH_KUBE_VM_NODE_NAME` | a node in a virtual machine, on cgroup v2, and the command that runs others on it (`exec NAME COMMAND`). Without them the tests there are skipped |
//! | `OOMWATCH_HELM` | a Helm, for the test of the chart |
//! | `OOMWATCH_REQUIRE` | if set, tests on the first node fail instead of being skipped |
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test says what it expects, and fails by panicking"
)]

mod agent;
mod chart;
mod cluster;
#[path = "../events/delivery.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod delivery;
mod groups;
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

/// A node and the agent on it, or why there is no such node.
type Found = Arc<Result<(Cluster, Arc<Agent>), String>>;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(1);
    let cluster = if arguments.list {
        Err("listed only".to_owned())
    } else {
        Cluster::find()
    };
    let vm = cluster.as_ref().map_err(Clone::clone);
    let vm = vm.and_then(Cluster::on_vm);
    for (what, found) in [("a real node", &cluster), ("a node on cgroup v2", &vm)] {
        if let Err(why) = found
            && !arguments.list
        {
            eprintln!("skipped: all tests on {what}: {why}");
        }
    }
    if cluster.is_err() && !arguments.list && env::var_os("OOMWATCH_REQUIRE").is_some() {
        eprintln!("required, but there is no node");
        return ExitCode::FAILURE;
    }
    // One for both nodes: it is where it was deployed last.
    let agent = Arc::new(Agent::new());
    let found = |cluster: Result<Cluster, String>| -> Found {
        Arc::new(cluster.map(|cluster| (cluster, agent.clone())))
    };
    let trials = [on_this_machine(&found(cluster)), on_vm(&found(vm))];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit_code()
}

fn on_this_machine(found: &Found) -> Vec<Trial> {
    let mut trials = vec![trial(
        found,
        "system_oom_is_recorded_as_the_kubelet_does",
        |cluster, _| kubelet::forged_system_oom(cluster),
    )];
    // The second follows the first as after an upgrade.
    for (overlay, more) in [
        (Overlay::Base, scenarios::WITH_A_RUNTIME),
        (Overlay::Hardened, &[]),
    ] {
        trials.extend(deployed(found, overlay, scenarios::ALL.iter().chain(more)));
    }
    trials.push(trial(
        found,
        "uninstall_leaves_nothing_on_the_node",
        scenarios::uninstalled,
    ));
    // After uninstalling: a node has one agent.
    trials.push(trial(
        found,
        "chart_is_installed_and_upgraded",
        |cluster, _| match chart::helm() {
            Ok(helm) => chart::installed(cluster, &helm),
            Err(why) if env::var_os("OOMWATCH_REQUIRE").is_some() => panic!("required, but {why}"),
            Err(why) => eprintln!("skipped: {why}"),
        },
    ));
    trials
}

fn on_vm(found: &Found) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (overlay, scenarios) in [
        (Overlay::VmBase, groups::ALL),
        (Overlay::VmHardened, groups::HARDENED),
    ] {
        trials.extend(deployed(found, overlay, scenarios));
    }
    trials
}

/// What holds where the agent is deployed in one way.
fn deployed<'a>(
    found: &Found,
    overlay: Overlay,
    scenarios: impl IntoIterator<Item = &'a (&'static str, scenarios::Run)>,
) -> Vec<Trial> {
    let scenarios = scenarios.into_iter();
    scenarios
        .map(|&(name, run)| {
            let name = format!("{}_{name}", overlay.name().replace('-', "_"));
            trial(found, &name, move |cluster, agent| {
                agent.deploy(cluster, overlay);
                run(&cluster.for_one(overlay.name()));
            })
        })
        .collect()
}

fn trial(found: &Found, name: &str, run: impl FnOnce(&Cluster, &Agent) + Send + 'static) -> Trial {
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
}
