//! What to boot: from what the user asked for to kernels that are there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;

use super::Args;
use super::boots::{self, Boot, CgroupVersion, Hooks};
use super::kernels::{self, Kernel};

/// One boot with all that it needs.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) kernel: Kernel,
    pub(crate) cgroup: CgroupVersion,
    pub(crate) hooks: Hooks,
    /// Tests with one of these in their names are left out.
    pub(crate) without: &'static [&'static str],
}

impl Plan {
    /// For the head of a table.
    pub(crate) fn title(&self) -> String {
        let Self {
            name,
            kernel,
            cgroup,
            hooks,
            without: _,
        } = self;
        format!("{name}: {}, cgroup {cgroup}, hooks {hooks}", kernel.version)
    }
}

/// The boots, and of those whose kernel is not to be had why.
pub(crate) fn make(args: &Args, folder: &Path) -> Result<(Vec<Plan>, Vec<String>)> {
    let mut plans = Vec::new();
    for path in &args.kernel {
        let name = path.file_name().unwrap_or(path.as_os_str());
        plans.push(Plan {
            name: name.to_string_lossy().into_owned(),
            kernel: Kernel::from_file(path)?,
            cgroup: args.cgroup.unwrap_or(CgroupVersion::V2),
            hooks: args.hooks.unwrap_or(Hooks::Auto),
            without: &[],
        });
    }
    let mut missing = Vec::new();
    let mut obtained: BTreeMap<&str, Option<Kernel>> = BTreeMap::new();
    for boot in selection(&args.only, args.kernel.is_empty()) {
        let release = boot.release;
        let kernel = obtained.entry(release.name).or_insert_with(|| {
            kernels::obtain(release, folder, args.refresh)
                .inspect_err(|error| {
                    eprintln!("kernel {} is not to be had", release.name);
                    missing.push(format!("kernel {}: {error:#}", release.name));
                })
                .ok()
        });
        if let Some(kernel) = kernel.clone() {
            plans.push(of_the_matrix(boot, kernel, args));
        }
    }
    Ok((plans, missing))
}

fn of_the_matrix(boot: &Boot, kernel: Kernel, args: &Args) -> Plan {
    // Who names tests means these.
    let is_asked_for_tests = !args.test.is_empty();
    Plan {
        name: boot.name.to_owned(),
        kernel,
        cgroup: args.cgroup.unwrap_or(boot.cgroup),
        hooks: args.hooks.unwrap_or(boot.hooks),
        without: if is_asked_for_tests {
            &[]
        } else {
            boot.without
        },
    }
}

/// With a file, only what is named beside it; with nothing, everything.
fn selection<'a>(
    only: &'a [&'static Boot],
    no_file: bool,
) -> impl Iterator<Item = &'static Boot> + 'a {
    let everything = only.is_empty() && no_file;
    let named: BTreeSet<&str> = only.iter().map(|boot| boot.name).collect();
    boots::MATRIX
        .iter()
        .filter(move |boot| everything || named.contains(boot.name))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn args(words: &[&str]) -> Args {
        let words = ["vm"].iter().chain(words);
        Cli::try_parse_from(words).unwrap().args
    }

    fn names(words: &[&str]) -> Vec<&'static str> {
        let args = args(words);
        selection(&args.only, args.kernel.is_empty())
            .map(|boot| boot.name)
            .collect()
    }

    fn planned(boot: &str, words: &[&str]) -> Plan {
        let kernel = Kernel {
            version: "5.10.262-1".to_owned(),
            image: PathBuf::new(),
        };
        of_the_matrix(boots::parse_name(boot).unwrap(), kernel, &args(words))
    }

    #[test]
    fn nothing_asked_for_is_the_whole_matrix() {
        assert_eq!(names(&[]).len(), boots::MATRIX.len());
        assert!(args(&[]).is_whole());
    }

    #[test]
    fn boot_is_named_exactly_and_made_once() {
        assert_eq!(names(&["--only", "5.10"]), ["5.10"]);
        let named = ["--only", "6.1-v1", "--only", "5.10", "--only", "6.1-v1"];
        assert_eq!(names(&named), ["5.10", "6.1-v1"]);
        assert!(!args(&["--only", "5.10"]).is_whole());
    }

    #[test]
    fn file_replaces_the_matrix_save_what_is_named() {
        assert!(names(&["--kernel", "x"]).is_empty());
        assert_eq!(names(&["--kernel", "x", "--only", "newest"]), ["newest"]);
    }

    #[test]
    fn who_names_tests_gets_them_on_every_boot() {
        assert!(!planned("5.10-v1", &[]).without.is_empty());
        assert!(planned("5.10-v1", &["--", "storm"]).without.is_empty());
    }

    #[test]
    fn what_is_asked_for_stands_above_the_matrix() {
        let title = |words: &[&str]| planned("5.10-v1", words).title();
        assert_eq!(title(&[]), "5.10-v1: 5.10.262-1, cgroup v1, hooks kprobe");
        assert_eq!(
            title(&["--cgroup", "v2", "--hooks", "auto"]),
            "5.10-v1: 5.10.262-1, cgroup v2, hooks auto"
        );
        for words in [&["--hooks", "auto"][..], &["--cgroup", "v1"], &["--", "a"]] {
            assert!(!args(words).is_whole(), "{words:?}");
        }
    }
}
