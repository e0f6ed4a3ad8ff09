//! Each file is in the folder of a layer, and imports only the layers that its own may.

use std::collections::BTreeSet;

use crate::{
    source::Violation,
    syntax::Kind,
    tree::{Name, Tree},
};

/// Files outside of the folders. `testing` is for tests only, in one file or several.
pub(crate) const ROOTS: &[&str] = &["lib.rs", "main.rs", "testing.rs", "testing"];

/// A layer, and the layers that it may import.
type Layer<'a> = (&'a str, &'a [&'a str]);

/// The folder below `src` that a file is in, or its own name.
fn layer(path: &str) -> &str {
    path.split_once('/').map_or(path, |(folder, _)| folder)
}

/// The files that are in none of the folders, that no `mod` declares, or that are `testing` and not for tests only.
pub(crate) fn places(tree: &Tree, layers: &[Layer<'_>]) -> Vec<Violation> {
    let wrong = tree.files.iter().enumerate().filter_map(|(index, file)| {
        let layer = layer(&file.path);
        let in_folder = file.path.contains('/') && layers.iter().any(|row| row.0 == layer);
        let text = if !in_folder && !ROOTS.contains(&layer) {
            "in no folder of the layout; move it into one"
        } else if !file.declared {
            "declared by no `mod`; declare or delete it"
        } else if layer.starts_with("testing") && !file.tests_only {
            "outside of the layout; put `#[cfg(test)]` over its `mod`, or move it into a folder"
        } else {
            return None;
        };
        Some(tree.violation(index, 1, text.to_owned()))
    });
    wrong.collect()
}

/// The imports that the layers do not allow.
pub(crate) fn upward(tree: &Tree, layers: &[Layer<'_>]) -> Vec<Violation> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for named in tree.named() {
        let own = layer(&tree.files[named.file].path);
        let Some((_, allowed)) = layers.iter().find(|row| row.0 == own) else {
            continue;
        };
        let Name::Ours(path) = &named.name else {
            continue;
        };
        let rooted = ["crate", "super", "self", "oomwatch"].contains(&&*named.path[0]);
        if named.kind == Kind::Named && !(rooted && named.path.len() > 1) {
            // Found through an import, which is judged itself.
            continue;
        }
        let other = match &path[..] {
            [first, ..] if tree.is_module(std::slice::from_ref(first)) => first,
            _ => match tree.defined_in(path) {
                Some(file) => layer(&tree.files[file].path),
                None => continue,
            },
        };
        let wrong = other != own && !allowed.contains(&other);
        if wrong && seen.insert((named.file, named.line, other.to_owned())) {
            let may = match allowed {
                [] => "no other folder".to_owned(),
                allowed => format!("only {}", allowed.join(", ")),
            };
            let path = named.path.join("::");
            let text = format!("{own} imports {other} (`{path}`), but may import {may}");
            found.push(tree.violation(named.file, named.line, text));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{places as at, sources};

    const LAYERS: &[Layer<'static>] = &[
        ("low", &[]),
        ("high", &["low"]),
        ("main.rs", &["high"]),
        ("lib.rs", &[]),
    ];
    const LIB: &str = "pub mod low;\npub mod high;\n#[cfg(test)] mod testing;";

    fn upward_in(low: &str) -> Vec<String> {
        let tree = Tree::new(&sources(&[
            ("lib.rs", LIB),
            ("low/mod.rs", low),
            ("high/mod.rs", "pub struct H; pub use crate::low::L;"),
        ]));
        at(upward(&tree, LAYERS))
    }

    #[test]
    fn upward_import_is_found_wherever_it_is() {
        for low in [
            "\nuse crate::high::H;",
            "\nuse crate::{high, low as l};",
            "\npub use super::high::*;",
            "\npub(crate) fn f(_: crate::high::H) {}",
            "\nfn f() { crate::high::f() }",
            "\nfn f() { use crate::high::H; }",
            "\nfn f() { println!(\"{}\", crate::high::f()) }",
            "\nmod inner { use super::super::high::H; }",
            "\n#[serde(with = \"crate::high\")] struct L;",
            "\n#[cfg(any(test, fuzzing))] use crate::high::H;",
            "\nmacro_rules! m { () => { $crate::high::H } }",
        ] {
            assert_eq!(upward_in(low), ["low/mod.rs:2"], "{low}");
        }
    }

    #[test]
    fn tests_may_import_anything() {
        for low in [
            "#[cfg(test)] mod tests { use crate::high::H; fn f(_: crate::high::H) {} }",
            "#[cfg(test)] use crate::high::H;",
            "#[cfg(all(test, unix))] fn f(_: crate::high::H) {}",
            "struct L; impl L { #[cfg(test)] fn f(_: crate::high::H) {} }",
            "//! [`crate::high::H`]\n#[cfg(doc)] use crate::high::H;",
            "#[test] fn f() { crate::high::f() }",
        ] {
            assert_eq!(upward_in(low), [""; 0], "{low}");
        }
    }

    #[test]
    fn own_folder_and_other_crates_are_no_imports() {
        for low in [
            "use self::a::A; mod a { pub use super::L; } struct L;",
            "use crate::low::L; struct L;",
            "use ::high::H; use std::high;",
            "#[arg(oomwatch)] struct L;",
            "fn f(high: u8) -> u8 { high } // crate::high",
            "macro_rules! m { ($high:path) => { $high } }",
        ] {
            assert_eq!(upward_in(low), [""; 0], "{low}");
        }
    }

    #[test]
    fn file_for_tests_is_known_by_its_declaration() {
        let upward_with = |declaration: &str| {
            let tree = Tree::new(&sources(&[
                ("lib.rs", LIB),
                ("low/mod.rs", declaration),
                ("low/tests.rs", "use crate::high::H; mod deeper;"),
                ("low/tests/deeper.rs", "use crate::high::H;"),
                ("high/mod.rs", "pub struct H;"),
            ]));
            at(upward(&tree, LAYERS))
        };
        assert_eq!(upward_with("#[cfg(test)]\nmod tests;"), [""; 0]);
        let expected = ["low/tests.rs:1", "low/tests/deeper.rs:1"];
        assert_eq!(upward_with("mod tests;"), expected);
    }

    #[test]
    fn main_imports_the_library_by_its_name() {
        let tree = Tree::new(&sources(&[
            ("lib.rs", LIB),
            (
                "main.rs",
                "use oomwatch::{high::H,\nlow::L};\nfn f() { crate::low() }",
            ),
            ("low/mod.rs", "pub struct L;"),
            ("high/mod.rs", "pub struct H;"),
        ]));
        assert_eq!(at(upward(&tree, LAYERS)), ["main.rs:2"]);
    }

    #[test]
    fn file_is_in_a_folder_declared_and_no_stray_testing() {
        let places_of = |files: &[(&str, &str)]| at(places(&Tree::new(&sources(files)), LAYERS));
        let good = [
            ("lib.rs", LIB),
            ("main.rs", ""),
            ("low/mod.rs", "mod a;"),
            ("low/a.rs", ""),
            ("high/mod.rs", ""),
            ("testing.rs", ""),
        ];
        assert_eq!(places_of(&good), [""; 0]);
        let bad = [
            ("lib.rs", "mod low; mod other; mod testing;"),
            ("low.rs", ""),
            ("low/a.rs", ""),
            ("other/mod.rs", ""),
            ("testing.rs", ""),
        ];
        let expected = ["low.rs:1", "low/a.rs:1", "other/mod.rs:1", "testing.rs:1"];
        assert_eq!(places_of(&bad), expected);
        let stray = [("lib.rs", ""), ("low/a.rs", "use crate::high::H;")];
        assert_eq!(at(upward(&Tree::new(&sources(&stray)), LAYERS)), [""; 0]);
    }
}
