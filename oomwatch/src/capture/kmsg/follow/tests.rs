use super::*;
use crate::{
    capture::kmsg::testing::{group, invoked, killed, oom_kill, row},
    model::kill::{Constraint, Scope, Trigger},
    testing,
};

const MILLISECOND: u64 = 1_000_000;
/// By how much the time since boot is ahead of the log's.
const AHEAD: u64 = 1_000_000_000;

/// A log that is read as it is written, each line a millisecond after the one before.
struct Log {
    follower: Follower,
    started: Instant,
    stamp_ns: u64,
    /// How much later each record is read.
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
        let mut found = Vec::new();
        for line in lines {
            found.extend(self.line(line));
        }
        found
    }

    /// Time passes until the kill is told that is held back.
    fn flush(&mut self) -> Option<LogKill> {
        let due = self.follower.flush_due()?;
        let wait = due.duration_since(self.now().instant);
        self.stamp_ns += u64::try_from(wait.as_nanos()).expect("soon");
        match self.follower.flush(&self.now()) {
            Some(LogItem::Kill(found)) => Some(*found),
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

/// The kill of process 7 as a program saw it.
fn seen() -> Kill {
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
fn kill_is_held_for_as_long_after_it_was_read_as_a_group_may_take() {
    let mut log = Log::new();
    assert_eq!(log.follower.flush_due(), None);
    log.lines(&header_lines());
    assert_eq!(log.follower.flush_due(), None);
    // It was written long ago.
    log.delay_ns = 500 * MILLISECOND;
    assert_eq!(log.line(&killed(7, "v")), None);
    let read = log.now();
    let due = log.follower.flush_due();
    assert_eq!(due, Some(read.instant + Duration::from_millis(200)));
    assert_eq!(log.line("eth0: link up"), None);
    assert_eq!(log.follower.flush_due(), due);
    assert_eq!(log.follower.flush(&log.now()), None, "too early");

    let found = log.flush().expect("a kill");
    assert_eq!(found.kill.group_kill, None, "its line may be late");
    assert_eq!(log.follower.flush_due(), None);
    assert_eq!(log.follower.flush(&log.now()), None);
    assert_eq!(log.follower.counts().kills, 1);
}

#[test]
fn next_kill_is_held_anew() {
    let mut log = Log::new();
    log.line(&killed(7, "v"));
    let first = log.follower.flush_due().expect("held");
    assert!(log.line(&killed(8, "w")).is_some());
    let second = log.follower.flush_due().expect("held");
    assert_eq!(second, first + Duration::from_millis(1));
}

#[test]
fn kill_has_the_time_since_boot_at_which_it_was_written() {
    let mut log = Log::new();
    log.line("eth0: link up");
    log.delay_ns = 40 * MILLISECOND;
    log.line(&killed(7, "v"));
    let written = log.stamp_ns;
    let found = log.flush().expect("a kill");
    let told = found.kill.boot_time_ns.expect("a time");
    // And what is allowed for drift.
    let expected = AHEAD + written;
    assert!((expected..expected + MILLISECOND).contains(&told), "{told}");
    assert_eq!(found.stamp.boot_time_ns, Some(written));
}

#[test]
fn group_is_one_incident_with_one_time() {
    let mut log = Log::new();
    log.delay_ns = 70 * MILLISECOND;
    let mut found = log.lines(&[row(8, 8), row(9, 9)]);
    found.extend(log.lines(&header_lines()[2..]));
    found.extend(log.lines(&[killed(7, "v"), group("/a")]));
    // Read sooner, so that all times are known better.
    log.delay_ns = 0;
    found.extend(log.lines(&[killed(7, "v"), killed(8, "w"), killed(9, "x")]));
    found.extend(log.flush().map(|found| LogItem::Kill(Box::new(found))));
    let times: Vec<_> = found
        .iter()
        .map(|found| match found {
            LogItem::Kill(found) => {
                let kill = &found.kill;
                assert_eq!(kill.group_kill, Some(true));
                (kill.boot_time_ns, kill.incident_boot_time_ns)
            }
            LogItem::Rekill { aside, .. } => (aside.boot_time_ns, None),
        })
        .collect();
    let [first, rekill, second, third] = times[..] else {
        panic!("{found:?}")
    };
    assert_eq!(first.0, first.1);
    assert_eq!((second.1, third.1), (first.0, first.0));
    // The first was told before that, and nothing of its incident is from before it.
    let at = |milliseconds| Some(AHEAD + milliseconds * MILLISECOND);
    assert_eq!(first.0, at(75));
    assert_eq!((rekill.0, second.0, third.0), (at(7), at(75), at(75)));
}

#[test]
fn kills_of_an_incident_whose_first_was_told_before_share_its_time() {
    let mut log = Log::new();
    log.line(&killed(7, "v"));
    log.flush().expect("a kill");
    // A process that dies slowly is the first of a group.
    log.lines(&[killed(7, "v"), group("/a"), killed(8, "w"), killed(9, "x")]);
    let found = log.flush().expect("a kill");
    let begun = found.incident.boot_time_ns.expect("a stamp");
    let incident = found.kill.incident_boot_time_ns;
    assert_eq!(incident, Some(AHEAD + begun));
    assert_eq!(
        found.kill.boot_time_ns,
        Some(AHEAD + found.stamp.boot_time_ns.expect("a stamp"))
    );
}

#[test]
fn nothing_is_believed_that_a_process_wrote() {
    let mut log = Log::new();
    for line in header_lines().iter().chain([&killed(7, "v")]) {
        assert_eq!(log.line_of(12, line), None);
    }
    assert_eq!(log.follower.flush_due(), None);
    assert_eq!(log.follower.counts().untrusted, 1);
    let now = log.now().instant;
    assert_eq!(log.follower.take_header(&seen(), now), None);
    assert_eq!(log.follower.take_killed(&seen().victim, now), None);
}

#[test]
fn header_is_there_before_its_kill_and_told_once() {
    let mut log = Log::new();
    log.lines(&header_lines());
    let now = log.now().instant;
    let told = log.follower.take_header(&seen(), now).expect("told");
    assert_eq!(told.scope, Scope::Memcg);
    assert_eq!(told.constraint, Some(Constraint::Memcg));
    assert_eq!(told.oom_path.as_deref(), Some(&b"/a"[..]));
    assert_eq!(told.victim_path.as_deref(), Some(&b"/a"[..]));
    assert_eq!(told.trigger_tid, Some(5));
    let allocation = told.allocation.expect("told");
    assert_eq!((allocation.order, allocation.gfp_mask), (0, 0xcc0));
    assert_eq!(log.follower.take_header(&seen(), now), None);

    // What is taken from the header is not missing in the log's own kill.
    log.line(&killed(7, "v"));
    assert_eq!(log.flush().expect("a kill").kill.missing, [""; 0]);
    assert!(log.follower.take_killed(&seen().victim, now).is_some());
}

#[test]
fn header_of_a_process_that_was_dying_already_is_told_to_nobody() {
    let mut log = Log::new();
    log.lines(&header_lines());
    log.line(
        "Memory cgroup out of memory: OOM victim 7 (v) is already exiting. Skip killing the task",
    );
    let now = log.now().instant;
    assert_eq!(log.follower.take_header(&seen(), now), None);
}

#[test]
fn header_of_a_kernel_before_5_1_is_told_once() {
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
        let told = log.follower.take_header(&seen(), now).expect("told");
        assert_eq!(told.scope, Scope::Memcg);
        assert_eq!(told.oom_path.as_deref(), Some(&b"/a"[..]));
        assert_eq!(log.follower.take_header(&seen(), now), None);
    }
}

#[test]
fn group_behind_a_loss_is_not_that_of_the_kill_before_it() {
    let mut log = Log::new();
    log.line(&killed(7, "v"));
    log.follower.interrupt(&log.now());
    log.lines(&[group("/g"), killed(8, "w")]);
    let found = log.flush().expect("a kill");
    assert_eq!(found.kill.group_cgroup, None);
    assert_eq!(found.incident, found.stamp);
}

#[test]
fn groups_line_may_itself_be_late() {
    let mut log = Log::new();
    log.lines(&header_lines());
    assert_eq!(log.line(&killed(7, "v")), None);
    log.stamp_ns += 500 * MILLISECOND;
    let Some(LogItem::Kill(found)) = log.line(&group("/g")) else {
        panic!("not told")
    };
    assert_eq!(found.kill.group_kill, Some(true));
}

#[test]
fn what_was_lost_belongs_to_nothing_that_comes_after_it() {
    let mut log = Log::new();
    log.lines(&header_lines());
    log.line(&killed(7, "v"));
    let Some(LogItem::Kill(found)) = log.follower.interrupt(&log.now()) else {
        panic!("not told")
    };
    assert_eq!(found.kill.group_kill, None, "the line could have been lost");
    assert_eq!(log.follower.flush_due(), None);

    // Of a group whose first kill was lost.
    log.lines(&[group("/g"), killed(8, "w")]);
    let member = log.flush().expect("a kill");
    assert_eq!(member.kill.group_kill, None);
    assert_eq!(member.kill.group_cgroup, None);
    assert_eq!(member.incident, member.stamp);

    // A header says that a new incident begins.
    log.lines(&header_lines());
    log.follower.interrupt(&log.now());
    assert_eq!(log.follower.counts().headers_without_kill, 1);
    log.line(&killed(7, "x"));
    assert_eq!(log.flush().expect("a kill").kill.trigger, None);
    log.lines(&header_lines());
    log.line(&killed(7, "y"));
    assert!(log.flush().expect("a kill").kill.trigger.is_some());
}
