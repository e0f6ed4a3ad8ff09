//! Writes reports to stdout, as text or JSON, if they pass the filters.

use std::io::{self, IsTerminal as _, StdoutLock, Write};

use jiff::Timestamp;

use super::{
    color::{Color, ColorChoice},
    json,
    text::{self, Detail},
};
use crate::model::{
    filter::Filter,
    kill::NonKill,
    report::{Coalesced, GapReport, Report},
};

/// How reports are printed.
#[derive(Clone, Copy, Debug)]
pub struct OutputConfig {
    /// The format.
    pub format: OutputFormat,
    /// When to color the lines.
    pub color: ColorChoice,
    /// Whether the header line is printed first.
    pub has_header: bool,
}

/// Output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// One line per kill.
    Text,
    /// All columns, and non-kill events.
    Wide,
    /// One JSON object per line.
    Json,
}

/// Writes reports.
#[derive(Debug)]
pub struct Printer<W = StdoutLock<'static>> {
    out: W,
    format: OutputFormat,
    color: Color,
    has_header: bool,
    is_dated: bool,
    filter: Filter,
}

impl Printer {
    /// A printer to stdout, which stays locked.
    #[must_use]
    pub fn stdout(config: OutputConfig, filter: Filter) -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        Self::new(stdout.lock(), config, filter, is_terminal)
    }
}

impl<W: Write> Printer<W> {
    /// A printer to any writer.
    pub fn new(out: W, config: OutputConfig, filter: Filter, is_terminal: bool) -> Self {
        let OutputConfig {
            format,
            color,
            has_header,
        } = config;
        Self {
            out,
            format,
            color: Color::new(color, is_terminal),
            has_header,
            is_dated: false,
            filter,
        }
    }

    /// Prints the date in every line, for kills that are not only of today.
    #[must_use]
    pub fn dated(self) -> Self {
        Self {
            is_dated: true,
            ..self
        }
    }

    /// Prints the header line, if the output has one.
    pub fn header(&mut self) -> io::Result<()> {
        if let Some(detail) = self.detail().filter(|_| self.has_header) {
            writeln!(self.out, "{}", text::header(detail))?;
        }
        self.flush()
    }

    /// Whether a kill passes the filters.
    #[must_use]
    pub fn shows(&self, report: &Report) -> bool {
        self.filter.matches(report)
    }

    /// Prints a kill, whether it passes the filters or not.
    pub fn kill(&mut self, report: &Report) -> io::Result<()> {
        let line = match self.detail() {
            Some(detail) => text::kill(report, detail, self.color),
            None => json::kill_to_json(report)?,
        };
        writeln!(self.out, "{line}")
    }

    /// Prints several kills as one record, whether they pass the filters or not.
    pub fn coalesced(&mut self, report: &Report, coalesced: &Coalesced) -> io::Result<()> {
        let line = match self.detail() {
            Some(detail) => text::coalesced(report, coalesced, detail, self.color),
            None => json::coalesced_to_json(report, coalesced)?,
        };
        writeln!(self.out, "{line}")
    }

    /// Prints a non-kill event, in wide output only.
    pub fn non_kill(&mut self, event: &NonKill, time: Option<Timestamp>) -> io::Result<()> {
        if self.format == OutputFormat::Wide {
            writeln!(self.out, "{}", text::non_kill(event, time))?;
        }
        Ok(())
    }

    /// Prints a gap, whatever the filters: its kills may pass them.
    pub fn gap(&mut self, report: &GapReport) -> io::Result<()> {
        let line = match self.detail() {
            Some(detail) => text::gap(report, detail),
            None => json::gap_to_json(report)?,
        };
        writeln!(self.out, "{line}")
    }

    /// Flushes the writer.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// The columns of text output; absent for JSON.
    fn detail(&self) -> Option<Detail> {
        match self.format {
            OutputFormat::Text if self.is_dated => Some(Detail::Dated),
            OutputFormat::Text => Some(Detail::Text),
            OutputFormat::Wide => Some(Detail::Wide),
            OutputFormat::Json => None,
        }
    }
}
