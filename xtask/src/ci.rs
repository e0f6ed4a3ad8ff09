//! `cargo xtask ci`: everything that a change has to pass, in the order in which it fails fastest.

use anyhow::Result;

use crate::cargo::Workspace;
use crate::{ebpf, exec, fuzz, test};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave these tiers of tests out
    #[arg(long, value_name = "TIER", value_delimiter = ',')]
    without: Vec<test::Tier>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = Workspace::load()?;
    exec::run(workspace.cargo().args(["fmt", "--all", "--check"]))?;
    // A workspace of its own.
    exec::run(
        workspace
            .cargo()
            .args(["fmt", "--check", "--manifest-path", fuzz::MANIFEST]),
    )?;
    exec::run(
        workspace
            .cargo()
            .args(["clippy", "--locked", "--workspace", "--all-targets"])
            .args(["--", "--deny", "warnings"]),
    )?;
    ebpf::lint(&workspace)?;
    exec::run(
        workspace
            .cargo()
            .args(["doc", "--locked", "--workspace", "--no-deps"])
            .env("RUSTDOCFLAGS", "--deny warnings"),
    )?;
    test::require_all_but(&args.without)
}
