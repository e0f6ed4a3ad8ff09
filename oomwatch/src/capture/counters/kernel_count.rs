//! The kernel's own count of OOM kills.

use std::path::Path;

use crate::sys::{
    clock,
    proc::{self, HostError},
};

/// Number of attempts to find a pause between kills.
const ATTEMPTS: u32 = 50;

/// `oom_kill` of `/proc/vmstat`, and when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelCount {
    /// Kills and re-kills since boot, of the whole machine.
    pub kills: u64,
    /// Nanoseconds since boot: every earlier kill is in the count.
    pub boot_time_ns: u64,
}

impl KernelCount {
    /// Reads the count.
    pub fn read(proc_root: &Path) -> Result<Self, HostError> {
        let boot_time_ns = clock::since_boot_ns();
        Ok(Self {
            kills: proc::oom_kill_count(proc_root)?,
            boot_time_ns,
        })
    }

    /// The count at a time at which no kill is in progress: all that were counted are recorded, and none that is recorded
    /// later was counted. Absent such a pause, the last count. `read` reads the count, `pause` lasts longer than a kill takes.
    pub fn read_in_pause<E>(
        mut read: impl FnMut() -> Result<Self, E>,
        mut pause: impl FnMut(),
    ) -> Result<Self, E> {
        let mut earlier = read()?;
        for _ in 0..ATTEMPTS {
            pause();
            let count = read()?;
            if count.kills == earlier.kills {
                return Ok(Self {
                    boot_time_ns: earlier.boot_time_ns.midpoint(count.boot_time_ns),
                    ..count
                });
            }
            earlier = count;
        }
        Ok(earlier)
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, convert::Infallible};

    use super::*;

    /// Counts that are read one after the other, ten nanoseconds apart.
    fn read_in_pause(kills: &[u64]) -> (u64, u64) {
        let reads = Cell::new(0);
        let read = || {
            let number = reads.replace(reads.get() + 1);
            Ok::<_, Infallible>(KernelCount {
                kills: kills.get(number).copied().unwrap_or(number as u64),
                boot_time_ns: 10 * number as u64,
            })
        };
        let Ok(count) = KernelCount::read_in_pause(read, || {});
        (count.kills, count.boot_time_ns)
    }

    #[test]
    fn count_is_that_of_the_first_pause() {
        assert_eq!(read_in_pause(&[7, 7, 8]), (7, 5));
        assert_eq!(read_in_pause(&[7, 8, 9, 9, 9]), (9, 25));
    }

    #[test]
    fn storm_without_a_pause_ends_the_search() {
        let last = u64::from(ATTEMPTS);
        assert_eq!(read_in_pause(&[]), (last, 10 * last));
    }
}
