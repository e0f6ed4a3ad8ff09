//! `oomwatch agent`: what runs on every node of a cluster. Wiring only.
//!
//! ```text
//! hooks --Seen--> auditor, journal ("seen")
//!                   |        \--> the ring is let go of
//!                   +--> names --Report--> journal ("named") --> stdout, metrics, Events --> journal ("told")
//! ```
//!
//! Nobody in that row waits for the one behind, and a journal that cannot be written holds nothing up. What was not told when
//! an agent ended, however it did, the next one tells: from the journal, from the ring, or from the kernel log.

mod api;
mod history_queue;
mod pipeline;
mod resume;
mod stdout;
mod unresolved;

use std::{convert::Infallible, ops::ControlFlow, path::Path, time::Instant};

use anyhow::Context as _;
use rustix::process::setpriority_process;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Duration, interval},
};
use tracing::{debug, info};

use self::{api::Api, pipeline::Agent, stdout::Lines, unresolved::Unresolved};
use crate::{
    audit::auditor::{Auditor, Schedule},
    capture::observer::Observer,
    cli::{AgentArgs, NameArgs, Switch},
    commands::{exit::Exit, signals::Signals},
    deliver::{
        events::Delivery,
        http::{self, Health, State},
        metrics::Metrics,
    },
    identify::{
        names::{Names, Sources},
        runtimes::{Listing, Runtimes},
    },
    sys::{cmdline, privileges, proc},
};

/// The highest priority short of real time.
const NICE: i32 = -20;

/// How often the metrics and the health are told what changes by itself.
const LOOK: Duration = Duration::from_secs(10);

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
        journal,
        pins,
        kernel,
    } = args;
    let host = proc::host(&kernel.proc_root, node)?;
    let mut signals = Signals::new()?;
    if let Err(error) = setpriority_process(None, NICE) {
        debug!(%error, "raise the priority");
    }
    let metrics = Metrics::new();
    let (health, receiver) = watch::channel(Health::default());
    // Probes are answered while the programs are loaded.
    let listener = http::listen(listen).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(http::serve(listener, metrics.clone(), receiver));

    let Some(_lock) = resume::lock(&journal.state_dir, &mut signals).await else {
        return Ok(Exit::Done);
    };
    let (ledger, restored) = resume::open(journal, &host)?;
    let saved = &restored.state;
    let mut observer =
        Observer::resume(&kernel, &pins.bpffs, history_queue::cursor(saved).as_ref())?;
    let auditor = Auditor::resume(&kernel, &host.boot_id, Schedule::Steady, saved)?;
    let milliseconds = u64::try_from(started.elapsed().as_millis())?;
    metrics.hooks(observer.way());
    health.send_modify(|health| health.hooks = State::Ok);

    let mut api = Api::find(events, names.pod_watch, &host, &restored, &metrics).await?;
    // Not earlier: KUBECONFIG may name a file that is not root's. Not later: threads are made for the first connection.
    privileges::drop_capabilities(|| observer.try_counters());
    let mut resolver = Names::new(sources(names, &kernel.proc_root));
    resolver.restore(saved);
    api.watch_pods(&mut resolver, &host.node);
    let mut agent = Agent {
        host,
        names: resolver,
        arguments: cmdline.then(|| cmdline::Reader::new(&kernel.proc_root)),
        metrics,
        health,
        events: api.events(),
        auditor,
        ledger,
        lines: match log_kills {
            Switch::On => Lines::stdout().context("start the thread that writes to stdout")?,
            Switch::Off => Lines::none(),
        },
        nameless: Unresolved::default(),
        journal_errors: 0,
    };
    agent.go_on(restored);
    info!(
        node = agent.host.node,
        hooks = observer.way().as_str(),
        milliseconds,
        "watching for OOM kills"
    );
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
            () = agent.names.ready() => {}
            answer = agent.ledger.answer() => agent.answered(answer, &mut observer),
            never = &mut delivering => match never {},
            () = agent.auditor.due() => agent.audit(&mut observer)?,
            _ = look.tick() => {
                agent.name_anew();
                agent.look(&api);
            }
            () = signals.any() => break,
        }
        for one in seen {
            agent.take(one);
        }
        agent.write(&observer)?;
    }
    drop(delivering);
    info!("ending by a signal; another one ends it at once");
    tokio::select! {
        ended = agent.end(&mut observer, &mut delivery) => ended?,
        () = signals.any() => {}
    }
    Ok(Exit::Done)
}

fn sources(names: NameArgs, proc_root: &Path) -> Sources {
    let NameArgs {
        pod_watch: _,
        runtimes,
        log_root,
    } = names;
    Sources {
        runtimes: Runtimes {
            cri: runtimes.cri_socket,
            docker: runtimes.docker_socket,
            proc_root: proc_root.to_owned(),
            listing: Listing::AtStart,
        },
        log_root,
    }
}

/// Brings to the API server what it is to be told, if there is one.
async fn deliver(delivery: &mut Option<Delivery>) -> Infallible {
    if let Some(delivery) = delivery {
        delivery.run().await;
    }
    std::future::pending().await
}
