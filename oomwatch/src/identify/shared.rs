//! The directory and the queries to the runtimes, shared between the sources and the resolver.

use std::{collections::VecDeque, time::Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::identify::{directory::Directory, resolution::Query};

/// Most queries to a runtime that wait; a further one is dropped.
const QUERIES_MAX: usize = 1024;

/// The directory, and queries to the runtimes.
#[derive(Debug, Default)]
pub(super) struct Shared {
    directory: Mutex<Directory>,
    changed: Notify,
    cri: Queries,
    docker: Queries,
    podman: Queries,
}

impl Shared {
    /// Changes the directory and wakes the resolver.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut Directory) -> T) -> T {
        let result = change(&mut self.directory.lock());
        self.changed.notify_one();
        result
    }

    /// Changes the directory in a way that resolves no kill: the resolver is not woken.
    pub(super) fn update_silently<T>(&self, change: impl FnOnce(&mut Directory) -> T) -> T {
        change(&mut self.directory.lock())
    }

    /// Reads the directory.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Directory) -> T) -> T {
        read(&self.directory.lock())
    }

    /// Wakes the resolver.
    pub(super) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Waits for a wake-up since the last one that was awaited. Cancel safe.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Adds a query unless it waits already; drops it if too many wait.
    pub(super) fn add_query(&self, query: Query) {
        self.queue_of(&query).add(query, Instant::now());
    }

    /// Adds a query that a busy runtime did not answer, behind the others.
    pub(super) fn retry_query(&self, query: Query, since: Instant) {
        self.queue_of(&query).add(query, since);
    }

    /// Takes the ids of all waiting [`Query::CriContainer`] if there are at least `min` of them, else none.
    pub(super) fn take_container_queries(&self, min: usize) -> Vec<String> {
        let mut waiting = self.cri.waiting.lock();
        let id = |query: &Query| match query {
            Query::CriContainer(id) => Some(id.clone()),
            Query::CriPod(_) | Query::DockerContainer(_) | Query::PodmanContainer(_) => None,
        };
        let ids: Vec<String> = waiting.iter().filter_map(|(query, _)| id(query)).collect();
        if ids.len() < min {
            return Vec::new();
        }
        waiting.retain(|(query, _)| id(query).is_none());
        ids
    }

    /// Takes the next query to CRI, and when it was first asked, when there is one. Cancel safe.
    pub(super) async fn next_cri_query(&self) -> (Query, Instant) {
        self.cri.next().await
    }

    /// Takes the next query to Docker, when there is one. Cancel safe.
    pub(super) async fn next_docker_query(&self) -> (Query, Instant) {
        self.docker.next().await
    }

    /// Takes the next query to Podman, when there is one. Cancel safe.
    pub(super) async fn next_podman_query(&self) -> (Query, Instant) {
        self.podman.next().await
    }

    fn queue_of(&self, query: &Query) -> &Queries {
        match query {
            Query::CriContainer(_) | Query::CriPod(_) => &self.cri,
            Query::DockerContainer(_) => &self.docker,
            Query::PodmanContainer(_) => &self.podman,
        }
    }
}

/// The queries to a runtime, in turn.
#[derive(Debug, Default)]
struct Queries {
    waiting: Mutex<VecDeque<(Query, Instant)>>,
    added: Notify,
}

impl Queries {
    fn add(&self, query: Query, since: Instant) {
        let mut waiting = self.waiting.lock();
        if waiting.len() < QUERIES_MAX && waiting.iter().all(|(other, _)| *other != query) {
            waiting.push_back((query, since));
            self.added.notify_one();
        }
    }

    async fn next(&self) -> (Query, Instant) {
        loop {
            let next = self.waiting.lock().pop_front();
            if let Some(query) = next {
                return query;
            }
            self.added.notified().await;
        }
    }
}
