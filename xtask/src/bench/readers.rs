//! Readers of `watch`'s output and of the kernel log, which record the arrival time of each line.
//!
//! Lines are parsed after the kills, not while they happen.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Read, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use super::hog;

/// A line and the time at which it was read: `CLOCK_BOOTTIME`, as in `boot_time_ns`.
pub(super) struct Arrival {
    at: Duration,
    line: Vec<u8>,
}

impl Arrival {
    fn now(line: &[u8]) -> Self {
        let now = clock_gettime(ClockId::Boottime);
        Self {
            at: Duration::try_from(now).unwrap_or_default(),
            line: line.to_vec(),
        }
    }
}

type Reader = JoinHandle<Result<Vec<Arrival>>>;

fn join(reader: Reader) -> Result<Vec<Arrival>> {
    reader
        .join()
        .unwrap_or_else(|_| Err(anyhow!("a reader panicked")))
}

/// The lines of a pipe, until its writer closes it.
pub(super) struct Lines(Reader);

impl Lines {
    pub(super) fn of(pipe: impl Read + Send + 'static) -> Self {
        Self(thread::spawn(move || {
            let mut pipe = BufReader::with_capacity(1 << 16, pipe);
            let (mut line, mut arrivals) = (Vec::new(), Vec::new());
            while pipe
                .read_until(b'\n', &mut line)
                .context("failed to read a pipe")?
                > 0
            {
                arrivals.push(Arrival::now(&line));
                line.clear();
            }
            Ok(arrivals)
        }))
    }

    pub(super) fn finish(self) -> Result<Vec<Arrival>> {
        join(self.0)
    }
}

/// This bench's kills in the output of `watch`.
pub(super) fn reported(arrivals: &[Arrival], prefix: &str) -> Vec<Reported> {
    let parse = |arrival| parse_report(arrival, prefix);
    arrivals.iter().filter_map(parse).collect()
}

/// A kill that `watch` reported.
#[derive(Debug, PartialEq)]
pub(super) struct Reported {
    pub(super) pid: u32,
    pub(super) cgroup: String,
    /// Time of `mark_victim`.
    pub(super) marked_at: Duration,
    pub(super) arrived_at: Duration,
}

fn parse_report(arrival: &Arrival, prefix: &str) -> Option<Reported> {
    let report: Value = serde_json::from_slice(&arrival.line).ok()?;
    let victim = &report["victim"];
    let cgroup = victim["cgroup"]["path"].as_str()?;
    cgroup.rsplit('/').next()?.strip_prefix(prefix)?;
    Some(Reported {
        pid: u32::try_from(victim["pid"].as_u64()?).ok()?,
        cgroup: cgroup.to_owned(),
        marked_at: Duration::from_nanos(report["boot_time_ns"].as_u64()?),
        arrived_at: arrival.at,
    })
}

/// Reads `/dev/kmsg` from its end, one record at a time.
pub(super) struct KernelLog {
    reader: Reader,
    stop: Arc<AtomicBool>,
}

impl KernelLog {
    pub(super) fn open() -> Result<Self> {
        let mut log = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")
            .context("failed to open /dev/kmsg")?;
        log.seek(SeekFrom::End(0))
            .context("failed to seek to the end of /dev/kmsg")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        Ok(Self {
            reader: thread::spawn(move || follow(&log, &stopping)),
            stop,
        })
    }

    /// Stops, and returns all records.
    pub(super) fn finish(self) -> Result<Vec<Arrival>> {
        self.stop.store(true, Ordering::Release);
        join(self.reader)
    }
}

/// The pid of each hog in a line `Killed process`, and the time at which it was read.
pub(super) fn killed(records: &[Arrival]) -> HashMap<u32, Duration> {
    let parse = |record: &Arrival| Some((parse_killed(&record.line)?, record.at));
    records.iter().filter_map(parse).collect()
}

/// Number of lines `oom-kill:` of hogs, which have the cgroup. The kernel limits them to ten in five seconds.
pub(super) fn oom_kill_lines(records: &[Arrival]) -> usize {
    let is_one = |record: &&Arrival| find(&record.line, b"oom-kill:").is_some_and(is_hogs);
    records.iter().filter(is_one).count()
}

fn follow(mut log: &File, stop: &AtomicBool) -> Result<Vec<Arrival>> {
    // `PRINTKRECORD_MAX` is 1024 since 6.4, `CONSOLE_EXT_LOG_MAX` was 8192 before.
    let mut record = vec![0; 8192];
    let mut arrivals = Vec::new();
    loop {
        let stopping = stop.load(Ordering::Acquire);
        match log.read(&mut record) {
            Ok(length) => arrivals.push(Arrival::now(&record[..length])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if stopping {
                    return Ok(arrivals);
                }
                let timeout = Timespec {
                    tv_sec: 0,
                    tv_nsec: 50_000_000,
                };
                match poll(&mut [PollFd::new(log, PollFlags::IN)], Some(&timeout)) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error).context("failed to wait for /dev/kmsg"),
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Records were overwritten before they were read; the next read continues after them.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
            Err(error) => return Err(error).context("failed to read /dev/kmsg"),
        }
    }
}

/// `… Killed process 17054 (oomwatch-hog) total-vm:…`, `__oom_kill_process` in `mm/oom_kill.c`.
fn parse_killed(line: &[u8]) -> Option<u32> {
    let rest = str::from_utf8(find(line, b"Killed process ")?).ok()?;
    let (pid, rest) = rest.split_once(" (")?;
    let (comm, _) = rest.split_once(')')?;
    if comm == hog::NAME {
        pid.parse().ok()
    } else {
        None
    }
}

/// `constraint=…,task=oomwatch-hog,pid=17054,uid=0`, `dump_oom_victim` in `mm/oom_kill.c`.
fn is_hogs(line: &[u8]) -> bool {
    find(line, b",task=")
        .and_then(|rest| rest.strip_prefix(hog::NAME.as_bytes()))
        .is_some_and(|rest| rest.starts_with(b","))
}

/// The rest of the line after `text`.
fn find<'a>(line: &'a [u8], text: &[u8]) -> Option<&'a [u8]> {
    let at = line.windows(text.len()).position(|window| window == text)?;
    line.get(at + text.len()..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(line: &str) -> Option<Reported> {
        let at = Duration::from_nanos(9);
        let line = line.as_bytes().to_vec();
        parse_report(&Arrival { at, line }, "bench-7-")
    }

    #[test]
    fn own_report_is_found_by_its_cgroup() {
        let line = r#"{"boot_time_ns":5,"victim":{"pid":3,"cgroup":{"path":"/a/bench-7-12"}}}"#;
        assert_eq!(
            report(line),
            Some(Reported {
                pid: 3,
                cgroup: "/a/bench-7-12".to_owned(),
                marked_at: Duration::from_nanos(5),
                arrived_at: Duration::from_nanos(9),
            })
        );
        for (from, to) in [
            ("bench-7-12", "bench-8-12"),
            ("bench-7-12", "bench-7-12/x"),
            ("\"pid\":3", "\"pid\":-3"),
            ("\"pid\":3", "\"pid\":4294967296"),
            ("boot_time_ns", "time"),
            ("}}}", "}}"),
        ] {
            assert_eq!(report(&line.replace(from, to)), None, "{from} {to}");
        }
    }

    #[test]
    fn killed_hog_is_distinguished_from_other_victims() {
        let line = "3,2417,3693,-;Memory cgroup out of memory: Killed process 17054 (oomwatch-hog) total-vm:67768kB\n";
        assert_eq!(parse_killed(line.as_bytes()), Some(17054));
        for (from, to) in [
            ("oomwatch-hog", "tail"),
            ("oomwatch-hog", "oomwatch-hogs"),
            ("17054", "x"),
            (" (oom", " oom"),
            ("Killed process", "killed"),
        ] {
            let odd = line.replace(from, to);
            assert_eq!(parse_killed(odd.as_bytes()), None, "{odd}");
        }
        assert_eq!(parse_killed(b"Killed process 1 (oomwatch-hog"), None);
        assert_eq!(
            parse_killed(b"\xff Killed process \xff (oomwatch-hog)"),
            None
        );
    }

    #[test]
    fn oom_kill_line_is_distinguished_from_other_victims() {
        let line = b"6,1,2,-;oom-kill:constraint=CONSTRAINT_MEMCG,task=oomwatch-hog,pid=1,uid=0";
        assert!(is_hogs(line));
        assert!(!is_hogs(b"oom-kill:task_memcg=/x,task=oomwatch-hogs,pid=1"));
        assert!(!is_hogs(b"oom-kill:constraint=CONSTRAINT_MEMCG"));
    }
}
