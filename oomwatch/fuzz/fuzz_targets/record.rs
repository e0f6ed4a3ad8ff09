//! Bytes of the ring: every record has an answer, and no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oomwatch::capture::decode::decode;

fuzz_target!(|bytes: &[u8]| {
    let _ = decode(bytes, 4096);
});
