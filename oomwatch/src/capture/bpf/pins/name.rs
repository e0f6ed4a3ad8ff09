//! Names of generations: the time from which on their records count, and the layout of those.

use std::{fmt, str::FromStr};

use oomwatch_ebpf::record::ABI_VERSION;

/// The name of a generation. Names are ordered by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GenerationName {
    /// Time from which on its records count, in nanoseconds since boot.
    pub since_boot_time_ns: u64,
    /// [`ABI_VERSION`] of its records.
    pub abi_version: u32,
}

impl GenerationName {
    /// The name of a generation with the current layout.
    #[must_use]
    pub fn new(since_boot_time_ns: u64) -> Self {
        Self {
            since_boot_time_ns,
            abi_version: ABI_VERSION,
        }
    }
}

impl fmt::Display for GenerationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.abi_version, self.since_boot_time_ns)
    }
}

/// The text is not the name of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a generation")]
pub struct InvalidName;

impl FromStr for GenerationName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (abi_version, since) = text.split_once('-').ok_or(InvalidName)?;
        let name = Self {
            since_boot_time_ns: u64::from_str_radix(since, 16).map_err(|_| InvalidName)?,
            abi_version: abi_version.parse().map_err(|_| InvalidName)?,
        };
        // A name has one spelling only.
        if name.to_string() == text {
            Ok(name)
        } else {
            Err(InvalidName)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn name_states_abi_and_time() {
        let name = GenerationName {
            since_boot_time_ns: 0x001a_2b3c,
            abi_version: 2,
        };
        assert_eq!(name.to_string(), "2-00000000001a2b3c");
        assert_eq!("2-00000000001a2b3c".parse(), Ok(name));
    }

    #[test]
    fn other_texts_are_not_names() {
        for text in [
            "",
            "-",
            "2",
            "2-",
            "2-1a",
            "2-00000000001A2B3C",
            "02-00000000001a2b3c",
            "+2-00000000001a2b3c",
            "2-+000000001a2b3cd",
            "2.00000000001a2b3c",
            "2-00000000001a2b3c-",
            "2-000000000000000000001a2b3c",
            "4294967296-00000000001a2b3c",
            "maps",
        ] {
            assert_eq!(text.parse::<GenerationName>(), Err(InvalidName), "{text:?}");
        }
    }

    #[test]
    fn names_are_ordered_by_time() {
        let [older, newer] =
            [(3, 1), (2, 2)].map(|(abi_version, since_boot_time_ns)| GenerationName {
                since_boot_time_ns,
                abi_version,
            });
        assert!(older < newer);
    }

    proptest! {
        #[test]
        fn names_are_parsed_as_formatted(since_boot_time_ns: u64, abi_version: u32) {
            let name = GenerationName { since_boot_time_ns, abi_version };
            prop_assert_eq!(name.to_string().parse(), Ok(name));
        }

        #[test]
        fn any_text_parses_or_fails(text: String) {
            let _ = text.parse::<GenerationName>();
        }
    }
}
