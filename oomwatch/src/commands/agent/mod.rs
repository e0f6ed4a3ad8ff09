//! `oomwatch agent`: what runs on every node of a cluster.
//!
//! ```text
//! pipeline --captured--> history ("seen") --------------> the ring is released
//!    |
//!    +--identified--> history ("named") --saved--> stdout, metrics, Events --> history ("delivered")
//! ```
//!
//! No step waits for the one behind it, and a history that cannot be written stops nothing. What an agent did not deliver,
//! however it ended, the next one delivers: from the history, from the ring, or from the kernel log.

mod api;
mod history_queue;

mod resume;
mod state;
mod stdout;
mod unresolved;

use std::{
    collections::BTreeSet, convert::Infallible, net::SocketAddr, path::PathBuf, time::Instant,
};

use anyhow::Context as _;
use rustix::process::setpriority_process;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Duration, interval},
};
use tracing::{debug, info};

use self::{api::Api, state::Agent, stdout::Lines, unresolved::Unresolved};
use crate::{
    audit::auditor::{Auditor, Schedule},
    capture::{config::CaptureConfig, observer::Observer},
    commands::{
        exit::Exit,
        host::read_host,
        pipeline::{Pipeline, Wake},
        signals::Signals,
    },
    deliver::{
        events::{EventSender, NodeUid},
        http::{self, ComponentHealth, Health},
        metrics::Metrics,
    },
    identify::{
        resolver::{NameSources, Resolver},
        runtimes::{Listing, RuntimeConfig},
        sockets::SocketChoice,
    },
    sys::{cmdline, privileges},
};

/// The highest priority short of real time.
const NICE: i32 = -20;

/// How often metrics and health are updated with what changes by itself.
const REFRESH: Duration = Duration::from_secs(10);

/// Configuration of `oomwatch agent`.
#[derive(Debug)]
pub struct AgentConfig {
    /// Name of this node at the API server; absent for the host's name.
    pub node: Option<String>,
    /// Where metrics and health are served; absent for port 10137 of every address.
    pub listen: Option<SocketAddr>,
    /// Whether each kill is written to stdout as a line of JSON.
    pub log_kills: bool,
    /// Whether to read the victim's arguments.
    pub cmdline: bool,
    /// Which Events are recorded.
    pub events: EventConfig,
    /// Whether this node's pods are watched at the API server.
    pub pod_watch: bool,
    /// The CRI socket.
    pub cri_socket: SocketChoice,
    /// Docker's socket.
    pub docker_socket: SocketChoice,
    /// The host's `/var/log`.
    pub log_root: PathBuf,
    /// The history.
    pub history: HistoryStoreConfig,
    /// The BPF file system for pins.
    pub bpffs: PathBuf,
    /// How kills are captured.
    pub capture: CaptureConfig,
}

/// Which Kubernetes Events are recorded.
#[derive(Debug)]
pub struct EventConfig {
    /// Whether system OOMs are recorded on the Node.
    pub node_events: bool,
    /// Whether kills are recorded on their pods.
    pub pod_events: bool,
    /// Namespaces whose pods get no Events.
    pub excluded_namespaces: BTreeSet<String>,
    /// Kills that are older have no Event.
    pub max_age: Duration,
    /// `source.component` of the Events.
    pub component: String,
    /// What stands for the Node's UID.
    pub node_uid: NodeUid,
    /// Longest random delay before the first request.
    pub start_jitter: Duration,
}

/// Where the history is kept, and how much of it.
#[derive(Debug)]
pub struct HistoryStoreConfig {
    /// Its folder.
    pub folder: PathBuf,
    /// Its largest size.
    pub max_bytes: u64,
    /// Older kills are removed.
    pub max_age: Duration,
    /// File with the host's id.
    pub machine_id: PathBuf,
}

/// Runs until a signal ends it, or until capture fails.
pub async fn run(config: AgentConfig) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let AgentConfig {
        node,
        listen,
        log_kills,
        cmdline,
        events,
        pod_watch,
        cri_socket,
        docker_socket,
        log_root,
        history,
        bpffs,
        capture,
    } = config;
    let host = read_host(&capture.proc_root, node)?;
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

    let Some(_lock) = resume::lock(&history.folder, &mut signals).await else {
        return Ok(Exit::Done);
    };
    let (queue, restored) = resume::open(history, &host);
    let saved = &restored.state;
    let observer = Observer::resume(&capture, &bpffs, history_queue::cursor(saved).as_ref())?;
    let auditor = Auditor::resume(&capture, &host.boot_id, Schedule::Periodic, saved)?;
    let milliseconds = u64::try_from(started.elapsed().as_millis())?;
    metrics.backend(observer.backend());
    health.send_modify(|health| health.backend = ComponentHealth::Ok);

    let mut api = Api::find(events, pod_watch, &host, saved, &metrics).await?;
    // Not earlier: KUBECONFIG may name a file that is not root's. Not later: threads are made for the first connection.
    privileges::drop_capabilities(|| observer.try_counters());
    let mut names = Resolver::new(NameSources {
        runtimes: RuntimeConfig {
            cri: cri_socket,
            docker: docker_socket,
            proc_root: capture.proc_root.clone(),
            listing: Listing::AtStart,
        },
        log_root,
    });
    names.restore(saved);
    api.watch_pods(&mut names, &host.node);
    let arguments = cmdline.then(|| cmdline::Reader::new(&capture.proc_root));
    let mut pipeline = Pipeline::new(host, observer, auditor, names, arguments);
    let mut agent = Agent {
        metrics,
        health,
        events: api.events(),
        history: queue,
        stdout: if log_kills {
            Lines::stdout().context("failed to start the thread that writes to stdout")?
        } else {
            Lines::none()
        },
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
            wake = pipeline.next() => match wake? {
                Wake::Captured(items) => agent.handle(items, &pipeline),
                Wake::Identified => {}
                Wake::AuditDue => agent.audit(&mut pipeline)?,
            },
            answer = agent.history.answer() => agent.answered(answer, &mut pipeline),
            never = &mut delivering => match never {},
            _ = refresh.tick() => {
                agent.retry_unresolved(&pipeline);
                agent.refresh(&api, &pipeline);
            }
            () = signals.any() => break,
        }
        agent.write(&mut pipeline)?;
    }
    drop(delivering);
    info!("ending after a signal; a second one ends at once");
    tokio::select! {
        ended = agent.end(&mut pipeline, &mut delivery) => ended?,
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
