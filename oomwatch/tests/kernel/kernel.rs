//! The kernel's own words and counts: its log, and `/proc/vmstat`.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
};

use rustix::{param::page_size, system::uname};

/// Longest record of the log, with room to spare.
const RECORD_BYTES: usize = 8192;

/// `/dev/kmsg` from the moment it was opened.
pub(crate) struct KernelLog(File);

impl KernelLog {
    /// Opens it at its end.
    pub(crate) fn open() -> io::Result<Self> {
        let mut file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self(file))
    }

    /// The texts of all records since.
    pub(crate) fn texts(&mut self) -> Vec<String> {
        let mut texts = Vec::new();
        let mut record = [0; RECORD_BYTES];
        loop {
            match self.0.read(&mut record) {
                Ok(length) => {
                    let record = String::from_utf8_lossy(&record[..length]);
                    let text = record.split_once(';').map_or("", |(_, text)| text);
                    texts.push(text.lines().next().unwrap_or_default().to_owned());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return texts,
                // Overrun: older records than ours were dropped.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(error) => panic!("read /dev/kmsg: {error}"),
            }
        }
    }
}

/// The numbers behind `Killed process PID (comm) `, by their names in the log.
pub(crate) fn killed_line(texts: &[String], pid: u32, comm: &str) -> Option<HashMap<String, i64>> {
    let start = format!("Killed process {pid} ({comm}) ");
    let numbers = texts
        .iter()
        .find_map(|text| text.split_once(&start).map(|(_, numbers)| numbers))?;
    Some(
        numbers
            .split([' ', ','])
            .filter_map(|number| number.split_once(':'))
            .map(|(name, value)| {
                let value = value.trim_end_matches("kB").parse();
                (name.to_owned(), value.expect("a number of the kernel's"))
            })
            .collect(),
    )
}

/// The cgroups of an `oom-kill:` line, of which there are ten in five seconds at most: whose limit, and the victim's.
pub(crate) fn oom_kill_line(texts: &[String], pid: u32) -> Option<(String, String)> {
    let line = texts
        .iter()
        .find(|text| text.starts_with("oom-kill:") && text.contains(&format!(",pid={pid},")))?;
    let (_, cgroups) = line.split_once(",oom_memcg=")?;
    let (oom, rest) = cgroups.split_once(",task_memcg=")?;
    let (task, _) = rest.split_once(",task=")?;
    Some((oom.to_owned(), task.to_owned()))
}

/// `oom_kill` of `/proc/vmstat`: every kill and re-kill of the machine since boot.
pub(crate) fn oom_kill_count() -> u64 {
    let text = fs::read_to_string("/proc/vmstat").expect("read vmstat");
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .expect("a line oom_kill")
        .parse()
        .expect("a number")
}

/// How far a resident size can be off: what CPUs hold back from a per-CPU counter (6.2 and later, `lib/percpu_counter.c`),
/// and what a thread held back before (`TASK_RSS_EVENTS_THRESH` of `mm/memory.c`).
pub(crate) fn rss_error_bytes(threads: u64) -> u64 {
    // SAFETY: takes a number.
    let cpus = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    let cpus = u64::try_from(cpus).expect("a count of CPUs");
    let per_cpu = cpus * (2 * cpus).max(32);
    (per_cpu + 64 * threads) * page_bytes()
}

/// How far the log's resident sizes can be from a record's: from 7.0 the log has the exact sum, before it the same count.
pub(crate) fn log_error_bytes() -> u64 {
    if release() >= (7, 0) {
        rss_error_bytes(0)
    } else {
        0
    }
}

/// The machine's page size.
pub(crate) fn page_bytes() -> u64 {
    page_size() as u64
}

fn release() -> (u32, u32) {
    let name = uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release
        .split(|character: char| !character.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
