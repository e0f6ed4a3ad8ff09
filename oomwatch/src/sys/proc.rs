//! Files of `/proc`: the boot id, the kernel's count of OOM kills; and the host's name.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::system::uname;

/// A file of `/proc` that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("read {}", .path.display())]
pub struct HostError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The id of this boot (`/proc/sys/kernel/random/boot_id`), without dashes.
pub fn boot_id(proc_root: &Path) -> Result<String, HostError> {
    let text = read(&proc_root.join("sys/kernel/random/boot_id"))?;
    Ok(text.trim().replace('-', ""))
}

/// The host's name.
#[must_use]
pub fn hostname() -> String {
    uname().nodename().to_string_lossy().into_owned()
}

/// `oom_kill` of `/proc/vmstat`: every kill and re-kill since boot, of the whole machine. Since 4.13.
pub fn oom_kill_count(proc_root: &Path) -> Result<u64, HostError> {
    let path = proc_root.join("vmstat");
    let text = read(&path)?;
    parse_oom_kill(&text).ok_or_else(|| HostError {
        path,
        source: io::Error::new(io::ErrorKind::InvalidData, "no line oom_kill with a number"),
    })
}

fn read(path: &Path) -> Result<String, HostError> {
    fs::read_to_string(path).map_err(|source| HostError {
        path: path.to_owned(),
        source,
    })
}

/// The number behind `oom_kill` in a list of names and numbers.
pub(crate) fn parse_oom_kill(text: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_of_vmstat_is_found_among_its_likes() {
        for (text, count) in [
            ("pgfault 7\noom_kill 42\n", Some(42)),
            ("oom_kill_x 1\noom_kill 3", Some(3)),
            ("oom_kill \n", None),
            ("oom_kill -1\n", None),
            ("oom_kill 1 2\n", None),
            ("", None),
        ] {
            assert_eq!(parse_oom_kill(text), count, "{text:?}");
        }
    }

    #[test]
    fn missing_file_is_named() {
        let error = oom_kill_count(Path::new("/nonexistent")).expect_err("no such folder");
        assert_eq!(error.to_string(), "read /nonexistent/vmstat");
    }
}
