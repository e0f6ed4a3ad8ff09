//! What failing tests say of themselves, kept from the middle of a long output to be said once more at its end.

/// Lines of one test's that are kept.
const LINES_OF_A_TEST: usize = 8;
/// Lines that are kept in all.
const LINES: usize = 40;
/// Characters of a line that are kept.
const COLUMNS: usize = 240;

/// Reads the output of test executables, both the standard harness's and libtest-mimic's, which have the same form:
/// `failures:`, for each test `---- NAME ----` and its words, then `failures:` again over a list of the names.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    lines: Vec<String>,
    is_within: bool,
    of_the_test: usize,
    omitted: usize,
}

impl Failures {
    /// Takes the next line.
    pub(crate) fn take(&mut self, line: &str) {
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

    /// What was said, shortened.
    pub(crate) fn into_lines(self) -> Vec<String> {
        let Self {
            mut lines, omitted, ..
        } = self;
        if omitted > 0 {
            lines.push(format!("({omitted} further lines stand above)"));
        }
        lines
    }
}

/// Says once more, at the end, what was kept.
pub(crate) fn tell(said: &[String]) {
    if !said.is_empty() {
        println!("\nwhat the failed tests said:\n{}", said.join("\n"));
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
            failures.take(line);
        }
        failures.into_lines()
    }

    #[test]
    fn words_of_failed_tests_are_kept_of_either_harness() {
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
    fn passed_or_broken_off_output_is_nothing_wrong() {
        assert_eq!(
            kept("test a ... ok\n\ntest result: ok. 1 passed\n"),
            [""; 0]
        );
        assert_eq!(kept("failures:\n---- a ----\nodd"), ["---- a ----", "odd"]);
    }

    #[test]
    fn much_is_shortened_and_says_so() {
        let long = format!(
            "failures:\n---- a ----\n{}{}",
            "x".repeat(1000),
            "\ny".repeat(10)
        );
        let lines = kept(&long);
        assert_eq!(lines.len(), LINES_OF_A_TEST + 1);
        assert_eq!(lines[1].len(), COLUMNS);
        assert_eq!(lines[LINES_OF_A_TEST], "(4 further lines stand above)");
        let many = format!("failures:\n{}", "---- a ----\nodd\n".repeat(100));
        assert_eq!(kept(&many).len(), LINES + 1);
    }
}
