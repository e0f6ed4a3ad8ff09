//! Crates of other people are used where they belong, and pure code uses nothing that reads, waits or looks at a clock.

use std::collections::BTreeMap;

use crate::{
    source::{Violation, within},
    tree::{Name, Tree},
};

/// The first line of each file and text.
#[derive(Default)]
struct Firsts(BTreeMap<(usize, String), usize>);

impl Firsts {
    fn add(&mut self, file: usize, line: usize, text: String) {
        let first = self.0.entry((file, text)).or_insert(line);
        *first = line.min(*first);
    }

    fn violations(self, tree: &Tree) -> Vec<Violation> {
        let all = self.0.into_iter();
        all.map(|((file, text), line)| tree.violation(file, line, text))
            .collect()
    }
}

/// Uses of crates outside of their places. Each row has crates, and the places for these.
pub(crate) fn misplaced(tree: &Tree, rows: &[(&[&str], &[&str])]) -> Vec<Violation> {
    let mut found = Firsts::default();
    for named in tree.named() {
        let Name::Other(path) = &named.name else {
            continue;
        };
        let Some(row) = rows.iter().find(|row| row.0.contains(&&*path[0])) else {
            continue;
        };
        let (krate, places) = (&path[0], row.1);
        let own = &tree.files[named.file].path;
        // A single name is a crate only where it is imported.
        let is_crate = path.len() > 1 || named.kind != crate::syntax::Kind::Named;
        if is_crate && !places.iter().any(|place| within(own, place)) {
            let text = format!(
                "uses {krate}, which belongs in {} alone; move the code there",
                places.join(", ")
            );
            found.add(named.file, named.line, text);
        }
    }
    found.violations(tree)
}

/// What files that are pure, but for the exceptions, must not name; a path, with all that is below it.
pub(crate) fn impure(
    tree: &Tree,
    pure: &[&str],
    exceptions: &[&str],
    forbidden: &[&str],
) -> Vec<Violation> {
    let is_pure = |file: usize| {
        let path = &tree.files[file].path;
        let in_one = |places: &[&str]| places.iter().any(|place| within(path, place));
        in_one(pure) && !in_one(exceptions)
    };
    let mut found = Firsts::default();
    for named in tree.named().filter(|named| is_pure(named.file)) {
        if let Name::Other(path) = &named.name {
            let is_below = |place: &&&str| place.split("::").zip(path).all(|(a, b)| a == b);
            let below = forbidden
                .iter()
                .filter(|place| place.split("::").count() <= path.len())
                .find(is_below);
            if let Some(place) = below {
                let text = format!("uses {place}, but is pure; pass in the value that it needs");
                found.add(named.file, named.line, text);
            }
        }
    }
    for (file, _) in tree.files.iter().enumerate().filter(|file| is_pure(file.0)) {
        for &line in &tree.files[file].syntax.asyncs {
            let text = "is async, but pure; await outside of it".to_owned();
            found.add(file, line, text);
        }
    }
    found.violations(tree)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{places, sources};

    fn tree(text: &str) -> Tree {
        Tree::new(&sources(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", text),
            ("b/mod.rs", text),
        ]))
    }

    #[test]
    fn crate_is_found_outside_of_its_place() {
        for text in [
            "use heavy::Thing;",
            "use heavy;",
            "pub use ::heavy as light;",
            "use {heavy::{self, other}, std::fmt};",
            "#[derive(heavy::Derive)] struct A;",
            "#[heavy::main] fn f() {}",
            "fn f(_: Vec<heavy::A>) {}",
            "fn f() { println!(\"{}\", heavy::f()) }",
        ] {
            let rows: &[(&[&str], &[&str])] = &[(&["other", "heavy"], &["b"])];
            assert_eq!(places(misplaced(&tree(text), rows)), ["a.rs:1"], "{text}");
        }
    }

    #[test]
    fn name_of_a_crate_alone_is_no_use_of_it() {
        for text in [
            "fn heavy() { heavy() } // heavy::f",
            "mod heavy { pub fn f() {} } fn f() { heavy::f() }",
            "use std::heavy; fn f() { heavy::f() }",
            "#[cfg(test)] mod tests { use heavy::Thing; }",
            "fn f(heavy: u8) { println!(\"{heavy} heavy::f\") }",
        ] {
            let found = misplaced(&tree(text), &[(&["heavy"], &["b"])]);
            assert_eq!(places(found), [""; 0], "{text}");
        }
    }

    fn impure_in(text: &str) -> Vec<String> {
        let forbidden = ["std::fs", "std::time::Instant::now", "tokio"];
        places(impure(&tree(text), &["a", "b"], &["b"], &forbidden))
    }

    #[test]
    fn file_clock_and_async_are_not_pure() {
        for text in [
            "use std::fs;",
            "use std::{fs::File, io};",
            "fn f() { std::fs::read(\"\"); }",
            "use std::time::Instant; fn f() { Instant::now(); }",
            "use std::time; fn f() { g(time::Instant::now) }",
            "use tokio::sync::mpsc;",
            "async fn f() {}",
            "fn f() { async {} }",
            "fn f() { g(async |_| {}) }",
            "fn f() { select!(a.await) }",
        ] {
            assert_eq!(impure_in(text), ["a.rs:1"], "{text}");
        }
    }

    #[test]
    fn values_of_a_clock_and_tests_are_pure() {
        for text in [
            "use std::time::Instant; fn f(now: Instant) { now.elapsed(); }",
            "#[cfg(test)] mod tests { async fn f() { std::fs::read(\"\"); } }",
            "use std::fmt; fn now() { now() } // async",
            "mod fs { pub fn read() {} } fn f() { fs::read() }",
        ] {
            assert_eq!(impure_in(text), [""; 0], "{text}");
        }
    }
}
