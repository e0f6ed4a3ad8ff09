//! `docs/compatibility.md` and the code name the same backends, capabilities, kernel options and facts.
//!
//! What it says of them is held against running kernels by the kernel tests.
#![expect(
    clippy::expect_used,
    reason = "a test says what it expects, and fails by panicking"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use oomwatch::model::backend::Backend;

use crate::document::{COMPATIBILITY, Table, words};

/// Reading the document.
mod document;

const OUTPUT: &str = include_str!("../../docs/output.md");
const UNIT: &str = include_str!("../../deploy/systemd/oomwatch.service");

/// The backends, best first.
fn backends() -> Vec<&'static str> {
    Backend::ALL.into_iter().map(Backend::flag).collect()
}

fn table(heading: &str) -> Table {
    Table::below(COMPATIBILITY, heading)
}

/// The text of all source files in a folder of `src`.
fn sources(folder: &str) -> String {
    rust_below(&format!("src/{folder}"))
}

/// The text of all source files in a folder.
fn rust_below(folder: &str) -> String {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut text = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("read a folder of the sources") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text += &fs::read_to_string(path).expect("read a source file");
            }
        }
    }
    text
}

/// Words in capitals that begin so.
fn capitals<'a>(text: &'a str, start: &str) -> BTreeSet<&'a str> {
    text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
        .filter(|word| word.len() > start.len() && word.starts_with(start))
        .filter(|word| !word.contains(|character: char| character.is_ascii_lowercase()))
        .collect()
}

#[test]
fn every_backend_has_its_line_and_its_capabilities() {
    let table = table("## The backends");
    let named: Vec<_> = table.rows().map(|row| row.word("backend")).collect();
    assert_eq!(named, backends());
    let capabilities = self::table("## Capabilities");
    let named: BTreeSet<_> = capabilities.rows().map(|row| row.word("backend")).collect();
    assert_eq!(named, backends().into_iter().collect());
}

#[test]
fn every_capability_that_is_spoken_of_is_explained() {
    let purposes = table("### What they are for");
    let explained: BTreeSet<_> = purposes.rows().map(|row| row.word("capability")).collect();
    assert_eq!(explained.len(), purposes.rows().count());
    let (probe, doctor) = (sources("capture"), sources("commands/doctor"));
    for text in [&probe, &doctor, UNIT, COMPATIBILITY] {
        let spoken = capitals(text, "CAP_");
        assert!(!spoken.is_empty());
        let unexplained: Vec<_> = spoken.difference(&explained).collect();
        assert!(unexplained.is_empty(), "{unexplained:?}");
    }
    // The doctor names each capability that a backend needs.
    let capabilities = table("## Capabilities");
    let needed = capabilities
        .rows()
        .flat_map(|row| row.words("capabilities"));
    for capability in needed {
        assert!(
            capitals(&doctor, "CAP_").contains(capability),
            "{capability}"
        );
    }
}

#[test]
fn every_kernel_option_of_a_remedy_is_named() {
    let backends = table("## The backends");
    let doctor = sources("commands/doctor");
    let spoken = capitals(&doctor, "CONFIG_");
    for option in &spoken {
        assert!(words(COMPATIBILITY).contains(option), "{option}");
    }
    for row in backends.rows() {
        for option in row.words("kernel options") {
            assert!(spoken.contains(option), "{option}");
        }
    }
}

/// `` `victim.pid`, `.tid` `` to the names in full.
fn facts(cell: &str) -> Vec<String> {
    let mut prefix = "";
    words(cell)
        .into_iter()
        .map(|word| {
            if let Some(name) = word.strip_prefix('.') {
                return format!("{prefix}.{name}");
            }
            prefix = word.rsplit_once('.').map_or("", |(prefix, _)| prefix);
            word.to_owned()
        })
        .collect()
}

/// The facts of a kill: the first table of the reference, and what a saved log adds.
fn reference() -> BTreeSet<String> {
    let live = Table::below(OUTPUT, "# The JSON, version 1");
    let rest = &OUTPUT[OUTPUT.find("**From a saved log.**").expect("the saved log")..];
    let saved = Table::below(&format!("# Saved\n{rest}"), "# Saved");
    let cells = live.rows().chain(saved.rows()).map(|row| row.cell("field"));
    cells.flat_map(facts).collect()
}

#[test]
fn every_fact_of_the_json_has_one_line() {
    let table = table("### Facts");
    let mut lines = BTreeMap::new();
    for row in table.rows() {
        *lines.entry(row.word("fact").to_owned()).or_insert(0) += 1;
    }
    let twice: Vec<_> = lines.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let named: BTreeSet<_> = lines.into_keys().collect();
    assert_eq!(named, reference());
}

#[test]
fn every_word_for_a_fact_is_explained() {
    let words = table("## What each backend reports");
    let explained: BTreeSet<_> = words.rows().map(|row| row.cell("word")).collect();
    let facts = table("### Facts");
    let mut used = BTreeSet::new();
    for row in facts.rows() {
        for title in &facts.titles()[1..] {
            used.extend(row.cell(title).split(", else "));
        }
    }
    assert_eq!(used, explained);
}

#[test]
fn every_backend_that_reports_kills_has_a_column() {
    let facts = table("### Facts");
    let named: Vec<_> = facts.titles()[1..]
        .iter()
        .flat_map(|title| words(title))
        .collect();
    let mut expected = backends();
    expected.retain(|backend| *backend != "counters");
    assert_eq!(named, expected);
}

#[test]
fn shorthand_of_the_reference_is_read() {
    assert_eq!(facts("`victim.pid`, `.tid`"), ["victim.pid", "victim.tid"]);
    assert_eq!(facts("`time`, `boot_time_ns`"), ["time", "boot_time_ns"]);
}

/// The rows of the kubelet's contract that a text names.
fn rows(text: &str) -> BTreeSet<u8> {
    text.split(|character: char| !character.is_ascii_alphanumeric())
        .filter_map(|word| word.strip_prefix('C'))
        .filter(|digits| digits.len() == 2)
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[test]
fn every_row_of_the_kubelets_contract_is_tested_or_a_difference() {
    let tested = [
        rows(&sources("deliver/events")),
        rows(&rust_below("tests/events")),
    ];
    let (_, section) = COMPATIBILITY
        .split_once("## Kubernetes Events")
        .expect("a section");
    let (section, _) = section.split_once("\n## ").expect("a section behind it");
    let named: BTreeSet<u8> = tested.into_iter().flatten().chain(rows(section)).collect();
    let missing: Vec<u8> = (1..=67).filter(|row| !named.contains(row)).collect();
    assert!(
        missing.is_empty(),
        "no test and no document names {missing:?}"
    );
}

/// The fragment that a renderer makes of a heading.
fn fragment(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter_map(|character| match character {
            ' ' => Some('-'),
            '-' | '_' => Some(character),
            character => character.is_alphanumeric().then_some(character),
        })
        .collect()
}

#[test]
fn links_between_documents_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let in_docs = fs::read_dir(root.join("docs")).expect("read the documents");
    let mut documents: Vec<PathBuf> = in_docs
        .map(|entry| entry.expect("an entry").path())
        .collect();
    documents.extend(["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root.join(name)));
    let mut broken = Vec::new();
    for document in documents
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
    {
        let text = fs::read_to_string(document).expect("read a document");
        let links = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => document.clone(),
                file => document.with_file_name(file),
            };
            let has_heading = heading.is_empty()
                || fs::read_to_string(&target).is_ok_and(|text| {
                    text.lines()
                        .filter_map(|line| {
                            line.trim_start_matches('#')
                                .strip_prefix(' ')
                                .filter(|_| line.starts_with('#'))
                        })
                        .any(|title| fragment(title) == heading)
                });
            if !target.exists() || !has_heading {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
