//! What `watch` prints, and when it has printed enough: a state machine over the pipeline's items.

use std::io::{self, Write};

use crate::{
    commands::pipeline::Item,
    deliver::printer::Printer,
    identify::resolver::Resolver,
    model::{
        kill::NonKill,
        report::{GapReport, Report},
    },
    sys::clock::ClockSample,
};

/// Prints kills up to a number and a time. Nothing is printed after the first failure of stdout.
pub(super) struct Screen<W> {
    printer: Printer<W>,
    /// Kills still to be shown; absent without a bound.
    left: Option<u64>,
    shown: u64,
    /// Kills after this time, in nanoseconds since boot, are not shown.
    ended_boot_time_ns: Option<u64>,
    /// The first failure of stdout.
    failure: Option<io::Error>,
}

impl<W: Write> Screen<W> {
    pub(super) fn new(printer: Printer<W>, count: Option<u64>) -> Self {
        Self {
            printer,
            left: count,
            shown: 0,
            ended_boot_time_ns: None,
            failure: None,
        }
    }

    /// Whether no more is shown.
    pub(super) fn is_done(&self) -> bool {
        self.left == Some(0) || self.failure.is_some()
    }

    /// Kills shown so far; those of a gap are counted by their number.
    pub(super) fn shown(&self) -> u64 {
        self.shown
    }

    /// Later kills are not shown, but belong to the sum.
    pub(super) fn end(&mut self, boot_time_ns: u64) {
        self.ended_boot_time_ns = Some(boot_time_ns);
    }

    fn is_too_late(&self, boot_time_ns: Option<u64>) -> bool {
        self.ended_boot_time_ns
            .is_some_and(|ended| boot_time_ns > Some(ended))
    }

    pub(super) fn header(&mut self) {
        let written = self.printer.header();
        self.note(written);
    }

    /// Shows items as long as more are wanted; kills are shown when they have their names.
    pub(super) fn show(&mut self, items: Vec<Item>, names: &Resolver) {
        for item in items {
            match item {
                Item::Kill(report) if self.wants(&report) => {
                    names.push(*report);
                    self.show_identified(names);
                }
                Item::Kill(_) => {}
                Item::NonKill(event) => self.non_kill(&event),
                Item::Gap(gap) => self.gap(&gap),
            }
        }
        self.flush();
    }

    pub(super) fn show_identified(&mut self, names: &Resolver) {
        while !self.is_done()
            && let Some(report) = names.pop()
        {
            self.kill(&report);
        }
        self.flush();
    }

    fn wants(&self, report: &Report) -> bool {
        !self.is_done() && !self.is_too_late(report.kill.boot_time_ns)
    }

    fn kill(&mut self, report: &Report) {
        if self.is_done() || !self.printer.shows(report) {
            return;
        }
        let written = self.printer.kill(report);
        self.count(1);
        self.note(written);
    }

    fn non_kill(&mut self, event: &NonKill) {
        if self.is_done() || self.is_too_late(event.boot_time_ns) {
            return;
        }
        let now = ClockSample::now();
        let time = event.boot_time_ns.map(|time| now.time_of(time));
        let written = self.printer.non_kill(event, time);
        self.note(written);
    }

    fn gap(&mut self, gap: &GapReport) {
        if self.is_done() {
            return;
        }
        let written = self.printer.gap(gap);
        self.count(gap.gap.kills);
        self.note(written);
    }

    fn count(&mut self, kills: u64) {
        self.shown += kills;
        self.left = self.left.map(|left| left.saturating_sub(kills));
    }

    fn flush(&mut self) {
        if self.failure.is_none() {
            let flushed = self.printer.flush();
            self.note(flushed);
        }
    }

    fn note(&mut self, written: io::Result<()>) {
        if let Err(error) = written {
            self.fail(error);
        }
    }

    /// Stdout has failed.
    pub(super) fn fail(&mut self, error: io::Error) {
        self.failure.get_or_insert(error);
    }

    pub(super) fn into_result(self) -> io::Result<()> {
        self.failure.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests;
