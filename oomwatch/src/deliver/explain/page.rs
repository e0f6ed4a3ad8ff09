//! Reads a JSON record into what the page says.

use serde_json::Value;

use super::{
    advice::advice,
    record::{at, bytes, list, number, object, owner, shown, text},
};
use crate::deliver::text::size::size;

/// What the page of a kill says. Nothing is escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// What was killed.
    pub(super) title: String,
    /// Why, in a sentence.
    pub(super) cause: Option<String>,
    /// Facts with their names.
    pub(super) facts: Vec<(&'static str, String)>,
    /// Where the memory was.
    pub(super) memory: Option<Breakdown>,
    /// For a system OOM, the pods.
    pub(super) pods: Option<Listing>,
    /// The processes that the killer chose from.
    pub(super) processes: Option<Listing>,
    /// For a system OOM, the zones of memory.
    pub(super) zones: Option<Listing>,
    /// What to change.
    pub(super) advice: Option<&'static str>,
}

/// Parts of a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Breakdown {
    pub(super) title: String,
    /// Name, size, and thousandths of the whole.
    pub(super) bars: Vec<(&'static str, String, u16)>,
    pub(super) note: Option<&'static str>,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) title: String,
    /// Titles of the columns, and whether they hold numbers.
    pub(super) columns: Vec<(&'static str, bool)>,
    /// Cells, and whether the row is the victim's.
    pub(super) rows: Vec<(Vec<String>, bool)>,
    pub(super) note: Option<&'static str>,
}

/// A share in percent, for a text.
pub(super) fn percent(permille: u16) -> String {
    match (permille + 5) / 10 {
        0 => "<1%".to_owned(),
        percent => format!("{percent}%"),
    }
}

/// The kinds of memory in the record, with their names on the page.
const KINDS: [(&str, &str); 14] = [
    ("anon_bytes", "processes (anonymous)"),
    ("shmem_bytes", "shared memory, tmpfs"),
    ("file_bytes", "file cache"),
    ("slab_reclaimable_bytes", "slab, reclaimable"),
    ("slab_unreclaimable_bytes", "slab, unreclaimable"),
    ("kernel_stack_bytes", "kernel stacks"),
    ("pagetables_bytes", "page tables"),
    ("sock_bytes", "socket buffers"),
    ("percpu_bytes", "per-CPU"),
    ("vmalloc_bytes", "vmalloc"),
    ("kernel_other_bytes", "other kernel memory"),
    ("hugetlb_bytes", "huge pages"),
    ("zswap_bytes", "compressed swap"),
    ("other_bytes", "in no kind"),
];

impl Page {
    /// The page of a record; absent if it is neither that of a kill nor of a gap.
    #[must_use]
    pub fn from_record(record: &Value) -> Option<Self> {
        if text(record, "schema")? != "oomwatch/v1" {
            return None;
        }
        match text(record, "kind")? {
            "kill" => {}
            "gap" => return Some(gap(record)),
            _ => return None,
        }
        let process = format!(
            "{} (pid {})",
            shown(record, "victim.comm"),
            shown(record, "victim.pid")
        );
        let owner = object(record);
        let title = match owner {
            Some(owner) => format!("{process} of {owner} was killed"),
            None => format!("{process} was killed"),
        };
        let cause = text(record, "account.cause.sentence");
        Some(Self {
            title,
            cause: cause.map(str::to_owned),
            facts: facts(record),
            memory: memory(record),
            pods: pods(record),
            processes: processes(record),
            zones: zones(record),
            advice: text(record, "account.cause.kind").map(advice),
        })
    }
}

/// Kills whose victims are not known.
fn gap(record: &Value) -> Page {
    let kills = number(record, "unidentified").unwrap_or(0);
    let (plural, whose) = if kills == 1 {
        ("", "its victim is")
    } else {
        ("s", "their victims are")
    };
    let cgroups = list(record, "cgroups").iter().map(|cgroup| {
        let kills = shown(cgroup, "kills");
        let place = if cgroup.get("below").is_some() {
            "below"
        } else {
            "in"
        };
        format!("{kills} {place} {}", shown(cgroup, "path"))
    });
    let mut facts = vec![(
        "When",
        format!(
            "between {} and {}",
            shown(record, "since"),
            shown(record, "time")
        ),
    )];
    facts.extend(cgroups.map(|cgroup| ("Cgroup", cgroup)));
    Page {
        title: format!("{kills} kill{plural} counted by the kernel; {whose} not known"),
        facts,
        ..Page::default()
    }
}

fn facts(record: &Value) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let mut add = |name, value: Option<String>| {
        if let Some(value) = value {
            facts.push((name, value));
        }
    };
    // To milliseconds: people read this.
    let brief = |time: &str| match time.split_once('.') {
        Some((seconds, fraction)) => {
            format!("{seconds}.{}Z", fraction.get(..3).unwrap_or_default())
        }
        None => time.to_owned(),
    };
    let when = text(record, "time").map(brief).or_else(|| {
        let seconds = number(record, "boot_time_ns")? / 1_000_000_000;
        Some(format!("{seconds} s after boot"))
    });
    let node = text(record, "node").map_or_else(String::new, |node| format!(" on {node}"));
    add("When", when.map(|when| format!("{when}{node}")));
    add("Kills", {
        let since = text(record, "since");
        number(record, "kills")
            .zip(since)
            .map(|(kills, since)| format!("the last of {kills} since {since}"))
    });
    add("Limit", limit(record));
    add("Victim", victim(record));
    add("Killed", killed(record));
    add("Trigger", trigger(record));
    add("Before", before(record));
    add("Image", text(record, "container.image").map(str::to_owned));
    add("Id", text(record, "id").map(str::to_owned));
    facts
}

fn limit(record: &Value) -> Option<String> {
    let owner = text(record, "limit_owner");
    if text(record, "scope") == Some("system") {
        return Some(
            match text(record, "constraint") {
                Some("cpuset") => "the NUMA nodes that a cpuset allows",
                Some("memory_policy") => "the NUMA nodes that a memory policy allows",
                _ => "the memory of the node",
            }
            .to_owned(),
        );
    }
    let limit = number(record, "oom_cgroup.limit_bytes").map(|bytes| size(Some(bytes)));
    let whose = match owner? {
        "container" => "of the container",
        "pod" => match text(record, "limit_source") {
            Some("container_limits") => "of the pod: the sum of its containers' limits",
            Some("init_container") => "of the pod: that of an init container",
            Some("pod_resources") => "of the pod as a whole",
            _ => "of the pod",
        },
        "qos" => "of all pods of its class",
        "kubepods" => "of all pods of the node",
        "unit" => "of the unit",
        "slice" => "of the slice",
        _ => "of the cgroup",
    };
    let path = text(record, "oom_cgroup.path");
    let path = path.map_or_else(String::new, |path| format!(", {path}"));
    Some(match limit {
        Some(limit) => format!("{limit} {whose}{path}"),
        None => format!("{whose}{path}"),
    })
}

fn victim(record: &Value) -> Option<String> {
    let anon = number(record, "victim.anon_rss_bytes");
    anon?;
    let mut parts = vec![format!("{} anonymous", size(anon))];
    for (path, name) in [
        ("victim.shmem_rss_bytes", "shared"),
        ("victim.file_rss_bytes", "of files"),
        ("victim.swap_bytes", "swapped out"),
        ("victim.pgtables_bytes", "page tables"),
    ] {
        if let Some(bytes) = number(record, path).filter(|bytes| *bytes > 0) {
            parts.push(format!("{} {name}", size(Some(bytes))));
        }
    }
    let adj = at(record, "victim.oom_score_adj").and_then(Value::as_i64);
    let adj = adj.map_or_else(String::new, |adj| format!("; oom_score_adj {adj}"));
    Some(format!("held {}{adj}", parts.join(", ")))
}

fn killed(record: &Value) -> Option<String> {
    let group = at(record, "group_kill").and_then(Value::as_bool) == Some(true);
    let main = text(record, "main_process");
    match (group, main) {
        (true, _) => Some("its whole group (memory.oom.group)".to_owned()),
        (false, Some("yes")) => Some("the main process: the container ended with it".to_owned()),
        (false, Some("no")) => {
            Some("not the main process: the container goes on without it".to_owned())
        }
        _ => None,
    }
}

fn trigger(record: &Value) -> Option<String> {
    let pid = number(record, "trigger.pid")?;
    if Some(pid) == number(record, "victim.pid") {
        return Some("the process itself asked for the memory".to_owned());
    }
    Some(format!(
        "{} (pid {pid}) asked for the memory",
        text(record, "trigger.comm").unwrap_or("a process")
    ))
}

fn before(record: &Value) -> Option<String> {
    let mut parts = Vec::new();
    if let Some(hits) = number(record, "account.before.limit_hits") {
        let plural = if hits == 1 { "" } else { "s" };
        parts.push(format!("the limit had been reached {hits} time{plural}"));
    }
    if let Some(stall) = number(record, "account.before.stall_us").filter(|stall| *stall > 0) {
        parts.push(format!(
            "all tasks had been stalled for {}",
            duration(stall / 1000)
        ));
    }
    if let Some(age) = number(record, "account.before.victim_age_ms") {
        parts.push(format!("the process had run for {}", duration(age)));
    }
    if let Some(peak) = number(record, "account.memory.peak_bytes") {
        parts.push(format!("peak usage {}", size(Some(peak))));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn duration(milliseconds: u64) -> String {
    match milliseconds {
        0..=999 => format!("{milliseconds} ms"),
        1000..=119_999 => format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100),
        120_000..=7_199_999 => format!("{} min", milliseconds / 60_000),
        7_200_000..=172_799_999 => format!("{} h", milliseconds / 3_600_000),
        _ => format!("{} days", milliseconds / 86_400_000),
    }
}

/// Where a part of the account was read, as a clause.
fn source(value: &Value) -> &'static str {
    match text(value, "source") {
        Some("kernel") => ", read in the kernel at the kill",
        Some("log") => ", from the kernel log",
        Some("after") => ", read right after the kill",
        _ => "",
    }
}

fn memory(record: &Value) -> Option<Breakdown> {
    let memory = at(record, "account.memory")?;
    let parts: Vec<(&str, u64)> = KINDS
        .iter()
        .filter_map(|(key, name)| Some((*name, number(memory, key)?)))
        .filter(|(_, bytes)| *bytes > 0)
        .collect();
    let whole = number(memory, "usage_bytes").unwrap_or_else(|| {
        parts
            .iter()
            .fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    });
    if parts.is_empty() || whole == 0 {
        return None;
    }
    let mut bars: Vec<_> = parts
        .into_iter()
        .map(|(name, bytes)| {
            let permille = (u128::from(bytes) * 1000 / u128::from(whole)).min(1000);
            (
                name,
                size(Some(bytes)),
                u16::try_from(permille).unwrap_or(1000),
            )
        })
        .collect();
    bars.sort_by_key(|(_, _, permille)| std::cmp::Reverse(*permille));
    let of = match text(memory, "of") {
        Some("node") => "of the node in use",
        _ => "charged to the cgroup that ran out",
    };
    let is_unflushed = at(memory, "unflushed").and_then(Value::as_bool) == Some(true);
    Some(Breakdown {
        title: format!(
            "Where the memory was: {} {of}{}",
            size(Some(whole)),
            source(memory)
        ),
        bars,
        note: is_unflushed.then_some(
            "The kernel had updates pending: the kinds may be a little behind the usage.",
        ),
    })
}

fn processes(record: &Value) -> Option<Listing> {
    let candidates = at(record, "account.candidates")?;
    let victim = number(record, "victim.pid");
    let processes = list(candidates, "processes");
    if processes.is_empty() {
        return None;
    }
    let rows = processes.iter().map(|process| {
        let rss = number(process, "rss_bytes");
        let points = match text(process, "excluded") {
            Some("oom_score_adj") => "protected".to_owned(),
            Some(reason) => reason.to_owned(),
            None => shown(process, "oom_points"),
        };
        let place = owner(process).or_else(|| text(process, "cgroup.path").map(str::to_owned));
        let cells = vec![
            shown(process, "comm"),
            shown(process, "pid"),
            size(rss),
            bytes(process, "shmem_rss_bytes"),
            bytes(process, "swap_bytes"),
            shown(process, "oom_score_adj"),
            points,
            place.unwrap_or_default(),
        ];
        (cells, number(process, "pid") == victim)
    });
    let scored = number(candidates, "scored").unwrap_or(0);
    let excluded = number(candidates, "excluded").unwrap_or(0);
    let is_complete = at(candidates, "complete").and_then(Value::as_bool) != Some(false);
    Some(Listing {
        title: format!(
            "Processes that the killer chose from: {scored} scored, {excluded} left out{}",
            source(candidates)
        ),
        columns: vec![
            ("PROCESS", false),
            ("PID", true),
            ("RSS", true),
            ("SHARED", true),
            ("SWAP", true),
            ("ADJ", true),
            ("POINTS", true),
            ("WHERE", false),
        ],
        rows: rows.collect(),
        note: (!is_complete).then_some("Not all processes were counted."),
    })
}

fn pods(record: &Value) -> Option<Listing> {
    let pods = list(record, "account.pods");
    let rows = pods.iter().map(|pod| {
        let cells = vec![
            format!("{}/{}", shown(pod, "namespace"), shown(pod, "name")),
            bytes(pod, "usage_bytes"),
            bytes(pod, "request_bytes"),
            bytes(pod, "limit_bytes"),
            shown(pod, "oom_score_adj"),
        ];
        let is_own = ["namespace", "name"].iter().all(|key| {
            text(pod, key).is_some() && text(pod, key) == text(record, &format!("pod.{key}"))
        });
        (cells, is_own)
    });
    (!pods.is_empty()).then(|| Listing {
        title: "Pods of the node, by what exceeds their request".to_owned(),
        columns: vec![
            ("POD", false),
            ("USAGE", true),
            ("REQUEST", true),
            ("LIMIT", true),
            ("ADJ", true),
        ],
        rows: rows.collect(),
        note: None,
    })
}

fn zones(record: &Value) -> Option<Listing> {
    let zones = list(record, "account.zones");
    let rows = zones.iter().map(|zone| {
        let blocks: Vec<String> = list(zone, "free_blocks")
            .iter()
            .map(Value::to_string)
            .collect();
        let cells = vec![
            format!("node {} {}", shown(zone, "numa_node"), shown(zone, "name")),
            bytes(zone, "free_bytes"),
            bytes(zone, "min_bytes"),
            bytes(zone, "managed_bytes"),
            blocks.join(" "),
        ];
        (cells, false)
    });
    (!zones.is_empty()).then(|| Listing {
        title: "Zones of the node's memory".to_owned(),
        columns: vec![
            ("ZONE", false),
            ("FREE", true),
            ("MIN", true),
            ("MANAGED", true),
            ("FREE BLOCKS BY ORDER", false),
        ],
        rows: rows.collect(),
        note: None,
    })
}
