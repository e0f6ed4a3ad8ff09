//! Name resolution against an API server, and a node with its kubelet and containerd.
//!
//! | variable | does |
//! |---|---|
//! | `KUBEBUILDER_ASSETS` | the folder of `etcd`, `kube-apiserver` and `kubectl`; without it nothing here runs |
//! | `KUBECONFIG`, `CONTAINER_RUNTIME_ENDPOINT`, `KUBE_NODE_NAME`, `KUBE_NODE_DIR` | a node on this machine, whose administrator this is; its kubelet reads static pods from `manifests` in the folder. Without them what needs a node is skipped. Needs root and BPF, too |
//! | `OOMWATCH_REQUIRE` | `api`, `node` or `all`, with commas: what cannot run fails instead of being skipped |
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test says what it expects, and fails by panicking"
)]

/// A real API server.
#[path = "../api_server/mod.rs"]
mod api_server;
/// Kills without names.
mod kills;
/// A real node.
mod node;
/// What is claimed of names from the API.
mod scenarios;

use std::{env, process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Completion, Trial};

use crate::{api_server::ApiServer, node::Node};

/// What names of tests begin with that need a node.
const NODE: &str = "node::";

/// A test: its name is what it claims.
type Scenario<T> = (&'static str, fn(&T));

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They share a server, and stop it.
    arguments.test_threads = Some(1);
    let filter = arguments.filter.as_deref().unwrap_or_default();
    let is_api_asked = !arguments.list && !filter.starts_with(NODE);
    let api = if is_api_asked {
        api_server::assets().map(ApiServer::start)
    } else {
        Err("not asked for".to_owned())
    };
    let node = Node::find();
    let mut can_run = true;
    for (what, is_asked, why) in [
        ("api", is_api_asked, api.as_ref().err()),
        ("node", !arguments.list, node.as_ref().err()),
    ] {
        if let Some(why) = why
            && is_asked
        {
            eprintln!("skipped: {what}: {why}");
            can_run &= !is_required(what);
        }
    }
    if !can_run {
        eprintln!("required");
        return ExitCode::FAILURE;
    }
    let (api, node) = (Arc::new(api), Arc::new(node));
    let trials = trials("", &scenarios::ALL, &api)
        .chain(trials(NODE, &node::ALL, &node))
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trials<T: Send + Sync + 'static>(
    prefix: &str,
    all: &[Scenario<T>],
    of: &Arc<Result<T, String>>,
) -> impl Iterator<Item = Trial> {
    all.iter().map(move |&(name, run)| {
        let of = of.clone();
        Trial::ignorable_test(format!("{prefix}{name}"), move || {
            Ok(match &*of {
                Ok(of) => {
                    run(of);
                    Completion::Completed
                }
                Err(why) => Completion::ignored_with(format!("skipped: {why}")),
            })
        })
    })
}

fn is_required(what: &str) -> bool {
    let required = env::var("OOMWATCH_REQUIRE").unwrap_or_default();
    required.split(',').any(|one| one == what || one == "all")
}
