//! What the machine says of itself in `/proc`: its name, its boot, and the kernel's own count of OOM kills.

use std::{
    fs::{self, File},
    io::{self, BufReader},
    path::{Path, PathBuf},
};

use rustix::system::uname;

use crate::{
    capture::bpf::symbols::{Symbols, SymbolsError},
    model::report::Host,
};

/// A file of `/proc` that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("read {}", .path.display())]
pub struct HostError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Who this is. `node` is the name to report, by default the host's.
pub fn host(proc_root: &Path, node: Option<String>) -> Result<Host, HostError> {
    let boot_id = read(&proc_root.join("sys/kernel/random/boot_id"))?;
    let hostname = || uname().nodename().to_string_lossy().into_owned();
    Ok(Host {
        node: node
            .filter(|name| !name.is_empty())
            .unwrap_or_else(hostname),
        boot_id: boot_id.trim().replace('-', ""),
    })
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

/// Where the OOM killer's functions lie.
pub fn symbols(proc_root: &Path) -> Result<Symbols, SymbolsError> {
    Symbols::read(BufReader::with_capacity(
        1 << 16,
        File::open(proc_root.join("kallsyms"))?,
    ))
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
