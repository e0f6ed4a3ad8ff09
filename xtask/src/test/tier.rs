//! The tiers: their names and order, what each tests, what it needs, and which command runs it.

use clap::ValueEnum;

/// In the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tier {
    Format,
    Clippy,
    Typos,
    Deny,
    Unit,
    Docs,
    Object,
    Kernel,
    Container,
    Rules,
    Manifests,
    Chart,
    Api,
    Faults,
    Node,
    Host,
    Vm,
    Fuzz,
}

/// A command; it runs the tiers of its own scope and of those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// `cargo xtask check`
    Check,
    /// `cargo xtask test`
    Test,
    /// `cargo xtask test --all`
    All,
}

/// What is known about a tier before it runs.
struct About {
    scope: Scope,
    tests: &'static str,
    /// Beyond what is installed from here.
    needs: &'static str,
    /// Time on two cores, in seconds, with nothing built. It leaves out what tiers before it build, and installing.
    first: u32,
    /// The same with everything built.
    again: u32,
}

/// Test targets that are run by the tier `api`, and by no tier of their name.
pub(crate) const API_TARGETS: [&str; 2] = ["events", "names"];

impl Tier {
    fn about(self) -> About {
        let about = |scope, [first, again]: [u32; 2], tests, needs| About {
            scope,
            tests,
            needs,
            first,
            again,
        };
        match self {
            Self::Format => about(Scope::Check, [3, 3], "formatting, by rustfmt", ""),
            Self::Clippy => about(
                Scope::Check,
                [75, 10],
                "lints of every target, without warnings",
                "",
            ),
            Self::Typos => about(Scope::Check, [3, 3], "spelling, by typos", ""),
            Self::Deny => about(
                Scope::Check,
                [5, 2],
                "licenses, sources and versions of dependencies, by cargo-deny",
                "",
            ),
            Self::Unit => about(
                Scope::Check,
                [150, 25],
                "unit tests, the layout of the source, golden files, the command line",
                "",
            ),
            Self::Docs => about(
                Scope::Check,
                [45, 15],
                "documentation without warnings, and its examples",
                "",
            ),
            Self::Object => about(
                Scope::Test,
                [60, 10],
                "the BPF object is what its source builds, and its lints",
                "",
            ),
            Self::Kernel => about(
                Scope::Test,
                [150, 120],
                "real OOM kills on this machine's kernel",
                "root",
            ),
            Self::Container => about(
                Scope::Test,
                [150, 30],
                "real OOM kills in containers, and our image in one",
                "root",
            ),
            Self::Rules => about(
                Scope::All,
                [10, 5],
                "alert rules and dashboard queries, by promtool",
                "",
            ),
            Self::Manifests => about(
                Scope::All,
                [20, 20],
                "manifests, and what an API server does with them if there is one",
                "",
            ),
            Self::Chart => about(Scope::All, [20, 10], "the Helm chart, by Helm", ""),
            Self::Api => about(
                Scope::All,
                [60, 60],
                "names and Events with a real API server",
                "KUBEBUILDER_ASSETS",
            ),
            Self::Faults => about(
                Scope::All,
                [180, 180],
                "agents killed, no API server, disk full",
                "root, KUBEBUILDER_ASSETS",
            ),
            Self::Node => about(
                Scope::All,
                [300, 300],
                "kills in pods on a real node",
                "root, KUBEBUILDER_ASSETS, OOMWATCH_KUBE_NODE",
            ),
            Self::Host => about(Scope::All, [180, 180], "kills on a booted systemd", "root"),
            Self::Vm => about(
                Scope::All,
                [900, 900],
                "the kernel tests on other kernels, in QEMU",
                "",
            ),
            Self::Fuzz => about(
                Scope::All,
                [150, 60],
                "every parser on generated input for 10 s, by libFuzzer",
                "",
            ),
        }
    }

    pub(crate) fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Those that the command runs.
    pub(crate) fn of(scope: Scope) -> impl Iterator<Item = Self> {
        Self::value_variants()
            .iter()
            .copied()
            .filter(move |tier| tier.about().scope <= scope)
    }

    /// Names of all tiers.
    pub(crate) fn names() -> Vec<String> {
        Self::of(Scope::All).map(Self::name).collect()
    }

    /// Whether a test target belongs to a tier other than `unit`.
    pub(crate) fn has_target(target: &str) -> bool {
        API_TARGETS.contains(&target) || Self::names().iter().any(|name| name == target)
    }

    /// Seconds on two cores: with nothing built, and with everything built.
    pub(crate) fn seconds(self) -> (u32, u32) {
        let About { first, again, .. } = self.about();
        (first, again)
    }

    /// A list of the tiers that the command runs, for its help.
    pub(crate) fn help(scope: Scope) -> String {
        let lines = |of: Scope| {
            let tiers = Self::of(of).filter(|tier| tier.about().scope == of);
            let line = |tier: Self| format!("  {:9}  {}", tier.name(), tier.about().help());
            tiers.map(line).collect::<Vec<_>>().join("\n")
        };
        let (check, test, all) = (Scope::Check, Scope::Test, Scope::All);
        match scope {
            Scope::Check => lines(check),
            Scope::Test | Scope::All => format!(
                "check, test, test --all:\n{}\n\ntest, test --all:\n{}\n\ntest --all:\n{}",
                lines(check),
                lines(test),
                lines(all)
            ),
        }
    }
}

impl About {
    fn help(&self) -> String {
        match self.needs {
            "" => self.tests.to_owned(),
            needs => format!("{} ({needs})", self.tests),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_run_the_tiers_of_those_before_them() {
        let count = |scope| Tier::of(scope).count();
        let names: Vec<String> = Tier::of(Scope::Test).map(Tier::name).collect();
        assert_eq!(
            names,
            [
                "format",
                "clippy",
                "typos",
                "deny",
                "unit",
                "docs",
                "object",
                "kernel",
                "container"
            ]
        );
        assert!(count(Scope::Check) < count(Scope::Test));
        assert_eq!(count(Scope::All), Tier::value_variants().len());
    }

    #[test]
    fn help_has_a_line_for_each_tier() {
        let help = Tier::help(Scope::All);
        for tier in Tier::value_variants() {
            let begin = format!("  {:9}  ", tier.name());
            assert_eq!(
                help.lines().filter(|line| line.starts_with(&begin)).count(),
                1
            );
        }
        let check = Tier::help(Scope::Check);
        assert!(help.contains(&check) && !check.contains("fuzz"));
        assert!(help.lines().all(|line| line.len() <= 100), "{help}");
    }
}
