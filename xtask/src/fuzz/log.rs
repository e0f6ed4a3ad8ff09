//! Parses the log of a fuzz target: its counts, and its failure.
//!
//! Any text is accepted; what is not found is absent.

/// Maximum number of characters of a panic's message; an assertion may hold a whole report.
const MAX_MESSAGE: usize = 600;

/// What libFuzzer reports about a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    /// Number of inputs that were run.
    pub(crate) runs: Option<u64>,
    /// Number of edges of the code that were reached.
    pub(crate) edges: Option<u64>,
    /// Number of all edges of the target's code.
    pub(crate) all_edges: Option<u64>,
    /// Number of inputs that reached new code.
    pub(crate) new_inputs: Option<u64>,
    /// A panic's message, else libFuzzer's.
    pub(crate) failure: Option<String>,
    /// Path of the input that failed.
    pub(crate) input: Option<String>,
}

impl Log {
    pub(crate) fn parse(text: &str) -> Self {
        let mut log = Self::default();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(counters) = line.strip_prefix("INFO: Loaded 1 modules") {
                log.all_edges = number_after(counters, "(");
            } else if line.starts_with('#') {
                log.edges = number_after(line, " cov: ").or(log.edges);
            } else if let Some(value) = line.strip_prefix("stat::number_of_executed_units:") {
                log.runs = value.trim().parse().ok();
            } else if let Some(value) = line.strip_prefix("stat::new_units_added:") {
                log.new_inputs = value.trim().parse().ok();
            } else if line.starts_with("artifact_prefix=") {
                log.input = after(line, "Test unit written to ").map(str::to_owned);
            } else if log.failure.is_some() {
                // libFuzzer's message after a panic is only that a signal ended the process.
            } else if let Some(place) = after(line, " panicked at ") {
                let message = lines.by_ref().take_while(|line| !is_after_panic(line));
                let message = [place].into_iter().chain(message).collect::<Vec<_>>();
                log.failure = Some(printable(&format!("panicked at {}", message.join(" "))));
            } else {
                log.failure = after(line, " ERROR: libFuzzer: ").map(str::to_owned);
            }
        }
        log
    }
}

fn is_after_panic(line: &str) -> bool {
    ["note: run with `RUST_BACKTRACE", "stack backtrace:", "=="]
        .iter()
        .any(|begin| line.starts_with(begin))
}

fn after<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    line.split_once(mark).map(|(_, rest)| rest)
}

fn number_after(line: &str, mark: &str) -> Option<u64> {
    let rest = after(line, mark)?;
    let end = rest.find(|character: char| !character.is_ascii_digit());
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

/// Shortened and without control characters: the input is generated.
fn printable(message: &str) -> String {
    let mut printable = String::new();
    for (place, character) in message.chars().enumerate() {
        if place == MAX_MESSAGE {
            printable.push('…');
            break;
        }
        if character.is_control() {
            printable.extend(character.escape_default());
        } else {
            printable.push(character);
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: &str = "\
INFO: Running with entropic power schedule (0xFF, 100).
INFO: Loaded 1 modules   (1073 inline 8-bit counters): 1073 [0x55793dac2370, 0x55793dac27a1),
INFO: Loaded 1 PC tables (1073 PCs): 1073 [0x55793dac27a8,0x55793dac6ab8),
#3\tINITED cov: 356 ft: 379 corp: 2/3816b exec/s: 0 rss: 27Mb
#2341819\tDONE   cov: 613 ft: 1834 corp: 412/742Kb lim: 4096 exec/s: 146363 rss: 29Mb
Done 2341819 runs in 16 second(s)
stat::number_of_executed_units: 2341819
stat::average_exec_per_sec:     146363
stat::new_units_added:          509
";

    const PANIC: &str = "\
#4484\tNEW    cov: 16 ft: 16 corp: 7/82b lim: 4 exec/s: 0 rss: 27Mb L: 27/27 MS: 1 CMP-

thread '<unnamed>' (32119) panicked at /w/oomwatch/src/kmsg/line.rs:8:86:
index out of bounds: the len is 104
but the index is \u{1b}[31m104
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
==32119== ERROR: libFuzzer: deadly signal
SUMMARY: libFuzzer: deadly signal
artifact_prefix='/t/fuzz/findings/kmsg/'; Test unit written to /t/fuzz/findings/kmsg/crash-2fd4e1c6
Base64: AAA=
stat::number_of_executed_units: 4485
stat::new_units_added:          7
";

    #[test]
    fn run_without_a_finding_has_counts() {
        let log = Log {
            runs: Some(2_341_819),
            edges: Some(613),
            all_edges: Some(1073),
            new_inputs: Some(509),
            failure: None,
            input: None,
        };
        assert_eq!(Log::parse(DONE), log);
    }

    #[test]
    fn panic_message_has_no_control_characters() {
        let log = Log {
            runs: Some(4485),
            edges: Some(16),
            all_edges: None,
            new_inputs: Some(7),
            failure: Some(
                r"panicked at /w/oomwatch/src/kmsg/line.rs:8:86: index out of bounds: the len is 104 but the index is \u{1b}[31m104"
                    .to_owned(),
            ),
            input: Some("/t/fuzz/findings/kmsg/crash-2fd4e1c6".to_owned()),
        };
        assert_eq!(Log::parse(PANIC), log);
    }

    #[test]
    fn failure_without_a_panic_has_the_message_of_libfuzzer() {
        for reason in [
            "timeout after 11 seconds",
            "out-of-memory (used: 735Mb; limit: 512Mb)",
        ] {
            let text = format!("==7== ERROR: libFuzzer: {reason}\nSUMMARY: libFuzzer: x\n");
            assert_eq!(Log::parse(&text).failure.as_deref(), Some(reason));
        }
    }

    #[test]
    fn long_message_is_shortened() {
        let text = format!("thread 'x' panicked at a.rs:1:1:\n{}\n", "ü".repeat(5000));
        let failure = Log::parse(&text).failure.unwrap();
        assert_eq!(failure.chars().count(), MAX_MESSAGE + 1);
        assert!(failure.ends_with("ü…"));
    }

    #[test]
    fn other_text_gives_nothing() {
        for text in [
            "",
            "#",
            "# cov: ",
            "#1 cov: x",
            "#1 cov: 99999999999999999999999",
            "x cov: 7",
            "INFO: Loaded 1 modules",
            "INFO: Loaded 1 modules   (",
            "stat::number_of_executed_units: -1",
            "stat::new_units_added:",
            "artifact_prefix='x'",
            "Test unit written to x",
        ] {
            assert_eq!(Log::parse(text), Log::default(), "{text}");
        }
    }
}
