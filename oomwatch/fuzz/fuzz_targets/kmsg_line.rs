//! The text of one line of the kernel log: most of what `kmsg` reads, twenty times as often.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oomwatch::capture::kmsg::line;

fuzz_target!(|text: &[u8]| {
    let _ = line::parse(text);
});
