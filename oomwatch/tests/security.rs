//! `docs/security.md`: each statement has the name of a test that there is.
#![expect(
    clippy::expect_used,
    reason = "a test says what it expects, and fails by panicking"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("read a folder") {
        let path = entry.expect("read an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_statement_has_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    sources(&root.join("tests"), &mut files);
    let read = |path: &PathBuf| fs::read_to_string(path).expect("read a file");
    let code: String = files.iter().map(read).collect();
    let document = include_str!("../../docs/security.md");
    let rows = document.lines().filter(|line| line.starts_with('|'));
    let rows = rows.filter(|line| !line.starts_with("|---") && *line != "| statement | test |");
    let mut count = 0;
    for row in rows {
        let name = row.rsplit('`').nth(1).expect("the name of a test");
        assert!(code.contains(&format!("fn {name}(")), "no test: {row}");
        count += 1;
    }
    assert!(count > 40, "{count}");
}
