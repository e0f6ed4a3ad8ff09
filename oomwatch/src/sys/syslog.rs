//! The kernel log through `syslog(2)`, which a container needs no device for: only `CAP_SYSLOG`, and that only where
//! `kernel.dmesg_restrict` is set.

use std::io;

/// `SYSLOG_ACTION_READ_ALL` of `include/linux/syslog.h`: all that is there, nothing is taken away.
const READ_ALL: libc::c_int = 3;

/// Reads the newest of the log as text, as many whole records as there is room for; gives its length. A line is
/// `<PRIORITY>[SECONDS.MICROSECONDS] TEXT`, nothing escaped; it has no time where the kernel was told so
/// (`printk.time=0`).
pub fn read_all(room: &mut [u8]) -> io::Result<usize> {
    let length = libc::c_int::try_from(room.len()).unwrap_or(libc::c_int::MAX);
    // SAFETY: the kernel writes at most so many bytes to where so many may be written.
    let read = unsafe { libc::klogctl(READ_ALL, room.as_mut_ptr().cast(), length) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}
