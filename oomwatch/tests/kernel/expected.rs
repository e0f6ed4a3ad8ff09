//! What the report of a kill must say, and the check of all of it.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    cgroups::{Cgroup, Level},
    kernel::rss_error_bytes,
    machine::boot_time_ns,
    process::Victim,
    report::Report,
};

/// How far a usage may be from a limit that was reached: charges come in batches, and a kill may have been seen to in between.
const NEAR_BYTES: u64 = 1 << 20;
/// How far two readings of the calendar's clock may be apart, for the same moment.
const CLOCKS_NS: i128 = 1_000_000_000;

/// Whose allocation it was.
#[derive(Clone, Debug)]
pub(crate) enum Trigger {
    /// The victim's main thread.
    Victim,
    /// A thread of the victim with this name.
    VictimsThread(&'static [u8]),
    /// Another process: its id, its name, its cgroup's path and id.
    Process(u32, Vec<u8>, Vec<u8>, u64),
    /// It cannot be told beforehand.
    Anyone,
}

/// What was in use of the limit that was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usage {
    /// All of it, as far as charges come in batches.
    AtLimit,
    /// More, since a writer lowered the limit.
    AboveLimit,
    /// Less, since an earlier victim of the incident gave its memory back.
    Freed,
}

/// What the report of a kill must say.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    /// Who was killed.
    pub(crate) victim: Victim,
    /// Its cgroup and those above.
    pub(crate) chain: Vec<Level>,
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
    /// What it held at least, and how many threads it had.
    pub(crate) held_bytes: u64,
    /// Threads of the victim.
    pub(crate) threads: u64,
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
            held_bytes: chain[0].limit_bytes.unwrap_or(0) / 2,
            chain,
            oom: 0,
            usage: Usage::AtLimit,
            limit_owner: "cgroup",
            trigger: Trigger::Victim,
            main_process: "unknown",
            other_thread: Some(false),
            group_kill: false,
            threads: 1,
        }
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
        self.check_victim(report);
        self.check_memory(report);
        self.check_limits(report);
        self.check_trigger(report);
    }

    fn check_incident(&self, report: &Report) {
        report.is("/attribution", "kernel");
        report.is("/scope", "memcg");
        report.is("/constraint", "memcg");
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

    fn check_victim(&self, report: &Report) {
        report.is("/victim/pid", self.victim.pid);
        match self.other_thread {
            Some(false) => report.is("/victim/tid", self.victim.pid),
            Some(true) => assert_ne!(report.number("/victim/tid"), u64::from(self.victim.pid)),
            None => {}
        }
        report.is("/victim/ns_pid", self.ns_pid);
        assert_eq!(report.bytes("/victim/comm"), self.victim.name, "{report:?}");
        assert_eq!(
            report.bytes("/victim/cgroup/path"),
            self.chain[0].path,
            "{report:?}"
        );
        report.is("/victim/cgroup/id", self.chain[0].id);
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
        let usage = report.number("/oom_cgroup/usage_bytes");
        assert!(
            held + error >= self.held_bytes,
            "{} {report:?}",
            self.held_bytes
        );
        // Shared pages may be charged to another cgroup: on an initramfs the program itself is such.
        assert!(anon <= usage + error, "{report:?}");
        assert!(total + 3 * error >= held + file, "{report:?}");
        assert_eq!(swap, 0, "{report:?}");
        // One table maps 2 MiB with pages of 4 KiB, and more with larger ones; the tables above it come on top.
        assert!(tables > 0 && tables < held + error, "{report:?}");
    }

    fn check_limits(&self, report: &Report) {
        let oom = &self.chain[self.oom];
        assert_eq!(report.bytes("/oom_cgroup/path"), oom.path, "{report:?}");
        report.is("/oom_cgroup/id", oom.id);
        let limit = oom.limit_bytes.expect("a limit");
        report.is("/oom_cgroup/limit_bytes", limit);
        let usage = report.number("/oom_cgroup/usage_bytes");
        let (near_above, near_below) = (limit + NEAR_BYTES, limit - NEAR_BYTES);
        let fits = match self.usage {
            Usage::AtLimit => (near_below..=near_above).contains(&usage),
            Usage::AboveLimit => usage > near_above,
            Usage::Freed => usage <= near_above,
        };
        assert!(fits, "{:?} {report:?}", self.usage);

        assert_eq!(report.limits().len(), self.chain.len(), "{report:?}");
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
                usage + NEAR_BYTES >= below,
                "{place} uses less than what is below it: {report:?}"
            );
            below = usage;
        }
        let same = report.at(&format!("/limits/{}/usage_bytes", self.oom));
        assert_eq!(same, report.at("/oom_cgroup/usage_bytes"), "{report:?}");
    }

    fn check_trigger(&self, report: &Report) {
        let own = &self.chain[0];
        let (pid, name, path, id) = match &self.trigger {
            Trigger::Anyone => return,
            Trigger::Victim => {
                report.is("/trigger/tid", self.victim.pid);
                (self.victim.pid, &self.victim.name[..], &own.path, own.id)
            }
            Trigger::VictimsThread(name) => (self.victim.pid, *name, &own.path, own.id),
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
