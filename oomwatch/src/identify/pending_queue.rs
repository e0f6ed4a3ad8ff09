//! Kills waiting for their names, each for a bounded time. Pure: the caller passes the clock and the name resolution.
//!
//! Kills of one container leave in the order in which they were pushed; other containers' kills do not wait for them.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet, VecDeque},
    mem,
    time::{Duration, Instant},
};

use crate::{
    identify::resolution::{Arrival, Resolution},
    model::report::Report,
};

/// How long a kill that has its names waits for what else its sources know.
const LOOKUP_TIMEOUT: Duration = Duration::from_millis(500);
/// How long it waits for its names: a kubelet updates statuses one after another, and so late when many pods change at once, and
/// a busy runtime answers late.
const NAME_TIMEOUT: Duration = Duration::from_secs(15);
/// Most kills that wait at once; one more makes the oldest of the container with most leave with what is known.
const PENDING_MAX: usize = 1024;

/// Kills on their way to a report.
#[derive(Debug, Default)]
pub(super) struct PendingQueue {
    pending: VecDeque<PendingKill>,
    ready: VecDeque<Report>,
    is_closing: bool,
}

#[derive(Debug)]
struct PendingKill {
    report: Box<Report>,
    /// Container id, else pod UID.
    owner_key: String,
    arrival: Arrival,
    timeout: Duration,
}

impl PendingQueue {
    /// Adds a kill. It is ready at once unless `identify` says to wait or an earlier kill of the same container waits.
    pub(super) fn push(
        &mut self,
        mut report: Report,
        arrival: Arrival,
        identify: impl Fn(&mut Report, Arrival) -> Resolution,
    ) {
        let owner_key = owner_key(&report);
        let is_first = !self
            .pending
            .iter()
            .any(|pending| pending.owner_key == owner_key);
        // Called even if the kill must wait for another: its own lookup starts now.
        let resolution = identify(&mut report, arrival);
        let timeout = self.timeout(&resolution);
        if is_first && timeout.is_none() {
            self.ready.push_back(report);
            return;
        }
        if self.pending.len() == PENDING_MAX
            && let Some(oldest) = self.pending.remove(self.index_of_most())
        {
            self.ready.push_back(*oldest.report);
        }
        self.pending.push_back(PendingKill {
            report: Box::new(report),
            owner_key,
            arrival,
            timeout: timeout.unwrap_or(LOOKUP_TIMEOUT),
        });
    }

    /// The first kill of the container of which most wait: no other gives way to its kills.
    fn index_of_most(&self) -> usize {
        let mut waiting: HashMap<&str, (usize, usize)> = HashMap::new();
        for (index, pending) in self.pending.iter().enumerate() {
            let (count, _) = waiting.entry(&pending.owner_key).or_insert((0, index));
            *count += 1;
        }
        let most = waiting
            .into_values()
            .max_by_key(|(count, first)| (*count, Reverse(*first)));
        most.map_or(0, |(_, first)| first)
    }

    /// How long to wait after this resolution; absent if not at all.
    fn timeout(&self, resolution: &Resolution) -> Option<Duration> {
        match resolution {
            Resolution::WaitForName(_) if !self.is_closing => Some(NAME_TIMEOUT),
            Resolution::Wait(_) | Resolution::WaitForName(_) => Some(LOOKUP_TIMEOUT),
            Resolution::Complete | Resolution::Unknown => None,
        }
    }

    /// Limits every wait to the short timeout from now on.
    pub(super) fn close(&mut self) {
        self.is_closing = true;
        for pending in &mut self.pending {
            pending.timeout = LOOKUP_TIMEOUT;
        }
    }

    /// Makes the kills ready that `identify` resolves, and those whose timeout has passed.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        identify: impl Fn(&mut Report, Arrival) -> Resolution,
    ) {
        let mut waiting: HashSet<String> = HashSet::new();
        for mut pending in mem::take(&mut self.pending) {
            let resolution = identify(&mut pending.report, pending.arrival);
            let timeout = self.timeout(&resolution);
            pending.timeout = timeout.unwrap_or(pending.timeout);
            let is_over = now >= pending.deadline();
            if !waiting.contains(&pending.owner_key) && (is_over || timeout.is_none()) {
                self.ready.push_back(*pending.report);
            } else {
                waiting.insert(pending.owner_key.clone());
                self.pending.push_back(pending);
            }
        }
    }

    /// The next kill that is ready.
    pub(super) fn pop(&mut self) -> Option<Report> {
        self.ready.pop_front()
    }

    /// When the next timeout makes a kill ready; absent if none waits.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let mut seen = HashSet::new();
        // Only the first of a container counts: the others wait for it, whatever their own timeout is.
        let pending = self.pending.iter();
        let first = pending.filter(|pending| seen.insert(&pending.owner_key));
        first.map(PendingKill::deadline).min()
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }
}

impl PendingKill {
    fn deadline(&self) -> Instant {
        self.arrival.at + self.timeout
    }
}

fn owner_key(report: &Report) -> String {
    let container = report.container.as_ref().map(|container| &container.id);
    let pod = report.pod.as_ref().map(|pod| &pod.uid);
    container.or(pod).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests;
