//! Reads the victim's arguments while it still exists. Only done with `--cmdline`: arguments may contain secrets.
//!
//! The read takes a lock of the dying process, which may be held for long. So a thread does it, and the caller abandons
//! that thread after a short timeout.

use std::{
    fs::{self, File},
    io::Read as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use bstr::ByteSlice as _;

/// How long a kill waits for its victim's arguments.
const TIMEOUT: Duration = Duration::from_millis(5);

/// Most threads that run at once; with that many nothing is read.
const MAX_THREADS: usize = 8;

/// Longest command line that is read; a longer one is cut.
const MAX_BYTES: usize = 64 * 1024;

/// One tick of `USER_HZ`, the unit of times in `/proc/PID/stat`: 100 Hz on all architectures that run BPF.
pub(crate) const TICK_NS: u64 = 10_000_000;

/// Reads the arguments of victims.
#[derive(Debug)]
pub struct Reader {
    proc_root: Arc<Path>,
    threads: Arc<AtomicUsize>,
}

impl Reader {
    /// `proc_root` is the host's `/proc`.
    #[must_use]
    pub fn new(proc_root: &Path) -> Self {
        Self {
            proc_root: proc_root.into(),
            threads: Arc::default(),
        }
    }

    /// The arguments; absent if the process is gone, if its id is another process's by now, and after the timeout.
    #[must_use]
    pub fn read(&self, pid: u32, start_ns: u64) -> Option<Vec<Vec<u8>>> {
        if self.threads.fetch_add(1, Ordering::Relaxed) >= MAX_THREADS {
            self.threads.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let (proc_root, threads) = (self.proc_root.clone(), self.threads.clone());
        let (sender, receiver) = mpsc::sync_channel(1);
        let spawned = thread::Builder::new()
            .name("cmdline".into())
            .spawn(move || {
                let arguments = read(&proc_root.join(pid.to_string()), start_ns);
                threads.fetch_sub(1, Ordering::Relaxed);
                // The receiver is gone after the timeout.
                let _ = sender.send(arguments);
            });
        if spawned.is_err() {
            self.threads.fetch_sub(1, Ordering::Relaxed);
        }
        receiver.recv_timeout(TIMEOUT).ok().flatten()
    }
}

fn read(process: &Path, start_ns: u64) -> Option<Vec<Vec<u8>>> {
    let mut buffer = vec![0; MAX_BYTES];
    // One call: the victim's memory may be released before a second one.
    let length = File::open(process.join("cmdline"))
        .and_then(|mut cmdline| cmdline.read(&mut buffer))
        .ok()?;
    let stat = fs::read(process.join("stat")).ok()?;
    if start_ticks(&stat)? != start_ns / TICK_NS {
        return None;
    }
    let bytes = &buffer[..length];
    // The kernel ends the last argument with a NUL, unless memory is released while it copies.
    let arguments = match bytes.strip_suffix(&[0]) {
        Some(arguments) => arguments,
        None if length == MAX_BYTES => bytes,
        None => return None,
    };
    Some(
        arguments
            .split(|&byte| byte == 0)
            .map(<[u8]>::to_vec)
            .collect(),
    )
}

/// Field 22 of `/proc/PID/stat`, in ticks since boot. The name in field 2 may contain spaces and parentheses.
pub(crate) fn start_ticks(stat: &[u8]) -> Option<u64> {
    let name_end = stat.rfind_byte(b')')?;
    let field = stat
        .get(name_end + 2..)?
        .split(|&byte| byte == b' ')
        .nth(19)?;
    str::from_utf8(field).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "42 (a) b) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123 456 7 8";

    fn process(stat: &str, cmdline: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("temporary folder");
        fs::write(folder.path().join("stat"), stat).expect("write stat");
        fs::write(folder.path().join("cmdline"), cmdline).expect("write cmdline");
        folder
    }

    #[test]
    fn arguments_may_be_empty_or_contain_any_byte() {
        let process = process(STAT, b"tail\0\0/dev/\xff\0");
        let expected = vec![b"tail".to_vec(), b"".to_vec(), b"/dev/\xff".to_vec()];
        assert_eq!(read(process.path(), 1_239_999_999), Some(expected));
    }

    #[test]
    fn process_with_another_start_time_is_not_the_victim() {
        assert_eq!(read(process(STAT, b"tail\0").path(), 1_220_000_000), None);
    }

    #[test]
    fn arguments_cut_by_the_release_of_memory_are_absent() {
        for cmdline in [&b""[..], b"tail\0/dev/z"] {
            assert_eq!(
                read(process(STAT, cmdline).path(), 1_230_000_000),
                None,
                "{cmdline:?}"
            );
        }
    }

    #[test]
    fn command_line_longer_than_the_limit_is_cut() {
        let process = process(STAT, &vec![b'a'; MAX_BYTES + 9]);
        let arguments = read(process.path(), 1_230_000_000).expect("arguments");
        assert_eq!(arguments, [vec![b'a'; MAX_BYTES]]);
    }

    #[test]
    fn malformed_stat_gives_nothing() {
        for stat in [
            "",
            "42",
            "42 (a)",
            "42 (a) S 1",
            "42 (a) S 1 42 42 0 -1 1 1 2 3 4 5 6 7 8 20 0 1 0 x",
        ] {
            assert_eq!(read(process(stat, b"tail\0").path(), 0), None, "{stat:?}");
        }
    }
}
