//! Whether output to a terminal is coloured.

use std::{env, ffi::OsStr};

use crate::cli::ColourChoice;

/// Whether to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// No escape sequence at all.
    Never,
    /// What matters stands out.
    Always,
}

impl Colour {
    /// What was asked for; on a terminal by default. `NO_COLOR` counts unless it is empty (no-color.org).
    #[must_use]
    pub fn new(choice: ColourChoice, is_terminal: bool) -> Self {
        choose(choice, is_terminal, env::var_os("NO_COLOR").as_deref())
    }
}

fn choose(choice: ColourChoice, is_terminal: bool, no_color: Option<&OsStr>) -> Colour {
    match choice {
        ColourChoice::Always => Colour::Always,
        ColourChoice::Auto if is_terminal && no_color.is_none_or(OsStr::is_empty) => Colour::Always,
        ColourChoice::Auto | ColourChoice::Never => Colour::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_is_coloured_unless_no_color_says_otherwise() {
        for (choice, is_terminal, no_color, expected) in [
            (ColourChoice::Auto, true, None, Colour::Always),
            (ColourChoice::Auto, true, Some(""), Colour::Always),
            (ColourChoice::Auto, true, Some("1"), Colour::Never),
            (ColourChoice::Auto, false, None, Colour::Never),
            (ColourChoice::Always, false, Some("1"), Colour::Always),
            (ColourChoice::Never, true, None, Colour::Never),
        ] {
            assert_eq!(
                choose(choice, is_terminal, no_color.map(OsStr::new)),
                expected,
                "{choice:?} {is_terminal} {no_color:?}"
            );
        }
    }
}
