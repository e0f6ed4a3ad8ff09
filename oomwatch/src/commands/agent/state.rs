//! The agent: where each item of the pipeline goes, and in which order.
//!
//! A kill is written into the history when it is captured, and again when it has its names; only then it is delivered to
//! metrics, stdout and Events.

use std::time::Instant;

use jiff::Timestamp;
use tokio::{
    sync::watch,
    time::{Duration, sleep, timeout},
};
use tracing::{debug, warn};

use super::api::Api;
use crate::audit::totals::AuditResult;
use crate::commands::agent::{
    history_queue::{HistoryQueue, Settled},
    stdout::Lines,
    unresolved::Unresolved,
};
use crate::{
    commands::{
        pipeline::{Audit, Item, Pipeline},
        totals::log_totals,
    },
    deliver::{
        events::{EventSender, Events, Undelivered},
        http::{ComponentHealth, Health},
        metrics::Metrics,
    },
    identify::objects::PodName,
    model::report::Report,
    store::{Answer, Restored, RowState},
};

/// How long the API server and the disk may each delay the end after a signal. Together less than a pod's default grace
/// period, which `deploy/base` uses.
const PATIENCE: Duration = Duration::from_secs(8);
const DISK_PATIENCE: Duration = Duration::from_secs(2);

/// How often the kernel's count is compared at the end, and how long apart: a kill is counted before it is recorded.
const AUDITS: u32 = 10;
const AUDIT_PAUSE: Duration = Duration::from_millis(20);

/// The outputs of the agent, and what waits for them.
pub(super) struct Agent {
    pub(super) metrics: Metrics,
    pub(super) health: watch::Sender<Health>,
    pub(super) events: Events,
    pub(super) history: HistoryQueue,
    pub(super) stdout: Lines,
    /// Kills of pods whose names only the watch can tell, which is not up yet.
    pub(super) unresolved: Unresolved,
}

impl Agent {
    /// Resumes what an earlier agent captured and did not deliver.
    pub(super) fn resume(&mut self, restored: Restored, pipeline: &mut Pipeline) {
        let Restored {
            provenance,
            undelivered,
            ..
        } = restored;
        let kills = undelivered.len();
        debug!(?provenance, kills, "resuming from the history");
        for (state, report) in undelivered {
            match state {
                RowState::New => pipeline.names().push_restored(report),
                // These were about to be delivered, in this order.
                RowState::Named | RowState::Delivered => self.deliver(report, pipeline),
            }
        }
        // Saved before anything else is delivered: later kills are delivered in addition to this state.
        self.save_state(pipeline);
        self.history.state(pipeline.audit_changes());
        self.history.write();
    }

    /// Records captured items.
    pub(super) fn handle(&mut self, items: Vec<Item>, pipeline: &Pipeline) {
        for item in items {
            match item {
                Item::Kill(report) => {
                    self.history.captured(&report);
                    pipeline.identify(*report);
                }
                Item::NonKill(event) => self.metrics.non_kill(&event),
                Item::Gap(report) => {
                    self.metrics.gap(&report);
                    self.stdout.gap(&report);
                    self.history.gap(report);
                }
            }
        }
    }

    /// Writes what was captured and what has its names, and how far the ring was read.
    pub(super) fn write(&mut self, pipeline: &mut Pipeline) {
        while let Some(report) = pipeline.identified() {
            self.history.named(report);
        }
        self.history.read(pipeline.progress());
        self.history.state(pipeline.audit_changes());
        self.history.state(self.stdout.changes());
        self.history.write();
    }

    /// Delivers what the history has saved, or cannot save.
    pub(super) fn answered(&mut self, answer: Answer, pipeline: &mut Pipeline) {
        let Settled {
            kills,
            saved,
            unsaved,
            needs_full_state,
        } = self.history.settle(answer);
        if let Some(cursor) = &saved {
            pipeline.release(cursor);
        }
        if let Some(cursor) = &unsaved
            && pipeline.is_half_full()
        {
            warn!("the kernel's ring is filling up: releasing kills that the history cannot save");
            pipeline.release(cursor);
        }
        if needs_full_state {
            self.events.mark_all_dirty();
            self.stdout.mark_all_dirty();
            pipeline.mark_all_dirty();
        }
        let has_delivered = !kills.is_empty();
        for report in kills {
            self.deliver(report, pipeline);
        }
        if has_delivered || needs_full_state {
            self.save_state(pipeline);
        }
    }

    /// Delivers a kill. The Event of a kill whose pod may yet get a name waits for the name, or until it is known that there
    /// is none.
    fn deliver(&mut self, report: Report, pipeline: &Pipeline) {
        if !self.unresolved.was_delivered(&report.id) {
            self.metrics.kill(&report, Timestamp::now());
            self.stdout.kill(&report);
        }
        if pipeline.names().is_watch_up() != Some(false) {
            self.record(report);
        } else if let Some(report) = self.unresolved.keep(report, Instant::now()) {
            self.record(report);
        }
    }

    /// Records a kill as an Event, which is the last step of its delivery.
    fn record(&mut self, report: Report) {
        self.events.record(&report);
        self.metrics.events_pending(self.events.pending());
        self.history.delivered(report.id);
    }

    /// Retries the names of kills that came before the watch was up.
    pub(super) fn retry_unresolved(&mut self, pipeline: &Pipeline) {
        if pipeline.names().is_watch_up() == Some(true) {
            for report in self.unresolved.take() {
                pipeline.names().push_restored(report);
            }
        }
        while let Some(report) = self.unresolved.expire(Instant::now()) {
            self.record(report);
        }
    }

    /// Saves the state of Events and names, together with the kills that were delivered by now.
    fn save_state(&mut self, pipeline: &Pipeline) {
        self.history.state(self.events.changes());
        self.history.state(pipeline.names().changes());
    }

    pub(super) fn audit(&mut self, pipeline: &mut Pipeline) {
        let Audit {
            items,
            kernel_count,
            losses,
            is_replaced,
        } = pipeline.audit();
        if is_replaced {
            self.metrics.backend_silent();
            self.metrics.backend(pipeline.backend());
        }
        self.metrics.losses(pipeline.backend(), losses);
        if let Some(kernel_count) = kernel_count {
            self.metrics.kernel_kills(kernel_count);
            self.metrics.audit(Timestamp::now());
        }
        self.handle(items, pipeline);
    }

    /// After the signal: delivers what was captured, as far as it can be by now, and saves the rest for the next agent.
    pub(super) async fn end(mut self, pipeline: &mut Pipeline, delivery: &mut Option<EventSender>) {
        let items = pipeline.drain();
        self.handle(items, pipeline);
        self.write(pipeline);
        pipeline.names().close();
        while pipeline.names().is_waiting() {
            pipeline.names().ready().await;
            self.write(pipeline);
        }
        self.settle(pipeline).await;
        let answers = async {
            while self.history.is_waiting() {
                let answer = self.history.answer().await;
                self.answered(answer, pipeline);
            }
        };
        if timeout(DISK_PATIENCE, answers).await.is_err() {
            warn!("the history is slow: the next agent delivers what is left");
        }
        if let Some(delivery) = delivery {
            let undelivered = if self.history.is_saving() {
                Undelivered::Kept
            } else {
                Undelivered::Abandoned
            };
            delivery.drain(PATIENCE, undelivered).await;
        }
        self.stdout.finish().await;
        self.save_state(pipeline);
        self.write(pipeline);
        if timeout(DISK_PATIENCE, self.history.close()).await.is_err() {
            warn!("the history is slow: its last changes may be lost");
        }
    }

    /// The last audit, after which a kill in progress has its record. Logs the sum.
    async fn settle(&mut self, pipeline: &mut Pipeline) {
        self.audit(pipeline);
        let mut result = pipeline.audit_at_end();
        for _ in 0..AUDITS {
            if matches!(result, Ok(AuditResult::Complete)) {
                break;
            }
            sleep(AUDIT_PAUSE).await;
            let items = pipeline.drain();
            self.handle(items, pipeline);
            result = pipeline.audit_at_end();
        }
        self.write(pipeline);
        match result {
            Ok(result) => log_totals(pipeline, None, result),
            Err(error) => warn!(%error, "failed to compare with the kernel's count at the end"),
        }
    }

    /// Updates metrics and health with what changes by itself.
    pub(super) fn refresh(&mut self, api: &Api, pipeline: &Pipeline) {
        let names = pipeline.names();
        let is_watch_up = names.is_watch_up();
        self.metrics.events_pending(self.events.pending());
        if let Some(is_up) = is_watch_up {
            self.metrics.api_watch_up(is_up);
        }
        if let Some(pods) = names.pods() {
            self.metrics.pods(Timestamp::now(), |namespace, name| {
                let (namespace, name) = (namespace.to_owned(), name.to_owned());
                pods.contains(&PodName { namespace, name })
            });
        }
        self.save_state(pipeline);
        let now = Health {
            backend: match pipeline.silent_backend() {
                None => ComponentHealth::Ok,
                Some(silent) => ComponentHealth::Degraded(format!(
                    "{} recorded no kill, {} replaced it",
                    silent.flag(),
                    pipeline.backend().flag()
                )),
            },
            history: self.history_health(),
            api_server: api.state(is_watch_up),
            runtime: match names.is_runtime_up() {
                None => ComponentHealth::Off,
                Some(true) => ComponentHealth::Ok,
                Some(false) => ComponentHealth::Failed("no container runtime answers".to_owned()),
            },
        };
        self.health.send_if_modified(|health| {
            let has_changed = *health != now;
            *health = now;
            has_changed
        });
    }

    /// Whether the history is writable. Updates its metrics.
    fn history_health(&self) -> ComponentHealth {
        let status = self.history.status();
        self.metrics.history(status.bytes, status.errors);
        match status.failure {
            None => ComponentHealth::Ok,
            // The reason contains a path.
            Some(_) => {
                ComponentHealth::Failed("not writable: the agent's log has the reason".to_owned())
            }
        }
    }
}
