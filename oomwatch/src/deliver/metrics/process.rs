//! The agent's own figures, by the names that Prometheus gives them everywhere: from `/proc/self`.

use std::{fs, io, str::FromStr};

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

use crate::sys::clock;

/// Nanoseconds in a second.
const SECOND_NS: u64 = 1_000_000_000;

/// What a process uses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Process {
    /// Processor time, of user and of system.
    pub(super) cpu_seconds: f64,
    /// Resident memory.
    pub(super) resident_memory_bytes: u64,
    /// Address space.
    pub(super) virtual_memory_bytes: u64,
    /// Threads.
    pub(super) threads: u64,
    /// When it started, in seconds since 1970.
    pub(super) start_time_seconds: f64,
    /// Files that it has open.
    pub(super) open_fds: u64,
    /// As many as it may.
    pub(super) max_fds: Option<u64>,
}

impl Process {
    /// This one.
    pub(super) fn this() -> io::Result<Self> {
        let stat = fs::read_to_string("/proc/self/stat")?;
        let stat = Stat::parse(&stat).ok_or(io::ErrorKind::InvalidData)?;
        // The folder is open itself while it is listed.
        let open_fds = fs::read_dir("/proc/self/fd")?.count().saturating_sub(1);
        let per_second = clock_ticks_per_second();
        let page_bytes = u64::try_from(page_size()).unwrap_or(4096);
        let started_ns = stat.start_ticks.saturating_mul(SECOND_NS / per_second);
        Ok(Self {
            cpu_seconds: seconds(stat.cpu_ticks, per_second),
            resident_memory_bytes: stat.resident_pages.saturating_mul(page_bytes),
            virtual_memory_bytes: stat.virtual_bytes,
            threads: stat.threads,
            start_time_seconds: super::seconds_of(clock::sample().time_of(started_ns)),
            open_fds: u64::try_from(open_fds).unwrap_or(u64::MAX),
            max_fds: getrlimit(Resource::Nofile).current,
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "ticks of a processor are exact for millions of years"
)]
fn seconds(ticks: u64, per_second: u64) -> f64 {
    ticks as f64 / per_second as f64
}

/// Of the fields of `/proc/PID/stat` (`proc_pid_stat(5)`).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name between the parentheses may have some of its own.
        let (_, fields) = text.rsplit_once(')')?;
        // The state is field 3.
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let field = |number: usize| u64::from_str(fields.get(number - 3)?).ok();
        Some(Self {
            cpu_ticks: field(14)?.checked_add(field(15)?)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    const STAT: &str = "4242 (a) b (c) S 1 4242 4242 0 -1 4194560 2071 0 0 0 57 23 0 0 20 -10 3 0 123456 12582912 1537 18446744073709551615 1 1 0 0 0 0 0 4096 17442 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n";

    #[test]
    fn fields_are_found_behind_any_name() {
        let stat = Stat {
            cpu_ticks: 80,
            threads: 3,
            start_ticks: 123_456,
            virtual_bytes: 12_582_912,
            resident_pages: 1537,
        };
        assert_eq!(Stat::parse(STAT), Some(stat));
    }

    #[test]
    fn malformed_is_refused() {
        for text in [
            "",
            ")",
            "1 (a) S",
            "1 (a) S 1 4242 4242 0 -1 4194560 2071 0 0 0 x 23 0 0 20 -10 3 0 123456 12582912 1537",
            "1 (a) S 1 4242 4242 0 -1 4194560 2071 0 0 0 57 23 0 0 20 -10 3 0 123456 12582912",
            "1 (a) S 1 4242 4242 0 -1 4194560 2071 0 0 0 18446744073709551615 23 0 0 20 -10 3 0 1 2 3",
        ] {
            assert_eq!(Stat::parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gets_an_answer(text in ".*") {
            let _ = Stat::parse(&text);
        }
    }

    #[test]
    fn this_process_is_alive_and_started_before_now() {
        let process = Process::this().expect("read /proc/self");
        assert!(process.resident_memory_bytes > 100_000, "{process:?}");
        assert!(process.virtual_memory_bytes >= process.resident_memory_bytes);
        assert!(process.open_fds >= 3 && process.threads >= 1, "{process:?}");
        let now = super::super::seconds_of(Timestamp::now());
        let age = now - process.start_time_seconds;
        assert!((-1.0..86_400.0).contains(&age), "{age}");
    }
}
