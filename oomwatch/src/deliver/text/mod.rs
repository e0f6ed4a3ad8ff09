//! Text output: a table with one line per record. On a terminal its lines are as wide as the terminal, and the date has a
//! line of its own. Untrusted bytes are escaped.

mod cells;
pub mod columns;
pub(super) mod fit;
pub mod size;

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use self::{
    cells::{Context, Row},
    columns::{Column, TEXT, WIDE},
    fit::Fitted,
};
use crate::{
    deliver::color::Color,
    model::{
        kill::{MainProcess, NonKill, Scope},
        report::{Coalesced, GapReport, Report},
    },
};

/// Blanks before a note or a cause that has lines of its own.
const INDENT: usize = 10;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const RESET: &str = "\x1b[0m";

/// Which columns a table has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Few enough for a terminal of 80 columns; a narrower one gets fewer.
    Text,
    /// All that describe a kill, in full width.
    Wide,
    /// These.
    Chosen(Vec<Column>),
}

/// What the lines of a table look like.
#[derive(Clone, Debug)]
pub struct Style {
    /// Which columns there are.
    pub selection: Selection,
    /// Time zone of the times.
    pub zone: TimeZone,
    /// Whether lines have color.
    pub color: Color,
    /// Size of a page of this machine's memory.
    pub page_bytes: u64,
}

/// Makes the lines of a table, in their order: a date is a line where it changes.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Column>,
    is_chosen: bool,
    is_wide: bool,
    context: Context,
    color: Color,
    last_date: Option<Date>,
    last_incident: Option<String>,
}

impl Table {
    /// A table without lines.
    #[must_use]
    pub fn new(style: Style) -> Self {
        let Style {
            selection,
            zone,
            color,
            page_bytes,
        } = style;
        Self {
            is_chosen: matches!(selection, Selection::Chosen(_)),
            is_wide: selection == Selection::Wide,
            columns: match selection {
                Selection::Text => TEXT.to_vec(),
                Selection::Wide => WIDE.to_vec(),
                Selection::Chosen(columns) => columns,
            },
            context: Context {
                zone,
                page_bytes,
                is_brief: false,
            },
            color,
            last_date: None,
            last_incident: None,
        }
    }

    /// The titles. `width` is the terminal's; absent where there is none.
    #[must_use]
    pub fn header(&self, width: Option<usize>) -> String {
        match self.fitted(width) {
            Some((fitted, width)) => {
                let titles: Vec<_> = fitted
                    .iter()
                    .map(|(column, _)| column.brief_title().to_owned())
                    .collect();
                fit::line(&fitted, &titles, width)
            }
            None => self.padded(|column| column.title().to_owned()),
        }
    }

    /// The lines of a kill.
    #[must_use]
    pub fn kill(&mut self, report: &Report, width: Option<usize>) -> String {
        self.kills(report, None, width)
    }

    /// The lines of several kills: the last one's, with their number.
    #[must_use]
    pub fn coalesced(
        &mut self,
        report: &Report,
        coalesced: &Coalesced,
        width: Option<usize>,
    ) -> String {
        self.kills(report, Some(coalesced), width)
    }

    fn kills(
        &mut self,
        report: &Report,
        coalesced: Option<&Coalesced>,
        width: Option<usize>,
    ) -> String {
        let continues =
            coalesced.is_none() && self.last_incident.as_ref() == Some(&report.incident);
        self.last_incident = Some(report.incident.clone());
        let row = Row::Kill {
            report,
            coalesced,
            continues,
        };
        let style = match (report.kill.scope, report.main_process) {
            (Scope::System, _) => RED,
            (_, MainProcess::Yes) => BOLD,
            _ => "",
        };
        self.lines(row, style, width)
    }

    /// The lines of a non-kill event.
    #[must_use]
    pub fn non_kill(
        &mut self,
        event: &NonKill,
        time: Option<Timestamp>,
        width: Option<usize>,
    ) -> String {
        self.lines(Row::NonKill { event, time }, "", width)
    }

    /// The lines of a gap.
    #[must_use]
    pub fn gap(&mut self, report: &GapReport, width: Option<usize>) -> String {
        self.lines(Row::Gap(report), "", width)
    }

    fn lines(&mut self, row: Row<'_>, style: &str, width: Option<usize>) -> String {
        let Some((fitted, width)) = self.fitted(width) else {
            return self.styled(style, &self.padded(|column| self.context.cell(column, row)));
        };
        let context = Context {
            is_brief: true,
            ..self.context.clone()
        };
        let mut lines = Vec::new();
        if let Some(time) = row.time() {
            let zoned = time.to_zoned(context.zone.clone());
            if self.last_date.replace(zoned.date()) != Some(zoned.date()) {
                let date = zoned.strftime("%Y-%m-%d, UTC%:z").to_string();
                lines.push(self.styled(DIM, &fit::cut_end(&date, width)));
            }
        }
        let cells: Vec<String> = fitted
            .iter()
            .map(|(column, _)| context.cell(*column, row))
            .collect();
        lines.push(self.styled(style, &fit::line(&fitted, &cells, width)));
        // Further victims of an incident are marked in their line.
        let continues = matches!(
            row,
            Row::Kill {
                continues: true,
                ..
            }
        );
        let has_room = |free: &Column| fitted.iter().any(|(column, _)| column == free);
        let free = self.columns.iter().filter(|column| column.is_free());
        for column in free.filter(|column| !continues && !has_room(column)) {
            let text = context.cell(*column, row);
            let room = width.saturating_sub(INDENT);
            let parts = match column {
                Column::Cause => fit::wrap(&text, room),
                _ => vec![fit::cut_end(&text, room)],
            };
            for part in parts.iter().filter(|part| !part.is_empty()) {
                lines.push(self.styled(style, &format!("{:INDENT$}{part}", "")));
            }
        }
        lines.join("\n")
    }

    /// The columns on a terminal, and its width; absent where the table is not fitted to one.
    fn fitted(&self, width: Option<usize>) -> Option<(Vec<Fitted>, usize)> {
        let width = width.filter(|_| !self.is_wide)?;
        Some((fit::fit(&self.columns, width, !self.is_chosen), width))
    }

    /// A line in full width: a cell that is too wide is not cut but moves the rest to the right.
    fn padded(&self, cell: impl Fn(Column) -> String) -> String {
        let cells = self
            .columns
            .iter()
            .map(|&column| fit::pad(&cell(column), column.width(), column.align()));
        let line = cells.collect::<Vec<_>>().join("  ");
        line.trim_end().to_owned()
    }

    fn styled(&self, style: &str, line: &str) -> String {
        if self.color == Color::Never || style.is_empty() {
            line.to_owned()
        } else {
            format!("{style}{line}{RESET}")
        }
    }
}

#[cfg(test)]
mod tests;
