//! Parses any text as /proc/kallsyms, and interprets a stack with it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oomwatch::capture::bpf::symbols::Symbols;

fuzz_target!(|text: &[u8]| {
    if let Ok(symbols) = Symbols::read(text) {
        let _ = symbols.explain(&[0, 1, u64::MAX, 0xffff_ffff_8120_0350]);
    }
});
