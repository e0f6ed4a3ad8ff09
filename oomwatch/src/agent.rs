//! `oomwatch agent`: what runs on every node of a cluster. Wiring only: kills go from the hooks by their names to stdout, the
//! metrics and the API server, and nobody in that row waits for the one behind.

mod auditor;
mod lines;

use std::{convert::Infallible, ops::ControlFlow, time::Instant};

use jiff::Timestamp;
use rustix::process::setpriority_process;
use tokio::{sync::watch, task::JoinSet};
use tracing::{debug, info};

use self::{
    auditor::{Audited, Auditor},
    lines::Lines,
};
use crate::{
    admin::{self, Health, State},
    cli::{AgentArgs, Switch},
    cmdline,
    counters::Gap,
    exit::Exit,
    host,
    observe::{Observer, Seen},
    report::{GapReport, Host, Report},
    resolve::pod_logs::PodLogs,
    signals::Signals,
    sink::metrics::Metrics,
};

/// The highest priority short of real time.
const NICE: i32 = -20;

/// Runs until a signal ends it, or until kills cannot be seen any more.
pub async fn run(args: AgentArgs) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let AgentArgs {
        node,
        listen,
        log_kills,
        cmdline,
        events,
        names,
        kernel,
    } = args;
    let host = host::host(&kernel.proc_root, node)?;
    let mut signals = Signals::new()?;
    if let Err(error) = setpriority_process(None, NICE) {
        debug!(%error, "raise the priority");
    }
    let metrics = Metrics::new();
    let (health, receiver) = watch::channel(Health::default());
    // Probes are answered while the programs are loaded.
    let listener = admin::listen(listen).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(admin::serve(listener, metrics.clone(), receiver));
    let mut observer = Observer::open(&kernel)?;
    health.send_modify(|health| health.hooks = State::Ok);
    let mut auditor = Auditor::start(&kernel.proc_root)?;
    metrics.hooks(observer.way());
    let milliseconds = u64::try_from(started.elapsed().as_millis())?;
    info!(
        node = host.node,
        hooks = observer.way().as_str(),
        milliseconds,
        "watching for OOM kills"
    );
    let mut agent = Agent {
        host,
        names: PodLogs::new(&names.log_root),
        arguments: cmdline.then(|| cmdline::Reader::new(&kernel.proc_root)),
        lines: Lines::stdout(log_kills == Switch::On),
        metrics,
    };
    loop {
        let mut seen = Vec::new();
        tokio::select! {
            taken = observer.drain(|one| {
                seen.push(one);
                ControlFlow::<Infallible>::Continue(())
            }) => {
                let ControlFlow::Continue(()) = taken?;
            }
            () = auditor.due() => agent.audit(&mut auditor, &observer)?,
            () = signals.any() => break,
        }
        for one in seen {
            agent.take(one, &mut auditor);
        }
    }
    info!("ended by a signal");
    Ok(Exit::Done)
}

struct Agent {
    host: Host,
    names: PodLogs,
    arguments: Option<cmdline::Reader>,
    lines: Lines,
    metrics: Metrics,
}

impl Agent {
    fn take(&mut self, seen: Seen, auditor: &mut Auditor) {
        match seen {
            Seen::Kill(kill) => {
                auditor.kill(kill.boot_time_ns);
                self.kill(Report::new(*kill, &self.host));
            }
            Seen::Logged(kill) => {
                auditor.kill(kill.kill.boot_time_ns);
                self.kill(Report::from_live_log(*kill, &self.host));
            }
            Seen::Aside(aside) => {
                auditor.aside(&aside);
                self.metrics.aside(&aside);
            }
            Seen::Gap(gap) => {
                auditor.gap(gap.kills);
                self.gap(gap);
            }
        }
    }

    fn kill(&mut self, mut report: Report) {
        debug!(pid = report.kill.victim.pid, "kill");
        if let Some(arguments) = &self.arguments {
            report.cmdline = arguments.read(&report.kill.victim);
        }
        self.names.name(&mut report);
        self.named(&report);
    }

    fn named(&mut self, report: &Report) {
        self.metrics.kill(report, Timestamp::now());
        self.lines.kill(report);
    }

    fn gap(&mut self, gap: Gap) {
        let report = GapReport::new(gap, &self.host);
        self.metrics.gap(&report);
        self.lines.gap(&report);
    }

    fn audit(&mut self, auditor: &mut Auditor, observer: &Observer) -> anyhow::Result<()> {
        let losses = observer.losses()?;
        self.metrics.losses(observer.way(), losses);
        let Audited { kernel_count, gap } = auditor.compare(losses)?;
        self.metrics.kernel_kills(kernel_count);
        self.metrics.audit(Timestamp::now());
        if let Some(gap) = gap {
            self.gap(gap);
        }
        Ok(())
    }
}
