//! What one file says, without its tests: the names it defines and imports, the paths it names, and where.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::TokenStream;
use syn::{Attribute, Meta, punctuated::Punctuated};

use crate::{reader, tokens};

/// A `mod`: a file, or a part of one.
#[derive(Default)]
pub(crate) struct Scope {
    /// Below the module of the file.
    pub(crate) path: Vec<String>,
    pub(crate) tests_only: bool,
    pub(crate) items: BTreeSet<String>,
    /// By the name that they bring into the scope.
    pub(crate) imports: BTreeMap<String, Import>,
    pub(crate) globs: Vec<Vec<String>>,
    /// Those that have files of their own, and whether they are for tests only.
    pub(crate) children: Vec<(String, bool)>,
}

pub(crate) struct Import {
    pub(crate) path: Vec<String>,
    pub(crate) public: bool,
}

/// A path that the file names. One with a leading `::` begins with an empty name.
pub(crate) struct Reference {
    /// Of the scopes of its file.
    pub(crate) scope: usize,
    pub(crate) line: usize,
    pub(crate) path: Vec<String>,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// In an expression, a type, an attribute or a macro.
    Named,
    Imported,
    /// Imported with `::*`.
    Glob,
    /// Imported for others, by `pub use` or `pub(…) use`.
    Reexported,
}

#[derive(Default)]
pub(crate) struct Syntax {
    /// The first is the file itself.
    pub(crate) scopes: Vec<Scope>,
    pub(crate) references: Vec<Reference>,
    /// The lines of `async` and `.await`.
    pub(crate) asyncs: Vec<usize>,
    /// The lines of `unsafe`, and of what allows it; in tests, too.
    pub(crate) unsafes: Vec<usize>,
}

/// Reads a file; one that is for tests only has no references.
pub(crate) fn parse(text: &str, tests_only: bool) -> syn::Result<Syntax> {
    let tokens: TokenStream = text.parse()?;
    let unsafes = tokens::unsafes(tokens.clone());
    let file: syn::File = syn::parse2(tokens)?;
    let tests_only = tests_only || is_test(&file.attrs);
    let mut syntax = reader::read(&file, tests_only);
    syntax.unsafes = unsafes;
    Ok(syntax)
}

/// Whether what has these attributes is compiled for tests (or the documentation) only.
pub(crate) fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg")
                && attribute
                    .parse_args::<Meta>()
                    .is_ok_and(|condition| needs_test(&condition)))
    })
}

fn needs_test(condition: &Meta) -> bool {
    let all = |list: &syn::MetaList| {
        list.parse_args_with(Punctuated::<Meta, syn::Token![,]>::parse_terminated)
            .unwrap_or_default()
    };
    match condition {
        Meta::Path(path) => path.is_ident("test") || path.is_ident("doc"),
        Meta::List(list) if list.path.is_ident("all") => all(list).iter().any(needs_test),
        Meta::List(list) if list.path.is_ident("any") => all(list).iter().all(needs_test),
        _ => false,
    }
}
