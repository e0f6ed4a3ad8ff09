//! Messages of failed tests, collected from a long output so that they can be printed again at its end.

/// Maximum number of lines for one test.
const LINES_OF_A_TEST: usize = 8;
/// Maximum number of lines in total.
const LINES: usize = 40;
/// Maximum number of characters in a line.
const COLUMNS: usize = 240;

/// Reads the output of test executables, of the standard harness and of libtest-mimic, which have the same form:
/// `failures:`, for each test `---- NAME ----` and its output, then a second `failures:` with a list of the names.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    lines: Vec<String>,
    is_within: bool,
    of_the_test: usize,
    omitted: usize,
}

impl Failures {
    /// Reads the next line.
    pub(crate) fn read_line(&mut self, line: &str) {
        let line = line.trim_end();
        if line == "failures:" {
            self.is_within = !self.is_within;
        } else if line.starts_with("test result: ") {
            self.is_within = false;
        } else if self.is_within && !is_noise(line) {
            self.keep(line);
        }
    }

    fn keep(&mut self, line: &str) {
        if is_head(line) {
            self.of_the_test = 0;
        }
        self.of_the_test += 1;
        if self.of_the_test > LINES_OF_A_TEST || self.lines.len() >= LINES {
            self.omitted += 1;
            return;
        }
        self.lines.push(line.chars().take(COLUMNS).collect());
    }

    /// The messages, shortened.
    pub(crate) fn into_lines(self) -> Vec<String> {
        let Self {
            mut lines, omitted, ..
        } = self;
        if omitted > 0 {
            lines.push(format!("({omitted} more lines above)"));
        }
        lines
    }
}

/// Prints the messages of all failed tests.
pub(crate) fn print(messages: &[String]) {
    if !messages.is_empty() {
        println!("\nmessages of the failed tests:\n{}", messages.join("\n"));
    }
}

fn is_head(line: &str) -> bool {
    line.starts_with("---- ") && line.ends_with(" ----")
}

fn is_noise(line: &str) -> bool {
    line.is_empty() || line.starts_with("note: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(output: &str) -> Vec<String> {
        let mut failures = Failures::default();
        for line in output.lines() {
            failures.read_line(line);
        }
        failures.into_lines()
    }

    #[test]
    fn messages_are_kept_for_both_harnesses() {
        let standard = "running 2 tests
test a ... FAILED
test b ... ok

failures:

---- a stdout ----

thread 'a' panicked at src/lib.rs:1:2:
odd
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace


failures:
    a

test result: FAILED. 1 passed; 1 failed
";
        let words = ["thread 'a' panicked at src/lib.rs:1:2:", "odd"];
        assert_eq!(
            kept(standard),
            [&["---- a stdout ----"][..], &words].concat()
        );
        let mimic = "test a ... FAILED\n\nfailures:\n\n---- a ----\ntest panicked: odd\n\n\nfailures:\n    a\n\n\n\
                     test result: FAILED. 0 passed; 1 failed\n";
        assert_eq!(kept(mimic), ["---- a ----", "test panicked: odd"]);
        assert_eq!(kept(&[mimic, mimic].concat()).len(), 4, "two executables");
    }

    #[test]
    fn passed_or_incomplete_output_is_accepted() {
        assert_eq!(
            kept("test a ... ok\n\ntest result: ok. 1 passed\n"),
            [""; 0]
        );
        assert_eq!(kept("failures:\n---- a ----\nodd"), ["---- a ----", "odd"]);
    }

    #[test]
    fn long_output_is_shortened_with_a_note() {
        let long = format!(
            "failures:\n---- a ----\n{}{}",
            "x".repeat(1000),
            "\ny".repeat(10)
        );
        let lines = kept(&long);
        assert_eq!(lines.len(), LINES_OF_A_TEST + 1);
        assert_eq!(lines[1].len(), COLUMNS);
        assert_eq!(lines[LINES_OF_A_TEST], "(4 more lines above)");
        let many = format!("failures:\n{}", "---- a ----\nodd\n".repeat(100));
        assert_eq!(kept(&many).len(), LINES + 1);
    }
}
