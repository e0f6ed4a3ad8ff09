//! The document says of each way what is said here.

use self::document::{COMPATIBILITY, Row, Table, words};
use super::*;

#[path = "../../../../tests/document/mod.rs"]
mod document;

/// Programs know the cgroup of each victim, which is better than that of its group.
const BETTER_KNOWN: &str = "group_cgroup";

#[test]
fn facts_that_are_not_told_are_those_of_the_document() {
    let table = Table::below(COMPATIBILITY, "### Facts");
    let named = |title: &str, cell: &str| -> Vec<_> {
        let is_so = |row: &Row<'_>| row.cell(title) == cell && row.word("fact") != BETTER_KNOWN;
        let rows = table.rows().filter(is_so);
        rows.map(|row| row.word("fact")).collect()
    };
    for way in Way::all().filter(|way| *way != Way::Counters) {
        let titles = &table.titles()[1..];
        let title = titles
            .iter()
            .find(|title| words(title).contains(&way.as_str()))
            .expect("a column");
        let Unavailable { never, by_log } = way.untold();
        assert_eq!(never, named(title, "absent"), "{title}");
        // The log is no help to itself.
        if way != Way::Log {
            assert_eq!(by_log, named(title, "header"), "{title}");
        }
    }
}

#[test]
fn needs_are_those_of_the_document() {
    let table = Table::below(COMPATIBILITY, "## The rungs");
    for way in Way::all() {
        let row = table
            .rows()
            .find(|row| row.word("rung") == way.as_str())
            .expect("a line");
        assert_eq!(way.needs_types(), row.cell("BTF") == "needed", "{way:?}");
        let is_needed = row.cell("kernel symbols") == "for the scope";
        assert_eq!(way.needs_symbols(), is_needed, "{way:?}");
    }
}
