//! What the kernel has of BPF, asked by making one of it.

use std::io;

use aya::{
    maps::MapType,
    sys::{SyscallError, is_map_supported},
};

use super::raise_memlock;

/// Whether the kernel has BPF ring buffers (5.8 and later). `ENOSYS` if it has no `bpf(2)` at all, `EPERM` if it does not
/// tell this process.
pub fn has_ring_buffers() -> io::Result<bool> {
    raise_memlock();
    is_map_supported(MapType::RingBuf).map_err(|SyscallError { call: _, io_error }| io_error)
}
