//! What is done with each thing that happens: a kill on its way from the hooks to all who are told of it.

use std::{convert::Infallible, ops::ControlFlow, time::Instant};

use jiff::Timestamp;
use tokio::{
    sync::watch,
    time::{Duration, timeout},
};
use tracing::{debug, warn};

use super::api::Api;
use crate::commands::agent::{
    history_queue::{HistoryQueue, Settled},
    stdout::Lines,
    unresolved::Unresolved,
};
use crate::{
    audit::auditor::{Audited, Auditor, Filled},
    capture::observer::{
        CaptureItem, Observer,
        cursor::{Progress, RingUsage},
    },
    deliver::{
        events::{Delivery, Events, Undelivered},
        http::{Health, State},
        metrics::Metrics,
    },
    identify::{facts::PodName, names::Names},
    model::{
        gap::Gap,
        report::{GapReport, Host, Report},
    },
    store::{Answer, Restored, RowState},
    sys::cmdline,
};

/// How long the end may take, after the signal: less than a pod is given by default, and by `deploy/base`. In it the API server
/// and the disk have so much each.
const PATIENCE: Duration = Duration::from_secs(8);
const DISK_PATIENCE: Duration = Duration::from_secs(2);

/// All that a kill comes through, and what it leaves behind.
pub(super) struct Agent {
    pub(super) host: Host,
    pub(super) names: Names,
    pub(super) arguments: Option<cmdline::Reader>,
    pub(super) metrics: Metrics,
    pub(super) health: watch::Sender<Health>,
    pub(super) events: Events,
    pub(super) auditor: Auditor,
    pub(super) ledger: HistoryQueue,
    pub(super) lines: Lines,
    /// Kills of pods whose names only the watch can tell, which is not up yet.
    pub(super) nameless: Unresolved,
    /// Of the journal, as far as they are counted.
    pub(super) journal_errors: u64,
}

impl Agent {
    /// Takes up what an earlier agent has seen and not told.
    pub(super) fn go_on(&mut self, restored: Restored) {
        let Restored { standing, open, .. } = restored;
        debug!(?standing, open = open.len(), "go on from the journal");
        for (state, report) in open {
            match state {
                RowState::New => self.names.push_again(report),
                // They were about to be told, in this order.
                RowState::Named | RowState::Told => self.tell(report),
            }
        }
        // Without it nothing is told: what is told from here on is not what was told before.
        self.keep_state();
        self.ledger.state(self.auditor.changes());
        self.ledger.write();
    }

    /// Takes what was seen.
    pub(super) fn take(&mut self, seen: CaptureItem) {
        match seen {
            CaptureItem::Kill(kill) => {
                if self.auditor.kill(&kill) {
                    self.kill(Report::new(*kill, &self.host));
                }
            }
            CaptureItem::Logged(kill) => {
                if self.auditor.kill(&kill.kill) {
                    self.kill(Report::from_live_log(*kill, &self.host));
                }
            }
            CaptureItem::NonKill(aside) => {
                self.auditor.aside(&aside);
                self.metrics.aside(&aside);
            }
            CaptureItem::Gap(gap) => {
                self.auditor.gap(gap.kills);
                self.gap(gap);
            }
        }
    }

    fn kill(&mut self, mut report: Report) {
        debug!(pid = report.kill.victim.pid, "kill");
        // While they can still be read.
        if let Some(arguments) = &self.arguments {
            let victim = &report.kill.victim;
            report.cmdline = victim
                .start_boot_time_ns
                .and_then(|start_ns| arguments.read(victim.pid, start_ns));
        }
        self.ledger.seen(&report);
        self.names.push(report);
    }

    fn gap(&mut self, gap: Gap) {
        let report = GapReport::new(gap, &self.host);
        self.metrics.gap(&report);
        self.ledger.gap(report);
    }

    /// Writes down what was seen and what has its names, and up to where.
    pub(super) fn write(&mut self, observer: &Observer) -> anyhow::Result<()> {
        while let Some(report) = self.names.pop() {
            self.ledger.named(report);
        }
        let Progress { cursor, losses } = observer.progress()?;
        self.auditor.lost(losses);
        self.ledger.read(cursor);
        self.ledger.state(self.auditor.changes());
        self.ledger.write();
        Ok(())
    }

    /// Goes on with what the journal has, or cannot have.
    pub(super) fn answered(&mut self, answer: Answer, observer: &mut Observer) {
        let Settled {
            gaps,
            kills,
            saved,
            unsaved,
            is_fresh,
        } = self.ledger.settle(answer);
        if let Some(cursor) = &saved {
            observer.release(cursor);
        }
        if let Some(cursor) = &unsaved
            && is_half_full(observer)
        {
            warn!(
                "the kernel's ring is filling up: kills that the journal cannot take are let go of"
            );
            observer.release(cursor);
        }
        if is_fresh {
            self.events.mark_all_dirty();
            self.names.mark_all_dirty();
            self.auditor.mark_all_dirty();
            self.ledger.mark_all_dirty();
        }
        for report in &gaps {
            self.lines.gap(report);
        }
        let has_told = !kills.is_empty();
        for report in kills {
            self.tell(report);
        }
        if has_told || is_fresh {
            self.keep_state();
        }
    }

    /// Tells all who are told of a kill. One whose pod may yet get a name is told to the API server when it has it, or when it
    /// is known that it gets none.
    fn tell(&mut self, report: Report) {
        if !self.nameless.was_told(&report.id) {
            self.metrics.kill(&report, Timestamp::now());
            self.lines.kill(&report);
        }
        if self.names.is_watch_up() != Some(false) {
            self.record(report);
        } else if let Some(report) = self.nameless.keep(report, Instant::now()) {
            self.record(report);
        }
    }

    /// Tells the API server of a kill, as the last of all.
    fn record(&mut self, report: Report) {
        self.events.take(&report);
        self.metrics.outbox_pending(self.events.pending());
        self.ledger.told(report.id);
    }

    /// Looks once more for the names of kills that came before the watch was up.
    pub(super) fn name_anew(&mut self) {
        if self.names.is_watch_up() == Some(true) {
            for report in self.nameless.take() {
                self.names.push_again(report);
            }
        }
        while let Some(report) = self.nameless.expire(Instant::now()) {
            self.record(report);
        }
    }

    /// What the next agent has to know, with what was told by now.
    fn keep_state(&mut self) {
        self.ledger.state(self.events.changes());
        self.ledger.state(self.names.changes());
    }

    pub(super) fn audit(&mut self, observer: &mut Observer) -> anyhow::Result<()> {
        let before = self.auditor.count()?;
        let ControlFlow::Continue(()) = observer.drain_ready(|one| {
            self.take(one);
            ControlFlow::<Infallible>::Continue(())
        })?;
        let before = (!observer.is_holding()).then_some(before);
        let losses = observer.losses()?;
        self.metrics.losses(observer.backend(), losses);
        let Audited {
            kernel_count,
            missing,
        } = self.auditor.compare(before, losses)?;
        self.metrics.kernel_kills(kernel_count);
        self.metrics.audit(Timestamp::now());
        if missing > 0 {
            self.fill(observer)?;
        }
        Ok(())
    }

    /// Takes all that was recorded.
    fn take_all(&mut self, observer: &mut Observer) -> anyhow::Result<()> {
        let ControlFlow::Continue(()) = observer.drain_now(|one| {
            self.take(one);
            ControlFlow::<Infallible>::Continue(())
        })?;
        Ok(())
    }

    /// Tells what is missing from the kernel log, and what is not there either.
    fn fill(&mut self, observer: &mut Observer) -> anyhow::Result<()> {
        let before = self.auditor.count()?;
        let log = self.auditor.read_log();
        // What was recorded of the log's kills is in the ring by now.
        self.take_all(observer)?;
        let Filled {
            kills,
            rekills,
            gap,
        } = self.auditor.fill(before, log)?;
        for kill in kills {
            self.kill(Report::from_live_log(*kill, &self.host));
        }
        for rekill in &rekills {
            self.metrics.aside(rekill);
        }
        if let Some(gap) = gap {
            self.gap(gap);
        }
        Ok(())
    }

    /// After the signal: what was seen is told, as far as it can be by now; the rest is written down for the next agent.
    pub(super) async fn end(
        mut self,
        observer: &mut Observer,
        delivery: &mut Option<Delivery>,
    ) -> anyhow::Result<()> {
        self.take_all(observer)?;
        self.write(observer)?;
        self.names.close();
        while self.names.is_waiting() {
            self.names.ready().await;
            self.write(observer)?;
        }
        self.audit(observer)?;
        self.write(observer)?;
        let told = async {
            while self.ledger.is_waiting() {
                let answer = self.ledger.answer().await;
                self.answered(answer, observer);
            }
        };
        if timeout(DISK_PATIENCE, told).await.is_err() {
            warn!("the journal is too slow: the next agent tells what it has not been told");
        }
        if let Some(delivery) = delivery {
            let undelivered = if self.ledger.is_saving() {
                Undelivered::Kept
            } else {
                Undelivered::Abandoned
            };
            delivery.drain(PATIENCE, undelivered).await;
        }
        self.keep_state();
        self.write(observer)?;
        let Self { ledger, lines, .. } = self;
        lines.close();
        if timeout(DISK_PATIENCE, ledger.close()).await.is_err() {
            warn!("the journal is too slow: it is left as it was a moment ago");
        }
        Ok(())
    }

    /// Passes on what changes by itself.
    pub(super) fn look(&mut self, api: &Api) {
        let is_watch_up = self.names.is_watch_up();
        self.metrics.outbox_pending(self.events.pending());
        if let Some(is_up) = is_watch_up {
            self.metrics.api_watch_up(is_up);
        }
        if let Some(pods) = self.names.pods() {
            self.metrics.pods(Timestamp::now(), |namespace, name| {
                let (namespace, name) = (namespace.to_owned(), name.to_owned());
                pods.contains(&PodName { namespace, name })
            });
        }
        self.keep_state();
        let now = Health {
            hooks: State::Ok,
            journal: self.journal_state(),
            api_server: api.state(is_watch_up),
            runtime: match self.names.is_runtime_up() {
                None => State::Off,
                Some(true) => State::Ok,
                Some(false) => State::Failed("no container runtime answers".to_owned()),
            },
        };
        self.health.send_if_modified(|health| {
            let has_changed = *health != now;
            *health = now;
            has_changed
        });
    }

    /// How the journal is; its metrics are told.
    fn journal_state(&mut self) -> State {
        let status = self.ledger.status();
        self.metrics.journal_bytes(status.bytes);
        for _ in self.journal_errors..status.errors {
            self.metrics.journal_error();
        }
        self.journal_errors = status.errors;
        match status.failure {
            None => State::Ok,
            // Why has a path in it.
            Some(_) => State::Failed("it cannot be written: the agent's log says why".to_owned()),
        }
    }
}

/// Whether what is not let go of may soon keep others out.
fn is_half_full(observer: &Observer) -> bool {
    let filling = observer.ring_usage();
    filling.is_some_and(
        |RingUsage {
             used_bytes,
             size_bytes,
         }| used_bytes > size_bytes / 2,
    )
}
