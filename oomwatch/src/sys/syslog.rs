//! Reads the kernel log with `syslog(2)`, which needs no device: only `CAP_SYSLOG`, and that only where
//! `kernel.dmesg_restrict` is set.

use std::io;

/// `SYSLOG_ACTION_READ_ALL` of `include/linux/syslog.h`: reads all records and removes none.
const READ_ALL: libc::c_int = 3;

/// Reads the newest records of the log as text, as many whole ones as fit into `buffer`; returns their length in bytes.
/// A line is `<PRIORITY>[SECONDS.MICROSECONDS] TEXT`, nothing escaped; with `printk.time=0` it has no time.
pub fn read_all(buffer: &mut [u8]) -> io::Result<usize> {
    let length = libc::c_int::try_from(buffer.len()).unwrap_or(libc::c_int::MAX);
    // SAFETY: the kernel writes at most `length` bytes, and `buffer` is valid for writes of that many.
    let read = unsafe { libc::klogctl(READ_ALL, buffer.as_mut_ptr().cast(), length) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}
