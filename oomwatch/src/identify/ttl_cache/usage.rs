//! How much of a cache each namespace has.

use std::{collections::BTreeMap, sync::Arc};

/// How much of a cache there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) entries: usize,
    /// Those of them that are removed.
    pub(super) removed: usize,
    pub(super) bytes: usize,
}

impl Amount {
    /// The removal of an entry that is kept.
    pub(super) const REMOVAL: Self = Self {
        entries: 0,
        removed: 1,
        bytes: 0,
    };
}

/// The amount of each namespace.
#[derive(Debug, Default)]
pub(super) struct Usage {
    namespaces: BTreeMap<Arc<str>, Amount>,
    total: Amount,
}

impl Usage {
    /// A namespace's name, shared between its entries.
    pub(super) fn name(&self, namespace: &str) -> Arc<str> {
        let known = self.namespaces.get_key_value(namespace);
        known.map_or_else(|| namespace.into(), |(name, _)| name.clone())
    }

    pub(super) fn total(&self) -> Amount {
        self.total
    }

    pub(super) fn get(&self, namespace: &str) -> Amount {
        self.namespaces.get(namespace).copied().unwrap_or_default()
    }

    /// The namespace that has the most by this measure.
    pub(super) fn most(&self, of: impl Fn(Amount) -> usize) -> Option<Arc<str>> {
        let most = self
            .namespaces
            .iter()
            .max_by_key(|(_, amount)| of(**amount));
        most.map(|(name, _)| name.clone())
    }

    pub(super) fn add(&mut self, namespace: &Arc<str>, added: Amount) {
        let amount = self.namespaces.entry(namespace.clone()).or_default();
        for amount in [amount, &mut self.total] {
            amount.entries += added.entries;
            amount.removed += added.removed;
            amount.bytes += added.bytes;
        }
    }

    pub(super) fn subtract(&mut self, namespace: &str, removed: Amount) {
        let Some(amount) = self.namespaces.get_mut(namespace) else {
            return;
        };
        for amount in [&mut *amount, &mut self.total] {
            amount.entries -= removed.entries;
            amount.removed -= removed.removed;
            amount.bytes -= removed.bytes;
        }
        if amount.entries == 0 {
            self.namespaces.remove(namespace);
        }
    }
}
