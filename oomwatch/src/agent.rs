//! `oomwatch agent`: what runs on every node of a cluster. Wiring only: kills go from the hooks by their names to stdout, the
//! metrics and the API server, and nobody in that row waits for the one behind.

mod api;
mod lines;

use std::{convert::Infallible, ops::ControlFlow, time::Instant};

use jiff::Timestamp;
use rustix::process::setpriority_process;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Duration, interval},
};
use tracing::{debug, info};

use self::{api::Api, lines::Lines};
use crate::{
    admin::{self, Health, State},
    auditor::{Audited, Auditor, Filled, Rhythm},
    cli::{AgentArgs, Switch},
    cmdline,
    counters::Gap,
    exit::Exit,
    host,
    observe::{Observer, Seen},
    privileges,
    report::{GapReport, Host, Report},
    resolve::{
        facts::PodName,
        names::{Names, Sources},
        runtimes::{Listing, Runtimes},
    },
    signals::Signals,
    sink::{
        event::{Delivery, Events, Undelivered},
        metrics::Metrics,
    },
};

/// The highest priority short of real time.
const NICE: i32 = -20;

/// How often the metrics and the health are told what changes by itself.
const LOOK: Duration = Duration::from_secs(10);

/// How long the end may take, after the signal: less than a pod is given by default, and by `deploy/base`.
const PATIENCE: Duration = Duration::from_secs(10);

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
        pins: _,
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
    let mut auditor = Auditor::start(&kernel, &host.boot_id, Rhythm::Steady)?;
    metrics.hooks(observer.way());
    health.send_modify(|health| health.hooks = State::Ok);
    let milliseconds = u64::try_from(started.elapsed().as_millis())?;
    info!(
        node = host.node,
        hooks = observer.way().as_str(),
        milliseconds,
        "watching for OOM kills"
    );

    let mut api = Api::find(events, names.pod_watch, &host, &metrics).await?;
    // Not earlier: KUBECONFIG may name a file that is not root's. Not later: threads are made for the first connection.
    privileges::give_up(|| observer.losses());
    let mut resolver = Names::new(Sources {
        runtimes: Runtimes {
            cri: names.runtimes.cri_socket,
            docker: names.runtimes.docker_socket,
            proc_root: kernel.proc_root.clone(),
            listing: Listing::AtStart,
        },
        log_root: names.log_root,
    });
    api.watch_pods(&mut resolver, &host.node);
    let agent = Agent {
        host,
        names: resolver,
        arguments: cmdline.then(|| cmdline::Reader::new(&kernel.proc_root)),
        metrics,
        health,
        events: api.events(),
    };
    let mut lines = Lines::stdout(log_kills == Switch::On);
    let mut look = interval(LOOK);
    let mut delivery = api.delivery();
    let mut delivering = Box::pin(deliver(&mut delivery));
    loop {
        let mut seen = Vec::new();
        tokio::select! {
            taken = observer.drain(|one| {
                seen.push(one);
                ControlFlow::<Infallible>::Continue(())
            }) => {
                let ControlFlow::Continue(()) = taken?;
            }
            () = agent.names.ready() => agent.tell(&mut lines),
            never = &mut delivering => match never {},
            () = auditor.due() => agent.audit(&mut auditor, &mut observer, &mut lines)?,
            _ = look.tick() => agent.look(&api),
            () = signals.any() => break,
        }
        for one in seen {
            agent.take(one, &mut auditor, &mut lines);
        }
    }
    drop(delivering);
    info!("ending by a signal; another one ends it at once");
    let end = async {
        agent.take_all(&mut auditor, &mut observer, &mut lines)?;
        while agent.names.is_waiting() {
            agent.names.ready().await;
            agent.tell(&mut lines);
        }
        agent.audit(&mut auditor, &mut observer, &mut lines)?;
        if let Some(delivery) = &mut delivery {
            delivery.drain(PATIENCE, Undelivered::Abandoned).await;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        ended = end => ended?,
        () = signals.any() => {}
    }
    Ok(Exit::Done)
}

/// Brings to the API server what it is to be told, if there is one.
async fn deliver(delivery: &mut Option<Delivery>) -> Infallible {
    if let Some(delivery) = delivery {
        delivery.run().await;
    }
    std::future::pending().await
}

struct Agent {
    host: Host,
    names: Names,
    arguments: Option<cmdline::Reader>,
    metrics: Metrics,
    health: watch::Sender<Health>,
    events: Events,
}

impl Agent {
    /// Takes what was seen. Kills get their names before they are told.
    fn take(&self, seen: Seen, auditor: &mut Auditor, lines: &mut Lines) {
        match seen {
            Seen::Kill(kill) => {
                if auditor.kill(&kill) {
                    self.kill(Report::new(*kill, &self.host));
                }
            }
            Seen::Logged(kill) => {
                if auditor.kill(&kill.kill) {
                    self.kill(Report::from_live_log(*kill, &self.host));
                }
            }
            Seen::Aside(aside) => {
                auditor.aside(&aside);
                self.metrics.aside(&aside);
            }
            Seen::Gap(gap) => {
                auditor.gap(gap.kills);
                self.gap(gap, lines);
            }
        }
    }

    fn kill(&self, mut report: Report) {
        debug!(pid = report.kill.victim.pid, "kill");
        // While they can still be read.
        if let Some(arguments) = &self.arguments {
            report.cmdline = arguments.read(&report.kill.victim);
        }
        self.names.push(report);
    }

    /// Tells of the kills that have their names.
    fn tell(&self, lines: &mut Lines) {
        while let Some(report) = self.names.pop() {
            self.metrics.kill(&report, Timestamp::now());
            self.events.take(&report);
            lines.kill(&report);
        }
    }

    fn gap(&self, gap: Gap, lines: &mut Lines) {
        let report = GapReport::new(gap, &self.host);
        self.metrics.gap(&report);
        lines.gap(&report);
    }

    fn audit(
        &self,
        auditor: &mut Auditor,
        observer: &mut Observer,
        lines: &mut Lines,
    ) -> anyhow::Result<()> {
        let before = auditor.count()?;
        let ControlFlow::Continue(()) = observer.drain_ready(|one| {
            self.take(one, auditor, lines);
            ControlFlow::<Infallible>::Continue(())
        })?;
        let before = (!observer.is_holding()).then_some(before);
        let losses = observer.losses()?;
        self.metrics.losses(observer.way(), losses);
        let Audited {
            kernel_count,
            missing,
        } = auditor.compare(before, losses)?;
        self.metrics.kernel_kills(kernel_count);
        self.metrics.audit(Timestamp::now());
        if missing > 0 {
            self.fill(auditor, observer, lines)?;
        }
        Ok(())
    }

    /// Takes all that was recorded.
    fn take_all(
        &self,
        auditor: &mut Auditor,
        observer: &mut Observer,
        lines: &mut Lines,
    ) -> anyhow::Result<()> {
        let ControlFlow::Continue(()) = observer.drain_now(|one| {
            self.take(one, auditor, lines);
            ControlFlow::<Infallible>::Continue(())
        })?;
        Ok(())
    }

    /// Tells what is missing from the kernel log, and what is not there either.
    fn fill(
        &self,
        auditor: &mut Auditor,
        observer: &mut Observer,
        lines: &mut Lines,
    ) -> anyhow::Result<()> {
        let before = auditor.count()?;
        let log = auditor.read_log();
        // What was recorded of the log's kills is in the ring by now.
        self.take_all(auditor, observer, lines)?;
        let Filled {
            kills,
            rekills,
            gap,
        } = auditor.fill(before, log)?;
        for kill in kills {
            self.kill(Report::from_live_log(*kill, &self.host));
        }
        for rekill in &rekills {
            self.metrics.aside(rekill);
        }
        if let Some(gap) = gap {
            self.gap(gap, lines);
        }
        Ok(())
    }

    /// Passes on what changes by itself.
    fn look(&self, api: &Api) {
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
        let now = Health {
            hooks: State::Ok,
            journal: State::Off,
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
}
