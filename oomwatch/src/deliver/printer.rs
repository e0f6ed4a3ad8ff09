//! Writes reports to stdout, as text or JSON, if they pass the filters.

use std::io::{self, IsTerminal as _, StdoutLock, Write};

use jiff::{Timestamp, tz::TimeZone};
use rustix::{param::page_size, termios::tcgetwinsize};

use super::{
    color::{Color, ColorChoice},
    explain::{self, Page, html},
    json,
    text::{Selection, Style, Table, columns::Column},
};
use crate::model::{
    filter::Filter,
    kill::NonKill,
    report::{Coalesced, GapReport, Report},
};

/// How reports are printed.
#[derive(Clone, Debug)]
pub struct OutputConfig {
    /// The format.
    pub format: OutputFormat,
    /// The columns of text output, where they are chosen.
    pub columns: Option<Vec<Column>>,
    /// Time zone of text output.
    pub zone: TimeZone,
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
    /// More columns, and non-kill events.
    Wide,
    /// One JSON object per line.
    Json,
    /// A page for each kill.
    Page,
    /// The same as one HTML document.
    Html,
}

/// Writes reports.
#[derive(Debug)]
pub struct Printer<W = StdoutLock<'static>> {
    out: W,
    /// Absent for JSON.
    table: Option<Table>,
    format: OutputFormat,
    color: Color,
    has_header: bool,
    terminal: Option<Terminal>,
    filter: Filter,
}

impl Printer {
    /// A printer to stdout, which stays locked.
    #[must_use]
    pub fn stdout(config: OutputConfig, filter: Filter) -> Self {
        let stdout = io::stdout();
        Self::new(stdout.lock(), config, filter, Terminal::stdout())
    }
}

/// A terminal that shows what is printed.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// Returns the width; absent where it is not known, as on a serial console. Called for each line: people resize windows.
    width: fn() -> Option<usize>,
}

impl Terminal {
    /// The terminal that stdout is, if it is one.
    #[must_use]
    pub fn stdout() -> Option<Self> {
        let width = || {
            let size = tcgetwinsize(io::stdout()).ok()?;
            (size.ws_col > 0).then(|| size.ws_col.into())
        };
        io::stdout().is_terminal().then_some(Self { width })
    }
}

impl<W: Write> Printer<W> {
    /// A printer to any writer.
    pub fn new(out: W, config: OutputConfig, filter: Filter, terminal: Option<Terminal>) -> Self {
        let OutputConfig {
            format,
            columns,
            zone,
            color,
            has_header,
        } = config;
        let selection = match (format, columns) {
            (OutputFormat::Json | OutputFormat::Page | OutputFormat::Html, _) => None,
            (_, Some(columns)) => Some(Selection::Chosen(columns)),
            (OutputFormat::Text, None) => Some(Selection::Text),
            (OutputFormat::Wide, None) => Some(Selection::Wide),
        };
        let color = Color::new(color, terminal.is_some());
        let table = selection.map(|selection| {
            Table::new(Style {
                selection,
                zone,
                color,
                page_bytes: u64::try_from(page_size()).unwrap_or(4096),
            })
        });
        Self {
            out,
            table,
            format,
            color,
            has_header,
            terminal,
            filter,
        }
    }

    fn width(&self) -> Option<usize> {
        (self.terminal?.width)()
    }

    /// Prints the header line, if the output has one.
    pub fn header(&mut self) -> io::Result<()> {
        if let Some(table) = self.table.as_ref().filter(|_| self.has_header) {
            writeln!(self.out, "{}", table.header(self.width()))?;
        }
        if self.format == OutputFormat::Html {
            self.out.write_all(html::HEAD.as_bytes())?;
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
        let width = self.width();
        let lines = match &mut self.table {
            Some(table) => table.kill(report, width),
            None => self.record(json::kill_to_json(report)?),
        };
        writeln!(self.out, "{lines}")
    }

    /// Prints several kills as one record, whether they pass the filters or not.
    pub fn coalesced(&mut self, report: &Report, coalesced: &Coalesced) -> io::Result<()> {
        let width = self.width();
        let lines = match &mut self.table {
            Some(table) => table.coalesced(report, coalesced, width),
            None => self.record(json::coalesced_to_json(report, coalesced)?),
        };
        writeln!(self.out, "{lines}")
    }

    /// Prints a non-kill event, in wide output only.
    pub fn non_kill(&mut self, event: &NonKill, time: Option<Timestamp>) -> io::Result<()> {
        let width = self.width();
        if let (OutputFormat::Wide, Some(table)) = (self.format, &mut self.table) {
            writeln!(self.out, "{}", table.non_kill(event, time, width))?;
        }
        Ok(())
    }

    /// Prints a gap, whatever the filters: its kills may pass them.
    pub fn gap(&mut self, report: &GapReport) -> io::Result<()> {
        let width = self.width();
        let lines = match &mut self.table {
            Some(table) => table.gap(report, width),
            None => self.record(json::gap_to_json(report)?),
        };
        writeln!(self.out, "{lines}")
    }

    /// What is printed for a JSON record: itself, or its page.
    fn record(&self, json: String) -> String {
        let page = || Page::from_record(&serde_json::from_str(&json).ok()?);
        let page = match self.format {
            OutputFormat::Page => page().map(|page| {
                let width = self.width().unwrap_or(explain::text::WIDTH);
                explain::text::to_text(&page, width, self.color)
            }),
            OutputFormat::Html => page().map(|page| html::to_html(&page)),
            _ => None,
        };
        page.unwrap_or(json)
    }

    /// Prints a JSON record, which may be another oomwatch's. False if it has no page.
    pub fn foreign(&mut self, record: &serde_json::Value) -> io::Result<bool> {
        let known = Page::from_record(record).is_some();
        if known {
            let text = self.record(record.to_string());
            writeln!(self.out, "{text}")?;
        }
        Ok(known)
    }

    /// Flushes the writer.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
