//! Finds out what the kernel's BPF supports, by creating one of it.

use std::io;

use aya::{
    maps::MapType,
    sys::{SyscallError, is_map_supported},
};

use super::memory::raise_memlock;

/// Whether the kernel has BPF ring buffers (5.8 and later). `ENOSYS` if it has no `bpf(2)` at all, `EPERM` if this process
/// may not create maps.
pub fn has_ring_buffers() -> io::Result<bool> {
    raise_memlock();
    is_map_supported(MapType::RingBuf).map_err(|SyscallError { call: _, io_error }| io_error)
}
