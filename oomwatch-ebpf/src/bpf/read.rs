//! Reads kernel memory at offsets that the loader has set.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use oomwatch_ebpf::record::ABSENT;
use zerocopy::{FromBytes, IntoBytes};

/// Copies a `T` from `base + offset` to `destination`. Returns 0, or 1 with `destination` zeroed if the read fails: this kernel
/// has no such member, or `base` is null or stale.
///
/// The result is a number so that callers can record a failure without a branch: each branch doubles the number of paths that
/// the verifier walks.
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
    // SAFETY: every bit pattern is a valid `T`. The helper checks the source, and zeroes the destination if the read fails.
    let error = unsafe { bpf_probe_read_kernel(destination, size_of::<T>() as u32, source) };
    (error as u64) >> 63
}

/// As [`read_into`], for what is too large to be zeroed here.
#[inline(always)]
pub(super) fn read_large<T: FromBytes + IntoBytes>(
    destination: &mut T,
    base: u64,
    offset: u32,
) -> u64 {
    let source = if offset == ABSENT {
        0
    } else {
        base.wrapping_add(u64::from(offset))
    };
    let destination = (&raw mut *destination).cast();
    // SAFETY: as in `read_into`.
    let error = unsafe {
        bpf_probe_read_kernel(destination, size_of::<T>() as u32, source as *const c_void)
    };
    (error as u64) >> 63
}

/// Reads a pointer at `base + offset`. Returns 0 if the read fails; reads from address 0 fail in turn.
#[inline(always)]
pub(super) fn read_pointer(base: u64, offset: u32) -> u64 {
    let mut pointer = 0u64;
    read_into(&mut pointer, base, offset);
    pointer
}

/// Reads a number so that LLVM does not know its range. Otherwise LLVM drops masks that the verifiers of 5.10 and 6.1 need.
#[inline(always)]
pub(super) fn opaque(place: &u32) -> u32 {
    // SAFETY: the reference is valid for reads.
    unsafe { core::ptr::read_volatile(place) }
}
