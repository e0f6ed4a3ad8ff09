//! The page for a terminal or a file: as wide as asked for, everything escaped.

use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::page::{Breakdown, Listing, Page, percent};
use crate::{
    deliver::{
        color::Color,
        text::fit::{cut_end, cut_middle, wrap},
    },
    sys::escape::escape_line,
};

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const RESET: &str = "\x1b[0m";

/// Width of the names of facts.
const LABEL: usize = 9;
/// Width of a full bar.
const BAR: usize = 30;
/// Width of a page that is not on a terminal.
pub const WIDTH: usize = 100;

/// The page in lines, with a newline at the end.
#[must_use]
pub fn to_text(page: &Page, width: usize, color: Color) -> String {
    let width = width.max(40);
    let writer = Writer { width, color };
    let Page {
        title,
        cause,
        facts,
        memory,
        pods,
        processes,
        zones,
        advice,
    } = page;
    let mut out = String::new();
    writer.paragraph(&mut out, BOLD, title);
    if let Some(cause) = cause {
        writer.paragraph(&mut out, RED, cause);
    }
    out.push('\n');
    for (name, value) in facts {
        writer.fact(&mut out, name, value);
    }
    if let Some(bars) = memory {
        writer.bars(&mut out, bars);
    }
    for rows in [pods, processes, zones].into_iter().flatten() {
        writer.rows(&mut out, rows);
    }
    if let Some(advice) = advice {
        out.push('\n');
        writer.line(&mut out, BOLD, "What to change");
        for line in wrap(advice, width - 2) {
            writer.line(&mut out, "", &format!("  {line}"));
        }
    }
    out
}

struct Writer {
    width: usize,
    color: Color,
}

impl Writer {
    /// A line that is escaped already.
    fn line(&self, out: &mut String, style: &str, line: &str) {
        let line = line.trim_end();
        // Writing to a String cannot fail.
        let _ = match self.color {
            Color::Always if !style.is_empty() => writeln!(out, "{style}{line}{RESET}"),
            _ => writeln!(out, "{line}"),
        };
    }

    fn paragraph(&self, out: &mut String, style: &str, text: &str) {
        for line in wrap(&escape_line(text.as_bytes()), self.width) {
            self.line(out, style, &line);
        }
    }

    fn fact(&self, out: &mut String, name: &str, value: &str) {
        let room = self.width.saturating_sub(LABEL);
        let mut name = name;
        for line in wrap_anywhere(&escape_line(value.as_bytes()), room) {
            self.line(out, "", &format!("{name:LABEL$}{line}"));
            name = "";
        }
    }

    fn bars(&self, out: &mut String, bars: &Breakdown) {
        out.push('\n');
        let Breakdown { title, bars, note } = bars;
        self.paragraph(out, BOLD, title);
        for (name, size, permille) in bars {
            let bar = "█".repeat((usize::from(*permille) * BAR + 500) / 1000);
            let percent = percent(*permille);
            self.line(
                out,
                "",
                &format!("  {name:22}{size:>9} {percent:>5}  {bar}"),
            );
        }
        self.note(out, *note);
    }

    fn note(&self, out: &mut String, note: Option<&str>) {
        for line in note.into_iter().flat_map(|note| wrap(note, self.width - 2)) {
            self.line(out, "", &format!("  {line}"));
        }
    }

    /// The last column gets what room there is; on a narrow terminal the first is cut.
    fn rows(&self, out: &mut String, rows: &Listing) {
        out.push('\n');
        let Listing {
            title,
            columns,
            rows,
            note,
        } = rows;
        self.paragraph(out, BOLD, title);
        let cells: Vec<(Vec<String>, bool)> = rows
            .iter()
            .map(|(cells, is_victim)| {
                let cells = cells.iter().map(|cell| escape_line(cell.as_bytes()));
                (cells.collect(), *is_victim)
            })
            .collect();
        let width_of = |index: usize| {
            let title = columns.get(index).map_or(0, |(title, _)| title.width());
            let widths = cells
                .iter()
                .filter_map(|(cells, _)| Some(cells.get(index)?.width()));
            widths.fold(title, usize::max)
        };
        let mut widths: Vec<usize> = (0..columns.len()).map(width_of).collect();
        let free = |widths: &[usize]| widths.iter().map(|width| width + 2).sum::<usize>();
        let last = columns.len().saturating_sub(1);
        for (index, least) in [(last, 12), (0, 8)] {
            let excess = free(&widths).saturating_sub(self.width);
            if let Some(width) = widths.get_mut(index) {
                *width = width.saturating_sub(excess).max(least.min(*width));
            }
        }
        let titles: Vec<String> = columns
            .iter()
            .map(|(title, _)| (*title).to_owned())
            .collect();
        let header = self.row("  ", &titles, columns, &widths);
        self.line(out, "", &header);
        for (cells, is_victim) in &cells {
            let (mark, style) = if *is_victim { ("> ", BOLD) } else { ("  ", "") };
            let row = self.row(mark, cells, columns, &widths);
            self.line(out, style, &row);
        }
        self.note(out, *note);
    }

    fn row(
        &self,
        mark: &str,
        cells: &[String],
        columns: &[(&str, bool)],
        widths: &[usize],
    ) -> String {
        let mut line = mark.to_owned();
        for (index, ((cell, (_, is_number)), &width)) in
            cells.iter().zip(columns).zip(widths).enumerate()
        {
            let cell = cut_middle(cell, width);
            let blanks = " ".repeat(width.saturating_sub(cell.width()));
            if index > 0 {
                line.push_str("  ");
            }
            let (before, after) = if *is_number {
                (blanks.as_str(), "")
            } else {
                ("", blanks.as_str())
            };
            line.push_str(before);
            line.push_str(&cell);
            line.push_str(after);
        }
        cut_end(line.trim_end(), self.width)
    }
}

/// Breaks between words, and within a word that is too long, such as a path.
fn wrap_anywhere(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for (index, word) in text.split(' ').enumerate() {
        if index > 0 && used + 1 + word.width() <= width {
            push(&mut lines, " ");
            used += 1;
        } else if index > 0 {
            lines.push(String::new());
            used = 0;
        }
        for character in word.chars() {
            let wide = character.width().unwrap_or(0);
            if used + wide > width {
                lines.push(String::new());
                used = 0;
            }
            push(&mut lines, character.encode_utf8(&mut [0; 4]));
            used += wide;
        }
    }
    lines
}

fn push(lines: &mut [String], text: &str) {
    if let Some(line) = lines.last_mut() {
        line.push_str(text);
    }
}
