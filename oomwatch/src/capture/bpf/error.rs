//! Why BPF programs cannot be loaded or attached, and what to do about it.

use std::{error::Error, io, iter};

use aya::{BtfError, EbpfError, maps::MapError, programs::ProgramError};

use super::features::Switch;
use crate::capture::ring::RingError;

/// Number of lines of the verifier's log that an error shows, from the end.
const LOG_LINES: usize = 12;

/// Why programs, or their maps, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// This process has not the capabilities, and is not root.
    #[error(
        "failed to {what}: permission denied (run as root (sudo), or grant CAP_BPF and CAP_PERFMON; --backend kmsg needs only to read \
         the kernel log)"
    )]
    NotPermitted {
        /// The operation, as a verb.
        what: String,
    },
    /// The kernel's types cannot be read; the text is the cause.
    #[error("{0}")]
    NoTypes(String),
    /// The kernel's types do not have what the programs need.
    #[error("this kernel has no {0}")]
    Lacks(&'static str),
    /// aya does not accept the ids of the functions to hook.
    #[error("failed to look up the functions to hook")]
    Functions(#[source] Box<BtfError>),
    /// The object cannot be loaded, or its maps cannot be created.
    #[error("failed to load the BPF object")]
    Object(#[source] Box<EbpfError>),
    /// The verifier refuses a program, or the kernel does not support its type.
    #[error("failed to load program {program}{log}")]
    Load {
        /// Name of the program.
        program: &'static str,
        /// The end of the verifier's log, which states the reason; each line preceded by a line break.
        log: String,
        /// The cause.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The kernel has no such function or tracepoint, or refuses to attach to it.
    #[error("failed to attach program {program}")]
    Attach {
        /// Name of the program.
        program: &'static str,
        /// The cause.
        #[source]
        source: Box<ProgramError>,
    },
    /// A map cannot be used.
    #[error("failed to open map {map}")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// The cause.
        #[source]
        source: MapError,
    },
    /// Hooks would be attached and not fire.
    #[error("hooks on functions do not fire: {0}")]
    Silent(Switch),
    /// The flag of dormant programs cannot be mapped into memory.
    #[error("failed to map the flag of the dormant programs into memory")]
    Flag(#[source] io::Error),
    /// The ring cannot be opened.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The ring cannot be waited for.
    #[error("failed to wait for the ring buffer")]
    Wait(#[source] io::Error),
}

/// The error for a map that the object does not have.
pub(super) fn absent(map: &'static str) -> ProbeError {
    ProbeError::Map {
        map,
        source: MapError::InvalidName {
            name: map.to_owned(),
        },
    }
}

/// [`ProbeError::NotPermitted`], if an error's root cause is `EPERM`. `EACCES` is a refusal of the verifier.
pub(super) fn not_permitted(error: &(dyn Error + 'static), what: &str) -> Option<ProbeError> {
    let answer = kernel_answer(error)?;
    (answer.raw_os_error() == Some(libc::EPERM)).then(|| ProbeError::NotPermitted {
        what: what.to_owned(),
    })
}

/// An error with its sources, in one line, without the verifier's log that sources repeat.
#[must_use]
pub fn describe(error: &(dyn Error + 'static)) -> String {
    let first = error.to_string();
    let step = first.lines().next().unwrap_or_default();
    match kernel_answer(error).map(ToString::to_string) {
        Some(answer) if !step.contains(&answer) => format!("{step}: {answer}"),
        _ => iter::successors(error.source(), |&error| error.source())
            .fold(step.to_owned(), |text, error| format!("{text}: {error}")),
    }
}

/// The kernel's error code among the sources of an error.
#[must_use]
pub fn kernel_answer<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    iter::successors(Some(error), |&error| error.source()).find_map(<dyn Error>::downcast_ref)
}

/// The error for a program that cannot be loaded.
pub(super) fn load_error(program: &'static str, error: ProgramError) -> ProbeError {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            let log = verifier_log.to_string();
            let lines: Vec<_> = log.lines().collect();
            let end = lines.iter().skip(lines.len().saturating_sub(LOG_LINES));
            ProbeError::Load {
                program,
                log: end
                    .map(|line| format!("\n  {line}"))
                    .collect::<Vec<_>>()
                    .concat(),
                source: Box::new(io_error),
            }
        }
        error => ProbeError::Load {
            program,
            log: String::new(),
            source: Box::new(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use aya::sys::SyscallError;

    use super::*;

    #[test]
    fn refusal_by_the_verifier_is_no_missing_privilege() {
        for (errno, expected) in [
            (libc::EPERM, true),
            (libc::EACCES, false),
            (libc::EINVAL, false),
        ] {
            let error = ProgramError::SyscallError(SyscallError {
                call: "bpf_prog_load",
                io_error: io::Error::from_raw_os_error(errno),
            });
            assert_eq!(
                not_permitted(&error, "trying").is_some(),
                expected,
                "{errno}"
            );
            assert_eq!(
                kernel_answer(&error).and_then(io::Error::raw_os_error),
                Some(errno)
            );
        }
    }
}
