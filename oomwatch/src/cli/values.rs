//! Values of flags: choices from a list, durations, offsets.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use jiff::{SignedDuration, tz::Offset};
use std::time::Duration;

use crate::{
    capture::kmsg::{assemble::Trust, log_file},
    commands::doctor::OutputFormat as DoctorFormat,
    deliver::{color::ColorChoice, events::NodeUid, printer::OutputFormat},
    model::{backend::Backend, kill::Scope},
};

/// A value of a flag: its name, its help, and what it stands for.
type Choice<T> = (&'static str, &'static str, T);

pub(super) const BACKENDS: &[Choice<Option<Backend>>] = &[
    ("auto", "The best that works", None),
    (
        "fentry",
        "The OOM killer's functions, by trampolines",
        Some(Backend::Fentry),
    ),
    (
        "kprobe",
        "The OOM killer's functions, by kprobes",
        Some(Backend::Kprobe),
    ),
    (
        "raw-tracepoint",
        "Raw tracepoints",
        Some(Backend::RawTracepoint),
    ),
    ("kmsg", "The kernel log alone", Some(Backend::Kmsg)),
    (
        "counters",
        "The kernel's counts alone: how many processes were killed, not which",
        Some(Backend::Counters),
    ),
];

pub(super) const SWITCH: &[Choice<bool>] = &[("on", "", true), ("off", "", false)];

pub(super) const SCOPES: &[Choice<Scope>] = &[
    ("memcg", "A memory cgroup reached its limit", Scope::Memcg),
    (
        "system",
        "The machine ran out, or the memory nodes that the allocation was confined to",
        Scope::System,
    ),
    ("unknown", "Not known", Scope::Unknown),
];

pub(super) const OUTPUTS: &[Choice<OutputFormat>] = &[
    ("text", "One line per kill", OutputFormat::Text),
    (
        "wide",
        "More columns, of any width; also re-kills, mark_victim events without a kill, and killed processes that share a victim's memory",
        OutputFormat::Wide,
    ),
    (
        "json",
        "One JSON object per line, schema oomwatch/v1",
        OutputFormat::Json,
    ),
    (
        "html",
        "A page for each kill, in one HTML document",
        OutputFormat::Html,
    ),
];

pub(super) const EXPLAIN_OUTPUTS: &[Choice<OutputFormat>] = &[
    ("text", "A page for a terminal", OutputFormat::Page),
    ("html", "An HTML document", OutputFormat::Html),
];

pub(super) const DOCTOR_OUTPUTS: &[Choice<DoctorFormat>] = &[
    ("text", "Lines by topic", DoctorFormat::Text),
    (
        "json",
        "One JSON object, schema oomwatch-doctor/v1",
        DoctorFormat::Json,
    ),
];

pub(super) const COLORS: &[Choice<ColorChoice>] = &[
    (
        "auto",
        "On a terminal, unless NO_COLOR is set",
        ColorChoice::Auto,
    ),
    ("always", "Always", ColorChoice::Always),
    ("never", "Never", ColorChoice::Never),
];

pub(super) const TRUST: &[Choice<Trust>] = &[
    ("kernel", "The kernel alone", Trust::Kernel),
    (
        "everyone",
        "Also what a process wrote to /dev/kmsg, as the kubelet does: such a process can forge kills",
        Trust::Everyone,
    ),
];

pub(super) const NODE_UIDS: &[Choice<NodeUid>] = &[
    ("real", "The Node's UID", NodeUid::Real),
    (
        "name",
        "The Node's name, as kubelets up to 1.34 write it",
        NodeUid::Name,
    ),
];

/// Accepts the names of the choices and gives what they stand for.
pub(super) fn one_of<T>(choices: &'static [Choice<T>]) -> impl TypedValueParser<Value = T>
where
    T: Clone + Send + Sync + 'static,
{
    let values = choices.iter().map(|&(name, help, _)| {
        let value = PossibleValue::new(name);
        if help.is_empty() {
            value
        } else {
            value.help(help)
        }
    });
    PossibleValuesParser::new(values).try_map(move |chosen| {
        choices
            .iter()
            .find(|(name, ..)| *name == chosen)
            .map(|(.., value)| value.clone())
            .ok_or("not a possible value")
    })
}

pub(super) fn parse_offset(text: &str) -> Result<Offset, &'static str> {
    log_file::parse_offset(text.as_bytes()).ok_or("not an offset such as +02:00 or Z")
}

/// A duration longer than zero.
pub(super) fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    let duration = parse_pause(text)?;
    if duration.is_zero() {
        return Err("must be longer than zero");
    }
    Ok(duration)
}

/// A duration; `0s` is allowed.
pub(super) fn parse_pause(text: &str) -> Result<Duration, &'static str> {
    let duration: SignedDuration = text
        .parse()
        .map_err(|_| "not a duration such as 30s, 5m or 1h30m")?;
    Duration::try_from(duration).map_err(|_| "must not be negative")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_backend_can_be_chosen_by_its_flag() {
        let named: Vec<_> = BACKENDS
            .iter()
            .filter_map(|(name, _, backend)| Some((*name, (*backend)?)))
            .collect();
        let all = Backend::ALL.map(|backend| (backend.flag(), backend));
        assert_eq!(named, all);
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("1h30m", 5400), ("1h 30m", 5400)] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_secs(seconds)),
                "{text}"
            );
        }
        for text in [
            "",
            "30",
            "s",
            "-5s",
            "0s",
            "1 fortnight",
            "99999999999999999999h",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(parse_pause("0s"), Ok(Duration::ZERO));
        assert!(parse_pause("-5s").is_err());
    }
}
