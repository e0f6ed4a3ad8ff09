//! A recorder with its delivery, driven by a test, which sees what becomes of each incident.

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use kube::Client;
use oomwatch::{
    deliver::events::{
        Cause, DeliveryStat, EventSender, Events, NodeUid, Outcome, Policy, Reporter, Undelivered,
    },
    model::{
        persist::{Change, Entry, clock::PersistentClock},
        report::Report,
    },
    sys::clock::ClockSample,
};
use tokio::{sync::Notify, time::timeout};

use crate::kills::host;

/// The node of all tests.
pub(crate) const NODE: &str = "node-1";
/// How long something may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The clock of all agents, as the history database keeps it over restarts.
static CLOCK: LazyLock<PersistentClock> =
    LazyLock::new(|| PersistentClock::restore(None, &host().boot_id, ClockSample::now()));

/// What is recorded as from one agent.
pub(crate) struct Agent {
    pub(crate) events: Events,
    delivery: EventSender,
    seen: Arc<CaptureItem>,
}

#[derive(Default)]
struct CaptureItem {
    notices: Mutex<Vec<DeliveryStat>>,
    more: Notify,
}

impl Agent {
    pub(crate) fn new(client: Client) -> Self {
        Self::with(client, Duration::from_secs(10), NodeUid::Real)
    }

    pub(crate) fn with(client: Client, request_timeout: Duration, node_uid: NodeUid) -> Self {
        Self::restored(client, request_timeout, node_uid, &[])
    }

    /// As it was saved.
    pub(crate) fn restored(
        client: Client,
        request_timeout: Duration,
        node_uid: NodeUid,
        saved: &[Entry],
    ) -> Self {
        let policy = Policy {
            reporter: Reporter {
                component: "oomwatch".to_owned(),
                node: NODE.to_owned(),
            },
            node_events: true,
            node_uid,
            pod_events: true,
            excluded_namespaces: BTreeSet::new(),
            max_age: Duration::from_hours(1),
            start_delay: Duration::ZERO,
        };
        let seen = Arc::new(CaptureItem::default());
        let sink = seen.clone();
        let events = Events::new(policy, CLOCK.clone(), saved, move |notice| {
            sink.notices.lock().expect("no panic").push(notice.clone());
            sink.more.notify_one();
        });
        let delivery = events.sender(client, request_timeout);
        Self {
            events,
            delivery,
            seen,
        }
    }

    pub(crate) fn take(&self, report: &Report) {
        self.events.record(report);
    }

    /// Delivers until this many incidents have had this outcome.
    pub(crate) async fn until(&mut self, outcome: Outcome, incidents: u32) {
        let is_so = |notices: &[DeliveryStat]| settled(notices, outcome) >= incidents;
        self.deliver(&format!("{incidents} {outcome:?}"), is_so)
            .await;
    }

    /// Delivers until a request has failed for this cause.
    pub(crate) async fn until_delayed(&mut self, cause: Cause) {
        let is_so = |notices: &[DeliveryStat]| delays(notices, cause) > 0;
        self.deliver(&format!("{cause:?}"), is_so).await;
    }

    async fn deliver(&mut self, what: &str, is_so: impl Fn(&[DeliveryStat]) -> bool) {
        let seen = self.seen.clone();
        let waited = async {
            while !is_so(&seen.notices.lock().expect("no panic")) {
                seen.more.notified().await;
            }
        };
        let both = async {
            tokio::select! {
                () = waited => {}
                () = self.delivery.run() => {}
            }
        };
        let done = timeout(PATIENCE, both).await;
        assert!(
            done.is_ok(),
            "waited in vain for {what}: {:?}",
            self.notices()
        );
    }

    /// Ends it.
    pub(crate) async fn drain(&mut self) {
        self.delivery.drain(PATIENCE, Undelivered::Abandoned).await;
    }

    /// Ends it, with no more than this for what is left.
    pub(crate) async fn drain_within(&mut self, patience: Duration) {
        self.delivery.drain(patience, Undelivered::Abandoned).await;
    }

    /// Ends it, with no more than this for what is left, and saves all.
    pub(crate) async fn save_within(&mut self, patience: Duration) -> Vec<Entry> {
        self.delivery.drain(patience, Undelivered::Kept).await;
        self.save()
    }

    /// Saves all of it.
    pub(crate) fn save(&self) -> Vec<Entry> {
        self.events.mark_all_dirty();
        let changes = self.events.changes().into_iter();
        let entry = |Change {
                         part, key, value, ..
                     }| {
            let part = part.to_owned();
            value.map(|value| Entry { part, key, value })
        };
        changes.filter_map(entry).collect()
    }

    /// How many incidents had this outcome.
    pub(crate) fn settled(&self, outcome: Outcome) -> u32 {
        settled(&self.notices(), outcome)
    }

    /// How many requests failed for this cause.
    pub(crate) fn delays(&self, cause: Cause) -> usize {
        delays(&self.notices(), cause)
    }

    fn notices(&self) -> Vec<DeliveryStat> {
        self.seen.notices.lock().expect("no panic").clone()
    }
}

fn settled(notices: &[DeliveryStat], wanted: Outcome) -> u32 {
    let incidents = notices.iter().map(|notice| match notice {
        DeliveryStat::Settled {
            outcome, incidents, ..
        } if *outcome == wanted => *incidents,
        _ => 0,
    });
    incidents.sum()
}

fn delays(notices: &[DeliveryStat], wanted: Cause) -> usize {
    let is_one = |notice: &&DeliveryStat| matches!(notice, DeliveryStat::Delayed { cause, .. } if *cause == wanted);
    notices.iter().filter(is_one).count()
}
