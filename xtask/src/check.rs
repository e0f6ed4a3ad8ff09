//! `cargo xtask check`: format, lints, spelling, dependencies, unit tests and documentation, which need nothing but cargo.
//!
//! Each is a tier of `cargo xtask test`, which runs them first.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::cargo::Workspace;
use crate::test::{self, Scope, Tier};
use crate::{exec, fuzz};

#[derive(clap::Args)]
#[command(after_help = format!("Tiers, in the order in which they run:\n{}", Tier::help(Scope::Check)))]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> Result<()> {
    let tiers: Vec<Tier> = Tier::of(Scope::Check).collect();
    test::run_tiers(&tiers, &[])
}

pub(crate) fn format(workspace: &Workspace) -> Result<()> {
    exec::run(workspace.cargo().args(["fmt", "--all", "--check"]))?;
    // The fuzz targets are a workspace of their own.
    exec::run(
        workspace
            .cargo()
            .args(["fmt", "--check", "--manifest-path", fuzz::MANIFEST]),
    )
}

pub(crate) fn clippy(workspace: &Workspace) -> Result<()> {
    exec::run(
        workspace
            .cargo()
            .args(["clippy", "--locked", "--workspace", "--all-targets"])
            .args(["--", "--deny", "warnings"]),
    )
}

/// Spelling, as `typos.toml` configures it.
pub(crate) fn typos(workspace: &Workspace, typos: &Path) -> Result<()> {
    exec::run(Command::new(typos).current_dir(&workspace.root))
}

/// Dependencies, as `deny.toml` configures it. Advisories are left out: their database is fetched from GitHub, and a new one
/// would fail a change that has nothing to do with it.
pub(crate) fn deny(workspace: &Workspace, deny: &Path) -> Result<()> {
    exec::run(
        Command::new(deny)
            .args(["--locked", "check", "--hide-inclusion-graph"])
            .args(["bans", "licenses", "sources"])
            .current_dir(&workspace.root),
    )
}

/// Unit tests, and the test targets that are no tier of their own.
pub(crate) fn unit(workspace: &Workspace) -> Result<()> {
    let mut tests = workspace.cargo();
    tests.args(["test", "--locked", "--workspace", "--lib", "--bins"]);
    for target in unit_targets(&workspace.tests) {
        tests.args(["--test", target]);
    }
    exec::run_tests(&mut tests)
}

fn unit_targets(targets: &[String]) -> impl Iterator<Item = &str> {
    targets
        .iter()
        .map(String::as_str)
        .filter(|target| !Tier::has_target(target))
}

pub(crate) fn docs(workspace: &Workspace) -> Result<()> {
    exec::run(
        workspace
            .cargo()
            .args(["doc", "--locked", "--workspace", "--no-deps"])
            .env("RUSTDOCFLAGS", "--deny warnings"),
    )?;
    exec::run_tests(
        workspace
            .cargo()
            .args(["test", "--locked", "--workspace", "--doc"]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_other_tiers_are_not_unit_tests() {
        let targets = ["cli", "container", "golden", "kernel", "names", "tidy"].map(str::to_owned);
        assert_eq!(
            unit_targets(&targets).collect::<Vec<_>>(),
            ["cli", "golden", "tidy"]
        );
        assert_eq!(unit_targets(&[]).count(), 0);
    }
}
