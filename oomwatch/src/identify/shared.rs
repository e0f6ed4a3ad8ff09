//! The directory and the queries to the runtimes, shared between the sources and the resolver.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::identify::{directory::Directory, resolution::Query};

/// Most queries that wait; a further one is dropped.
const QUERIES_MAX: usize = 1024;

/// The directory, and queries to the runtimes.
#[derive(Debug, Default)]
pub(super) struct Shared {
    directory: Mutex<Directory>,
    changed: Notify,
    queries: Mutex<BTreeSet<Query>>,
    query_added: Notify,
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
        let mut queries = self.queries.lock();
        if queries.len() < QUERIES_MAX {
            queries.insert(query);
            self.query_added.notify_one();
        }
    }

    /// Takes the ids of all waiting [`Query::CriContainer`] if there are at least `min` of them, else none.
    pub(super) fn take_container_queries(&self, min: usize) -> Vec<String> {
        let mut queries = self.queries.lock();
        let is_container = |query: &&Query| matches!(query, Query::CriContainer(_));
        if queries.iter().filter(is_container).count() < min {
            return Vec::new();
        }
        let containers = queries.extract_if(.., |query| is_container(&query));
        containers
            .filter_map(|query| match query {
                Query::CriContainer(id) => Some(id),
                Query::CriPod(_) | Query::DockerContainer(_) => None,
            })
            .collect()
    }

    /// Takes the next query, when there is one. Cancel safe.
    pub(super) async fn next_query(&self) -> Query {
        loop {
            let next = self.queries.lock().pop_first();
            if let Some(query) = next {
                return query;
            }
            self.query_added.notified().await;
        }
    }
}
