//! The modules of all files, and what their paths lead to.
//!
//! Modules are found from `lib.rs` by their `mod`s. `main.rs` is a crate of its own that names the library `oomwatch`; here
//! it is a module of that name, outside of the library's.

use std::collections::{BTreeMap, HashMap};

use crate::{
    source::{Source, Violation},
    syntax::{self, Import, Kind, Scope, Syntax},
};

const MAIN: &str = "main.rs";

pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
    modules: Vec<Module>,
    by_path: HashMap<Vec<String>, usize>,
}

pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) syntax: Syntax,
    /// Reached by the `mod`s from `lib.rs`, or `main.rs`.
    pub(crate) declared: bool,
    /// Compiled for tests only.
    pub(crate) tests_only: bool,
    module: Vec<String>,
    /// The index of its first module; those of its other scopes follow.
    first: usize,
}

impl File {
    fn new(
        path: String,
        text: &str,
        module: Vec<String>,
        tests_only: bool,
        declared: bool,
    ) -> Self {
        let syntax = syntax::parse(text, tests_only).unwrap_or_else(|error| {
            let line = error.span().start().line;
            panic!("{path}:{line}: failed to parse: {error}")
        });
        Self {
            path,
            declared,
            tests_only: syntax.scopes[0].tests_only,
            syntax,
            module,
            first: 0,
        }
    }

    /// The modules that it declares and that have files of their own, and whether they are for tests only.
    fn children(&self) -> impl Iterator<Item = (Vec<String>, bool)> {
        self.syntax.scopes.iter().flat_map(|scope| {
            let children = scope.children.iter();
            children.map(|(name, tests_only)| {
                let name = std::slice::from_ref(name);
                ([&*self.module, &scope.path, name].concat(), *tests_only)
            })
        })
    }
}

/// A scope of a file, and the path of its module.
struct Module {
    file: usize,
    scope: usize,
    path: Vec<String>,
}

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// Below the library's root.
    Ours(Vec<String>),
    /// The crate comes first; or a name that is in no `use`, as a type parameter's.
    Other(Vec<String>),
}

/// A reference, with the file where it is.
pub(crate) struct Named<'a> {
    pub(crate) file: usize,
    pub(crate) line: usize,
    pub(crate) kind: Kind,
    /// As it is written.
    pub(crate) path: &'a [String],
    pub(crate) name: Name,
    module: usize,
}

impl Tree {
    pub(crate) fn new(sources: &[Source]) -> Self {
        let mut files = Vec::new();
        let mut left: BTreeMap<&str, &str> = sources
            .iter()
            .map(|source| (&*source.path, &*source.text))
            .collect();
        let mut modules = vec![(vec![MAIN.to_owned()], false), (Vec::new(), false)];
        while let Some((module, tests_only)) = modules.pop() {
            let candidates = match &*module.join("/") {
                "" => ["lib.rs".to_owned(), String::new()],
                MAIN => [MAIN.to_owned(), String::new()],
                path => [format!("{path}.rs"), format!("{path}/mod.rs")],
            };
            for path in candidates {
                if let Some(text) = left.remove(&*path) {
                    let file = File::new(path, text, module.clone(), tests_only, true);
                    modules.extend(file.children());
                    files.push(file);
                }
            }
        }
        for (path, text) in left {
            let module = vec![path.to_owned()];
            files.push(File::new(path.to_owned(), text, module, false, false));
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let mut tree = Self {
            files,
            modules: Vec::new(),
            by_path: HashMap::new(),
        };
        for (index, file) in tree.files.iter_mut().enumerate() {
            file.first = tree.modules.len();
            for (scope, found) in file.syntax.scopes.iter().enumerate() {
                let path = [&*file.module, &found.path].concat();
                tree.by_path.insert(path.clone(), tree.modules.len());
                tree.modules.push(Module {
                    file: index,
                    scope,
                    path,
                });
            }
        }
        tree
    }

    fn scope(&self, module: usize) -> &Scope {
        let Module { file, scope, .. } = &self.modules[module];
        &self.files[*file].syntax.scopes[*scope]
    }

    /// What the files name, but for tests and for files that no `mod` declares.
    pub(crate) fn named(&self) -> impl Iterator<Item = Named<'_>> {
        let files = self.files.iter().enumerate();
        files
            .filter(|(_, file)| file.declared)
            .flat_map(move |(file, found)| {
                found.syntax.references.iter().map(move |reference| {
                    let module = found.first + reference.scope;
                    Named {
                        file,
                        line: reference.line,
                        kind: reference.kind,
                        path: &reference.path,
                        name: self.expand(module, &reference.path, 0),
                        module,
                    }
                })
            })
    }

    /// Whether a single name is one that its own module re-exports.
    pub(crate) fn is_reexport(&self, named: &Named<'_>) -> bool {
        let imports = &self.scope(named.module).imports;
        matches!(named.path, [name] if imports.get(name).is_some_and(|import| import.public))
    }

    pub(crate) fn is_module(&self, path: &[String]) -> bool {
        self.by_path.contains_key(path)
    }

    /// The whole path of one that is written in a module.
    fn expand(&self, module: usize, path: &[String], depth: u8) -> Name {
        let here = &self.modules[module].path;
        let Some((first, mut rest)) = path.split_first() else {
            return Name::Ours(here.clone());
        };
        let in_main = here.first().is_some_and(|root| root == MAIN);
        let mut whole = match &**first {
            "" => return Name::Other(rest.to_vec()),
            "oomwatch" if in_main => Vec::new(),
            "crate" if in_main => vec![MAIN.to_owned()],
            "crate" => Vec::new(),
            "self" => here.clone(),
            "super" => here[..here.len().saturating_sub(1)].to_vec(),
            _ => {
                let ours = [here, std::slice::from_ref(first)].concat();
                let scope = self.scope(module);
                if self.is_module(&ours) || scope.items.contains(first) {
                    ours
                } else if let Some(Import { path, .. }) = scope.imports.get(first)
                    && depth < 8
                {
                    return self.expand(module, &[path, rest].concat(), depth + 1);
                } else {
                    return Name::Other(path.to_vec());
                }
            }
        };
        while let Some((_, after)) = rest.split_first().filter(|(name, _)| *name == "super") {
            whole.pop();
            rest = after;
        }
        whole.extend_from_slice(rest);
        Name::Ours(whole)
    }

    /// The file that defines what a whole path names, through re-exports; none for what another crate
    /// defines.
    pub(crate) fn defined_in(&self, path: &[String]) -> Option<usize> {
        self.find(path, 0)
    }

    fn find(&self, path: &[String], depth: u8) -> Option<usize> {
        let mut module = *self.by_path.get(&[][..])?;
        for (index, name) in path.iter().enumerate() {
            if let Some(&child) = self.by_path.get(&path[..=index]) {
                module = child;
                continue;
            }
            let scope = self.scope(module);
            if scope.items.contains(name) || depth == 8 {
                break;
            }
            if let Some(import) = scope.imports.get(name) {
                return match self.expand(module, &import.path, 0) {
                    Name::Ours(target) => {
                        self.find(&[&target, &path[index + 1..]].concat(), depth + 1)
                    }
                    Name::Other(_) => None,
                };
            }
            let from_glob = scope.globs.iter().find_map(|glob| {
                let Name::Ours(glob) = self.expand(module, glob, 0) else {
                    return None;
                };
                let inside = self.scope(*self.by_path.get(&glob)?);
                let target = [&glob, &path[index..]].concat();
                let has = inside.items.contains(name)
                    || inside.imports.contains_key(name)
                    || self.is_module(&target[..=glob.len()]);
                has.then_some(target)
            });
            if let Some(target) = from_glob {
                return self.find(&target, depth + 1);
            }
            break;
        }
        Some(self.modules[module].file)
    }

    pub(crate) fn violation(&self, file: usize, line: usize, text: String) -> Violation {
        Violation {
            path: self.files[file].path.clone(),
            line,
            text,
        }
    }
}
