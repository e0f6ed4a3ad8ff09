//! What of the log's numbers depends on the kernel's release.

use bstr::ByteSlice as _;

use crate::capture::{kmsg::number::parse_number, percpu_counter};

/// CPUs of a machine whose number is not known.
const UNKNOWN_CPUS: u64 = 64;

/// Major and minor number of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct KernelRelease {
    major: u32,
    minor: u32,
}

impl KernelRelease {
    /// Parses `6.18.44-fc`.
    pub(in super::super) fn parse(text: &[u8]) -> Option<Self> {
        let (major, rest) = text.split_once_str(b".")?;
        let digits = rest.find_not_byteset(b"0123456789").unwrap_or(rest.len());
        let numbers = !major.is_empty() && digits > 0;
        numbers.then_some(())?;
        Some(Self {
            major: parse_number(major)?,
            minor: parse_number(&rest[..digits])?,
        })
    }

    /// By how much the resident memory of a process may be off in the task table; 0 if the table has exact sums.
    ///
    /// Up to 6.1 a thread keeps up to 64 pages to itself (`TASK_RSS_EVENTS_THRESH` of `mm/memory.c`): the bound is that of a process
    /// with one thread. From 6.2 to 6.19 each CPU keeps up to `percpu_counter_batch`, which is the larger of 32 and twice
    /// the number of CPUs; RHEL 9 has that in its 5.14. The log does not state the number of CPUs: where the machine is not known, 64 are
    /// assumed. 7.0 and later sum the CPUs (`get_mm_counter_sum` in `dump_task`).
    pub(super) fn rss_error_bytes(
        release: Option<Self>,
        cpus: Option<u64>,
        page_bytes: u64,
    ) -> u64 {
        let (major, minor) = release.map_or((6, 2), |Self { major, minor }| (major, minor));
        let pages = match (major, minor) {
            (7.., _) => 0,
            (6, 2..) | (5, 14) => percpu_counter::error(cpus.unwrap_or(UNKNOWN_CPUS)),
            _ => 64,
        };
        pages.saturating_mul(page_bytes)
    }

    /// Whether `oom_badness` takes 3 % off the points of processes with `CAP_SYS_ADMIN`: before 4.17.
    pub(super) fn has_root_bonus(self) -> bool {
        let Self { major, minor } = self;
        (major, minor) < (4, 17)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_of_resident_memory_follows_the_release() {
        let mib = 1 << 20;
        for (release, cpus, expected) in [
            ("3.10.0-1160.el7.x86_64", None, mib / 4),
            ("6.1.0-46-amd64", None, mib / 4),
            ("5.14.0-503.el9.x86_64", Some(2), mib / 4),
            ("6.18.44", Some(2), mib / 4),
            ("6.2.0", Some(64), 32 * mib),
            ("6.12.1", Some(256), 512 * mib),
            ("6.12.1", None, 32 * mib),
            ("7.0.1", None, 0),
            ("10.3", Some(256), 0),
        ] {
            let release = KernelRelease::parse(release.as_bytes());
            assert!(release.is_some());
            assert_eq!(
                KernelRelease::rss_error_bytes(release, cpus, 4096),
                expected,
                "{release:?}"
            );
        }
        assert_eq!(KernelRelease::rss_error_bytes(None, None, 4096), 32 * mib);
    }

    #[test]
    fn malformed_releases_are_refused() {
        for text in ["", "6", ".", "6.", ".6", "x.1", "6.x", "99999999999.1"] {
            assert_eq!(KernelRelease::parse(text.as_bytes()), None, "{text}");
        }
    }
}
