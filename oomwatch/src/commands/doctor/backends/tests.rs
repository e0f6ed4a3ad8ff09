//! `docs/compatibility.md` says the same of each backend.

use self::document::{COMPATIBILITY, Row, Table, words};
use super::*;

#[path = "../../../../tests/document/mod.rs"]
mod document;

/// Absent with programs because they know more: the cgroup of each victim.
const BETTER_KNOWN: &str = "group_cgroup";

#[test]
fn unavailable_facts_are_those_of_the_document() {
    let table = Table::below(COMPATIBILITY, "### Facts");
    let named = |title: &str, cell: &str| -> Vec<_> {
        let is_named = |row: &Row<'_>| row.cell(title) == cell && row.word("fact") != BETTER_KNOWN;
        let rows = table.rows().filter(is_named);
        rows.map(|row| row.word("fact")).collect()
    };
    for backend in Backend::ALL
        .into_iter()
        .filter(|backend| *backend != Backend::Counters)
    {
        let titles = &table.titles()[1..];
        let title = titles
            .iter()
            .find(|title| words(title).contains(&backend.flag()))
            .expect("a column");
        let Unavailable { never, by_log } = backend.unavailable();
        assert_eq!(never, named(title, "absent"), "{title}");
        // The log is the source itself.
        if backend != Backend::Kmsg {
            assert_eq!(by_log, named(title, "header"), "{title}");
        }
    }
}

#[test]
fn needs_are_those_of_the_document() {
    let table = Table::below(COMPATIBILITY, "## The backends");
    for backend in Backend::ALL {
        let row = table
            .rows()
            .find(|row| row.word("backend") == backend.flag())
            .expect("a line");
        assert_eq!(backend.is_bpf(), row.cell("BTF") == "needed", "{backend:?}");
        let is_needed = row.cell("kernel symbols") == "for the scope";
        assert_eq!(backend.needs_symbols(), is_needed, "{backend:?}");
    }
}
