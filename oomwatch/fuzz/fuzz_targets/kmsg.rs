//! Any bytes as a saved kernel log, and as records of `/dev/kmsg`.
#![no_main]

use jiff::{Timestamp, tz::Offset};
use libfuzzer_sys::fuzz_target;
use oomwatch::{
    kmsg::{
        assemble::{Assembler, Found, Trust},
        lines::Lines,
        saved::Saved,
    },
    report::Report,
    sink::json,
};

fuzz_target!(|bytes: &[u8]| {
    let mut lines = Lines::new(bytes);
    let mut saved = Saved::new(Offset::UTC, Timestamp::UNIX_EPOCH);
    let mut assembler = Assembler::new(Trust::Everyone);
    let mut found = Vec::new();
    while let Some(line) = lines.next_line().expect("memory can be read") {
        found.extend(assembler.push(&saved.parse(line)));
    }
    let (last, counts) = assembler.finish();
    found.extend(last);
    assert_eq!(found.len() as u64, counts.kills + counts.rekills);
    for found in found {
        if let Found::Kill(kill) = found {
            let text = json::to_json(&Report::from_log(*kill, None)).expect("serialize");
            assert!(!text.contains(char::is_control), "{text}");
        }
    }
});
