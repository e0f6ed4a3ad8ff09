//! `cargo xtask`: builds, runs and tests that cargo alone cannot express.
//!
//! One file for each command. Nothing here is part of the product.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a tool for the terminal"
)]

mod apt;
mod bench;
mod cargo;
mod cgroup;
mod check;
mod demo;
mod ebpf;
mod exec;
mod failures;
mod fuzz;
mod helm;
mod image;
mod install;
mod kube;
mod kubectl;
mod release;
mod rules;
mod run;
mod table;
mod tarball;
mod test;
mod toolchain;
mod tools;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Builds, runs and tests oomwatch.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check a change in minutes: format, lints, spelling, dependencies, unit tests, documentation
    Check(check::Args),
    /// Run what `check` does and real OOM kills on this machine; with `--all`, every test
    Test(test::Args),
    /// Build oomwatch and run `oomwatch watch` as root
    Run(run::Args),
    /// Rebuild the BPF object that oomwatch embeds, or check that it is up to date
    Ebpf(ebpf::Args),
    /// Boot other kernels in QEMU and run the kernel tests there
    Vm(vm::Args),
    /// Run every parser on generated input, by libFuzzer
    Fuzz(fuzz::Args),
    /// Measure oomwatch against its budgets, next to the kernel log (needs root)
    Bench(bench::Args),
    /// Build a static binary and write it as an image archive, without a container engine
    Image(image::Args),
    /// Build everything that is released: archives, packages, image, chart, checksums
    Release(release::Args),
    /// Cause one OOM kill, for `run --demo` (needs root)
    #[command(hide = true)]
    DemoKill,
    /// Allocate memory in a cgroup until the kernel kills this process, for `bench`
    #[command(name = bench::hog::COMMAND, hide = true)]
    Hog(bench::hog::Args),
    /// Copy the kernel log to stdout, for `bench`
    #[command(name = bench::relay::COMMAND, hide = true)]
    Relay,
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(task: Task) -> Result<ExitCode> {
    match task {
        Task::Check(args) => check::run(&args)?,
        Task::Test(args) => test::run(&args)?,
        Task::Run(args) => return run::run(args),
        Task::Ebpf(args) => ebpf::run(&args)?,
        Task::Vm(args) => vm::run(&args)?,
        Task::Fuzz(args) => fuzz::run(&args)?,
        Task::Bench(args) => bench::run(&args)?,
        Task::Image(args) => image::run(&args)?,
        Task::Release(args) => release::run(&args)?,
        Task::DemoKill => demo::kill_one()?,
        Task::Hog(args) => bench::hog::run(&args)?,
        Task::Relay => bench::relay::run()?,
    }
    Ok(ExitCode::SUCCESS)
}
