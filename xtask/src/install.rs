//! What the tiers will install, collected so that it can be printed before anything is installed.

use std::collections::BTreeMap;

use crate::exec;

/// Something that is missing on this machine and will be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Install {
    /// Such as `bpf-linker 0.10.3`.
    pub(crate) what: String,
    pub(crate) how: How,
    /// Time that it takes on two cores.
    pub(crate) seconds: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum How {
    /// On the machine.
    Apt,
    /// Into the toolchain.
    Rustup,
    /// Into `target/tools`.
    Cargo,
    /// Into `target/tools`, from its sources.
    Go,
    /// A Debian package, unpacked below the target folder.
    Unpack,
}

impl How {
    fn text(self) -> &'static str {
        match self {
            Self::Apt if exec::is_root() => "apt-get install",
            Self::Apt => "sudo apt-get install (run it yourself, else the tier is skipped)",
            Self::Rustup => "rustup",
            Self::Cargo => "cargo install, into target/tools",
            Self::Go => "go install, into target/tools",
            Self::Unpack => "from Debian, into the target folder",
        }
    }
}

/// One line for each way of installing; the order and repetitions of `installs` do not matter.
pub(crate) fn lines(installs: &[Install]) -> Vec<String> {
    let mut by_how: BTreeMap<How, Vec<&str>> = BTreeMap::new();
    for install in installs {
        by_how.entry(install.how).or_default().push(&install.what);
    }
    let line = |(how, mut what): (How, Vec<&str>)| {
        what.sort_unstable();
        what.dedup();
        format!("{}: {}", how.text(), what.join(", "))
    };
    by_how.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installs_are_listed_once_by_how() {
        let install = |what: &str, how| Install {
            what: what.to_owned(),
            how,
            seconds: 1,
        };
        let installs = [
            install("b 1", How::Cargo),
            install("rust-src", How::Rustup),
            install("a 2", How::Cargo),
            install("rust-src", How::Rustup),
        ];
        assert_eq!(
            lines(&installs),
            [
                "rustup: rust-src",
                "cargo install, into target/tools: a 2, b 1"
            ]
        );
        assert_eq!(lines(&[]), [""; 0]);
    }
}
