//! `cargo xtask`: what is not expressible with just cargo.
//!
//! One file a command. Nothing here is part of the product, and nothing of the product is decided here.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a tool for the terminal: its output is what it is run for"
)]

mod apt;
mod bench;
mod cargo;
mod cgroup;
mod ci;
mod demo;
mod ebpf;
mod exec;
mod failures;
mod fuzz;
mod image;
mod kube;
mod kubectl;
mod rules;
mod run;
mod table;
mod test;
mod toolchain;
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
    /// Rebuild the BPF object that the command embeds, or prove that it is up to date
    Ebpf(ebpf::Args),
    /// Build oomwatch and run `oomwatch watch` as root
    Run(run::Args),
    /// Build a static binary and write it as an image archive, without a container engine
    Image(image::Args),
    /// Run the tests, tier by tier, as far as this machine can
    Test(test::Args),
    /// Boot other kernels in QEMU and run the kernel tests there
    Vm(vm::Args),
    /// Give every parser input that nobody wrote, and fail with what it cannot bear
    Fuzz(fuzz::Args),
    /// Measure oomwatch against its budgets, beside the kernel log; root only
    Bench(bench::Args),
    /// Everything that a change has to pass: format, lints, documentation, every tier of tests
    Ci(ci::Args),
    /// Provoke the one OOM kill of `run --demo`; root only
    #[command(hide = true)]
    DemoKill,
    /// Take memory in a cgroup until the kernel kills us, for `bench`
    #[command(name = bench::hog::COMMAND, hide = true)]
    Hog(bench::hog::Args),
    /// Pass on the kernel log, for `bench`
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
        Task::Ebpf(args) => ebpf::run(&args)?,
        Task::Run(args) => return run::run(args),
        Task::Image(args) => image::run(&args)?,
        Task::Test(args) => test::run(&args)?,
        Task::Vm(args) => vm::run(&args)?,
        Task::Fuzz(args) => fuzz::run(&args)?,
        Task::Bench(args) => bench::run(&args)?,
        Task::Ci(args) => ci::run(&args)?,
        Task::DemoKill => demo::kill_one()?,
        Task::Hog(args) => bench::hog::run(&args)?,
        Task::Relay => bench::relay::run()?,
    }
    Ok(ExitCode::SUCCESS)
}
