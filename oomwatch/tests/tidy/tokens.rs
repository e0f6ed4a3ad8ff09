//! What is found in tokens: the paths in those of macros and attributes, and `unsafe`.

use std::mem;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The paths and single names in tokens, with their lines. `a::{b, c}` is two paths, as in a `use` that a macro writes.
pub(crate) fn paths(tokens: TokenStream) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    collect(tokens, &mut found);
    found
}

fn collect(tokens: TokenStream, found: &mut Vec<(usize, Vec<String>)>) {
    let mut path = Vec::new();
    let mut line = 0;
    // Since the last name.
    let mut colons = 0;
    for token in tokens {
        if let TokenTree::Punct(punct) = &token
            && punct.as_char() == ':'
        {
            colons += 1;
            continue;
        }
        let goes_on = mem::take(&mut colons) == 2 && !path.is_empty();
        match token {
            TokenTree::Ident(ident) if goes_on => path.push(ident.to_string()),
            TokenTree::Group(group) if goes_on && group.delimiter() == Delimiter::Brace => {
                let prefix = mem::take(&mut path);
                let first = found.len();
                collect(group.stream(), found);
                for (_, path) in &mut found[first..] {
                    path.splice(..0, prefix.iter().cloned());
                }
            }
            token => {
                if !path.is_empty() {
                    found.push((line, mem::take(&mut path)));
                }
                line = token.span().start().line;
                match token {
                    TokenTree::Ident(ident) => path.push(ident.to_string()),
                    TokenTree::Group(group) => collect(group.stream(), found),
                    _ => (),
                }
            }
        }
    }
    if !path.is_empty() {
        found.push((line, path));
    }
}

/// The paths in the strings of an attribute, as in `#[serde(with = "crate::a")]`.
pub(crate) fn quoted(tokens: TokenStream) -> Vec<syn::Path> {
    let mut found = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Literal(literal) => {
                if let syn::Lit::Str(text) = syn::Lit::new(literal)
                    && let Ok(path) = text.parse()
                {
                    found.push(path);
                }
            }
            TokenTree::Group(group) => found.extend(quoted(group.stream())),
            _ => (),
        }
    }
    found
}

/// The lines of `unsafe`, and of attributes that allow it.
pub(crate) fn unsafes(tokens: TokenStream) -> Vec<usize> {
    let mut lines = Vec::new();
    let mut allows = false;
    for token in tokens {
        let allowed = mem::take(&mut allows);
        match token {
            TokenTree::Ident(ident) if ident == "unsafe" => lines.push(ident.span().start().line),
            TokenTree::Ident(ident) => allows = ident == "allow" || ident == "expect",
            TokenTree::Group(group) => {
                let mut inner = group.stream().into_iter();
                if allowed && let Some(lint) = inner.find(|lint| lint.to_string() == "unsafe_code")
                {
                    lines.push(lint.span().start().line);
                }
                lines.extend(unsafes(group.stream()));
            }
            _ => (),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macros_name_paths() {
        let tokens = "x!(a::b::<C>(), format!(\"{}\", crate::d::{e, f::g}), h: i)";
        let paths: Vec<String> = paths(tokens.parse().unwrap())
            .into_iter()
            .map(|(_, path)| path.join("::"))
            .collect();
        let expected = [
            "x",
            "a::b",
            "C",
            "format",
            "crate::d::e",
            "crate::d::f::g",
            "h",
            "i",
        ];
        assert_eq!(paths, expected);
    }

    #[test]
    fn strings_of_attributes_are_paths() {
        let paths = quoted("(with = \"crate::a\", rename = \"b c\")".parse().unwrap());
        assert_eq!(paths.len(), 1);
    }

    #[test]
    fn unsafe_is_a_keyword_or_a_lint_that_is_allowed() {
        let lines = |text: &str| unsafes(text.parse().unwrap());
        assert_eq!(lines("fn a() {\n unsafe { b() } }"), [2]);
        assert_eq!(lines("#![expect(unsafe_code, reason = \"\")]"), [1]);
        assert_eq!(
            lines("#![deny(unsafe_code)] // unsafe\n/* unsafe */"),
            [0; 0]
        );
        assert_eq!(lines("fn expect(unsafe_op: &str) { \"unsafe\" }"), [0; 0]);
    }
}
