//! `cargo xtask test`: the tests in tiers, from the quickest to the slowest.
//!
//! A tier that cannot run on this machine is skipped, with the reason, unless it is required. A test target with the name of
//! a tier belongs to it; the others belong to the tier `unit`.

mod background;
mod plan;
mod run;
mod tier;

use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use clap::ValueEnum as _;

use crate::cargo::Workspace;
use crate::{failures, table};
use background::Background;
use run::{Failure, Need, Outcome};

pub(crate) use tier::{Scope, Tier};

#[derive(clap::Args)]
#[command(after_help = help())]
pub(crate) struct Args {
    /// Run every tier, including those that need Kubernetes or take long
    #[arg(long)]
    all: bool,
    /// Run these tiers only (separated by commas)
    #[arg(
        long,
        value_name = "TIER",
        value_delimiter = ',',
        conflicts_with = "all",
        hide_possible_values = true
    )]
    only: Vec<Tier>,
    /// Leave these tiers out
    #[arg(
        long,
        value_name = "TIER",
        value_delimiter = ',',
        hide_possible_values = true
    )]
    without: Vec<Tier>,
    /// Fail if one of these tiers cannot run, instead of skipping it: tiers, or `all`
    #[arg(long, value_name = "TIER", value_delimiter = ',', value_parser = parse_required)]
    require: Vec<Required>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Required {
    All,
    One(Tier),
}

pub(crate) fn run(args: &Args) -> Result<()> {
    run_tiers(&args.tiers(), &args.require)
}

impl Args {
    fn tiers(&self) -> Vec<Tier> {
        let Self {
            all,
            only,
            without,
            require: _,
        } = self;
        let scope = if *all || !only.is_empty() {
            Scope::All
        } else {
            Scope::Test
        };
        Tier::of(scope)
            .filter(|tier| only.is_empty() || only.contains(tier))
            .filter(|tier| !without.contains(tier))
            .collect()
    }
}

/// Prints the plan, runs the tiers, and prints a table of their outcomes. A failed tier does not keep the others from running.
pub(crate) fn run_tiers(tiers: &[Tier], required: &[Required]) -> Result<()> {
    let workspace = Workspace::load()?;
    eprint!("{}", plan::text(tiers, &workspace)?);
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    let mut messages = Vec::new();
    let mut background = None;
    for &tier in tiers {
        if tier == Tier::Kernel {
            background = Some(Background::start(tiers, &workspace));
        }
        let name = tier.name();
        eprintln!("\n== {name}");
        let start = Instant::now();
        let text = match run::run_tier(tier, need(tier, required), &workspace) {
            Outcome::Passed => "ok".to_owned(),
            Outcome::Failed(Failure { why, messages: own }) => {
                failed.push(name.clone());
                messages.extend(own.into_iter().map(|line| format!("{name}: {line}")));
                format!("failed: {why}")
            }
            Outcome::Skipped(why) => format!("skipped: {why}"),
        };
        eprintln!("== {name}: {text}");
        rows.push([name, format!("{:.1}", start.elapsed().as_secs_f64()), text]);
    }
    drop(background);
    failures::print(&messages);
    print!("\n{}", table::render(["tier", "seconds", "outcome"], &rows));
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn help() -> String {
    let tiers = Tier::help(Scope::All);
    format!(
        "\
Tiers, in the order in which they run:

{tiers}

Environment variables:
  KUBEBUILDER_ASSETS     folder of etcd, kube-apiserver, kubectl and the programs of a node
  OOMWATCH_KUBE_NODE     command that starts a cluster with one node (up, load FILE, down)
  OOMWATCH_KUBE_VM_NODE  command that adds a node on cgroup v2 to it (up NAME FILE, exec, down)"
    )
}

fn need(tier: Tier, required: &[Required]) -> Need {
    if required.contains(&Required::All) || required.contains(&Required::One(tier)) {
        Need::Required
    } else {
        Need::Optional
    }
}

fn parse_required(text: &str) -> Result<Required> {
    if text == "all" {
        return Ok(Required::All);
    }
    Tier::from_str(text, false)
        .map(Required::One)
        .map_err(|_| anyhow!("the tiers are {}, or all", Tier::names().join(", ")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn tiers(words: &[&str]) -> Vec<Tier> {
        let words = ["test"].iter().chain(words);
        Cli::try_parse_from(words).unwrap().args.tiers()
    }

    #[test]
    fn tiers_are_chosen_by_scope_or_by_name() {
        assert_eq!(tiers(&[]), Tier::of(Scope::Test).collect::<Vec<_>>());
        assert_eq!(tiers(&["--all"]), Tier::of(Scope::All).collect::<Vec<_>>());
        assert_eq!(tiers(&["--only", "vm,unit"]), [Tier::Unit, Tier::Vm]);
        assert_eq!(
            tiers(&["--only", "vm,unit", "--without", "vm"]),
            [Tier::Unit]
        );
        let without = tiers(&["--all", "--without", "api,node"]);
        assert!(!without.contains(&Tier::Api) && without.contains(&Tier::Vm));
    }

    #[test]
    fn required_is_a_tier_or_all() {
        assert_eq!(parse_required("all").unwrap(), Required::All);
        assert_eq!(parse_required("vm").unwrap(), Required::One(Tier::Vm));
        for odd in ["", "ALL", "vms", "kernel,vm"] {
            assert_eq!(
                parse_required(odd).unwrap_err().to_string(),
                "the tiers are format, clippy, typos, deny, unit, docs, object, kernel, container, rules, manifests, \
                 chart, api, faults, node, host, vm, fuzz, or all"
            );
        }
    }
}
