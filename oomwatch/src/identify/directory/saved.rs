//! Who is who over a restart: a kill that happens while the agent is down is named by what it knew before.
//!
//! What is saved is what is remembered: it is removed when it is forgotten, minutes after it has gone. What is derived of it is
//! not saved, nor is what a runtime was asked.

use std::{convert::identity, time::Instant};

use super::Directory;
use crate::{
    identify::{facts::Instance, ttl_cache::TtlCache},
    model::persist::{Change, Entry},
};

/// By which keys they are saved, and how many at most.
const PODS: (&str, usize) = ("pod/", 1024);
const CONTAINERS: (&str, usize) = ("container/", 2048);
const SANDBOXES: (&str, usize) = ("sandbox/", 1024);

impl Directory {
    /// Takes what was saved, before anybody has told anything.
    pub fn restore(&mut self, saved: &[Entry], now: Instant) {
        let (prefix, most) = PODS;
        self.pods = TtlCache::restore(saved, prefix, most, now, identity);
        let (prefix, most) = CONTAINERS;
        self.instances = TtlCache::restore(saved, prefix, most, now, lasting);
        let (prefix, most) = SANDBOXES;
        self.sandboxes = TtlCache::restore(saved, prefix, most, now, identity);
        for (uid, pod) in self.pods.all() {
            for container in &pod.containers {
                for id in &container.ids {
                    let named = (uid.to_owned(), container.name.clone());
                    self.statuses.insert_restored(id, named, now);
                }
            }
        }
        let told = self.instances.all();
        let told = told.filter_map(|(_, instance)| instance.pod.as_ref());
        let told: Vec<_> = told
            .chain(self.sandboxes.all().map(|(_, pod)| pod))
            .cloned()
            .collect();
        for (uid, name) in told {
            self.insert_name(&uid, name, now);
        }
    }

    /// What differs from what was told by the last call, or restored: to be saved.
    pub fn changes(&mut self) -> Vec<Change> {
        let (prefix, most) = PODS;
        let pods = self.pods.changes(prefix, most);
        let (prefix, most) = CONTAINERS;
        let containers = self.instances.changes(prefix, most);
        let (prefix, most) = SANDBOXES;
        let sandboxes = self.sandboxes.changes(prefix, most);
        [pods, containers, sandboxes].concat()
    }

    /// What was saved is lost: all of it is a change again.
    pub fn mark_all_dirty(&mut self) {
        self.pods.mark_all_dirty();
        self.instances.mark_all_dirty();
        self.sandboxes.mark_all_dirty();
    }
}

/// A container of a pod is started once. Any other may have been started again under its id, with another first process.
fn lasting(instance: Instance) -> Instance {
    if instance.pod.is_some() {
        return instance;
    }
    Instance {
        init_pid: None,
        exit_code: None,
        ..instance
    }
}
