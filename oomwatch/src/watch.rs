//! `oomwatch watch`: kills on stdout as they happen. Wiring only.

use std::{io, ops::ControlFlow, path::Path, time::Instant};

use anyhow::Context as _;
use rustix::process::setpriority_process;
use tokio::time::{Duration, sleep};
use tracing::{debug, info, warn};

use crate::{
    audit::{Counts, Tally, Verdict},
    cli::WatchArgs,
    clock, cmdline,
    counters::Gap,
    exit::Exit,
    filter::Filter,
    host,
    kill::Aside,
    observe::{Losses, Observer, Seen},
    privileges,
    report::{GapReport, Host, Report},
    resolve::{
        names::{Names, Sources},
        runtimes::{Listing, Runtimes},
    },
    signals::Signals,
    sink::printer::Printer,
};

/// The highest priority short of real time.
const NICE: i32 = -20;

/// How often the kernel's count is compared at the end, and how long apart: a kill is counted before it is marked.
const AUDITS: u32 = 10;
const AUDIT_PAUSE: Duration = Duration::from_millis(20);

/// Runs until something ends it.
pub async fn run(args: WatchArgs) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let WatchArgs {
        output,
        count,
        timeout,
        cmdline,
        node,
        log_root,
        runtimes,
        filter,
        kernel,
    } = args;
    let filter = Filter::new(filter);
    let host = host::host(&kernel.proc_root, node)?;
    let timeout = timeout
        .map(Duration::try_from)
        .transpose()
        .context("take the timeout")?;
    let mut signals = Signals::new()?;

    // A kill comes when the machine is short of everything: whoever tells of it must not wait for its turn.
    if let Err(error) = setpriority_process(None, NICE) {
        debug!(%error, "raise the priority");
    }
    let mut observer = Observer::open(&kernel)?;
    let tally = Tally::new(
        clock::since_boot_ns(),
        host::oom_kill_count(&kernel.proc_root)?,
    );
    privileges::give_up(|| observer.losses());
    let milliseconds = u64::try_from(started.elapsed().as_millis())?;
    info!(
        hooks = observer.way().as_str(),
        milliseconds, "watching for OOM kills, end with Ctrl-C"
    );

    let names = Names::new(Sources {
        runtimes: Runtimes {
            cri: runtimes.cri_socket,
            docker: runtimes.docker_socket,
            proc_root: kernel.proc_root.clone(),
            listing: Listing::Never,
        },
        log_root,
    });
    let mut watch = Watch {
        printer: Printer::stdout(&output, filter),
        host,
        arguments: cmdline.then(|| cmdline::Reader::new(&kernel.proc_root)),
        left: count,
        shown: 0,
        tally,
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
    watch.left = Some(0);
    watch
        .audit(&mut observer, &names, &kernel.proc_root)
        .await?;
    match ended {
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
    tally: Tally,
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
            let shown = tokio::select! {
                taken = observer.drain(|seen| self.take(seen, names)) => taken?,
                () = names.ready() => self.show(names),
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
    fn take(&mut self, seen: Seen, names: &Names) -> ControlFlow<io::Result<()>> {
        let shown = match seen {
            Seen::Kill(kill) => return self.kill(Report::new(*kill, &self.host), names),
            Seen::Logged(kill) => {
                return self.kill(Report::from_live_log(*kill, &self.host), names);
            }
            Seen::Aside(aside) => self.aside(&aside),
            Seen::Gap(gap) => self.gap(gap),
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
        self.tally.kill(kill.boot_time_ns);
        debug!(pid = kill.victim.pid, "kill");
        if self.left == Some(0) {
            return ControlFlow::Break(Ok(()));
        }
        // While they can still be read.
        if let Some(arguments) = &self.arguments {
            report.cmdline = arguments.read(&report.kill.victim);
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

    fn aside(&mut self, aside: &Aside) -> io::Result<()> {
        self.tally.aside(aside);
        if self.left == Some(0) {
            return Ok(());
        }
        self.printer
            .aside(aside, aside.boot_time_ns.map(clock::time_of))
    }

    fn gap(&mut self, gap: Gap) -> io::Result<()> {
        let kills = gap.kills;
        self.tally.counts.unidentified += kills;
        if self.left == Some(0) {
            return Ok(());
        }
        self.printer.gap(&GapReport::new(gap, &self.host))?;
        self.shown += kills;
        self.left = self.left.map(|left| left.saturating_sub(kills));
        Ok(())
    }

    /// Says at the end whether the kernel counted kills that were not seen.
    async fn audit(
        &mut self,
        observer: &mut Observer,
        names: &Names,
        proc_root: &Path,
    ) -> anyhow::Result<()> {
        let mut verdict = Verdict::Complete;
        for _ in 0..AUDITS {
            while observer
                .drain_now(|seen| self.take(seen, names))?
                .is_break()
            {}
            let kernel_count = host::oom_kill_count(proc_root)?;
            let Losses { dropped, undecoded } = observer.losses()?;
            self.tally.counts.dropped = dropped;
            self.tally.counts.undecoded = undecoded;
            verdict = self.tally.verdict(kernel_count);
            if verdict == Verdict::Complete {
                break;
            }
            sleep(AUDIT_PAUSE).await;
        }
        let shown = self.shown;
        let Counts {
            kills,
            rekills,
            marks,
            sharers,
            unidentified,
            dropped,
            undecoded,
        } = self.tally.counts;
        match verdict {
            Verdict::Complete if unidentified > 0 => warn!(
                shown,
                unidentified,
                "every OOM kill that the kernel counted was seen, but not who was killed"
            ),
            Verdict::Complete => info!(
                shown,
                kills, rekills, marks, sharers, "every OOM kill that the kernel counted was seen"
            ),
            Verdict::Excess(excess) => warn!(
                kills,
                rekills,
                excess,
                "more OOM kills were seen than the kernel counted: what is missing cannot be told"
            ),
            Verdict::Lost(missing) => warn!(
                kills,
                rekills,
                dropped,
                undecoded,
                missing,
                "OOM kills were lost: the ring was full or unreadable"
            ),
            Verdict::Unobserved(missing) => warn!(
                kills,
                rekills,
                dropped,
                undecoded,
                missing,
                "the kernel counted OOM kills that were not seen"
            ),
        }
        Ok(())
    }
}
