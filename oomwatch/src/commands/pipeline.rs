//! What `watch` and `agent` share: captured records, each audited and turned into a report, then named.
//!
//! A kill goes through in one direction: [`Observer`] captures it, [`Auditor`] counts it, [`Report::new`] adds its meaning, and
//! [`Resolver`] its names. What is printed or delivered, and how much of it, is for the commands to decide.

use std::{convert::Infallible, ops::ControlFlow};

use tracing::debug;

use crate::{
    audit::{
        auditor::{Audited, Auditor, Backfilled},
        totals::{AuditResult, CaptureCounts},
    },
    capture::observer::{
        CaptureItem, Observer,
        cursor::{Cursor, Progress, RingUsage},
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
    sys::{clock::ClockSample, cmdline},
};

/// Capture, audit and identification.
pub(super) struct Pipeline {
    host: Host,
    observer: Observer,
    auditor: Auditor,
    names: Resolver,
    /// Reads the victims' arguments; absent if they are not wanted.
    arguments: Option<cmdline::Reader>,
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
    /// The kernel's count of kills since boot.
    pub(super) kernel_count: u64,
    /// Records lost so far.
    pub(super) losses: Losses,
}

impl Pipeline {
    pub(super) fn new(
        host: Host,
        observer: Observer,
        auditor: Auditor,
        names: Resolver,
        arguments: Option<cmdline::Reader>,
    ) -> Self {
        Self {
            host,
            observer,
            auditor,
            names,
            arguments,
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

    /// Name of the node.
    pub(super) fn node(&self) -> &str {
        &self.host.node
    }

    /// Waits for the next thing to do. Cancel safe.
    pub(super) async fn next(&mut self) -> anyhow::Result<Wake> {
        let due = self.auditor.due();
        let mut captured = Vec::new();
        tokio::select! {
            drained = self.observer.drain(|item| {
                captured.push(item);
                ControlFlow::<Infallible>::Continue(())
            }) => {
                let ControlFlow::Continue(()) = drained?;
            }
            () = self.names.ready() => return Ok(Wake::Identified),
            () = due => return Ok(Wake::AuditDue),
        }
        Ok(Wake::Captured(self.accept(captured)))
    }

    /// Takes all records that were captured by now, also those that wait for the kernel log.
    pub(super) fn drain(&mut self) -> anyhow::Result<Vec<Item>> {
        let mut captured = Vec::new();
        let ControlFlow::Continue(()) = self.observer.drain_now(|item| {
            captured.push(item);
            ControlFlow::<Infallible>::Continue(())
        })?;
        Ok(self.accept(captured))
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

    fn report(&self, kill: Kill) -> Item {
        debug!(pid = kill.victim.pid, "kill");
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
    /// and is a gap if it is not there either.
    pub(super) fn audit(&mut self) -> anyhow::Result<Audit> {
        let before = self.auditor.count()?;
        let mut captured = Vec::new();
        let ControlFlow::Continue(()) = self.observer.drain_ready(|item| {
            captured.push(item);
            ControlFlow::<Infallible>::Continue(())
        })?;
        let mut items = self.accept(captured);
        let before = (!self.observer.is_holding()).then_some(before);
        let losses = self.observer.losses()?;
        let Audited {
            kernel_count,
            missing,
        } = self.auditor.compare(before, losses)?;
        if missing > 0 {
            items.extend(self.backfill()?);
        }
        Ok(Audit {
            items,
            kernel_count,
            losses,
        })
    }

    /// Compares at the end, when all records have been drained. A deficit may be looked for by [`Self::backfill`].
    pub(super) fn audit_at_end(&mut self) -> anyhow::Result<AuditResult> {
        Ok(self.auditor.compare_final(self.observer.losses()?)?)
    }

    /// Looks for missing kills in the kernel log; what is not there either is a gap.
    pub(super) fn backfill(&mut self) -> anyhow::Result<Vec<Item>> {
        let before = self.auditor.count()?;
        let log = self.auditor.read_log();
        // A kill that is in the log and was recorded is in the ring by now.
        let mut items = self.drain()?;
        let Backfilled {
            kills,
            rekills,
            gap,
        } = self.auditor.backfill(before, log)?;
        items.extend(kills.into_iter().map(|kill| self.report(kill.into_kill())));
        items.extend(rekills.into_iter().map(Item::NonKill));
        items.extend(gap.map(|gap| self.gap(gap)));
        Ok(items)
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
    pub(super) fn progress(&mut self) -> anyhow::Result<Option<Cursor>> {
        let Progress { cursor, losses } = self.observer.progress()?;
        self.auditor.set_losses(losses);
        Ok(cursor)
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
