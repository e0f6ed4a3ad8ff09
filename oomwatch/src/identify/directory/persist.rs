//! Pods and containers in the history: names a kill that happened while the agent was down.
//!
//! What is saved is what is cached: an entry is deleted when it expires from its cache. What is derived from the saved objects,
//! and the runtimes' replies, are not saved.

use std::{convert::identity, time::Instant};

use super::Directory;
use crate::{
    identify::{
        objects::{ApiPod, PodName, RuntimeContainer},
        ttl_cache::TtlCache,
    },
    model::persist::{Change, Entry},
};

/// Key prefix, and most entries that are saved.
const PODS: (&str, usize) = ("pod/", 1024);
const CONTAINERS: (&str, usize) = ("container/", 2048);
const SANDBOXES: (&str, usize) = ("sandbox/", 1024);

impl Directory {
    /// Restores the saved objects into an empty directory.
    pub fn restore(&mut self, saved: &[Entry], now: Instant) {
        let (prefix, most) = PODS;
        self.pods = TtlCache::restore(saved, prefix, most, now, identity, ApiPod::namespace);
        let (prefix, most) = CONTAINERS;
        let convert = without_restartable_process;
        let namespace = RuntimeContainer::namespace;
        self.runtime_containers = TtlCache::restore(saved, prefix, most, now, convert, namespace);
        let (prefix, most) = SANDBOXES;
        self.sandboxes =
            TtlCache::restore(saved, prefix, most, now, identity, namespace_of_sandbox);
        for (uid, pod) in self.pods.all() {
            for container in &pod.containers {
                for id in &container.ids {
                    let status = (uid.to_owned(), container.name.clone());
                    self.statuses
                        .insert_restored(&pod.name.namespace, id, status, now);
                }
            }
        }
        let containers = self.runtime_containers.all();
        let of_containers = containers.filter_map(|(_, container)| container.pod.as_ref());
        let of_sandboxes = self.sandboxes.all().map(|(_, pod)| pod);
        let names: Vec<_> = of_containers.chain(of_sandboxes).cloned().collect();
        for (uid, name) in names {
            self.insert_name(&uid, name, now);
        }
    }

    /// The changes since the last call, or since [`Directory::restore`].
    pub fn changes(&mut self) -> Vec<Change> {
        let (prefix, most) = PODS;
        let pods = self.pods.changes(prefix, most);
        let (prefix, most) = CONTAINERS;
        let containers = self.runtime_containers.changes(prefix, most);
        let (prefix, most) = SANDBOXES;
        let sandboxes = self.sandboxes.changes(prefix, most);
        [pods, containers, sandboxes].concat()
    }

    /// Makes everything a change again, after the saved entries were lost.
    pub fn mark_all_dirty(&mut self) {
        self.pods.mark_all_dirty();
        self.runtime_containers.mark_all_dirty();
        self.sandboxes.mark_all_dirty();
    }
}

fn namespace_of_sandbox((_, name): &(String, PodName)) -> &str {
    &name.namespace
}

/// Removes first process and exit code of a container outside a pod: it may have been restarted under the same id. A
/// container of a pod is started once.
fn without_restartable_process(container: RuntimeContainer) -> RuntimeContainer {
    if container.pod.is_some() {
        return container;
    }
    RuntimeContainer {
        init_pid: None,
        exit_code: None,
        ..container
    }
}
