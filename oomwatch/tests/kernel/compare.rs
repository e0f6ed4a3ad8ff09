//! Two reports of one kill, from two backends: what both report must be the same, and what the one reports and the
//! other does not is named. It knows no field but those that cannot be equal to the letter.

use std::{collections::BTreeSet, fmt::Display};

use jiff::Timestamp;
use serde_json::Value;

use crate::report::Report;

/// Fields that describe the watcher, not the kill; the incident, whose name is each watcher's own; and the account, which is read
/// at other moments from other sources, and which the scenarios of accounts hold against the kernel's own table.
const OF_THE_WATCHER: [&str; 6] = [
    "backend",
    "source",
    "attribution",
    "missing",
    "incident",
    "account",
];

/// What is reported of kills that were only counted too.
const OF_A_GAP: [&str; 5] = ["schema", "kind", "id", "time", "node"];

/// How far two backends' times of one kill may be apart.
const CLOCKS_NS: i128 = 1_000_000_000;
/// How late the time of the log's first line may be: its clock is known by when a line was read, which on an emulated machine
/// with much to do takes its time.
const LATE_NS: i128 = 30_000_000_000;

/// How far sizes in bytes may be apart that two backends do not read in the same moment or way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed {
    /// Resident sizes.
    pub(crate) rss: u64,
    /// Those of files and shared memory.
    pub(crate) mapped: u64,
    /// Sizes of which the kernel keeps an exact count.
    pub(crate) exact: u64,
    /// Usages of cgroups; absent if they change meanwhile.
    pub(crate) usage: Option<u64>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    /// What the two report differently.
    pub(crate) differences: Vec<String>,
    /// Places that only the first one has.
    pub(crate) missing: BTreeSet<String>,
}

/// Compares with the most complete report.
pub(crate) fn compare(best: &Report, other: &Report, allowed: Allowed) -> Compared {
    let mut comparison = Comparison {
        best,
        other,
        allowed,
        compared: Compared::default(),
    };
    comparison.walk(best.value(), other.value(), "");
    comparison.compared
}

/// What a backend lacks that reports no single kill.
pub(crate) fn everything(best: &Report) -> BTreeSet<String> {
    let members = best.value().as_object().into_iter().flatten();
    members
        .map(|(name, _)| name.clone())
        .filter(|name| !OF_THE_WATCHER.contains(&&**name) && !OF_A_GAP.contains(&&**name))
        .collect()
}

/// The places that are not within another of them.
pub(crate) fn outermost(places: &BTreeSet<String>) -> Vec<&str> {
    let is_within = |place: &str| {
        let ends = place.match_indices('.').map(|(end, _)| &place[..end]);
        ends.into_iter().any(|above| places.contains(above))
    };
    places
        .iter()
        .map(String::as_str)
        .filter(|place| !is_within(place))
        .collect()
}

struct Comparison<'a> {
    best: &'a Report,
    other: &'a Report,
    allowed: Allowed,
    compared: Compared,
}

impl Comparison<'_> {
    fn walk(&mut self, best: &Value, other: &Value, place: &str) {
        match (best, other) {
            (Value::Object(best), Value::Object(other)) => {
                for (name, value) in best {
                    let place = match place {
                        "" if OF_THE_WATCHER.contains(&&**name) => continue,
                        "" => name.clone(),
                        place => format!("{place}.{name}"),
                    };
                    match other.get(name) {
                        Some(other) => self.walk(value, other, &place),
                        None => self.lacks(&place),
                    }
                }
            }
            (Value::Array(levels), Value::Array(others)) if place == "limits" => {
                self.levels(levels, others);
            }
            _ => self.leaf(best, other, place),
        }
    }

    /// Some backends know but the innermost level and the one that ran out. What is used above that one changes all the time.
    fn levels(&mut self, levels: &[Value], others: &[Value]) {
        let allowed = self.allowed;
        let oom = self.best.at("/oom_cgroup/path");
        for level in levels {
            match others.iter().find(|other| other["path"] == level["path"]) {
                Some(other) => self.walk(level, other, "limits"),
                None => self.lacks("limits"),
            }
            if Some(&level["path"]) == oom {
                self.allowed.usage = None;
            }
        }
        self.allowed = allowed;
    }

    fn lacks(&mut self, place: &str) {
        match place.strip_suffix("_hex") {
            // The text alone is not what the process or cgroup is called.
            Some(text) if !self.compared.missing.contains(text) => {
                self.differ(place, "bytes", "none");
            }
            _ => {
                self.compared.missing.insert(place.to_owned());
            }
        }
    }

    fn leaf(&mut self, best: &Value, other: &Value, place: &str) {
        let same = match place {
            "scope" | "main_process" if best == "unknown" => true,
            "scope" | "main_process" if other == "unknown" => return self.lacks(place),
            // Without the start of the process it holds another number.
            "id" => self.other.at("/victim/start_time").is_none() || best == other,
            // A thread's, where the process's is unknown; the two differ only where the first thread is gone.
            "victim.pid" => best == other || self.is_thread() && self.best_tid() == Some(other),
            "victim.comm" | "victim.comm_hex" => best == other || self.is_thread(),
            "victim.start_time" => near(nanoseconds(best), nanoseconds(other), CLOCKS_NS),
            "time" => self.is_same_time(nanoseconds(best), nanoseconds(other)),
            "boot_time_ns" => self.is_same_time(integer(best), integer(other)),
            "victim.total_vm_bytes" | "victim.pgtables_bytes" => {
                near(integer(best), integer(other), self.allowed.exact)
            }
            "victim.file_rss_bytes" | "victim.shmem_rss_bytes" => {
                near(integer(best), integer(other), self.allowed.mapped)
            }
            _ if place.ends_with("usage_bytes") => self
                .allowed
                .usage
                .is_none_or(|allowed| near(integer(best), integer(other), allowed)),
            _ if place.starts_with("victim.") && place.ends_with("_bytes") => {
                near(integer(best), integer(other), self.allowed.rss)
            }
            _ => best == other,
        };
        if !same {
            self.differ(place, best, other);
        }
    }

    /// The log's time can only be late.
    fn is_same_time(&self, best: Option<i128>, other: Option<i128>) -> bool {
        let late = match self.other.text("/backend") {
            "kmsg" => LATE_NS,
            _ => CLOCKS_NS,
        };
        best.zip(other)
            .is_some_and(|(best, other)| (-CLOCKS_NS..=late).contains(&(other - best)))
    }

    /// Whether the other may report a thread that is not the first of its process.
    fn is_thread(&self) -> bool {
        !self.other.is_complete() && self.best_tid() != self.best.at("/victim/pid")
    }

    fn best_tid(&self) -> Option<&Value> {
        self.best.at("/victim/tid")
    }

    fn differ(&mut self, place: &str, best: impl Display, other: impl Display) {
        self.compared
            .differences
            .push(format!("{place}: {best} and {other}"));
    }
}

fn integer(value: &Value) -> Option<i128> {
    value
        .as_i64()
        .map(i128::from)
        .or_else(|| value.as_u64().map(i128::from))
}

fn nanoseconds(value: &Value) -> Option<i128> {
    let time: Timestamp = value.as_str()?.parse().ok()?;
    Some(time.as_nanosecond())
}

fn near(left: Option<i128>, right: Option<i128>, allowed: impl Into<i128>) -> bool {
    left.zip(right)
        .is_some_and(|(left, right)| left.abs_diff(right) <= allowed.into().unsigned_abs())
}
