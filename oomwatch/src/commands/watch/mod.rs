//! `oomwatch watch`: prints kills as they happen.

mod screen;
mod stdout;

use std::{fs::File, io, os::fd::AsFd as _, path::PathBuf, pin::Pin, time::Instant};

use anyhow::Context as _;
use tokio::time::{Duration, sleep};
use tracing::info;

use self::{
    screen::Screen,
    stdout::{Ending, Stdout, Text},
};
use crate::{
    audit::{auditor::Auditor, totals::AuditResult},
    capture::{config::CaptureConfig, observer::Observer},
    commands::{
        exit::Exit,
        host::{name_sources, read_host},
        pipeline::{Pipeline, Wake},
        signals::Signals,
        totals::log_totals,
    },
    deliver::printer::{OutputConfig, Printer, Terminal},
    identify::{
        resolver::Resolver,
        runtimes::{Listing, RuntimeConfig},
        sockets::SocketChoice,
    },
    model::{cgroup::KubeletRoot, filter::Filter},
    sys::{clock, privileges},
};

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
    /// Podman's sockets.
    pub podman_socket: Vec<SocketChoice>,
    /// Which kills to show.
    pub filter: Filter,
    /// How kills are captured.
    pub capture: CaptureConfig,
    /// Where this node's kubelet has its pods; absent to look for it.
    pub kubelet: Option<KubeletRoot>,
    /// A BPF object with log lines, in place of the built-in one.
    #[cfg(feature = "bpf-log")]
    pub bpf_log: Option<PathBuf>,
}

/// Prints kills until a signal, the count, the timeout or a closed stdout ends it.
pub async fn run(config: WatchConfig) -> anyhow::Result<Exit> {
    let started = Instant::now();
    privileges::prepare_process();
    let WatchConfig {
        output,
        count,
        timeout,
        cmdline,
        node,
        log_root,
        cri_socket,
        docker_socket,
        podman_socket,
        filter,
        capture,
        kubelet,
        #[cfg(feature = "bpf-log")]
        bpf_log,
    } = config;
    let runtimes = RuntimeConfig {
        cri: cri_socket,
        docker: docker_socket,
        podman: podman_socket,
        proc_root: capture.proc_root.clone(),
        listing: Listing::Never,
    };
    runtimes.check()?;
    let host = read_host(&capture, node, kubelet)?;
    let mut signals = Signals::new()?;

    #[cfg(not(feature = "bpf-log"))]
    let observer = Observer::open(&capture)?;
    #[cfg(feature = "bpf-log")]
    let observer = match &bpf_log {
        Some(object) => Observer::open_with_log(&capture, object)?,
        None => Observer::open(&capture)?,
    };
    let auditor = Auditor::start(&capture, &host.boot_id)?;
    privileges::drop_capabilities(|| observer.try_counters());
    let milliseconds = u64::try_from(started.elapsed().as_millis())?;
    info!(
        backend = observer.backend().as_str(),
        milliseconds, "watching for OOM kills, end with Ctrl-C"
    );

    let sources = name_sources(runtimes, log_root, &capture, &host);
    let names = Resolver::new(sources);
    let mut pipeline = Pipeline::new(host, observer, auditor, names, &capture, cmdline);
    let text = Text::default();
    let printer = Printer::new(text.clone(), output, filter, Terminal::stdout());
    let mut screen = Screen::new(printer, count);
    // Not locked: the thread may be in the middle of a write at the end.
    let file = io::stdout().as_fd().try_clone_to_owned();
    let mut stdout = file
        .and_then(|file| Stdout::start(text, File::from(file)))
        .context("failed to start the thread that writes to stdout")?;
    let end = async {
        match timeout {
            Some(timeout) => sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(end);
    let ended = follow(
        &mut pipeline,
        &mut screen,
        &mut stdout,
        &mut signals,
        end.as_mut(),
    )
    .await;
    screen.end(clock::since_boot_ns());
    let result = settle(&mut pipeline, &mut screen).await?;
    let ending = if ended.is_none() {
        Ending::Complete
    } else {
        Ending::Asked
    };
    let written = tokio::select! {
        written = stdout.close(ending) => written,
        () = signals.any() => Ok(()),
        () = end, if ended.is_none() => Ok(()),
    };
    log_totals(&pipeline, Some(screen.shown()), result);
    match screen.into_result().and(written) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(error) => Err(error).context("failed to write to stdout"),
        Ok(()) => Ok(ended.unwrap_or(Exit::Done)),
    }
}

/// Shows kills until there are enough, stdout fails, a signal comes, or the time is over. Returns how it was asked to end; absent
/// if it was not.
async fn follow(
    pipeline: &mut Pipeline,
    screen: &mut Screen<Text>,
    stdout: &mut Stdout,
    signals: &mut Signals,
    mut end: Pin<&mut impl Future<Output = ()>>,
) -> Option<Exit> {
    screen.header();
    let exit = loop {
        if screen.is_done() {
            return None;
        }
        let has_text = stdout.has_text();
        tokio::select! {
            // Kills wait in the ring while stdout is not read.
            written = stdout.write() => {
                if let Err(error) = written {
                    screen.fail(error);
                }
            }
            wake = pipeline.next(), if !has_text => match wake {
                Wake::Captured(items) => screen.show(items, pipeline.names()),
                Wake::Identified => screen.show_identified(pipeline.names()),
                Wake::AuditDue => {
                    let items = pipeline.audit().items;
                    screen.show(items, pipeline.names());
                }
            },
            () = signals.any() => break Exit::Interrupted,
            () = &mut end => break Exit::Done,
        }
    };
    // Kills before the end belong to what was asked for.
    let items = pipeline.drain();
    screen.show(items, pipeline.names());
    while !screen.is_done() && pipeline.names().is_waiting() {
        pipeline.names().ready().await;
        screen.show_identified(pipeline.names());
    }
    Some(exit)
}

/// Waits for late records, and looks for missing ones, until the sum is right or has been wrong for long enough.
async fn settle(pipeline: &mut Pipeline, screen: &mut Screen<Text>) -> anyhow::Result<AuditResult> {
    let mut result = AuditResult::Complete;
    for tries in 1..=2 * AUDITS {
        let mut items = pipeline.drain();
        result = pipeline.audit_at_end()?;
        if tries >= AUDITS && result.missing() > 0 {
            items.extend(pipeline.backfill());
        }
        screen.show(items, pipeline.names());
        if result == AuditResult::Complete {
            break;
        }
        sleep(AUDIT_PAUSE).await;
    }
    while !screen.is_done() && pipeline.names().is_waiting() {
        pipeline.names().ready().await;
        screen.show_identified(pipeline.names());
    }
    Ok(result)
}
