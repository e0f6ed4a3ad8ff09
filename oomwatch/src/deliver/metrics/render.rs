//! The metrics by their names, as text: `OpenMetrics`, or the older form that everything reads.

use std::fmt::{self, Write as _};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric as _, text},
    metrics::{MetricType, counter::ConstCounter},
    registry::Registry,
};

use super::{DELIVERY_SECONDS, Delivery, Metrics, State, process::Process, seconds_of};

/// Forms of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
    /// Prometheus' own, version 0.0.4.
    Prometheus,
}

impl Format {
    /// For the header `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

pub(super) fn render(format: Format, metrics: Metrics, process: Option<Process>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Shown { metrics, process }));
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = text::encode(&mut text, &registry);
    match format {
        Format::OpenMetrics => text,
        Format::Prometheus => to_prometheus(&text),
    }
}

/// The older form: a counter's family has the name of its samples, and there is no end mark.
fn to_prometheus(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help = None;
    for line in open.lines() {
        if line == "# EOF" {
            continue;
        }
        if let Some(line) = line.strip_prefix("# HELP ") {
            help = line.split_once(' ');
            continue;
        }
        let kind = line
            .strip_prefix("# TYPE ")
            .and_then(|line| line.split_once(' '));
        let Some((name, kind)) = kind else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        let suffix = if kind == "counter" { "_total" } else { "" };
        if let Some((name, words)) = help.take() {
            let _ = writeln!(text, "# HELP {name}{suffix} {words}");
        }
        let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
    }
    text
}

/// What is rendered.
#[derive(Debug)]
struct Shown {
    metrics: Metrics,
    process: Option<Process>,
}

impl Collector for Shown {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer(encoder);
        let state = &*self.metrics.state();
        node(&mut writer, state)?;
        agent(&mut writer, state)?;
        containers(&mut writer, state)?;
        self.process
            .as_ref()
            .map_or(Ok(()), |process| this_process(&mut writer, process))
    }
}

/// What was killed on this node, and whether all of it was seen.
fn node(writer: &mut Writer<'_>, state: &State) -> fmt::Result {
    let reason = |(scope, owner)| [("scope", scope), ("limit_owner", owner)];
    writer.counters(
        "oomwatch_node_incidents",
        "Calls of the OOM killer that killed, whatever the number of their victims",
        state
            .incidents
            .iter()
            .map(|(key, count)| (reason(*key), *count)),
    )?;
    writer.counter(
        "oomwatch_node_kills",
        "Processes that the OOM killer killed, each told of",
        state.kills,
    )?;
    writer.counter(
        "oomwatch_kernel_oom_kills",
        "oom_kill of /proc/vmstat: kills and re-kills that the kernel counted since boot",
        state.kernel_kills,
    )?;
    writer.counter(
        "oomwatch_unobserved_kills",
        "Kills that the kernel counted and of which nobody told who was killed",
        state.unobserved,
    )?;
    writer.counter(
        "oomwatch_rekills",
        "Victims that were sent SIGKILL once more; the kernel counts them again",
        state.rekills,
    )?;
    writer.counter(
        "oomwatch_marks_without_kill",
        "Tasks that the OOM killer found dying already",
        state.marks,
    )?;
    writer.counter(
        "oomwatch_killed_sharers",
        "Processes killed because they shared a victim's memory; the kernel does not count them",
        state.sharers,
    )?;
    writer.counter(
        "oomwatch_ring_dropped",
        "Records that a full ring buffer refused",
        state.ring_dropped,
    )?;
    writer.counter(
        "oomwatch_ring_undecoded",
        "Records that could not be read",
        state.ring_undecoded,
    )?;
    writer.counter(
        "oomwatch_kmsg_overruns",
        "Records of the kernel log that were overwritten before they were read",
        state.kmsg_overruns,
    )?;
    writer.counters(
        "oomwatch_attribution",
        "Kills by where their cgroup comes from",
        state
            .attributions
            .iter()
            .map(|(method, count)| ([("method", *method)], *count)),
    )
}

/// How the agent is, and what it makes of the kills.
fn agent(writer: &mut Writer<'_>, state: &State) -> fmt::Result {
    writer.counters(
        "oomwatch_events",
        "Incidents by what became of their Kubernetes Event",
        state.events.iter().map(|((object, outcome), count)| {
            ([("object", *object), ("outcome", *outcome)], *count)
        }),
    )?;
    writer.counters(
        "oomwatch_event_retries",
        "Requests for Kubernetes Events that failed and are made again",
        state
            .event_retries
            .iter()
            .map(|((object, cause), count)| ([("object", *object), ("cause", *cause)], *count)),
    )?;
    writer.gauge(
        "oomwatch_outbox_pending",
        "Incidents that wait to be told in a Kubernetes Event",
        &state.outbox_pending,
    )?;
    writer.delivery(&state.delivery)?;
    writer.gauges(
        "oomwatch_backend_info",
        "How kills are seen",
        state
            .backend
            .iter()
            .map(|backend| ([("backend", backend.as_str())], 1_u64)),
    )?;
    if let Some(is_up) = state.is_api_watch_up {
        writer.gauge(
            "oomwatch_api_watch_up",
            "Whether the node's pods are being watched",
            &u64::from(is_up),
        )?;
    }
    writer.gauge(
        "oomwatch_last_audit_timestamp_seconds",
        "When the kernel's count was last compared with what was seen",
        &state.last_audit.map_or(0.0, seconds_of),
    )?;
    writer.gauge(
        "oomwatch_journal_bytes",
        "Size of the journal",
        &state.journal_bytes,
    )?;
    writer.counter(
        "oomwatch_journal_errors",
        "Writes to the journal that failed",
        state.journal_errors,
    )?;
    writer.gauges(
        "oomwatch_build_info",
        "The program that is running",
        [([("version", env!("CARGO_PKG_VERSION"))], 1_u64)],
    )
}

/// Whose processes were killed.
fn containers(writer: &mut Writer<'_>, state: &State) -> fmt::Result {
    let containers = &state.containers;
    let kills = containers.iter().flat_map(|(name, series)| {
        series.kills.iter().map(move |((scope, owner), count)| {
            let labels = [
                ("scope", *scope),
                ("limit_owner", *owner),
                ("namespace", &name.namespace),
                ("pod", &name.pod),
                ("container", &name.container),
            ];
            (labels, *count)
        })
    });
    writer.counters(
        "oomwatch_kills",
        "Processes of a container that the OOM killer killed",
        kills,
    )?;
    let last_kills = containers.iter().map(|(name, series)| {
        let labels = [
            ("namespace", &*name.namespace),
            ("pod", &name.pod),
            ("container", &name.container),
        ];
        (labels, seconds_of(series.last_kill))
    });
    writer.gauges(
        "oomwatch_last_kill_timestamp_seconds",
        "When the OOM killer last killed a process of a container",
        last_kills,
    )?;
    writer.counter(
        "oomwatch_container_series_evicted",
        "Containers whose series had to make room for another's",
        containers.evicted,
    )
}

fn this_process(writer: &mut Writer<'_>, process: &Process) -> fmt::Result {
    let Process {
        cpu_seconds,
        resident_memory_bytes,
        virtual_memory_bytes,
        threads,
        start_time_seconds,
        open_fds,
        max_fds,
    } = process;
    writer.counter("process_cpu_seconds", "Processor time used", *cpu_seconds)?;
    writer.gauge(
        "process_resident_memory_bytes",
        "Resident memory",
        resident_memory_bytes,
    )?;
    writer.gauge(
        "process_virtual_memory_bytes",
        "Address space",
        virtual_memory_bytes,
    )?;
    writer.gauge("process_threads", "Threads", threads)?;
    writer.gauge(
        "process_start_time_seconds",
        "When the process started",
        start_time_seconds,
    )?;
    writer.gauge("process_open_fds", "Open files", open_fds)?;
    max_fds.as_ref().map_or(Ok(()), |max| {
        writer.gauge("process_max_fds", "Files that may be open", max)
    })
}

/// Writes families of metrics. A counter's name is without its `_total`.
struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn counter(&mut self, name: &str, help: &str, count: impl EncodeCounterValue) -> fmt::Result {
        let encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(count).encode(encoder)
    }

    fn counters<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = ([(&'l str, &'l str); N], u64)>,
    ) -> fmt::Result {
        let mut encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, count) in rows {
            ConstCounter::new(count).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: &impl EncodeGaugeValue) -> fmt::Result {
        let mut encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        encoder.encode_gauge(value)
    }

    fn gauges<'l, const N: usize, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = ([(&'l str, &'l str); N], V)>,
    ) -> fmt::Result {
        let mut encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in rows {
            encoder.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn delivery(&mut self, delivery: &Delivery) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(
            "oomwatch_delivery_seconds",
            "Time from a kill to its accepted Kubernetes Event",
            None,
            MetricType::Histogram,
        )?;
        let bounds = DELIVERY_SECONDS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(delivery.counts).collect();
        let count = delivery.counts.iter().sum();
        encoder.encode_histogram::<[(&str, &str); 0]>(delivery.sum_seconds, count, &buckets, None)
    }
}
