//! `oomwatch watch`: kills on stdout as they happen. Wiring only.

use std::{io, ops::ControlFlow, path::PathBuf, time::Instant};

use anyhow::Context as _;
use rustix::process::setpriority_process;
use tokio::time::{Duration, sleep};
use tracing::{debug, info, warn};

use crate::{
    audit::{
        auditor::{Audited, Auditor, Filled, Schedule},
        totals::{AuditResult, Counts},
    },
    capture::{
        config::CaptureConfig,
        observer::{CaptureItem, Observer},
    },
    commands::{exit::Exit, host::read_host, signals::Signals},
    deliver::printer::{OutputConfig, Printer},
    identify::{
        names::{Names, Sources},
        runtimes::{Listing, Runtimes},
        sockets::SocketChoice,
    },
    model::{
        filter::Filter,
        gap::Gap,
        kill::NonKill,
        report::{GapReport, Host, Report},
    },
    sys::{clock, cmdline, privileges},
};

/// The highest priority short of real time.
const NICE: i32 = -20;

/// How often the kernel's count is compared at the end, and how long apart: a kill is counted before it is marked.
const AUDITS: u32 = 10;
const AUDIT_PAUSE: Duration = Duration::from_millis(20);

/// Configuration of `oomwatch watch`.
#[derive(Debug)]
pub struct WatchConfig {
    /// How kills are printed.
    pub output: OutputConfig,
    /// End after this many kills were shown.
    pub count: Option<u64>,
    /// End after this long.
    pub timeout: Option<Duration>,
    /// Whether to read the victim's arguments.
    pub cmdline: bool,
    /// Name of this node; absent for the host's name.
    pub node: Option<String>,
    /// The host's `/var/log`.
    pub log_root: PathBuf,
    /// The CRI socket.
    pub cri_socket: SocketChoice,
    /// Docker's socket.
    pub docker_socket: SocketChoice,
    /// Which kills to show.
    pub filter: Filter,
    /// How kills are captured.
    pub capture: CaptureConfig,
    /// A BPF object with log lines, in place of the built-in one.
    #[cfg(feature = "bpf-log")]
    pub bpf_log: Option<PathBuf>,
}

/// Prints kills until a signal, the count, the timeout or a closed stdout ends it.
pub async fn run(config: WatchConfig) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let WatchConfig {
        output,
        count,
        timeout,
        cmdline,
        node,
        log_root,
        cri_socket,
        docker_socket,
        filter,
        capture,
        #[cfg(feature = "bpf-log")]
        bpf_log,
    } = config;
    let host = read_host(&capture.proc_root, node)?;
    let mut signals = Signals::new()?;

    // A kill comes when the machine is short of everything: whoever tells of it must not wait for its turn.
    if let Err(error) = setpriority_process(None, NICE) {
        debug!(%error, "raise the priority");
    }
    #[cfg(not(feature = "bpf-log"))]
    let mut observer = Observer::open(&capture)?;
    #[cfg(feature = "bpf-log")]
    let mut observer = match &bpf_log {
        Some(object) => Observer::open_with_log(&capture, object)?,
        None => Observer::open(&capture)?,
    };
    let auditor = Auditor::start(&capture, &host.boot_id, Schedule::AfterKills)?;
    privileges::drop_capabilities(|| observer.try_counters());
    let milliseconds = u64::try_from(started.elapsed().as_millis())?;
    info!(
        backend = observer.backend().as_str(),
        milliseconds, "watching for OOM kills, end with Ctrl-C"
    );

    let names = Names::new(Sources {
        runtimes: Runtimes {
            cri: cri_socket,
            docker: docker_socket,
            proc_root: capture.proc_root.clone(),
            listing: Listing::Never,
        },
        log_root,
    });
    let mut watch = Watch {
        printer: Printer::stdout(output, filter),
        host,
        arguments: cmdline.then(|| cmdline::Reader::new(&capture.proc_root)),
        left: count,
        shown: 0,
        ended_boot_time_ns: None,
        auditor,
    };
    let end = async {
        match timeout {
            Some(timeout) => sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    let ended = match watch.printer.header() {
        Ok(()) => {
            watch
                .follow(&mut observer, &names, &mut signals, end)
                .await?
        }
        Err(error) => Err(error),
    };
    // Later kills are not shown, but belong to the sum. It is told even if stdout has failed.
    watch.ended_boot_time_ns = Some(clock::since_boot_ns());
    if ended.is_err() {
        watch.left = Some(0);
    }
    let (verdict, settled) = watch.settle(&mut observer, &names).await?;
    watch.say_what_was_seen(verdict);
    match ended.and_then(|exit| settled.map(|()| exit)) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        ended => ended.context("write to stdout"),
    }
}

struct Watch {
    printer: Printer,
    host: Host,
    arguments: Option<cmdline::Reader>,
    /// Kills still to be shown; absent without a bound.
    left: Option<u64>,
    shown: u64,
    /// Once it has ended: later kills are not shown.
    ended_boot_time_ns: Option<u64>,
    auditor: Auditor,
}

impl Watch {
    /// Shows kills until there are enough, a signal comes, or the time is over. An error is one of stdout.
    async fn follow(
        &mut self,
        observer: &mut Observer,
        names: &Names,
        signals: &mut Signals,
        end: impl Future<Output = ()>,
    ) -> anyhow::Result<io::Result<Exit>> {
        tokio::pin!(end);
        let exit = loop {
            let due = self.auditor.due();
            let shown = tokio::select! {
                taken = observer.drain(|seen| self.take(seen, names)) => taken?,
                () = names.ready() => self.show(names),
                () = due => self.audit(observer, names)?,
                () = signals.any() => break Exit::Interrupted,
                () = &mut end => break Exit::Done,
            };
            let flushed = self.printer.flush();
            if let ControlFlow::Break(shown) = shown {
                return Ok(shown.and(flushed).map(|()| Exit::Done));
            }
            if let Err(error) = flushed {
                return Ok(Err(error));
            }
        };
        // What was killed before the end is part of what was asked for.
        let mut shown = observer.drain_now(|seen| self.take(seen, names))?;
        while shown.is_continue() && names.is_waiting() {
            names.ready().await;
            shown = self.show(names);
        }
        Ok(shown
            .break_value()
            .unwrap_or(Ok(()))
            .and_then(|()| self.printer.flush())
            .map(|()| exit))
    }

    /// Takes what was seen; breaks when no more is to be shown.
    fn take(&mut self, seen: CaptureItem, names: &Names) -> ControlFlow<io::Result<()>> {
        let shown = match seen {
            CaptureItem::Kill(kill) if self.auditor.kill(&kill) => {
                return self.kill(Report::new(*kill, &self.host), names);
            }
            CaptureItem::Logged(kill) if self.auditor.kill(&kill.kill) => {
                return self.kill(Report::from_live_log(*kill, &self.host), names);
            }
            // Told already.
            CaptureItem::Kill(_) | CaptureItem::Logged(_) => Ok(()),
            CaptureItem::NonKill(aside) => {
                self.auditor.aside(&aside);
                self.aside(&aside)
            }
            CaptureItem::Gap(gap) => {
                self.auditor.gap(gap.kills);
                self.gap(gap)
            }
        };
        self.is_enough(shown)
    }

    fn is_enough(&self, shown: io::Result<()>) -> ControlFlow<io::Result<()>> {
        match shown {
            Ok(()) if self.left == Some(0) => ControlFlow::Break(Ok(())),
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Err(error)),
        }
    }

    fn kill(&mut self, mut report: Report, names: &Names) -> ControlFlow<io::Result<()>> {
        let kill = &report.kill;
        debug!(pid = kill.victim.pid, "kill");
        if self.left == Some(0) {
            return ControlFlow::Break(Ok(()));
        }
        if self.is_too_late(kill.boot_time_ns) {
            return ControlFlow::Continue(());
        }
        // While they can still be read.
        if let Some(arguments) = &self.arguments {
            let victim = &report.kill.victim;
            report.cmdline = victim
                .start_boot_time_ns
                .and_then(|start_ns| arguments.read(victim.pid, start_ns));
        }
        names.push(report);
        self.show(names)
    }

    /// Shows the kills that are named; breaks when no more is to be shown.
    fn show(&mut self, names: &Names) -> ControlFlow<io::Result<()>> {
        while let Some(report) = names.pop() {
            if !self.printer.shows(&report) {
                continue;
            }
            let shown = self.printer.kill(&report);
            self.shown += 1;
            self.left = self.left.map(|left| left - 1);
            self.is_enough(shown)?;
        }
        ControlFlow::Continue(())
    }

    fn aside(&mut self, aside: &NonKill) -> io::Result<()> {
        if self.left == Some(0) || self.is_too_late(aside.boot_time_ns) {
            return Ok(());
        }
        self.printer
            .aside(aside, aside.boot_time_ns.map(clock::time_of))
    }

    fn gap(&mut self, gap: Gap) -> io::Result<()> {
        let kills = gap.kills;
        if self.left == Some(0) {
            return Ok(());
        }
        self.printer.gap(&GapReport::new(gap, &self.host))?;
        self.shown += kills;
        self.left = self.left.map(|left| left.saturating_sub(kills));
        Ok(())
    }

    /// Whether it was after the end.
    fn is_too_late(&self, boot_time_ns: Option<u64>) -> bool {
        let ended = self.ended_boot_time_ns;
        ended.is_some_and(|ended| boot_time_ns > Some(ended))
    }

    /// Compares with the kernel's count, and shows what has been missing for a while.
    fn audit(
        &mut self,
        observer: &mut Observer,
        names: &Names,
    ) -> anyhow::Result<ControlFlow<io::Result<()>>> {
        let before = self.auditor.count()?;
        let taken = observer.drain_ready(|seen| self.take(seen, names))?;
        if taken.is_break() {
            return Ok(taken);
        }
        let before = (!observer.is_holding()).then_some(before);
        let Audited { missing, .. } = self.auditor.compare(before, observer.losses()?)?;
        if missing == 0 {
            return Ok(taken);
        }
        self.fill(observer, names)
    }

    /// Shows what is missing from the kernel log, and what is not there either.
    fn fill(
        &mut self,
        observer: &mut Observer,
        names: &Names,
    ) -> anyhow::Result<ControlFlow<io::Result<()>>> {
        let before = self.auditor.count()?;
        let log = self.auditor.read_log();
        // What was recorded of the log's kills is in the ring by now.
        let taken = self.take_all(observer, names)?;
        let Filled {
            kills,
            rekills,
            gap,
        } = self.auditor.fill(before, log)?;
        // All of it is counted; it is shown as long as more is to be.
        Ok((|| {
            taken?;
            for kill in kills {
                self.kill(Report::from_live_log(*kill, &self.host), names)?;
            }
            let rekills = rekills.iter().try_for_each(|aside| self.aside(aside));
            let gap = gap.map_or(Ok(()), |gap| self.gap(gap));
            self.is_enough(rekills.and(gap))
        })())
    }

    /// Takes all that was recorded, to its end though no more is to be shown.
    fn take_all(
        &mut self,
        observer: &mut Observer,
        names: &Names,
    ) -> anyhow::Result<ControlFlow<io::Result<()>>> {
        let mut first = ControlFlow::Continue(());
        loop {
            let taken = observer.drain_now(|seen| self.take(seen, names))?;
            if taken.is_continue() {
                return Ok(first);
            }
            if first.is_continue() {
                // No more of it is shown: neither where there is enough, nor to a stdout that fails.
                self.left = Some(0);
                first = taken;
            }
        }
    }

    /// At the end: waits for what is late, and shows what is missing. Gives what the sum says then.
    async fn settle(
        &mut self,
        observer: &mut Observer,
        names: &Names,
    ) -> anyhow::Result<(AuditResult, io::Result<()>)> {
        let mut shown = ControlFlow::Continue(());
        let mut verdict = AuditResult::Complete;
        for tries in 1..=2 * AUDITS {
            let taken = self.take_all(observer, names)?;
            verdict = self.auditor.compare_at_end(observer.losses()?)?;
            let filled = if tries >= AUDITS && verdict.missing() > 0 {
                self.fill(observer, names)?
            } else {
                ControlFlow::Continue(())
            };
            if shown.is_continue() {
                shown = taken;
            }
            if shown.is_continue() {
                shown = filled;
            }
            if verdict == AuditResult::Complete {
                break;
            }
            sleep(AUDIT_PAUSE).await;
        }
        while shown.is_continue() && names.is_waiting() {
            names.ready().await;
            shown = self.show(names);
        }
        let shown = shown.break_value().unwrap_or(Ok(()));
        Ok((verdict, shown.and_then(|()| self.printer.flush())))
    }

    /// Says whether the kernel counted kills of which nothing is known.
    fn say_what_was_seen(&self, verdict: AuditResult) {
        let shown = self.shown;
        let filled = self.auditor.filled();
        let Counts {
            kills,
            rekills,
            marks,
            sharers,
            unidentified,
            dropped,
            undecoded,
        } = self.auditor.counts();
        let missing = verdict.missing();
        if let AuditResult::Excess(excess) = verdict {
            warn!(
                kills,
                rekills,
                excess,
                "more OOM kills were seen than the kernel counted: what is missing cannot be told"
            );
        } else if missing > 0 {
            warn!(
                kills,
                rekills,
                filled,
                unidentified,
                missing,
                "the kernel counted OOM kills that were not seen, while others went on"
            );
        } else if unidentified > 0 {
            warn!(
                shown,
                kills,
                rekills,
                filled,
                unidentified,
                dropped,
                undecoded,
                "every OOM kill that the kernel counted is told, but not of all who was killed"
            );
        } else if filled > 0 {
            info!(
                shown,
                kills,
                rekills,
                marks,
                sharers,
                filled,
                "every OOM kill that the kernel counted was seen, some in its log alone"
            );
        } else {
            info!(
                shown,
                kills, rekills, marks, sharers, "every OOM kill that the kernel counted was seen"
            );
        }
    }
}
