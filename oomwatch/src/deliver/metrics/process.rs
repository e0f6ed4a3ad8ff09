//! The agent's own resource usage, under the names that Prometheus client libraries use, from `/proc/self`.

use std::{fs, io, str::FromStr};

use prometheus_client::{
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

use super::time_gauge::unix_seconds;
use crate::sys::clock::ClockSample;

/// Nanoseconds in a second.
const SECOND_NS: u64 = 1_000_000_000;

/// Resource usage of a process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ProcessStats {
    /// CPU time, user and system.
    pub(super) cpu_seconds: f64,
    pub(super) resident_memory_bytes: u64,
    pub(super) virtual_memory_bytes: u64,
    pub(super) threads: u64,
    /// In seconds since 1970.
    pub(super) start_time_seconds: f64,
    /// Open file descriptors.
    pub(super) open_fds: u64,
    /// Their limit; absent if there is none.
    pub(super) max_fds: Option<u64>,
}

impl ProcessStats {
    /// Reads those of this process.
    pub(super) fn read() -> io::Result<Self> {
        let stat = fs::read_to_string("/proc/self/stat")?;
        let stat = Stat::parse(&stat).ok_or(io::ErrorKind::InvalidData)?;
        // One descriptor is that of the directory being listed.
        let open_fds = fs::read_dir("/proc/self/fd")?.count().saturating_sub(1);
        let per_second = clock_ticks_per_second();
        let page_bytes = u64::try_from(page_size()).unwrap_or(4096);
        let started_ns = stat.start_ticks.saturating_mul(SECOND_NS / per_second);
        Ok(Self {
            cpu_seconds: seconds(stat.cpu_ticks, per_second),
            resident_memory_bytes: stat.resident_pages.saturating_mul(page_bytes),
            virtual_memory_bytes: stat.virtual_bytes,
            threads: stat.threads,
            start_time_seconds: unix_seconds(ClockSample::now().time_of(started_ns)),
            open_fds: u64::try_from(open_fds).unwrap_or(u64::MAX),
            max_fds: getrlimit(Resource::Nofile).current,
        })
    }

    /// Registers the values as constants.
    pub(super) fn register(self, registry: &mut Registry) {
        let Self {
            cpu_seconds,
            resident_memory_bytes,
            virtual_memory_bytes,
            threads,
            start_time_seconds,
            open_fds,
            max_fds,
        } = self;
        registry.register(
            "process_cpu_seconds",
            "User and system CPU time spent, in seconds",
            ConstCounter::new(cpu_seconds),
        );
        registry.register(
            "process_start_time_seconds",
            "Start time of the process, in seconds since 1970",
            ConstGauge::new(start_time_seconds),
        );
        let gauges = [
            (
                "resident_memory_bytes",
                "Resident memory size in bytes",
                Some(resident_memory_bytes),
            ),
            (
                "virtual_memory_bytes",
                "Virtual memory size in bytes",
                Some(virtual_memory_bytes),
            ),
            ("threads", "Number of threads", Some(threads)),
            (
                "open_fds",
                "Number of open file descriptors",
                Some(open_fds),
            ),
            (
                "max_fds",
                "Maximum number of open file descriptors",
                max_fds,
            ),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                registry.register(format!("process_{name}"), help, ConstGauge::new(value));
            }
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "ticks are exact for millions of years"
)]
fn seconds(ticks: u64, per_second: u64) -> f64 {
    ticks as f64 / per_second as f64
}

/// Fields of `/proc/PID/stat` (`proc_pid_stat(5)`).
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
        // The comm between the parentheses may contain parentheses itself.
        let (_, fields) = text.rsplit_once(')')?;
        // The first field after the comm is number 3.
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
    fn fields_are_found_after_any_comm() {
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
    fn malformed_text_is_rejected() {
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
        fn any_text_is_parsed_or_rejected(text in ".*") {
            let _ = Stat::parse(&text);
        }
    }

    #[test]
    fn this_process_is_alive_and_started_before_now() {
        let process = ProcessStats::read().expect("read /proc/self");
        assert!(process.resident_memory_bytes > 100_000, "{process:?}");
        assert!(process.virtual_memory_bytes >= process.resident_memory_bytes);
        assert!(process.open_fds >= 3 && process.threads >= 1, "{process:?}");
        let now = unix_seconds(Timestamp::now());
        let age = now - process.start_time_seconds;
        assert!((-1.0..86_400.0).contains(&age), "{age}");
    }
}
