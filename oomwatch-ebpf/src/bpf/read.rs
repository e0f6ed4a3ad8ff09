//! Reading kernel memory at an offset that the loader found.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use oomwatch_ebpf::record::ABSENT;
use zerocopy::{FromBytes, IntoBytes};

/// Copies a `T` from `base + offset` to `destination`; false, and zeroes, if this kernel has no such member or the read failed.
#[inline(always)]
pub(super) fn read_into<T: FromBytes + IntoBytes>(
    destination: &mut T,
    base: u64,
    offset: u32,
) -> bool {
    if offset == ABSENT || base == 0 {
        destination.zero();
        return false;
    }
    let source = (base + u64::from(offset)) as *const c_void;
    let destination = (&raw mut *destination).cast();
    // SAFETY: every bit pattern is a `T`; the helper checks the source itself, and zeroes the destination if the read fails.
    unsafe { bpf_probe_read_kernel(destination, size_of::<T>() as u32, source) == 0 }
}

/// Reads a pointer at `base + offset`; 0 if it cannot be read, which every further read takes for what it is.
#[inline(always)]
pub(super) fn read_pointer(base: u64, offset: u32) -> u64 {
    let mut pointer = 0u64;
    read_into(&mut pointer, base, offset);
    pointer
}

/// Hides a value's range from LLVM, which would drop a mask that the verifier of 5.10 and 6.1 needs to see.
#[inline(always)]
pub(super) fn opaque(value: u32) -> u32 {
    // SAFETY: a local.
    unsafe { core::ptr::read_volatile(&raw const value) }
}
