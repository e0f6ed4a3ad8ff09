//! Each kill as a line of JSON on stdout, for whoever collects the logs of containers.

use std::io::{self, StdoutLock, Write};

use tracing::warn;

use crate::{
    report::{GapReport, Report},
    sink::json::{gap_to_json, to_json},
};

/// Writes lines, as long as somebody takes them.
#[derive(Debug)]
pub(super) struct Lines<W = StdoutLock<'static>> {
    out: Option<W>,
}

impl Lines {
    /// To stdout, or to nobody.
    pub(super) fn stdout(is_on: bool) -> Self {
        Self {
            out: is_on.then(|| io::stdout().lock()),
        }
    }
}

impl<W: Write> Lines<W> {
    /// A kill.
    pub(super) fn kill(&mut self, report: &Report) {
        self.write(|| to_json(report));
    }

    /// Kills that were only counted.
    pub(super) fn gap(&mut self, report: &GapReport) {
        self.write(|| gap_to_json(report));
    }

    /// The agent has other ways to tell of a kill: that nobody reads here does not end it.
    fn write(&mut self, line: impl FnOnce() -> serde_json::Result<String>) {
        let Some(out) = &mut self.out else {
            return;
        };
        let written = line()
            .map_err(io::Error::from)
            .and_then(|line| writeln!(out, "{line}"))
            .and_then(|()| out.flush());
        if let Err(error) = written {
            warn!(%error, "write to stdout: kills are not written there any more");
            self.out = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    /// Takes so many lines.
    struct Reader(Vec<u8>, usize);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.split(|&byte| byte == b'\n').count() > self.1 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn reader_that_is_gone_is_no_end() {
        let mut lines = Lines {
            out: Some(Reader(Vec::new(), 2)),
        };
        lines.kill(&testing::report());
        lines.gap(&testing::gap_report());
        let written = String::from_utf8(lines.out.as_ref().expect("a reader").0.clone());
        let written = written.expect("text");
        assert_eq!(written.lines().count(), 2);
        for line in written.lines() {
            let parsed: serde_json::Value = serde_json::from_str(line).expect("an object");
            assert_eq!(parsed["schema"], "oomwatch/v1");
        }
        lines.kill(&testing::report());
        assert!(lines.out.is_none());
        lines.kill(&testing::report());
    }
}
