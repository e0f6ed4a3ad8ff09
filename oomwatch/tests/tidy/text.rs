//! What needs no paths: the length of files and `unsafe`.

use crate::{
    source::{Source, Violation, extension, within},
    tree::Tree,
};

/// Files below the folders that have more lines than the most.
pub(crate) fn long(sources: &[Source], folders: &[&str], most: usize) -> Vec<Violation> {
    let long = sources.iter().filter_map(|Source { path, text }| {
        let lines = text.lines().count();
        let held = extension(path) == "rs" && folders.iter().any(|folder| within(path, folder));
        (held && lines > most).then(|| Violation {
            path: path.clone(),
            line: lines,
            text: format!("{lines} lines, {most} at most; split it by what changes for one reason"),
        })
    });
    long.collect()
}

/// `unsafe`, and what allows it, outside of its places.
pub(crate) fn unsafe_code(tree: &Tree, places: &[&str]) -> Vec<Violation> {
    let outside = tree
        .files
        .iter()
        .enumerate()
        .filter(|(_, file)| !places.iter().any(|place| within(&file.path, place)));
    let found = outside.flat_map(|(index, file)| {
        file.syntax.unsafes.iter().map(move |&line| {
            let text = format!(
                "unsafe code outside of {}; move it into one of these behind a safe function",
                places.join(", ")
            );
            tree.violation(index, line, text)
        })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{places, sources};

    #[test]
    fn file_over_the_most_lines_is_long() {
        let long_in = |text: &str| {
            let files = [("a/src/b.rs", text), ("a/src/b.md", text), ("a/b.rs", text)];
            places(long(&sources(&files), &["a/src"], 3))
        };
        assert_eq!(long_in("1\n2\n3\n"), [""; 0]);
        assert_eq!(long_in("1\n2\n3\n4"), ["a/src/b.rs:4"]);
    }

    #[test]
    fn unsafe_outside_of_its_places_is_found() {
        let text = "#![allow(unsafe_code)]\nunsafe fn f() {}\n// unsafe\n#[cfg(test)]\nmod tests { unsafe impl S for A {} }";
        let files = [
            ("lib.rs", "#![deny(unsafe_code)] mod a; mod b;"),
            ("a.rs", text),
            ("b.rs", text),
        ];
        let tree = Tree::new(&sources(&files));
        let expected = ["a.rs:1", "a.rs:2", "a.rs:5"];
        assert_eq!(places(unsafe_code(&tree, &["b"])), expected);
    }
}
