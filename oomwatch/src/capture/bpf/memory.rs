//! Limits and allocator settings for loading programs.

use rustix::process::{Resource, Rlimit, setrlimit};
use tracing::debug;

/// Size from which on the allocator maps a block by itself, in bytes: glibc's initial value.
#[cfg(target_env = "gnu")]
const LARGE_BLOCK_BYTES: i32 = 128 << 10;

/// Removes the limit of locked memory, which maps count against before 5.11. A failure is not fatal: root in a container may not
/// raise limits.
pub(super) fn raise_memlock() {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    if let Err(error) = setrlimit(Resource::Memlock, unlimited) {
        debug!(%error, "failed to raise the limit of locked memory");
    }
}

/// Makes the allocator return large blocks to the system as soon as they are freed. By default glibc raises the threshold when
/// the first large block is freed, which is the kernel's BTF, and keeps later ones.
pub(super) fn return_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes two numbers, and only changes how memory is allocated from now on.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES);
    }
}

/// Returns freed memory to the system, so that the memory used for parsing does not stay resident.
pub(super) fn release_unused_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number, and only touches free memory of the allocator.
    unsafe {
        libc::malloc_trim(0);
    }
}
