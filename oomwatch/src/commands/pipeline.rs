//! What `watch` and `agent` share: captured records, each audited and turned into a report, then named.
//!
//! A kill goes through in one direction: [`Observer`] captures it, [`Auditor`] counts it, [`Report::new`] adds its meaning, and
//! [`Resolver`] its names. What is printed or delivered, and how much of it, is for the commands to decide.

use std::{convert::Infallible, error::Error, ops::ControlFlow, time::Duration};

use tokio::time::sleep;
use tracing::{debug, warn};

use crate::{
    audit::{
        auditor::{Audited, Auditor, Backfilled},
        totals::{AuditResult, CaptureCounts},
    },
    capture::{
        after::AfterKill,
        bpf::describe,
        config::CaptureConfig,
        observer::{
            CaptureItem, Observer,
            cursor::{Cursor, Progress, RingUsage},
        },
    },
    identify::resolver::Resolver,
    model::{
        backend::Backend,
        gap::Gap,
        kill::{Kill, NonKill},
        losses::Losses,
        persist::Change,
        report::{GapReport, Host, Origin, Report},
    },
    sys::{
        clock::{self, ClockSample},
        cmdline,
    },
};

/// How long to wait after a failed call of capture.
const RETRY: Duration = Duration::from_secs(1);

/// How long after a kill the files of its cgroup still say where the memory was.
const AFTER_NS: u64 = 1_000_000_000;

/// Capture, audit and identification.
pub(super) struct Pipeline {
    host: Host,
    observer: Observer,
    auditor: Auditor,
    names: Resolver,
    after: AfterKill,
    /// Reads the victims' arguments; absent if they are not wanted.
    arguments: Option<cmdline::Reader>,
    /// The last backend that was replaced, since it recorded nothing.
    silent: Option<Backend>,
    /// Whether it was logged that the pins are gone.
    is_unpinned: bool,
    capture_calls: Retried,
    count_calls: Retried,
}

/// Calls of which a failure is logged and retried, and does not end the command.
struct Retried {
    what: &'static str,
    has_failed: bool,
}

impl Retried {
    fn new(what: &'static str) -> Self {
        Self {
            what,
            has_failed: false,
        }
    }

    /// The result, if the call has succeeded. Of several failures in a row the first is logged.
    fn succeeds<T, E: Error + 'static>(&mut self, result: Result<T, E>) -> Option<T> {
        let has_failed = result.is_err();
        let was_failing = std::mem::replace(&mut self.has_failed, has_failed);
        result
            .inspect_err(|error| {
                if !was_failing {
                    warn!(error = describe(error), "failed to {}, retrying", self.what);
                }
            })
            .ok()
    }
}

/// A captured record that the audit has counted.
pub(super) enum Item {
    /// A kill, not yet named: [`Pipeline::identify`] takes it.
    Kill(Box<Report>),
    /// An event that is no kill.
    NonKill(NonKill),
    /// Kills that were only counted.
    Gap(GapReport),
}

/// Why [`Pipeline::next`] returned.
pub(super) enum Wake {
    /// Records were captured, possibly none.
    Captured(Vec<Item>),
    /// A kill may have its names: see [`Pipeline::identified`].
    Identified,
    /// It is time for [`Pipeline::audit`].
    AuditDue,
}

/// The result of an audit.
pub(super) struct Audit {
    /// What was captured during the audit, and what it found in the kernel log.
    pub(super) items: Vec<Item>,
    /// The kernel's count of kills since boot; absent if it cannot be read.
    pub(super) kernel_count: Option<u64>,
    /// Records lost so far.
    pub(super) losses: Losses,
    /// Whether the backend recorded nothing and was replaced.
    pub(super) is_replaced: bool,
}

impl Pipeline {
    pub(super) fn new(
        host: Host,
        observer: Observer,
        auditor: Auditor,
        names: Resolver,
        capture: &CaptureConfig,
        has_arguments: bool,
    ) -> Self {
        Self {
            host,
            observer,
            auditor,
            names,
            after: AfterKill::new(&capture.proc_root, &capture.cgroup_root),
            arguments: has_arguments.then(|| cmdline::Reader::new(&capture.proc_root)),
            silent: None,
            is_unpinned: false,
            capture_calls: Retried::new("read captured kills"),
            count_calls: Retried::new("read the kernel's count of kills"),
        }
    }

    /// Name resolution.
    pub(super) fn names(&self) -> &Resolver {
        &self.names
    }

    /// The backend in use.
    pub(super) fn backend(&self) -> Backend {
        self.observer.backend()
    }

    /// The last backend that was attached, recorded nothing, and was replaced.
    pub(super) fn silent_backend(&self) -> Option<Backend> {
        self.silent
    }

    /// Logs once that the pins are gone.
    pub(super) fn check_pins(&mut self) {
        if !self.is_unpinned && self.observer.has_lost_pins() {
            self.is_unpinned = true;
            warn!(
                "the pins are gone (was the BPF file system unmounted?): kills while no agent runs are read from the kernel log"
            );
        }
    }

    /// Name of the node.
    pub(super) fn node(&self) -> &str {
        &self.host.node
    }

    /// Waits for the next thing to do. A call that fails is retried. Cancel safe.
    pub(super) async fn next(&mut self) -> Wake {
        let due = self.auditor.due();
        let mut captured = Vec::new();
        let Self {
            observer,
            names,
            capture_calls,
            ..
        } = self;
        let drained = async {
            let drained = observer
                .drain(|item| {
                    captured.push(item);
                    ControlFlow::<Infallible>::Continue(())
                })
                .await;
            if capture_calls.succeeds(drained).is_none() {
                sleep(RETRY).await;
            }
        };
        tokio::select! {
            () = drained => {}
            () = names.ready() => return Wake::Identified,
            () = due => return Wake::AuditDue,
        }
        Wake::Captured(self.accept(captured))
    }

    /// Takes all records that were captured by now, also those that wait for the kernel log.
    pub(super) fn drain(&mut self) -> Vec<Item> {
        let mut captured = Vec::new();
        let drained = self.observer.drain_now(|item| {
            captured.push(item);
            ControlFlow::<Infallible>::Continue(())
        });
        self.capture_calls.succeeds(drained);
        self.accept(captured)
    }

    /// As [`Self::drain`], without those that wait for the kernel log.
    fn drain_ready(&mut self) -> Vec<Item> {
        let mut captured = Vec::new();
        let drained = self.observer.drain_ready(|item| {
            captured.push(item);
            ControlFlow::<Infallible>::Continue(())
        });
        self.capture_calls.succeeds(drained);
        self.accept(captured)
    }

    /// Counts captured records and turns them into items. A kill that was found in the kernel log before is left out.
    fn accept(&mut self, captured: Vec<CaptureItem>) -> Vec<Item> {
        let mut items = Vec::with_capacity(captured.len());
        for item in captured {
            match item {
                CaptureItem::Kill(kill) => {
                    if self.auditor.kill(&kill) {
                        items.push(self.report(*kill));
                    }
                }
                CaptureItem::NonKill(event) => {
                    self.auditor.non_kill(&event);
                    items.push(Item::NonKill(event));
                }
                CaptureItem::Gap(gap) => {
                    self.auditor.gap(&gap);
                    items.push(self.gap(gap));
                }
            }
        }
        items
    }

    fn report(&mut self, mut kill: Kill) -> Item {
        debug!(pid = kill.victim.pid, "kill");
        let age_ns = kill
            .boot_time_ns
            .map(|ns| clock::since_boot_ns().saturating_sub(ns));
        // Of one that waited in the ring, the files say nothing any more.
        if age_ns.is_some_and(|age_ns| age_ns < AFTER_NS) {
            self.after.complete(&mut kill);
        }
        let origin = Origin::Boot {
            host: &self.host,
            now: ClockSample::now(),
        };
        let mut report = Report::new(kill, origin);
        // The process is dying: its arguments can be read now or never.
        if let Some(arguments) = &self.arguments {
            let victim = &report.kill.victim;
            report.cmdline = victim
                .start_boot_time_ns
                .and_then(|start_ns| arguments.read(victim.pid, start_ns));
        }
        Item::Kill(Box::new(report))
    }

    fn gap(&self, gap: Gap) -> Item {
        Item::Gap(GapReport::new(gap, &self.host, ClockSample::now()))
    }

    /// Queues a kill for its names.
    pub(super) fn identify(&self, report: Report) {
        self.names.push(report);
    }

    /// The next kill that has its names, or has waited long enough for them.
    pub(super) fn identified(&self) -> Option<Report> {
        self.names.pop()
    }

    /// Compares the records with the kernel's count. What has been missing for two audits is looked for in the kernel log,
    /// and is a gap if it is not there either. If the count cannot be read, the next audit retries.
    pub(super) fn audit(&mut self) -> Audit {
        let before = self.auditor.count();
        let mut items = self.drain_ready();
        let losses = self.observer.losses();
        let is_holding = self.observer.is_holding();
        let audited = before.and_then(|before| {
            let before = (!is_holding).then_some(before);
            self.auditor.compare(before, losses)
        });
        let Some(Audited {
            kernel_count,
            missing,
        }) = self.count_calls.succeeds(audited)
        else {
            self.auditor.retry();
            return Audit {
                items,
                kernel_count: None,
                losses,
                is_replaced: false,
            };
        };
        let is_replaced = self.auditor.is_silent() && self.replace_backend();
        if missing > 0 {
            items.extend(self.backfill());
        }
        Audit {
            items,
            kernel_count: Some(kernel_count),
            losses,
            is_replaced,
        }
    }

    /// Replaces a backend that records nothing, after all records were taken. The kills until then are missing.
    fn replace_backend(&mut self) -> bool {
        let silent = self.observer.backend();
        let is_replaced = self.observer.replace_silent();
        if is_replaced {
            self.auditor.set_backend_replaced();
            self.silent = Some(silent);
            warn!(
                silent = silent.as_str(),
                backend = self.observer.backend().as_str(),
                "the backend recorded nothing of what the kernel counted (are kernel.ftrace_enabled and kprobes/enabled 1?), \
                 replaced it until the next start"
            );
        }
        is_replaced
    }

    /// Compares at the end, when all records have been drained. A deficit may be looked for by [`Self::backfill`].
    pub(super) fn audit_at_end(&mut self) -> anyhow::Result<AuditResult> {
        Ok(self.auditor.compare_final(self.observer.losses())?)
    }

    /// Looks for missing kills in the kernel log; what is not there either is a gap.
    pub(super) fn backfill(&mut self) -> Vec<Item> {
        let count = self.auditor.count();
        let Some(before) = self.count_calls.succeeds(count) else {
            return Vec::new();
        };
        let log = self.auditor.read_log();
        // A kill that is in the log and was recorded is in the ring by now.
        let mut items = self.drain();
        let Backfilled {
            kills,
            rekills,
            gap,
        } = self.auditor.backfill(before, log);
        items.extend(kills.into_iter().map(|kill| self.report(kill.into_kill())));
        items.extend(rekills.into_iter().map(Item::NonKill));
        items.extend(gap.map(|gap| self.gap(gap)));
        items
    }

    /// What was counted so far.
    pub(super) fn counts(&self) -> CaptureCounts {
        self.auditor.counts()
    }

    /// Kills that were found in the kernel log only.
    pub(super) fn filled(&self) -> u64 {
        self.auditor.backfilled_count()
    }

    /// How far the ring was read. The losses up to there are counted by the audit.
    pub(super) fn progress(&mut self) -> Option<Cursor> {
        let Progress { cursor, losses } = self.observer.progress();
        self.auditor.set_losses(losses);
        cursor
    }

    /// Lets the kernel reuse the ring's room up to a cursor.
    pub(super) fn release(&mut self, cursor: &Cursor) {
        self.observer.release(cursor);
    }

    /// Whether unreleased records fill more than half of the ring.
    pub(super) fn is_half_full(&self) -> bool {
        self.observer.ring_usage().is_some_and(
            |RingUsage {
                 used_bytes,
                 size_bytes,
             }| used_bytes > size_bytes / 2,
        )
    }

    /// Changes of the audit's state, to be saved.
    pub(super) fn audit_changes(&mut self) -> Vec<Change> {
        self.auditor.changes()
    }

    /// Everything is a change again, since what was saved is lost.
    pub(super) fn mark_all_dirty(&mut self) {
        self.names.mark_all_dirty();
        self.auditor.mark_all_dirty();
    }
}

#[cfg(test)]
mod tests;
