//! Reports to stdout, in the form that was asked for and as far as they pass the filters.

use std::io::{self, IsTerminal as _, StdoutLock, Write};

use jiff::Timestamp;

use super::json;
use crate::deliver::text::{self, Detail};
use crate::{
    deliver::color::{Color, ColorChoice},
    model::{
        filter::Filter,
        kill::NonKill,
        report::{Coalesced, GapReport, Report},
    },
};

/// How reports are printed.
#[derive(Clone, Copy, Debug)]
pub struct OutputConfig {
    /// The format.
    pub format: OutputFormat,
    /// When to color the lines.
    pub color: ColorChoice,
    /// Whether the column titles are printed first.
    pub has_header: bool,
}

/// Output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// One line per kill.
    Text,
    /// All columns, and events that are no kills.
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
    /// To stdout, which is locked.
    #[must_use]
    pub fn stdout(config: OutputConfig, filter: Filter) -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        Self::new(stdout.lock(), config, filter, is_terminal)
    }
}

impl<W: Write> Printer<W> {
    /// To anything, which may be a terminal.
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

    /// With the date in every line, since the kills are not of today alone.
    #[must_use]
    pub fn dated(self) -> Self {
        Self {
            is_dated: true,
            ..self
        }
    }

    /// The columns' titles, where there are columns.
    pub fn header(&mut self) -> io::Result<()> {
        if let Some(detail) = self.detail().filter(|_| self.has_header) {
            writeln!(self.out, "{}", text::header(detail))?;
        }
        self.flush()
    }

    /// Whether a kill is to be shown.
    #[must_use]
    pub fn shows(&self, report: &Report) -> bool {
        self.filter.matches(report)
    }

    /// A kill, whether it passes the filters or not.
    pub fn kill(&mut self, report: &Report) -> io::Result<()> {
        let line = match self.detail() {
            Some(detail) => text::kill(report, detail, self.color),
            None => json::to_json(report)?,
        };
        writeln!(self.out, "{line}")
    }

    /// Many kills by the last one's report, whether it passes the filters or not.
    pub fn many(&mut self, report: &Report, many: &Coalesced) -> io::Result<()> {
        let line = match self.detail() {
            Some(detail) => text::many(report, many, detail, self.color),
            None => json::many_to_json(report, many)?,
        };
        writeln!(self.out, "{line}")
    }

    /// What is not a kill, in the output that has it.
    pub fn aside(&mut self, aside: &NonKill, time: Option<Timestamp>) -> io::Result<()> {
        if self.format == OutputFormat::Wide {
            writeln!(self.out, "{}", text::aside(aside, time))?;
        }
        Ok(())
    }

    /// Kills that were only counted, whatever the filters: any of them may pass.
    pub fn gap(&mut self, report: &GapReport) -> io::Result<()> {
        let line = match self.detail() {
            Some(detail) => text::gap(report, detail),
            None => json::gap_to_json(report)?,
        };
        writeln!(self.out, "{line}")
    }

    /// Shows what was written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// How much a line says; absent for JSON.
    fn detail(&self) -> Option<Detail> {
        match self.format {
            OutputFormat::Text if self.is_dated => Some(Detail::Dated),
            OutputFormat::Text => Some(Detail::Text),
            OutputFormat::Wide => Some(Detail::Wide),
            OutputFormat::Json => None,
        }
    }
}
