//! The visitor that makes a [`Syntax`] of a parsed file. It does not enter what is for tests only, but for its modules.

use std::mem;

use proc_macro2::{Ident, TokenStream};
use syn::{
    Attribute, ImplItem, Item, Meta, UseTree, Visibility,
    visit::{self, Visit},
};

use crate::{
    syntax::{Import, Kind, Reference, Scope, Syntax, is_test},
    tokens,
};

pub(crate) fn read(file: &syn::File, tests_only: bool) -> Syntax {
    let scope = Scope {
        tests_only,
        ..Scope::default()
    };
    let mut reader = Reader {
        syntax: Syntax {
            scopes: vec![scope],
            ..Syntax::default()
        },
        scope: 0,
    };
    reader.visit_file(file);
    reader.syntax
}

struct Reader {
    syntax: Syntax,
    /// The scope in which this is.
    scope: usize,
}

impl Reader {
    fn scope(&mut self) -> &mut Scope {
        &mut self.syntax.scopes[self.scope]
    }

    fn refer(&mut self, line: usize, path: Vec<String>, kind: Kind) {
        self.syntax.references.push(Reference {
            scope: self.scope,
            line,
            path,
            kind,
        });
    }

    fn is_async(&mut self, line: usize) {
        self.syntax.asyncs.push(line);
    }

    fn import(&mut self, tree: &UseTree, prefix: &[String], public: bool) {
        let mut path = prefix.to_vec();
        let (ident, name) = match tree {
            UseTree::Path(tree) => {
                path.push(tree.ident.to_string());
                return self.import(&tree.tree, &path, public);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, &path, public);
                }
                return;
            }
            UseTree::Glob(glob) => {
                self.scope().globs.push(path.clone());
                let line = glob.star_token.spans[0].start().line;
                return self.refer(line, path, Kind::Glob);
            }
            UseTree::Name(name) => (&name.ident, &name.ident),
            UseTree::Rename(name) => (&name.ident, &name.rename),
        };
        let mut name = name.to_string();
        if ident != "self" || path.is_empty() {
            path.push(ident.to_string());
        } else if name == "self" {
            name.clone_from(&path[path.len() - 1]);
        }
        let import = Import {
            path: path.clone(),
            public,
        };
        self.scope().imports.insert(name, import);
        let kind = if public {
            Kind::Reexported
        } else {
            Kind::Imported
        };
        self.refer(ident.span().start().line, path, kind);
    }

    /// The paths in what is no syntax yet: the tokens of a macro or an attribute.
    fn tokens(&mut self, tokens: TokenStream) {
        for (line, path) in tokens::paths(tokens) {
            if let [word] = &*path
                && ["async", "await"].contains(&&**word)
            {
                self.is_async(line);
            }
            self.refer(line, path, Kind::Named);
        }
    }

    fn module(&mut self, item: &syn::ItemMod, tests_only: bool) {
        let name = item.ident.to_string();
        let Some((_, items)) = &item.content else {
            // One of `#[path]` is another's file.
            if !item.attrs.iter().any(|a| a.path().is_ident("path")) {
                self.scope().children.push((name, tests_only));
            }
            return;
        };
        let mut path = self.scope().path.clone();
        path.push(name);
        let scope = Scope {
            path,
            tests_only,
            ..Scope::default()
        };
        let outer = mem::replace(&mut self.scope, self.syntax.scopes.len());
        self.syntax.scopes.push(scope);
        for item in items {
            self.visit_item(item);
        }
        self.scope = outer;
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        let (attributes, ident) = of_item(item);
        let tests_only = self.scope().tests_only || is_test(attributes);
        match item {
            Item::Mod(item) => self.module(item, tests_only),
            _ if tests_only => (),
            _ => {
                self.scope().items.extend(ident.map(Ident::to_string));
                visit::visit_item(self, item);
            }
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let public = !matches!(item.vis, Visibility::Inherited);
        let leading = item.leading_colon.as_ref().map(|_| String::new());
        let prefix: Vec<String> = leading.into_iter().collect();
        self.import(&item.tree, &prefix, public);
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes: &[Attribute] = match item {
            ImplItem::Const(item) => &item.attrs,
            ImplItem::Fn(item) => &item.attrs,
            ImplItem::Macro(item) => &item.attrs,
            ImplItem::Type(item) => &item.attrs,
            _ => &[],
        };
        if !is_test(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !is_test(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let leading = path.leading_colon.as_ref().map(|_| String::new());
        let names = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string());
        let names = leading.into_iter().chain(names).collect();
        let line = path.segments[0].ident.span().start().line;
        self.refer(line, names, Kind::Named);
        visit::visit_path(self, path);
    }

    /// `pub(in crate::a)` needs nothing of `a`.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        match &attribute.meta {
            Meta::Path(path) => self.visit_path(path),
            Meta::NameValue(_) => (),
            Meta::List(list) => {
                self.visit_path(&list.path);
                self.tokens(list.tokens.clone());
                for path in tokens::quoted(list.tokens.clone()) {
                    self.visit_path(&path);
                }
            }
        }
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if let Some(token) = &signature.asyncness {
            self.is_async(token.span.start().line);
        }
        visit::visit_signature(self, signature);
    }

    fn visit_expr_async(&mut self, block: &'ast syn::ExprAsync) {
        self.is_async(block.async_token.span.start().line);
        visit::visit_expr_async(self, block);
    }

    fn visit_expr_await(&mut self, expression: &'ast syn::ExprAwait) {
        self.is_async(expression.await_token.span.start().line);
        visit::visit_expr_await(self, expression);
    }

    fn visit_expr_closure(&mut self, closure: &'ast syn::ExprClosure) {
        if let Some(token) = &closure.asyncness {
            self.is_async(token.span.start().line);
        }
        visit::visit_expr_closure(self, closure);
    }
}

/// The attributes of an item, and the name that it defines.
fn of_item(item: &Item) -> (&[Attribute], Option<&Ident>) {
    match item {
        Item::Const(item) => (&item.attrs, Some(&item.ident)),
        Item::Enum(item) => (&item.attrs, Some(&item.ident)),
        Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
        Item::ForeignMod(item) => (&item.attrs, None),
        Item::Impl(item) => (&item.attrs, None),
        Item::Macro(item) => (&item.attrs, item.ident.as_ref()),
        Item::Mod(item) => (&item.attrs, None),
        Item::Static(item) => (&item.attrs, Some(&item.ident)),
        Item::Struct(item) => (&item.attrs, Some(&item.ident)),
        Item::Trait(item) => (&item.attrs, Some(&item.ident)),
        Item::Type(item) => (&item.attrs, Some(&item.ident)),
        Item::Union(item) => (&item.attrs, Some(&item.ident)),
        Item::Use(item) => (&item.attrs, None),
        _ => (&[], None),
    }
}
