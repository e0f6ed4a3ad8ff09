//! Shares the queue and the request rate between namespaces: one tenant's kills neither fill the queue nor delay the Events of
//! others for longer than one request for each namespace.

use std::collections::BTreeMap;

use crate::{
    deliver::events::{
        object::Event,
        pending_event::{PendingEvent, Rank},
        stats::Object,
    },
    model::persist::table::Table,
};

/// Maximum number of objects that have unsent incidents or were sent a moment ago.
pub(super) const CAPACITY: usize = 1024;

/// What shares evenly: each namespace with pods, and the node, whose name here is empty.
fn tenant(object: Object, event: &Event) -> &str {
    match object {
        Object::Node => "",
        Object::Pod => &event.metadata.namespace,
    }
}

/// The order in which tenants had their last request.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    taken: u64,
    last: BTreeMap<String, u64>,
}

impl Turns {
    /// Sort key among the objects that are due, the smallest is sent first: by rank, then the tenant whose last request is longest
    /// ago, then the object that has been due for longest.
    pub(super) fn precedence(&self, pending: &PendingEvent, now_ns: u64) -> (Rank, u64, u64) {
        let (rank, yields_until_ns) = pending.rank(now_ns);
        let last = self.last.get(tenant(pending.object, &pending.event));
        (rank, last.copied().unwrap_or(0), yields_until_ns)
    }

    /// A request for an Event is sent.
    pub(super) fn take(&mut self, object: Object, event: &Event) {
        self.taken += 1;
        self.last
            .insert(tenant(object, event).to_owned(), self.taken);
        // Without a turn a tenant comes first, as the one does whose turn is the oldest.
        if self.last.len() > CAPACITY {
            let oldest = self.last.iter().min_by_key(|(_, turn)| **turn);
            if let Some(tenant) = oldest.map(|(tenant, _)| tenant.clone()) {
                self.last.remove(&tenant);
            }
        }
    }
}

/// The key of the object that gives its place in a full queue to a new one; absent if there is none. It is of the tenant with the
/// most objects: a count before a first Event, and of those the one that was due last.
pub(super) fn displaced<'a>(
    queued: &'a Table<PendingEvent>,
    object: Object,
    event: &Event,
) -> Option<&'a str> {
    let of = |pending: &'a PendingEvent| tenant(pending.object, &pending.event);
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, pending) in queued.iter() {
        *sizes.entry(of(pending)).or_default() += 1;
    }
    let (&largest, &most) = sizes.iter().max_by_key(|(_, size)| **size)?;
    let own = tenant(object, event);
    let is_smaller = sizes.get(own).copied().unwrap_or(0) < most;
    // Of its own tenant's objects a first Event displaces a count, and nothing else is displaced.
    let from = if is_smaller { largest } else { own };
    let may_go = |pending: &PendingEvent| is_smaller || pending.exists && event.count == 1;
    queued
        .iter()
        .filter(|(_, pending)| pending.in_flight.is_none())
        .filter(|(_, pending)| of(pending) == from && may_go(pending))
        .max_by_key(|(_, pending)| (pending.exists, pending.due_ns))
        .map(|(key, _)| key)
}
