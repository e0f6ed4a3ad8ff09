//! Any bytes as the kernel's BTF.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oomwatch::capture::bpf::{btf::Btf, offsets};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(btf) = Btf::parse(bytes) {
        let _ = offsets::find(&btf);
    }
});
