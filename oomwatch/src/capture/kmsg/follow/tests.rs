use super::*;
use crate::{
    capture::kmsg::testing::{group, invoked, killed, oom_kill, row},
    model::kill::{Constraint, Scope, Trigger},
    testing,
};

const MILLISECOND: u64 = 1_000_000;
/// Time since boot minus the log's clock.
const AHEAD: u64 = 1_000_000_000;

/// A live log. Each line is written a millisecond after the one before.
struct Log {
    follower: Follower,
    started: Instant,
    stamp_ns: u64,
    /// Time from writing to reading a record.
    delay_ns: u64,
}

impl Log {
    fn new() -> Self {
        Self {
            follower: Follower::new(),
            started: Instant::now(),
            stamp_ns: 0,
            delay_ns: 0,
        }
    }

    fn now(&self) -> ClockSample {
        let passed = self.stamp_ns + self.delay_ns;
        ClockSample {
            instant: self.started + Duration::from_nanos(passed),
            raw_ns: passed,
            boot_time_ns: AHEAD + passed,
            unix_ns: 0,
        }
    }

    fn line_of(&mut self, priority: u32, line: &str) -> Option<LogItem> {
        self.stamp_ns += MILLISECOND;
        let record = format!(
            "{priority},1,{},-;{}\n",
            self.stamp_ns / 1000,
            line.trim_end()
        );
        let record = Record::parse(record.as_bytes()).expect("a record");
        self.follower.push(&record, &self.now())
    }

    fn line(&mut self, line: &str) -> Option<LogItem> {
        self.line_of(6, line)
    }

    fn lines<'a>(&mut self, lines: impl IntoIterator<Item = &'a String>) -> Vec<LogItem> {
        let mut items = Vec::new();
        for line in lines {
            items.extend(self.line(line));
        }
        items
    }

    /// Waits until the pending kill is due, and returns it.
    fn flush(&mut self) -> Option<LogKill> {
        let due = self.follower.flush_due()?;
        let wait = due.duration_since(self.now().instant);
        self.stamp_ns += u64::try_from(wait.as_nanos()).expect("soon");
        match self.follower.flush(&self.now()) {
            Some(LogItem::Kill(kill)) => Some(*kill),
            _ => None,
        }
    }
}

fn header_lines() -> [String; 4] {
    [
        invoked("t"),
        "CPU: 1 UID: 0 PID: 5 Comm: t Not tainted 7.3.4 #1".to_owned(),
        row(7, 7),
        oom_kill("/a", "v", 7),
    ]
}

/// The kill of process 7 as a BPF program recorded it.
fn recorded() -> Kill {
    let mut kill = testing::minimal_kill();
    kill.victim.comm = Some(b"v".to_vec());
    kill.trigger = Some(Trigger {
        pid: Some(5),
        tid: Some(5),
        comm: Some(b"t".to_vec()),
        cgroup: None,
    });
    kill
}

#[test]
fn kill_is_pending_for_the_group_line_wait_after_it_was_read() {
    let mut log = Log::new();
    assert_eq!(log.follower.flush_due(), None);
    log.lines(&header_lines());
    assert_eq!(log.follower.flush_due(), None);
    // Written half a second before it is read.
    log.delay_ns = 500 * MILLISECOND;
    assert_eq!(log.line(&killed(7, "v")), None);
    let read = log.now();
    let due = log.follower.flush_due();
    assert_eq!(due, Some(read.instant + Duration::from_millis(200)));
    assert_eq!(log.line("eth0: link up"), None);
    assert_eq!(log.follower.flush_due(), due);
    assert_eq!(log.follower.flush(&log.now()), None, "too early");

    let kill = log.flush().expect("a kill");
    assert_eq!(kill.kill.group_kill, None, "its line may be late");
    assert_eq!(log.follower.flush_due(), None);
    assert_eq!(log.follower.flush(&log.now()), None);
    assert_eq!(log.follower.counts().kills, 1);
}

#[test]
fn next_kill_waits_for_its_own_time() {
    let mut log = Log::new();
    log.line(&killed(7, "v"));
    let first = log.follower.flush_due().expect("pending");
    assert!(log.line(&killed(8, "w")).is_some());
    let second = log.follower.flush_due().expect("pending");
    assert_eq!(second, first + Duration::from_millis(1));
}

#[test]
fn kill_has_the_time_since_boot_at_which_it_was_written() {
    let mut log = Log::new();
    log.line("eth0: link up");
    log.delay_ns = 40 * MILLISECOND;
    log.line(&killed(7, "v"));
    let written = log.stamp_ns;
    let kill = log.flush().expect("a kill");
    let time = kill.kill.boot_time_ns.expect("a time");
    // Plus the allowance for drift.
    let expected = AHEAD + written;
    assert!((expected..expected + MILLISECOND).contains(&time), "{time}");
    assert_eq!(kill.stamp.boot_time_ns, Some(written));
}

#[test]
fn group_is_one_incident_with_one_time() {
    let mut log = Log::new();
    log.delay_ns = 70 * MILLISECOND;
    let mut items = log.lines(&[row(8, 8), row(9, 9)]);
    items.extend(log.lines(&header_lines()[2..]));
    items.extend(log.lines(&[killed(7, "v"), group("/a")]));
    // Read sooner, which improves the estimate of the offset.
    log.delay_ns = 0;
    items.extend(log.lines(&[killed(7, "v"), killed(8, "w"), killed(9, "x")]));
    items.extend(log.flush().map(|kill| LogItem::Kill(Box::new(kill))));
    let times: Vec<_> = items
        .iter()
        .map(|item| match item {
            LogItem::Kill(kill) => {
                let kill = &kill.kill;
                assert_eq!(kill.group_kill, Some(true));
                (kill.boot_time_ns, kill.incident_boot_time_ns)
            }
            LogItem::Rekill { non_kill, .. } => (non_kill.boot_time_ns, None),
        })
        .collect();
    let [first, rekill, second, third] = times[..] else {
        panic!("{items:?}")
    };
    assert_eq!(first.0, first.1);
    assert_eq!((second.1, third.1), (first.0, first.0));
    // The first was dated before that, and no kill of its incident is earlier.
    let at = |milliseconds| Some(AHEAD + milliseconds * MILLISECOND);
    assert_eq!(first.0, at(75));
    assert_eq!((rekill.0, second.0, third.0), (at(7), at(75), at(75)));
}

#[test]
fn kills_of_an_incident_that_begins_with_a_rekill_share_its_time() {
    let mut log = Log::new();
    log.line(&killed(7, "v"));
    log.flush().expect("a kill");
    // A process that dies slowly is the first of a group.
    log.lines(&[killed(7, "v"), group("/a"), killed(8, "w"), killed(9, "x")]);
    let kill = log.flush().expect("a kill");
    let begun = kill.incident.boot_time_ns.expect("a stamp");
    let incident = kill.kill.incident_boot_time_ns;
    assert_eq!(incident, Some(AHEAD + begun));
    assert_eq!(
        kill.kill.boot_time_ns,
        Some(AHEAD + kill.stamp.boot_time_ns.expect("a stamp"))
    );
}

#[test]
fn records_of_processes_are_ignored() {
    let mut log = Log::new();
    for line in header_lines().iter().chain([&killed(7, "v")]) {
        assert_eq!(log.line_of(12, line), None);
    }
    assert_eq!(log.follower.flush_due(), None);
    assert_eq!(log.follower.counts().untrusted, 1);
    let now = log.now().instant;
    assert_eq!(log.follower.take_header(&recorded(), now), None);
    assert_eq!(log.follower.take_killed(&recorded().victim, now), None);
}

#[test]
fn header_is_available_before_its_kill_and_once() {
    let mut log = Log::new();
    log.lines(&header_lines());
    let now = log.now().instant;
    let facts = log.follower.take_header(&recorded(), now).expect("facts");
    assert_eq!(facts.scope, Scope::Memcg);
    assert_eq!(facts.constraint, Some(Constraint::Memcg));
    assert_eq!(facts.oom_path.as_deref(), Some(&b"/a"[..]));
    assert_eq!(facts.victim_path.as_deref(), Some(&b"/a"[..]));
    assert_eq!(facts.trigger_tid, Some(5));
    let allocation = facts.allocation.expect("facts");
    assert_eq!((allocation.order, allocation.gfp_mask), (0, 0xcc0));
    assert_eq!(log.follower.take_header(&recorded(), now), None);

    // The kill of the log still has the header.
    log.line(&killed(7, "v"));
    assert_eq!(log.flush().expect("a kill").kill.missing, [""; 0]);
    assert!(log.follower.take_killed(&recorded().victim, now).is_some());
}

#[test]
fn header_of_a_process_that_was_exiting_already_is_dropped() {
    let mut log = Log::new();
    log.lines(&header_lines());
    log.line(
        "Memory cgroup out of memory: OOM victim 7 (v) is already exiting. Skip killing the task",
    );
    let now = log.now().instant;
    assert_eq!(log.follower.take_header(&recorded(), now), None);
}

#[test]
fn header_of_a_kernel_before_5_1_is_available_once() {
    let chosen = "Out of memory: Kill process 7 (v) score 1 or sacrifice child".to_owned();
    let task_in = "Task in /a/b killed as a result of limit of /a".to_owned();
    for lines in [
        vec![
            invoked("t"),
            task_in,
            chosen.replace("Out", "Memory cgroup out"),
        ],
        vec![invoked("t"), oom_kill("/a", "v", 7), chosen],
    ] {
        let mut log = Log::new();
        log.lines(&lines);
        let now = log.now().instant;
        let facts = log.follower.take_header(&recorded(), now).expect("facts");
        assert_eq!(facts.scope, Scope::Memcg);
        assert_eq!(facts.oom_path.as_deref(), Some(&b"/a"[..]));
        assert_eq!(log.follower.take_header(&recorded(), now), None);
    }
}

#[test]
fn group_line_after_a_loss_does_not_belong_to_the_kill_before_it() {
    let mut log = Log::new();
    log.line(&killed(7, "v"));
    log.follower.interrupt(&log.now());
    log.lines(&[group("/g"), killed(8, "w")]);
    let kill = log.flush().expect("a kill");
    assert_eq!(kill.kill.group_cgroup, None);
    assert_eq!(kill.incident, kill.stamp);
}

#[test]
fn group_line_may_be_late() {
    let mut log = Log::new();
    log.lines(&header_lines());
    assert_eq!(log.line(&killed(7, "v")), None);
    log.stamp_ns += 500 * MILLISECOND;
    let Some(LogItem::Kill(kill)) = log.line(&group("/g")) else {
        panic!("no kill")
    };
    assert_eq!(kill.kill.group_kill, Some(true));
}

#[test]
fn lines_before_and_after_a_loss_are_not_combined() {
    let mut log = Log::new();
    log.lines(&header_lines());
    log.line(&killed(7, "v"));
    let Some(LogItem::Kill(kill)) = log.follower.interrupt(&log.now()) else {
        panic!("no kill")
    };
    assert_eq!(kill.kill.group_kill, None, "the line could have been lost");
    assert_eq!(log.follower.flush_due(), None);

    // Of a group whose first kill was lost.
    log.lines(&[group("/g"), killed(8, "w")]);
    let member = log.flush().expect("a kill");
    assert_eq!(member.kill.group_kill, None);
    assert_eq!(member.kill.group_cgroup, None);
    assert_eq!(member.incident, member.stamp);

    // A header begins a new incident.
    log.lines(&header_lines());
    log.follower.interrupt(&log.now());
    assert_eq!(log.follower.counts().headers_without_kill, 1);
    log.line(&killed(7, "x"));
    assert_eq!(log.flush().expect("a kill").kill.trigger, None);
    log.lines(&header_lines());
    log.line(&killed(7, "y"));
    assert!(log.flush().expect("a kill").kill.trigger.is_some());
}
