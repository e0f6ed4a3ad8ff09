//! Decodes any bytes as a record of the ring.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oomwatch::capture::decode::{decode, decode_account};

fuzz_target!(|bytes: &[u8]| {
    let _ = decode(bytes, 4096);
    let _ = decode_account(bytes, 4096);
});
