//! The kernel's own words and counts: its log, and `/proc/vmstat`.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File},
    io::{self, PipeWriter, Read as _, Seek as _, SeekFrom},
    os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _},
    thread::{self, JoinHandle},
};

use rustix::{param::page_size, system::uname};

/// Longest record of the log, with room to spare.
const RECORD_BYTES: usize = 8192;

/// `/dev/kmsg` from the moment it was opened.
pub(crate) struct KernelLog {
    file: File,
    /// Whether records were overwritten before they were read.
    overrun: bool,
}

/// The same, read in a thread of its own, so that it is read before it is overwritten.
pub(crate) struct Followed {
    end: PipeWriter,
    reader: JoinHandle<(KernelLog, Vec<String>)>,
}

impl KernelLog {
    /// Opens it at its end.
    pub(crate) fn open() -> io::Result<Self> {
        let mut file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self {
            file,
            overrun: false,
        })
    }

    /// Reads it from now on.
    pub(crate) fn follow(mut self) -> Followed {
        let (ended, end) = io::pipe().expect("make a pipe");
        let reader = thread::spawn(move || {
            let mut texts = Vec::new();
            let mut polled = [self.file.as_raw_fd(), ended.as_raw_fd()].map(|fd| libc::pollfd {
                fd,
                events: libc::POLLIN,
                revents: 0,
            });
            loop {
                // SAFETY: an array and its length.
                unsafe { libc::poll(polled.as_mut_ptr(), 2, -1) };
                texts.extend(self.texts());
                if polled[1].revents != 0 {
                    return (self, texts);
                }
            }
        });
        Followed { end, reader }
    }

    /// The texts of all records since.
    pub(crate) fn texts(&mut self) -> Vec<String> {
        let mut texts = Vec::new();
        let mut record = [0; RECORD_BYTES];
        loop {
            match self.file.read(&mut record) {
                Ok(length) => {
                    let record = String::from_utf8_lossy(&record[..length]);
                    let text = record.split_once(';').map_or("", |(_, text)| text);
                    texts.push(text.lines().next().unwrap_or_default().to_owned());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return texts,
                // Overrun: the next read goes on with the oldest that is left.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => self.overrun = true,
                Err(error) => panic!("read /dev/kmsg: {error}"),
            }
        }
    }
}

impl Followed {
    /// The texts of all records until now; none if some were overwritten before they were read.
    pub(crate) fn end(self) -> Option<Vec<String>> {
        let Self { end, reader } = self;
        drop(end);
        let (log, texts) = reader.join().expect("read the kernel log");
        (!log.overrun).then_some(texts)
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

/// Victims that the kernel has written a header for, before the line that says that they were killed.
pub(crate) fn killed_by_header(texts: &[String]) -> BTreeSet<u32> {
    texts
        .iter()
        .filter_map(|text| text.strip_prefix("oom-kill:")?.rsplit_once(",pid="))
        .filter_map(|(_, pid)| pid.split(',').next()?.parse().ok())
        .collect()
}

/// Whether a kretprobe on a function hides that function's callers from everyone who takes the kernel's stack: before 5.16
/// (`kretprobe_find_ret_addr` of `kernel/kprobes.c`, `rethook_find_ret_addr` of `kernel/trace/rethook.c` since).
pub(crate) fn kretprobes_hide_callers() -> bool {
    let symbols = fs::read("/proc/kallsyms").expect("read the kernel's symbols");
    !symbols.split(|&byte| byte == b'\n').any(|line| {
        line.ends_with(b" kretprobe_find_ret_addr") || line.ends_with(b" rethook_find_ret_addr")
    })
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

/// A number of `/proc/meminfo`, in bytes.
pub(crate) fn meminfo_bytes(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("read meminfo");
    let kilobytes: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .and_then(|number| number.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in meminfo"));
    kilobytes * 1024
}

/// Pages of memory that a node has; none if there is no such node.
pub(crate) fn node_pages(node: u64) -> Option<u64> {
    let text = fs::read_to_string("/proc/zoneinfo").expect("read zoneinfo");
    let start = format!("Node {node}, zone ");
    let mut pages = None;
    let mut is_node = false;
    for line in text.lines() {
        if line.starts_with("Node ") {
            is_node = line.starts_with(&start);
        } else if is_node && let Some(present) = line.trim_start().strip_prefix("present ") {
            let present: u64 = present.trim().parse().expect("a count of pages");
            pages = Some(pages.unwrap_or(0) + present);
        }
    }
    pages
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

/// The same of files and shared memory: what a thread held back were the pages of 64 faults, and one such fault maps up to
/// 16 (`fault_around_bytes` of `mm/memory.c`).
pub(crate) fn mapped_error_bytes(threads: u64) -> u64 {
    if release() < (6, 2) {
        rss_error_bytes(16 * threads)
    } else {
        rss_error_bytes(threads)
    }
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

/// Whether maps count as locked memory, which a limit holds down: until 5.11.
pub(crate) fn locks_maps() -> bool {
    release() < (5, 11)
}

/// Its version, the first two numbers.
pub(crate) fn release() -> (u32, u32) {
    let name = uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release
        .split(|character: char| !character.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
