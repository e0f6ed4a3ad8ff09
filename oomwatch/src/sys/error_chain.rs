//! Formats an error with its causes for one line of a log or a report.

use std::{error::Error, io, iter};

/// An error and all its causes, separated by `: `. A cause that the text before it ends with already is not repeated.
pub(crate) fn error_chain(error: &(dyn Error + 'static)) -> String {
    let causes = iter::successors(error.source(), |&error| error.source());
    causes.fold(text_of(error), |text, cause| {
        if text.ends_with(&cause.to_string()) {
            text
        } else {
            format!("{text}: {}", text_of(cause))
        }
    })
}

fn text_of(error: &(dyn Error + 'static)) -> String {
    error
        .downcast_ref::<io::Error>()
        .map_or_else(|| error.to_string(), os_error)
}

/// The kernel's answer as in `strerror`, but in lower case and without its number: `permission denied`. Any other error
/// unchanged.
pub(crate) fn os_error(error: &io::Error) -> String {
    let text = error.to_string();
    let Some((answer, _)) = text.split_once(" (os error") else {
        return text;
    };
    let mut characters = answer.chars();
    let first = characters.next().map(char::to_lowercase);
    first.into_iter().flatten().chain(characters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Failed {
        #[error("failed to read /proc/vmstat")]
        Read(#[source] io::Error),
        #[error("failed to connect: {0}")]
        Repeats(#[source] io::Error),
    }

    #[test]
    fn each_cause_is_printed_once_and_without_its_number() {
        let denied = || io::Error::from_raw_os_error(libc::EACCES);
        for (error, expected) in [
            (
                Failed::Read(denied()),
                "failed to read /proc/vmstat: permission denied",
            ),
            (
                Failed::Repeats(denied()),
                "failed to connect: Permission denied (os error 13)",
            ),
            (
                Failed::Repeats(io::Error::other("The end")),
                "failed to connect: The end",
            ),
            (
                Failed::Read(io::Error::other(Failed::Read(denied()))),
                "failed to read /proc/vmstat: permission denied",
            ),
        ] {
            assert_eq!(error_chain(&error), expected);
        }
    }
}
