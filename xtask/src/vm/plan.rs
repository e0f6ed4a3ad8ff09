//! From the arguments to a list of boots, each with a kernel that has been fetched.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;

use super::Args;
use super::boots::{self, BackendChoice, Boot, CgroupVersion, Tests};
use super::kernels::{self, Kernel};

/// One boot with everything it needs.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) kernel: Kernel,
    pub(crate) cgroup: CgroupVersion,
    pub(crate) backend: BackendChoice,
    pub(crate) tests: Tests,
}

impl Plan {
    /// Heading of a table.
    pub(crate) fn title(&self) -> String {
        let Self {
            name,
            kernel,
            cgroup,
            backend,
            tests,
        } = self;
        format!(
            "{name}: {}, cgroup {cgroup}, backend {backend}, tests {tests}",
            kernel.version
        )
    }
}

/// The boots, and for each kernel that could not be fetched the reason.
pub(crate) fn make(args: &Args, folder: &Path) -> Result<(Vec<Plan>, Vec<String>)> {
    let mut plans = Vec::new();
    for path in &args.kernel {
        let name = path.file_name().unwrap_or(path.as_os_str());
        plans.push(Plan {
            name: name.to_string_lossy().into_owned(),
            kernel: Kernel::from_file(path)?,
            cgroup: args.cgroup.unwrap_or(CgroupVersion::V2),
            backend: args.backend.unwrap_or(BackendChoice::Auto),
            tests: args.tests.unwrap_or(Tests::All),
        });
    }
    let mut missing = Vec::new();
    let mut obtained: BTreeMap<&str, Option<Kernel>> = BTreeMap::new();
    for boot in selection(&args.only, args.kernel.is_empty()) {
        let release = boot.release;
        let kernel = obtained.entry(release.name).or_insert_with(|| {
            kernels::obtain(release, folder, args.refresh)
                .inspect_err(|error| {
                    eprintln!("kernel {} is not available", release.name);
                    missing.push(format!("kernel {}: {error:#}", release.name));
                })
                .ok()
        });
        if let Some(kernel) = kernel.clone() {
            plans.push(plan(boot, kernel, args));
        }
    }
    Ok((plans, missing))
}

fn plan(boot: &Boot, kernel: Kernel, args: &Args) -> Plan {
    // Arguments for the test executable replace the short set: they name tests.
    let tests = if args.test.is_empty() {
        boot.tests
    } else {
        Tests::All
    };
    Plan {
        name: boot.name.to_owned(),
        kernel,
        cgroup: args.cgroup.unwrap_or(boot.cgroup),
        backend: args.backend.unwrap_or(boot.backend),
        tests: args.tests.unwrap_or(tests),
    }
}

/// Without arguments the whole matrix; with kernel images only the boots that are named as well.
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
        plan(boots::parse_name(boot).unwrap(), kernel, &args(words))
    }

    #[test]
    fn no_arguments_mean_the_whole_matrix() {
        assert_eq!(names(&[]).len(), boots::MATRIX.len());
        assert!(args(&[]).is_whole());
    }

    #[test]
    fn name_is_matched_exactly_and_booted_once() {
        assert_eq!(names(&["--only", "5.10"]), ["5.10"]);
        let named = ["--only", "6.1-v1", "--only", "5.10", "--only", "6.1-v1"];
        assert_eq!(names(&named), ["5.10", "6.1-v1"]);
        assert!(!args(&["--only", "5.10"]).is_whole());
    }

    #[test]
    fn image_replaces_the_matrix_except_for_named_boots() {
        assert!(names(&["--kernel", "x"]).is_empty());
        assert_eq!(names(&["--kernel", "x", "--only", "newest"]), ["newest"]);
    }

    #[test]
    fn arguments_for_the_tests_replace_the_short_set() {
        let tests = |words: &[&str]| planned("5.10-v1", words).tests;
        assert_eq!(tests(&[]), Tests::Short);
        assert_eq!(tests(&["--", "storm"]), Tests::All);
        assert_eq!(tests(&["--tests", "all"]), Tests::All);
        assert_eq!(tests(&["--tests", "short"]), Tests::Short);
    }

    #[test]
    fn arguments_override_the_matrix() {
        let title = |words: &[&str]| planned("5.10-v1", words).title();
        assert_eq!(
            title(&[]),
            "5.10-v1: 5.10.262-1, cgroup v1, backend kprobe, tests short"
        );
        assert_eq!(
            title(&["--cgroup", "v2", "--backend", "auto"]),
            "5.10-v1: 5.10.262-1, cgroup v2, backend auto, tests short"
        );
        for words in [
            &["--backend", "auto"][..],
            &["--cgroup", "v1"],
            &["--tests", "all"],
            &["--", "a"],
        ] {
            assert!(!args(words).is_whole(), "{words:?}");
        }
    }
}
