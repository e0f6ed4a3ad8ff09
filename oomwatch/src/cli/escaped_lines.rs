//! The writer of the log.

use std::io::{self, Write};

use crate::sys::escape::escape_line;

/// Writes log lines to stderr. Names of files and texts of errors are others' choice: what is not printable is escaped, a line
/// break too. The subscriber writes each event at once.
#[derive(Clone, Copy, Debug)]
pub struct EscapedLines;

impl Write for EscapedLines {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = event.strip_suffix(b"\n").unwrap_or(event);
        let line = escape_line(line) + "\n";
        io::stderr().write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
