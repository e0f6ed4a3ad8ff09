//! No file needs, directly or by others, itself.
//!
//! A file needs the file that defines what it names. Re-exports count for neither side: a path through `pub use` leads to the
//! file that defines the thing, and a `pub use` alone needs nothing, unless its file uses the name, too (which cannot be seen
//! of `pub use a::*`, so that one counts). So `mod.rs` may re-export its children; a child that uses what `mod.rs`
//! defines, while `mod.rs` uses the child, is a cycle.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    source::Violation,
    syntax::Kind,
    tree::{Name, Tree},
};

/// From a file to those that it needs: the first line that says so, and the path there.
type Needs = BTreeMap<usize, BTreeMap<usize, (usize, String)>>;

fn needs(tree: &Tree) -> Needs {
    let mut needs = Needs::new();
    for named in tree.named() {
        let Name::Ours(path) = &named.name else {
            continue;
        };
        let counts = match named.kind {
            Kind::Reexported => false,
            Kind::Glob => true,
            // A module's name alone is of no use; what is named through it counts.
            _ if tree.is_module(path) => false,
            // Its `use` counts already.
            Kind::Named if named.path.len() == 1 => tree.is_reexport(&named),
            Kind::Named | Kind::Imported => true,
        };
        let Some(other) = tree.defined_in(path).filter(|_| counts) else {
            continue;
        };
        if other != named.file {
            let why = (named.line, named.path.join("::"));
            let first = needs.entry(named.file).or_default().entry(other);
            first
                .and_modify(|first| *first = why.clone().min(first.clone()))
                .or_insert(why);
        }
    }
    needs
}

/// The files on the shortest path from a file back to itself, in order.
fn shortest(needs: &Needs, start: usize) -> Option<Vec<usize>> {
    let mut before = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(file) = queue.pop_front() {
        for &next in needs.get(&file).into_iter().flat_map(BTreeMap::keys) {
            if next == start {
                let mut cycle = vec![file];
                while let Some(&previous) = before.get(&cycle[cycle.len() - 1]) {
                    cycle.push(previous);
                }
                cycle.reverse();
                return Some(cycle);
            }
            before.entry(next).or_insert_with(|| {
                queue.push_back(next);
                file
            });
        }
    }
    None
}

/// The files that a file needs, directly or by others.
fn reachable(needs: &Needs, start: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut left = vec![start];
    while let Some(file) = left.pop() {
        for &next in needs.get(&file).into_iter().flat_map(BTreeMap::keys) {
            if found.insert(next) {
                left.push(next);
            }
        }
    }
    found
}

/// The sets of files that need each other. Each is one violation, which lists a shortest cycle and then all other needs.
pub(crate) fn cycles(tree: &Tree) -> Vec<Violation> {
    let needs = needs(tree);
    let reachable: BTreeMap<usize, BTreeSet<usize>> = needs
        .keys()
        .map(|&file| (file, reachable(&needs, file)))
        .collect();
    let mut seen: BTreeSet<usize> = BTreeSet::new();
    let mut found = Vec::new();
    for (&start, reached) in &reachable {
        if !reached.contains(&start) || seen.contains(&start) {
            continue;
        }
        let knot: BTreeSet<usize> = reached
            .iter()
            .copied()
            .filter(|file| {
                reachable
                    .get(file)
                    .is_some_and(|back| back.contains(&start))
            })
            .collect();
        seen.extend(&knot);
        found.extend(describe(tree, &needs, &knot));
    }
    found
}

fn describe(tree: &Tree, needs: &Needs, knot: &BTreeSet<usize>) -> Option<Violation> {
    let cycle = knot
        .iter()
        .filter_map(|&file| shortest(needs, file))
        .min_by_key(Vec::len)?;
    let steps: Vec<(usize, usize)> = (0..cycle.len())
        .map(|index| (cycle[index], cycle[(index + 1) % cycle.len()]))
        .collect();
    let others = knot
        .iter()
        .flat_map(|&file| needs[&file].keys().map(move |&other| (file, other)))
        .filter(|step| knot.contains(&step.1) && !steps.contains(step));
    let line_of = |&(file, other): &(usize, usize)| {
        let (line, path) = &needs[&file][&other];
        let [from, to] = [file, other].map(|file| &tree.files[file].path);
        format!("\n    {from}:{line} names `{path}` of {to}")
    };
    let mut text = format!(
        "one of {} files in a cycle; move what one of these lines names, so that it ends:",
        knot.len()
    );
    text.extend(steps.iter().map(line_of));
    let others: Vec<String> = others.map(|step| line_of(&step)).collect();
    if !others.is_empty() {
        text.push_str("\n  and in longer cycles:");
        text.extend(others);
    }
    let line = needs[&steps[0].0][&steps[0].1].0;
    Some(tree.violation(steps[0].0, line, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::sources;

    const LIB: (&str, &str) = ("lib.rs", "mod a; mod b; mod c;");

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let violations = cycles(&Tree::new(&sources(files)));
        violations.into_iter().map(|found| found.text).collect()
    }

    #[track_caller]
    fn assert_cycle(files: &[(&str, &str)], lines: &[&str]) {
        let [text] = &found(files)[..] else {
            panic!("not one cycle");
        };
        let named = text
            .lines()
            .filter_map(|line| line.trim().split_once(" names "));
        assert_eq!(
            named.map(|line| line.0).collect::<Vec<_>>(),
            lines,
            "{text}"
        );
    }

    #[test]
    fn cycle_is_listed_whole() {
        let files = [
            LIB,
            ("a.rs", "\nuse crate::b::B;\npub struct A;"),
            ("b.rs", "pub struct B;\n\nfn f(_: crate::c::C) {}"),
            ("c.rs", "use super::a;\npub struct C;\nfn f(_: a::A) {}"),
        ];
        assert_cycle(&files, &["a.rs:2", "b.rs:3", "c.rs:3"]);
    }

    #[test]
    fn longer_cycles_follow_the_shortest() {
        let files = [
            LIB,
            ("a.rs", "use crate::b::B; pub struct A;"),
            ("b.rs", "use crate::{a::A,\nc::C}; pub struct B;"),
            ("c.rs", "use crate::a::A; pub struct C;"),
        ];
        assert_cycle(&files, &["a.rs:1", "b.rs:1", "b.rs:2", "c.rs:1"]);
    }

    #[test]
    fn child_and_parent_that_use_each_other_are_a_cycle() {
        for parent in [
            "mod a; use self::a::A; pub struct P;",
            "mod a; pub struct P; fn f() { a::f() }",
            "mod a; pub struct P; fn f() { vec![self::a::f()] }",
            "mod a; pub use a::A; pub struct P { a: A }",
            "mod a; use a::*; pub struct P;",
            "mod a; pub use a::*; pub struct P { a: A }",
        ] {
            let files = [
                ("lib.rs", "mod p;"),
                ("p/mod.rs", parent),
                ("p/a.rs", "use super::P; pub struct A; pub fn f() {}"),
            ];
            assert_cycle(&files, &["p/a.rs:1", "p/mod.rs:1"]);
        }
    }

    #[test]
    fn reexport_leads_to_the_file_that_defines_the_thing() {
        for (parent, sibling) in [
            ("pub use self::a::A;", "use super::A;"),
            ("pub use self::a::A as Z;", "use crate::p::Z;"),
            ("pub use self::a::*;", "fn f(_: super::A) {}"),
            ("pub(crate) use a::{self as other};", "use super::other::A;"),
        ] {
            let parent = format!("mod a; mod b; {parent}");
            let sibling = format!("{sibling} pub struct B;");
            let child = |text| {
                [
                    ("lib.rs", "mod p;"),
                    ("p/mod.rs", &*parent),
                    ("p/a.rs", text),
                    ("p/b.rs", &*sibling),
                ]
            };
            let tree = Tree::new(&sources(&child("pub struct A;")));
            let path = |&file: &usize| &*tree.files[file].path;
            let needs = needs(&tree);
            let of_sibling = needs.iter().find(|(file, _)| path(file) == "p/b.rs");
            let of_sibling: Vec<&str> = of_sibling.unwrap().1.keys().map(path).collect();
            assert_eq!(of_sibling, ["p/a.rs"], "{parent}");
            let lines = ["p/a.rs:1", "p/b.rs:1"];
            assert_cycle(&child("use super::b::B; pub struct A;"), &lines);
        }
    }

    #[test]
    fn declaring_testing_and_own_inline_modules_make_no_cycle() {
        for parent in [
            "mod a; pub struct P;",
            "mod a; pub use self::a::A; pub struct P;",
            "mod a; pub struct P; #[cfg(test)] mod tests { use super::*; use super::a::A; }",
            "mod a; pub struct P; mod inner { use super::P; pub struct I; } use inner::I;",
            "mod a; pub(in crate::p) struct P; use std::fmt;",
        ] {
            let files = [
                ("lib.rs", "mod p;"),
                ("p/mod.rs", parent),
                ("p/a.rs", "use super::P; use super::fmt; pub struct A;"),
            ];
            assert_eq!(found(&files), [""; 0], "{parent}");
        }
    }
}
