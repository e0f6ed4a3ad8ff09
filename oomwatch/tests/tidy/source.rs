//! The files that are read, and what is said of them.

use std::{fmt, fs, path::Path};

/// A file: its path below the folder that was read, with `/`, and its text.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A rule that is broken, with what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, text } = self;
        write!(f, "{path}:{line}: {text}")
    }
}

/// Reads the files below `root` whose names end in one of the extensions, sorted by path. What git ignores is not read.
pub(crate) fn read(root: &Path, extensions: &[&str]) -> Vec<Source> {
    let mut sources = Vec::new();
    read_folder(root, "", extensions, &mut sources);
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn read_folder(folder: &Path, prefix: &str, extensions: &[&str], sources: &mut Vec<Source>) {
    let entries = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("failed to read {}: {error}", folder.display()));
    for entry in entries {
        let entry = entry.expect("failed to list a folder");
        let name = entry.file_name().into_string().expect("a name in UTF-8");
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().expect("failed to read a file's type");
        if kind.is_dir() {
            if ![".git", "target"].contains(&&*name) {
                read_folder(&entry.path(), &format!("{path}/"), extensions, sources);
            }
        } else if kind.is_file() && extensions.contains(&extension(&name)) {
            let text = fs::read_to_string(entry.path())
                .unwrap_or_else(|error| panic!("failed to read {path}: {error}"));
            sources.push(Source { path, text });
        }
    }
}

pub(crate) fn extension(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(_, extension)| extension)
}

/// Whether a path is that of a table's entry (`a/b` for `a/b.rs` and all of `a/b/`) or below it.
pub(crate) fn within(path: &str, entry: &str) -> bool {
    path.strip_prefix(entry)
        .is_some_and(|rest| rest.is_empty() || rest == ".rs" || rest.starts_with('/'))
}

/// Sources from pairs of path and text.
#[cfg(test)]
pub(crate) fn sources(files: &[(&str, &str)]) -> Vec<Source> {
    files
        .iter()
        .map(|&(path, text)| Source {
            path: path.to_owned(),
            text: text.to_owned(),
        })
        .collect()
}

/// Where the violations are: `path:line`, sorted.
#[cfg(test)]
pub(crate) fn places(mut violations: Vec<Violation>) -> Vec<String> {
    violations.sort();
    violations
        .iter()
        .map(|violation| format!("{}:{}", violation.path, violation.line))
        .collect()
}

#[test]
fn entry_stands_for_a_file_and_for_a_folder() {
    assert!(within("a/b.rs", "a/b"));
    assert!(within("a/b/c.rs", "a/b"));
    assert!(within("main.rs", "main.rs"));
    assert!(!within("a/bc.rs", "a/b"));
    assert!(!within("c/a/b.rs", "a/b"));
}
