//! Reading kernel memory at an offset that the loader found.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use oomwatch_ebpf::record::ABSENT;
use zerocopy::{FromBytes, IntoBytes};

/// Copies a `T` from `base + offset` to `destination`. 0 if that worked; else 1, and zeroes: this kernel has no such member,
/// or a pointer on the way to it was null or stale.
///
/// A number and not a `bool`, so that a caller can note the failure without a branch: each branch doubles the paths that the
/// verifier walks.
#[inline(always)]
pub(super) fn read_into<T: FromBytes + IntoBytes>(
    destination: &mut T,
    base: u64,
    offset: u32,
) -> u64 {
    if offset == ABSENT {
        destination.zero();
        return 1;
    }
    let source = base.wrapping_add(u64::from(offset)) as *const c_void;
    let destination = (&raw mut *destination).cast();
    // SAFETY: every bit pattern is a `T`; the helper checks the source itself, and zeroes the destination if the read fails.
    let error = unsafe { bpf_probe_read_kernel(destination, size_of::<T>() as u32, source) };
    (error as u64) >> 63
}

/// Reads a pointer at `base + offset`; 0 if it cannot be read, which every further read takes for what it is.
#[inline(always)]
pub(super) fn read_pointer(base: u64, offset: u32) -> u64 {
    let mut pointer = 0u64;
    read_into(&mut pointer, base, offset);
    pointer
}

/// Reads a number so that LLVM cannot know its range: it would drop a mask that the verifier of 5.10 and 6.1 needs to see.
#[inline(always)]
pub(super) fn opaque(place: &u32) -> u32 {
    // SAFETY: a reference.
    unsafe { core::ptr::read_volatile(place) }
}
