//! Whether text output is colored.

use std::{env, ffi::OsStr};

/// When to color.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Whether lines have color.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// No escape sequences.
    Never,
    /// Important kills are highlighted.
    Always,
}

impl Color {
    /// Applies `--color`. By default a terminal gets color, unless `NO_COLOR` is set and not empty (no-color.org).
    #[must_use]
    pub fn new(choice: ColorChoice, is_terminal: bool) -> Self {
        choose(choice, is_terminal, env::var_os("NO_COLOR").as_deref())
    }
}

fn choose(choice: ColorChoice, is_terminal: bool, no_color: Option<&OsStr>) -> Color {
    match choice {
        ColorChoice::Always => Color::Always,
        ColorChoice::Auto if is_terminal && no_color.is_none_or(OsStr::is_empty) => Color::Always,
        ColorChoice::Auto | ColorChoice::Never => Color::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_is_colored_unless_no_color_is_set() {
        for (choice, is_terminal, no_color, expected) in [
            (ColorChoice::Auto, true, None, Color::Always),
            (ColorChoice::Auto, true, Some(""), Color::Always),
            (ColorChoice::Auto, true, Some("1"), Color::Never),
            (ColorChoice::Auto, false, None, Color::Never),
            (ColorChoice::Always, false, Some("1"), Color::Always),
            (ColorChoice::Never, true, None, Color::Never),
        ] {
            assert_eq!(
                choose(choice, is_terminal, no_color.map(OsStr::new)),
                expected,
                "{choice:?} {is_terminal} {no_color:?}"
            );
        }
    }
}
