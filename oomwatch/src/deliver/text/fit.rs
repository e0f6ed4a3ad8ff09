//! Fits the columns of a table to the width of a terminal.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::columns::{Align, Column};

/// Columns between two cells.
pub(super) const GAP: usize = 2;

/// The least width at which the note is a column; below it, a note has a line of its own.
const MIN_NOTE: usize = 24;
/// The same of the cause.
const MIN_CAUSE: usize = 60;

/// Which column gets more of the width, and up to which width, in this order. The first of the note and of the cause adds the
/// column.
const GROWTH: &[(Column, usize)] = &[
    (Column::Process, 18),
    (Column::Object, 26),
    (Column::Note, MIN_NOTE),
    (Column::Note, 34),
    (Column::Process, 23),
    (Column::Object, 34),
    (Column::LimitOwner, 14),
    (Column::Note, 48),
    (Column::Object, 48),
    (Column::LimitOwner, 20),
    (Column::Cause, MIN_CAUSE),
    (Column::Cause, usize::MAX),
    (Column::Note, usize::MAX),
    (Column::Object, usize::MAX),
];

/// Which columns a narrow terminal does without, in this order.
const DISPENSABLE: &[Column] = &[Column::Rss, Column::LimitOwner, Column::Limit];

/// A column and its width.
pub(super) type Fitted = (Column, usize);

/// The widths of the columns on a terminal that is `width` wide. A note or a cause that finds no room is left out. Other columns are
/// left out only if `may_drop` allows it.
pub(super) fn fit(columns: &[Column], width: usize, may_drop: bool) -> Vec<Fitted> {
    let mut fitted: Vec<Fitted> = columns
        .iter()
        .filter(|column| !column.is_free())
        .map(|column| (*column, column.min_width()))
        .collect();
    for dispensable in DISPENSABLE {
        if may_drop && used(&fitted) > width {
            fitted.retain(|(column, _)| column != dispensable);
        }
    }
    let mut room = width.saturating_sub(used(&fitted));
    for &(column, most) in GROWTH {
        if let Some((_, width)) = fitted.iter_mut().find(|(fitted, _)| *fitted == column) {
            let more = most.saturating_sub(*width).min(room);
            *width += more;
            room -= more;
        } else if column.is_free() && columns.contains(&column) && room >= most.saturating_add(GAP)
        {
            // Columns of free width are the last ones.
            fitted.push((column, most));
            room -= most + GAP;
        }
    }
    fitted
}

fn used(fitted: &[Fitted]) -> usize {
    let widths: usize = fitted.iter().map(|(_, width)| width).sum();
    widths + GAP * fitted.len().saturating_sub(1)
}

/// A line of cells on a terminal that is `width` wide. A time that is too wide takes room from the object.
pub(super) fn line(fitted: &[Fitted], cells: &[String], width: usize) -> String {
    let excess: usize = fitted
        .iter()
        .zip(cells)
        .filter(|((column, _), _)| *column == Column::Time)
        .map(|((_, width), cell)| cell.width().saturating_sub(*width))
        .sum();
    let cells = fitted.iter().zip(cells).map(|(&(column, width), cell)| {
        let cell = match column {
            Column::Time => cell.clone(),
            Column::Note | Column::Cause => cut_end(cell, width),
            Column::Object => cut_middle(cell, width.saturating_sub(excess)),
            Column::Process => cut_process(cell, width),
            _ => cut_middle(cell, width),
        };
        let width = match column {
            Column::Object => width.saturating_sub(excess),
            _ => width,
        };
        pad(&cell, width, column.align())
    });
    let line = cells.collect::<Vec<_>>().join("  ");
    cut_end(line.trim_end(), width)
}

/// Pads a cell; one that is too wide stays as it is.
pub(super) fn pad(cell: &str, width: usize, align: Align) -> String {
    let blanks = " ".repeat(width.saturating_sub(cell.width()));
    match align {
        Align::Left => format!("{cell}{blanks}"),
        Align::Right => format!("{blanks}{cell}"),
    }
}

/// Cuts the name, and keeps the `[PID]` behind it.
fn cut_process(cell: &str, width: usize) -> String {
    match cell.rfind('[') {
        Some(start) if cell.ends_with(']') && width > cell.len() - start + 2 => {
            let (name, pid) = cell.split_at(start);
            format!("{}{pid}", cut_middle(name, width - pid.len()))
        }
        _ => cut_middle(cell, width),
    }
}

/// Replaces the middle by an ellipsis: the ends of names differ more than their middles.
pub(in crate::deliver) fn cut_middle(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let Some(kept) = width.checked_sub(1) else {
        return String::new();
    };
    let start = take(text.chars(), kept.div_ceil(2));
    let mut end: Vec<char> = take(text.chars().rev(), kept / 2).chars().collect();
    end.reverse();
    format!("{start}…{}", end.into_iter().collect::<String>())
}

/// Replaces the end by an ellipsis.
pub(in crate::deliver) fn cut_end(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let Some(kept) = width.checked_sub(1) else {
        return String::new();
    };
    format!("{}…", take(text.chars(), kept))
}

/// Breaks a sentence between words; a word that is too wide is cut.
pub(in crate::deliver) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.width() + 1 + word.width() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(cut_end(word, width)),
        }
    }
    lines
}

/// As many characters as fit into `width`.
fn take(chars: impl Iterator<Item = char>, width: usize) -> String {
    let mut used = 0;
    chars
        .take_while(|char| {
            used += char.width().unwrap_or(0);
            used <= width
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::deliver::text::columns;

    fn widths(width: usize) -> String {
        let fitted = fit(columns::TEXT, width, true);
        let columns = fitted
            .iter()
            .map(|(column, width)| format!("{} {width}", column.title()));
        columns.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn wider_terminals_have_wider_and_more_columns() {
        insta::assert_snapshot!([20, 40, 60, 80, 100, 120, 200].map(widths).join("\n"));
    }

    #[test]
    fn chosen_columns_are_not_dropped() {
        let fitted = fit(&[Column::Rss, Column::Limit, Column::Cgroup], 10, false);
        assert_eq!(fitted.len(), 3);
    }

    #[test]
    fn text_is_cut_in_the_middle_or_at_the_end() {
        for (text, width, middle, end) in [
            ("shop/cart", 9, "shop/cart", "shop/cart"),
            ("shop/cart", 8, "shop…art", "shop/ca…"),
            ("shop/cart", 1, "…", "…"),
            ("shop/cart", 0, "", ""),
            ("中中中中", 5, "中…中", "中中…"),
            ("中中中中", 4, "中…", "中…"),
        ] {
            assert_eq!(cut_middle(text, width), middle, "{text} {width}");
            assert_eq!(cut_end(text, width), end, "{text} {width}");
        }
    }

    #[test]
    fn sentences_are_broken_between_words() {
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("one fourteen", 5), ["one", "four…"]);
        assert_eq!(wrap("one two", 0), ["", ""]);
    }

    #[test]
    fn process_keeps_its_id() {
        for (width, expected) in [
            (22, "node-exporter[1234567]"),
            (18, "node…rter[1234567]"),
            (12, "n…r[1234567]"),
            (10, "node-…567]"),
        ] {
            assert_eq!(cut_process("node-exporter[1234567]", width), expected);
        }
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(
            width in 0_usize..250,
            cells in prop::collection::vec("\\PC{0,60}", 8),
            note in any::<bool>(),
        ) {
            let columns = &columns::TEXT[..columns::TEXT.len() - usize::from(!note)];
            let fitted = fit(columns, width, true);
            let line = line(&fitted, &cells, width);
            prop_assert!(line.width() <= width, "{line:?}");
        }
    }
}
