//! A line of JSON read back: it holds what the schema allows and needs, and its strings give back the bytes.

use std::{fmt, fs};

use serde_json::{Map, Value};

/// Members of an object: those that are always there, and those that may be.
type Members = (&'static [&'static str], &'static [&'static str]);

/// Objects of the schema by their place, as the BPF backends fill them.
const OBJECTS: &[(&str, Members)] = &[
    (
        "",
        (
            &[
                "schema",
                "kind",
                "id",
                "incident",
                "time",
                "boot_time_ns",
                "node",
                "source",
                "backend",
                "scope",
                "missing",
                "main_process",
                "victim",
                "trigger",
            ],
            &[
                "attribution",
                "constraint",
                "limit_owner",
                "oom_cgroup",
                "limits",
                "allocation",
                "group_kill",
                "group_cgroup",
                "container",
                "pod",
                "unit",
                "account",
            ],
        ),
    ),
    (
        "/oom_cgroup",
        (&["path", "id", "usage_bytes", "limit_bytes"], &["path_hex"]),
    ),
    ("/allocation", (&["order", "gfp_mask"], &["total_pages"])),
    ("/group_cgroup", (&["path"], &["path_hex", "id"])),
    (
        "/victim",
        (
            &[
                "pid",
                "tid",
                "ns_pid",
                "comm",
                "uid",
                "oom_score_adj",
                "total_vm_bytes",
                "anon_rss_bytes",
                "file_rss_bytes",
                "shmem_rss_bytes",
                "swap_bytes",
                "pgtables_bytes",
                "start_time",
            ],
            &[
                "comm_hex",
                "cmdline",
                "cmdline_hex",
                "oom_points",
                "cgroup",
                "leaf_cgroup",
            ],
        ),
    ),
    ("/victim/cgroup", (&["path", "id"], &["path_hex"])),
    ("/victim/leaf_cgroup", (&["path", "id"], &["path_hex"])),
    (
        "/trigger",
        (&["pid", "tid", "comm"], &["comm_hex", "cgroup"]),
    ),
    ("/trigger/cgroup", (&["path", "id"], &["path_hex"])),
    ("/container", (&["id"], &["runtime", "name"])),
    ("/pod", (&["uid", "qos"], &["namespace", "name"])),
];

/// An element of `limits`.
const LIMIT: Members = (
    &["path", "id", "usage_bytes", "swap_usage_bytes"],
    &["path_hex", "limit_bytes", "swap_limit_bytes"],
);

/// What the lower backends report at least; they may report the rest too.
const PARTIAL_OBJECTS: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "schema",
            "kind",
            "id",
            "incident",
            "time",
            "boot_time_ns",
            "node",
            "source",
            "backend",
            "scope",
            "missing",
            "main_process",
            "victim",
        ],
    ),
    ("/oom_cgroup", &["path"]),
    ("/allocation", &["order", "gfp_mask"]),
    ("/victim", &["pid", "tid"]),
    ("/victim/cgroup", &["path"]),
    ("/victim/leaf_cgroup", &["path"]),
    ("/trigger", &["comm"]),
    ("/trigger/cgroup", &["path"]),
];

/// The least of an element of `limits` on the lower backends.
const PARTIAL_LIMIT: &[&str] = &["path"];

/// A line of `-o json`.
pub(crate) enum Line {
    /// A kill.
    Kill(Report),
    /// So many kills that the kernel counted and of which nothing else is known.
    Gap(u64),
}

impl Line {
    /// Reads it.
    pub(crate) fn parse(line: &[u8]) -> Self {
        let text = str::from_utf8(line).expect("JSON in UTF-8");
        assert!(!text.chars().any(char::is_control), "{text}");
        let value: Value =
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(value["schema"], "oomwatch/v1", "{text}");
        if value["kind"] == "gap" {
            let unidentified = value["unidentified"].as_u64();
            return Self::Gap(unidentified.unwrap_or_else(|| panic!("no number: {text}")));
        }
        assert_eq!(value["kind"], "kill", "{text}");
        let report = Report(value);
        report.check_members();
        report.check_identity();
        Self::Kill(report)
    }
}

/// A report of a kill.
#[derive(Clone)]
pub(crate) struct Report(Value);

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl Report {
    /// Reads a line of `-o json` that reports a kill.
    pub(crate) fn parse(line: &[u8]) -> Self {
        match Line::parse(line) {
            Line::Kill(report) => report,
            Line::Gap(unidentified) => panic!("a gap of {unidentified} instead of a kill"),
        }
    }

    fn check_members(&self) {
        let complete = self.is_complete();
        for (place, (needed, allowed)) in OBJECTS {
            let partial = PARTIAL_OBJECTS
                .iter()
                .find_map(|(partial, needed)| (partial == place).then_some(*needed));
            let least = if complete { Some(*needed) } else { partial };
            if let Some(object) = self.0.pointer(place) {
                let place = format!("{place} of {self:?}");
                check_members(
                    object,
                    least.unwrap_or_default(),
                    &[needed, allowed],
                    &place,
                );
            }
        }
        let (needed, allowed) = LIMIT;
        let least = if complete { needed } else { PARTIAL_LIMIT };
        for (index, limit) in self.limits().iter().enumerate() {
            let place = format!("/limits/{index} of {self:?}");
            check_members(limit, least, &[needed, allowed], &place);
        }
    }

    /// What is the same for every kill of this boot.
    fn check_identity(&self) {
        let source = match self.text("/backend") {
            "fentry" | "kprobe" | "raw_tracepoint" => "bpf",
            "kmsg" => "kmsg",
            backend => panic!("unknown backend: {backend}"),
        };
        self.is("/source", source);
        let node = fs::read_to_string("/proc/sys/kernel/hostname").expect("read the host's name");
        self.is("/node", node.trim_end());
        let boot =
            fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("read the boot's id");
        let boot = &boot[..8];
        if !self.is_complete() {
            return;
        }
        let (id, incident) = (self.text("/id"), self.text("/incident"));
        assert_eq!(
            id,
            format!(
                "{boot}-{:x}-{}",
                self.start_ns(),
                self.number("/victim/pid")
            ),
            "{self:?}"
        );
        assert_eq!(
            incident,
            format!("{boot}-{:x}", self.incident_ns()),
            "{self:?}"
        );
        assert!(
            self.incident_ns() <= self.number("/boot_time_ns"),
            "{self:?}"
        );
    }

    /// Whether it comes from a backend that takes all of it in the kernel.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_function() || self.text("/backend") == "raw_tracepoint"
    }

    /// Whether it comes from the OOM killer's functions.
    pub(crate) fn is_function(&self) -> bool {
        matches!(self.text("/backend"), "fentry" | "kprobe")
    }

    /// When the victim was started, as its id says: nanoseconds since boot.
    pub(crate) fn start_ns(&self) -> u64 {
        hexadecimal(self.text("/id").split('-').nth(1))
    }

    /// When the incident's first victim was killed: nanoseconds since boot.
    pub(crate) fn incident_ns(&self) -> u64 {
        hexadecimal(self.text("/incident").split('-').nth(1))
    }

    /// All of it.
    pub(crate) fn value(&self) -> &Value {
        &self.0
    }

    /// What stands at a place.
    pub(crate) fn at(&self, place: &str) -> Option<&Value> {
        self.0.pointer(place)
    }

    /// Asserts that this stands there.
    #[track_caller]
    pub(crate) fn is(&self, place: &str, expected: impl Into<Value>) {
        assert_eq!(
            self.at(place),
            Some(&expected.into()),
            "{place} of {self:?}"
        );
    }

    /// Asserts that nothing stands there.
    #[track_caller]
    pub(crate) fn lacks(&self, place: &str) {
        assert_eq!(self.at(place), None, "{place} of {self:?}");
    }

    /// A number, which must be there.
    #[track_caller]
    pub(crate) fn number(&self, place: &str) -> u64 {
        self.at(place)
            .and_then(Value::as_u64)
            .unwrap_or_else(|| panic!("no number at {place} of {self:?}"))
    }

    /// A string, which must be there.
    #[track_caller]
    pub(crate) fn text(&self, place: &str) -> &str {
        self.at(place)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("no string at {place} of {self:?}"))
    }

    /// The bytes of a string: where they are not UTF-8, the member with `_hex` behind its name holds them.
    #[track_caller]
    pub(crate) fn bytes(&self, place: &str) -> Vec<u8> {
        let text = self.text(place);
        let Some(hex) = self.at(&format!("{place}_hex")) else {
            return text.as_bytes().to_vec();
        };
        let bytes = from_hex(hex.as_str().expect("hexadecimal text"));
        assert!(str::from_utf8(&bytes).is_err(), "{place} of {self:?}");
        assert_eq!(String::from_utf8_lossy(&bytes), text, "{place} of {self:?}");
        bytes
    }

    /// The levels, innermost first.
    pub(crate) fn limits(&self) -> &[Value] {
        self.at("/limits")
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    /// The victim's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.number("/victim/pid").try_into().expect("a process id")
    }
}

fn check_members(object: &Value, needed: &[&str], known: &[&[&str]], place: &str) {
    let object: &Map<_, _> = object
        .as_object()
        .unwrap_or_else(|| panic!("no object at {place}"));
    for name in needed {
        assert!(object.contains_key(*name), "no {name} in {place}");
    }
    for (name, value) in object {
        let known = known.iter().any(|names| names.contains(&&**name));
        assert!(known, "{name} is not in the schema, in {place}");
        assert!(
            !value.is_null(),
            "{name} is null instead of absent in {place}"
        );
    }
}

fn hexadecimal(text: Option<&str>) -> u64 {
    text.and_then(|text| u64::from_str_radix(text, 16).ok())
        .expect("a hexadecimal number")
}

fn from_hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text}");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits"))
        .collect()
}
