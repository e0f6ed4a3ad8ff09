//! Parses any bytes as the kernel's BTF, and looks up the offsets in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oomwatch::capture::bpf::{btf::Btf, offsets};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(btf) = Btf::parse(bytes) {
        let _ = offsets::find(&btf);
    }
});
