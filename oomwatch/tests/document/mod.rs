//! The tables of `docs/compatibility.md`, to be held against the code and against kernels.
//!
//! A table is found by the heading above it, a cell by the title of its column. Words between backticks are the words that
//! tests go by: names of backends, capabilities and facts.
#![allow(
    dead_code,
    clippy::panic,
    reason = "shared by several tests, each of which uses a part"
)]

/// The document.
pub(crate) const COMPATIBILITY: &str = include_str!("../../../docs/compatibility.md");

/// A table.
pub(crate) struct Table {
    titles: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// A line of a table.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    titles: &'a [String],
    cells: &'a [String],
}

impl Table {
    /// The first table below a heading, such as `## Kernels`.
    pub(crate) fn below(document: &str, heading: &str) -> Self {
        let mut lines = document
            .lines()
            .skip_while(|line| *line != heading)
            .skip(1)
            .take_while(|line| !line.starts_with('#'))
            .skip_while(|line| !line.starts_with('|'))
            .take_while(|line| line.starts_with('|'))
            .map(cells);
        let titles = lines
            .next()
            .unwrap_or_else(|| panic!("no table below {heading}"));
        let rows: Vec<_> = lines.skip(1).collect();
        assert!(!rows.is_empty(), "an empty table below {heading}");
        for row in &rows {
            assert_eq!(row.len(), titles.len(), "cells of {row:?}");
        }
        Self { titles, rows }
    }

    /// Its lines.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|cells| Row {
            titles: &self.titles,
            cells,
        })
    }

    /// The titles of its columns.
    pub(crate) fn titles(&self) -> &[String] {
        &self.titles
    }
}

impl<'a> Row<'a> {
    /// The cell of a column.
    pub(crate) fn cell(self, title: &str) -> &'a str {
        let column = self.titles.iter().position(|found| found == title);
        let column = column.unwrap_or_else(|| panic!("no column {title} in {:?}", self.titles));
        &self.cells[column]
    }

    /// The words between backticks in the cell of a column.
    pub(crate) fn words(self, title: &str) -> Vec<&'a str> {
        words(self.cell(title))
    }

    /// The only such word.
    pub(crate) fn word(self, title: &str) -> &'a str {
        match self.words(title)[..] {
            [word] => word,
            ref words => panic!("not one word in the column {title}: {words:?}"),
        }
    }
}

/// The words between backticks.
pub(crate) fn words(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn cells(line: &str) -> Vec<String> {
    line.trim()
        .trim_matches('|')
        .split('|')
        .map(|cell| cell.trim().to_owned())
        .collect()
}
