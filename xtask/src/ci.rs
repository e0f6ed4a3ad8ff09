//! `cargo xtask ci`: everything that a change has to pass, in the order in which it fails fastest.

use anyhow::Result;

use crate::cargo::Workspace;
use crate::{ebpf, exec, test};

pub(crate) fn run() -> Result<()> {
    let workspace = Workspace::load()?;
    exec::run(workspace.cargo().args(["fmt", "--all", "--check"]))?;
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
    test::require_all()
}
