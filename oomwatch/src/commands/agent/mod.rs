//! `oomwatch agent`: what runs on every node of a cluster, and as a service on a host without one.
//!
//! ```text
//! pipeline --captured--> history ("captured") --------------> the ring is released
//!    |
//!    +--identified--> history ("named") --saved--> stdout, metrics, Events --> history ("delivered")
//! ```
//!
//! No step waits for the one behind it, and a history that cannot be written stops nothing. What an agent did not deliver,
//! however it ended, the next one delivers: from the history, from the ring, or from the kernel log.

mod api;
mod config;
mod history_queue;
mod resume;
mod state;
mod stdout;
mod unresolved;

use std::{convert::Infallible, env, time::Instant};

use anyhow::Context as _;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Duration, interval},
};
use tracing::info;

pub use self::config::{AgentConfig, EventConfig, HistoryStoreConfig, KubernetesChoice};
use self::{api::Api, state::Agent, stdout::Lines, unresolved::Unresolved};
use crate::{
    audit::auditor::Auditor,
    capture::observer::Observer,
    commands::{
        exit::Exit,
        host::{name_sources, read_host},
        pipeline::{Pipeline, Wake},
        signals::Signals,
    },
    deliver::{
        events::EventSender,
        http::{self, ComponentHealth, Health},
        metrics::Metrics,
    },
    identify::{
        resolver::Resolver,
        runtimes::{Listing, RuntimeConfig},
    },
    sys::privileges,
};

/// How often metrics and health are updated with what changes by itself.
const REFRESH: Duration = Duration::from_secs(10);

/// Runs until a signal ends it, or until capture fails.
pub async fn run(config: AgentConfig) -> anyhow::Result<Exit> {
    let started = Instant::now();
    privileges::prepare_process();
    let AgentConfig {
        kubernetes,
        node,
        listen,
        log_kills,
        cmdline,
        events,
        pod_watch,
        cri_socket,
        docker_socket,
        podman_socket,
        log_root,
        history,
        bpffs,
        capture,
        kubelet,
    } = config.for_host(|name| env::var_os(name).is_some());
    let runtimes = RuntimeConfig {
        cri: cri_socket,
        docker: docker_socket,
        podman: podman_socket,
        proc_root: capture.proc_root.clone(),
        listing: Listing::AtStart,
    };
    runtimes.check()?;
    let host = read_host(&capture, node, kubelet)?;
    let mut signals = Signals::new()?;
    let metrics = Metrics::new();
    let (health, receiver) = watch::channel(Health::default());
    // Probes are answered while the programs are loaded.
    let listener = http::listen(listen).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(http::serve(listener, metrics.clone(), receiver));

    let Some(_lock) = resume::lock(&history.folder, &mut signals).await else {
        return Ok(Exit::Done);
    };
    let (queue, restored) = resume::open(history, &host);
    let saved = &restored.state;
    let observer = Observer::resume(&capture, &bpffs, history_queue::cursor(saved).as_ref())?;
    let auditor = Auditor::resume(&capture, &host.boot_id, saved)?;
    let milliseconds = u64::try_from(started.elapsed().as_millis())?;
    metrics.backend(observer.backend());
    health.send_modify(|health| health.backend = ComponentHealth::Ok);

    let mut api = Api::find(kubernetes, events, pod_watch, &host, &restored, &metrics).await?;
    // Not earlier: KUBECONFIG may name a file that is not root's. Not later: threads are made for the first connection.
    privileges::drop_capabilities(|| observer.try_counters());
    let mut names = Resolver::new(name_sources(runtimes, log_root, &capture, &host));
    names.restore(saved);
    api.watch_pods(&mut names, &host.node);
    let mut pipeline = Pipeline::new(host, observer, auditor, names, &capture, cmdline);
    let stdout =
        Lines::new(log_kills, saved).context("failed to start the thread that writes to stdout")?;
    let mut agent = Agent {
        metrics,
        health,
        events: api.events(),
        history: queue,
        stdout,
        unresolved: Unresolved::default(),
    };
    agent.resume(restored, &mut pipeline);
    info!(
        node = pipeline.node(),
        backend = pipeline.backend().as_str(),
        milliseconds,
        "watching for OOM kills"
    );
    let mut refresh = interval(REFRESH);
    let mut delivery = api.delivery();
    let mut delivering = Box::pin(deliver(&mut delivery));
    loop {
        tokio::select! {
            wake = pipeline.next() => match wake {
                Wake::Captured(items) => agent.handle(items, &pipeline),
                Wake::Identified => {}
                Wake::AuditDue => agent.audit(&mut pipeline),
            },
            answer = agent.history.answer() => agent.answered(answer, &mut pipeline),
            never = &mut delivering => match never {},
            () = agent.stdout.written() => {}
            _ = refresh.tick() => {
                agent.retry_unresolved(&pipeline);
                agent.refresh(&api, &pipeline);
                pipeline.check_pins();
            }
            () = signals.any() => break,
        }
        agent.write(&mut pipeline);
    }
    drop(delivering);
    info!("ending after a signal; a second one ends at once");
    tokio::select! {
        () = agent.end(&mut pipeline, &mut delivery) => {}
        () = signals.any() => {}
    }
    Ok(Exit::Done)
}

/// Sends Events to the API server, if there is one.
async fn deliver(delivery: &mut Option<EventSender>) -> Infallible {
    if let Some(delivery) = delivery {
        delivery.run().await;
    }
    std::future::pending().await
}
