//! What the report of a kill must say, and the check of all of it.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    cgroups::{Cgroup, Level},
    kernel::{meminfo_bytes, page_bytes, rss_error_bytes},
    machine::boot_time_ns,
    process::Victim,
    report::Report,
};

/// How far a usage may be from a limit that was reached: charges come in batches, and a kill may have been seen to in between.
const NEAR_BYTES: u64 = 1 << 20;
/// A huge page that a thread asks for in vain counts for a moment, in which another may run out below the limit.
const HUGE_PAGE_BYTES: u64 = 2 << 20;
/// How far two readings of the calendar's clock may be apart, for the same moment.
const CLOCKS_NS: i128 = 1_000_000_000;

/// Whose allocation it was.
#[derive(Clone, Debug)]
pub(crate) enum Trigger {
    /// The victim's main thread.
    Victim,
    /// A thread of the victim with this name.
    VictimsThread(&'static [u8]),
    /// Any thread of the victim.
    VictimsAny,
    /// Another process: its id, its name, its cgroup's path and id.
    Process(u32, Vec<u8>, Vec<u8>, u64),
    /// A worker thread of the kernel's.
    Worker,
    /// It is not known beforehand.
    Anyone,
}

/// What was in use of the limit that was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usage {
    /// All of it, as far as charges come in batches.
    AtLimit,
    /// More, since a writer lowered the limit.
    AboveLimit,
    /// All of it or less, since an earlier victim gave its memory back.
    Freed,
}

/// How the killer came to its victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// As the worst of all.
    Worst,
    /// Without a choice: with its group, or since it was the one that allocated.
    None,
}

/// What an allocation in vain could have come from, where no memory cgroup ran out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct System {
    /// What it was bound to.
    pub(crate) constraint: &'static str,
    /// How many pages of memory that are.
    pub(crate) pages: u64,
    /// What was asked for; absent if it is not known beforehand.
    pub(crate) order: Option<i64>,
}

/// What the report of a kill must say.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    /// Who was killed.
    pub(crate) victim: Victim,
    /// Path and id of its cgroup.
    cgroup: (Vec<u8>, u64),
    /// Its cgroup and those above, without the root.
    pub(crate) chain: Vec<Level>,
    /// What ran out if none of them did.
    pub(crate) system: Option<System>,
    /// Which of them ran out.
    pub(crate) oom: usize,
    /// How much of its limit was in use.
    pub(crate) usage: Usage,
    /// Whose limit that was.
    pub(crate) limit_owner: &'static str,
    /// Whose allocation it was.
    pub(crate) trigger: Trigger,
    /// Whether it is the container's main process.
    pub(crate) main_process: &'static str,
    /// Its id in its own PID namespace.
    pub(crate) ns_pid: u32,
    /// Whether a thread other than the leader was marked; absent if either may be.
    pub(crate) other_thread: Option<bool>,
    /// Whether the whole group was killed.
    pub(crate) group_kill: bool,
    /// How the killer came to it.
    pub(crate) choice: Choice,
    /// What it held at least, and how many threads it had.
    pub(crate) min_rss_bytes: u64,
    /// Threads of the victim.
    pub(crate) threads: u64,
    /// Whether others took and gave back memory of its ancestors while they were read, one after the other.
    among_others: bool,
}

impl Expected {
    /// A process with one thread, killed in a plain cgroup over its own limit by its own allocation.
    pub(crate) fn new(victim: &Victim, cgroup: &Cgroup) -> Self {
        Self::in_chain(victim, cgroup.chain())
    }

    /// The same, with a cgroup that may be gone by now.
    pub(crate) fn in_chain(victim: &Victim, chain: Vec<Level>) -> Self {
        Self {
            ns_pid: victim.pid,
            victim: victim.clone(),
            min_rss_bytes: chain[0].limit_bytes.unwrap_or(0) / 2,
            cgroup: (chain[0].path.clone(), chain[0].id),
            chain,
            system: None,
            oom: 0,
            usage: Usage::AtLimit,
            limit_owner: "cgroup",
            trigger: Trigger::Victim,
            main_process: "unknown",
            other_thread: Some(false),
            group_kill: false,
            choice: Choice::Worst,
            threads: 1,
            among_others: false,
        }
    }

    /// A process with one thread that held so much, killed since no memory cgroup ran out.
    pub(crate) fn of_system(
        victim: &Victim,
        cgroup: &Cgroup,
        system: System,
        min_rss_bytes: u64,
    ) -> Self {
        let chain = cgroup.chain();
        let path = match cgroup.path() {
            b"" => b"/",
            path => path,
        };
        Self {
            ns_pid: victim.pid,
            victim: victim.clone(),
            min_rss_bytes,
            cgroup: (path.to_vec(), cgroup.id()),
            chain,
            system: Some(system),
            oom: 0,
            usage: Usage::AtLimit,
            limit_owner: "node",
            trigger: Trigger::Anyone,
            main_process: "unknown",
            other_thread: Some(false),
            group_kill: false,
            choice: Choice::Worst,
            threads: 1,
            among_others: false,
        }
    }

    /// With others who take and give back memory of its ancestors meanwhile.
    pub(crate) fn among_others(mut self) -> Self {
        self.among_others = true;
        self
    }

    /// With another level that ran out, the victim's own being 0.
    pub(crate) fn out_of(mut self, level: usize, limit_owner: &'static str) -> Self {
        self.oom = level;
        self.limit_owner = limit_owner;
        self
    }

    /// With what its PID namespace says.
    pub(crate) fn numbered(mut self, ns_pid: u32, main_process: &'static str) -> Self {
        self.ns_pid = ns_pid;
        self.main_process = main_process;
        self
    }

    /// With another trigger.
    pub(crate) fn triggered_by(mut self, trigger: Trigger) -> Self {
        self.trigger = trigger;
        self
    }

    /// Checks every field.
    #[track_caller]
    pub(crate) fn check(&self, report: &Report) {
        self.check_incident(report);
        self.check_allocation(report);
        self.check_victim(report);
        self.check_memory(report);
        self.check_limits(report);
        self.check_trigger(report);
    }

    /// Checks the report of a backend that does not know everything.
    #[track_caller]
    pub(crate) fn check_partial(&self, report: &Report) {
        let oom = self.chain.get(self.oom).filter(|_| self.system.is_none());
        for (place, expected) in [
            ("/victim/comm", Some(&self.victim.name)),
            ("/victim/cgroup/path", Some(&self.cgroup.0)),
            ("/oom_cgroup/path", oom.map(|oom| &oom.path)),
        ] {
            if report.at(place).is_some() {
                assert_eq!(Some(&report.bytes(place)), expected, "{report:?}");
            }
        }
        if report.text("/scope") != "unknown" {
            report.is("/scope", self.scope());
        }
    }

    fn scope(&self) -> &'static str {
        self.system.map_or("memcg", |_| "system")
    }

    fn check_incident(&self, report: &Report) {
        report.is("/attribution", "kernel");
        report.is("/scope", self.scope());
        report.is("/limit_owner", self.limit_owner);
        report.is("/group_kill", self.group_kill);
        report.is("/missing", json!([]));
        report.is("/main_process", self.main_process);
        if !self.group_kill {
            assert_eq!(
                report.incident_ns(),
                report.number("/boot_time_ns"),
                "{report:?}"
            );
        }
        let (start, killed) = (report.start_ns(), report.number("/boot_time_ns"));
        assert!(
            self.victim.started.contains(&start),
            "{:?} {report:?}",
            self.victim
        );
        assert!((start..boot_time_ns()).contains(&killed), "{report:?}");
        // The calendar says the same as the clock that runs since boot.
        let age = i128::from(boot_time_ns()) - i128::from(killed);
        let expected = Timestamp::now().as_nanosecond() - age;
        assert!(
            expected.abs_diff(time(report, "/time")) < CLOCKS_NS.unsigned_abs(),
            "{report:?}"
        );
        let life = i128::from(killed) - i128::from(start);
        let expected = time(report, "/time") - life;
        assert!(
            expected.abs_diff(time(report, "/victim/start_time")) < CLOCKS_NS.unsigned_abs(),
            "{report:?}"
        );
    }

    /// fentry and kprobe know all of it; for raw tracepoints the kernel log adds it, where it was not withheld.
    fn check_allocation(&self, report: &Report) {
        let is_function = report.is_function();
        let constraint = self.system.map_or("memcg", |system| system.constraint);
        if is_function || self.system.is_none() || report.at("/constraint").is_some() {
            report.is("/constraint", constraint);
        }
        if is_function || report.at("/allocation").is_some() {
            let order = report.at("/allocation/order").and_then(Value::as_i64);
            match self.system.map_or(Some(0), |system| system.order) {
                Some(expected) => assert_eq!(order, Some(expected), "{report:?}"),
                None => assert!(order >= Some(0), "{report:?}"),
            }
            assert_ne!(report.number("/allocation/gfp_mask"), 0, "{report:?}");
        }
        if !is_function {
            report.lacks("/allocation/total_pages");
            report.lacks("/victim/oom_points");
            return;
        }
        let memory = self
            .system
            .map_or_else(|| self.oom_limit() / page_bytes(), |system| system.pages);
        let swap = meminfo_bytes("SwapTotal") / page_bytes();
        let pages = report.number("/allocation/total_pages");
        assert!((memory..=memory + swap).contains(&pages), "{report:?}");
        match self.choice {
            Choice::Worst => assert_ne!(report.number("/victim/oom_points"), 0, "{report:?}"),
            Choice::None => report.lacks("/victim/oom_points"),
        }
    }

    fn oom_limit(&self) -> u64 {
        self.chain[self.oom].limit_bytes.expect("a limit")
    }

    fn check_victim(&self, report: &Report) {
        report.is("/victim/pid", self.victim.pid);
        match self.other_thread {
            Some(false) => report.is("/victim/tid", self.victim.pid),
            Some(true) => assert_ne!(report.number("/victim/tid"), u64::from(self.victim.pid)),
            None => {}
        }
        report.is("/victim/ns_pid", self.ns_pid);
        assert_eq!(report.bytes("/victim/comm"), self.victim.name, "{report:?}");
        let (path, id) = &self.cgroup;
        assert_eq!(report.bytes("/victim/cgroup/path"), *path, "{report:?}");
        report.is("/victim/cgroup/id", *id);
    }

    fn check_memory(&self, report: &Report) {
        let error = rss_error_bytes(self.threads);
        let [anon, file, shmem, swap, total, tables] = [
            "anon_rss",
            "file_rss",
            "shmem_rss",
            "swap",
            "total_vm",
            "pgtables",
        ]
        .map(|name| report.number(&format!("/victim/{name}_bytes")));
        let held = anon + shmem;
        assert!(
            held + error >= self.min_rss_bytes,
            "{} {report:?}",
            self.min_rss_bytes
        );
        // Shared pages may be charged to another cgroup: on an initramfs the program itself is such.
        if self.system.is_none() {
            let usage = report.number("/oom_cgroup/usage_bytes");
            // What a fork shares stays charged to the parent's cgroup.
            assert!(anon <= usage + error + NEAR_BYTES, "{report:?}");
        }
        assert!(total + 3 * error >= held + file, "{report:?}");
        assert_eq!(swap, 0, "{report:?}");
        // One table maps 2 MiB with pages of 4 KiB, and more with larger ones; the tables above it come on top.
        assert!(tables > 0 && tables < held + error, "{report:?}");
    }

    fn check_limits(&self, report: &Report) {
        match self.system {
            None => self.check_oom_cgroup(report),
            Some(_) => report.lacks("/oom_cgroup"),
        }
        assert_eq!(report.limits().len(), self.chain.len(), "{report:?}");
        let is_still = !self.among_others && self.usage != Usage::Freed;
        let mut below = 0;
        for (index, level) in self.chain.iter().enumerate() {
            let place = format!("/limits/{index}");
            assert_eq!(
                report.bytes(&format!("{place}/path")),
                level.path,
                "{report:?}"
            );
            report.is(&format!("{place}/id"), level.id);
            for (name, expected) in [
                ("limit_bytes", level.limit_bytes),
                ("swap_limit_bytes", level.swap_limit_bytes),
            ] {
                let found = report
                    .at(&format!("{place}/{name}"))
                    .and_then(Value::as_u64);
                assert_eq!(found, expected, "{name} at {place} of {report:?}");
            }
            let usage = report.number(&format!("{place}/usage_bytes"));
            assert!(
                !is_still || usage + NEAR_BYTES >= below,
                "{place} uses less than what is below it: {report:?}"
            );
            below = usage;
        }
    }

    fn check_oom_cgroup(&self, report: &Report) {
        let oom = &self.chain[self.oom];
        assert_eq!(report.bytes("/oom_cgroup/path"), oom.path, "{report:?}");
        report.is("/oom_cgroup/id", oom.id);
        let limit = self.oom_limit();
        report.is("/oom_cgroup/limit_bytes", limit);
        let usage = report.number("/oom_cgroup/usage_bytes");
        let near_above = limit + NEAR_BYTES;
        let near_below = match self.threads {
            1 => limit - NEAR_BYTES,
            _ => limit - NEAR_BYTES - HUGE_PAGE_BYTES,
        };
        let fits = match self.usage {
            Usage::AtLimit => (near_below..=near_above).contains(&usage),
            Usage::AboveLimit => usage > near_above,
            Usage::Freed => usage <= near_above,
        };
        assert!(fits, "{:?} {report:?}", self.usage);
        let same = report.at(&format!("/limits/{}/usage_bytes", self.oom));
        assert_eq!(same, report.at("/oom_cgroup/usage_bytes"), "{report:?}");
    }

    fn check_trigger(&self, report: &Report) {
        let (own_path, own_id) = &self.cgroup;
        let (pid, name, path, id) = match &self.trigger {
            Trigger::Anyone => return,
            Trigger::VictimsAny => return report.is("/trigger/pid", self.victim.pid),
            Trigger::Worker => {
                assert_eq!(report.at("/trigger/pid"), report.at("/trigger/tid"));
                let is_worker = report.bytes("/trigger/comm").starts_with(b"kworker/");
                assert!(is_worker, "{report:?}");
                return;
            }
            Trigger::Victim => {
                report.is("/trigger/tid", self.victim.pid);
                (self.victim.pid, &self.victim.name[..], own_path, *own_id)
            }
            Trigger::VictimsThread(name) => (self.victim.pid, *name, own_path, *own_id),
            Trigger::Process(pid, name, path, id) => {
                report.is("/trigger/tid", *pid);
                (*pid, &name[..], path, *id)
            }
        };
        report.is("/trigger/pid", pid);
        assert_eq!(report.bytes("/trigger/comm"), name, "{report:?}");
        assert_eq!(report.bytes("/trigger/cgroup/path"), *path, "{report:?}");
        report.is("/trigger/cgroup/id", id);
    }
}

/// A moment of the calendar in nanoseconds, written with nine digits of a second in UTC.
fn time(report: &Report, place: &str) -> i128 {
    let text = report.text(place);
    assert_eq!(text.len(), "2026-01-01T00:00:00.000000000Z".len(), "{text}");
    assert!(text.ends_with('Z'), "{text}");
    let time: Timestamp = text.parse().expect("a time in RFC 3339");
    time.as_nanosecond()
}
