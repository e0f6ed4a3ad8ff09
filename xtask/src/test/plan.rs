//! What is going to run, what is installed for it, and how long it takes, printed before anything starts.

use anyhow::Result;

use super::run::CONTAINER_TOOLS;
use super::tier::Tier;
use crate::cargo::Workspace;
use crate::install::{self, Install};
use crate::tools::{CARGO_DENY, TYPOS};
use crate::{apt, fuzz, helm, image, kubectl, rules, toolchain, vm};

pub(crate) fn text(tiers: &[Tier], workspace: &Workspace) -> Result<String> {
    let mut installs = Vec::new();
    for &tier in tiers {
        installs.extend(missing(tier, workspace)?);
    }
    installs.sort_by(|left, right| left.what.cmp(&right.what));
    installs.dedup();
    Ok(render(tiers, &installs))
}

fn render(tiers: &[Tier], installs: &[Install]) -> String {
    let names: Vec<String> = tiers.iter().map(|tier| tier.name()).collect();
    let installing: u32 = installs.iter().map(|install| install.seconds).sum();
    let (first, again): (Vec<u32>, Vec<u32>) = tiers.iter().map(|tier| tier.seconds()).unzip();
    let (first, again) = (first.iter().sum::<u32>(), again.iter().sum());
    let tiers = format!("tiers: {}", names.join(", "));
    let installs = install::lines(installs).into_iter();
    let installs = installs.map(|line| format!("to be installed by {line}"));
    let time = format!(
        "time on two cores: about {} where nothing is built yet, {} once everything is",
        minutes(first + installing),
        minutes(again)
    );
    let lines: Vec<String> = [tiers].into_iter().chain(installs).chain([time]).collect();
    lines.join("\n") + "\n"
}

/// Rounded up.
fn minutes(seconds: u32) -> String {
    format!("{} min", seconds.div_ceil(60))
}

/// What a tier will install.
fn missing(tier: Tier, workspace: &Workspace) -> Result<Vec<Install>> {
    Ok(match tier {
        // Cargo, rustfmt and clippy come with the toolchain. A Kubernetes is not installed from here.
        Tier::Format
        | Tier::Clippy
        | Tier::Unit
        | Tier::Docs
        | Tier::Kernel
        | Tier::Api
        | Tier::Faults => Vec::new(),
        Tier::Typos => TYPOS.missing(workspace).into_iter().collect(),
        Tier::Deny => CARGO_DENY.missing(workspace).into_iter().collect(),
        Tier::Object => toolchain::missing(workspace)?,
        Tier::Container => [apt::missing(&CONTAINER_TOOLS), image::missing(workspace)].concat(),
        Tier::Rules => rules::missing(workspace).into_iter().collect(),
        Tier::Manifests => kubectl::missing(workspace).into_iter().collect(),
        Tier::Chart => {
            let both = [kubectl::missing(workspace), helm::missing(workspace)];
            both.into_iter().flatten().collect()
        }
        Tier::Node => {
            let helm = helm::missing(workspace).into_iter();
            helm.chain(image::missing(workspace)).collect()
        }
        Tier::Host => {
            let root = vm::host::missing(workspace).into_iter().collect();
            [
                apt::missing(&vm::host::TOOLS),
                image::missing(workspace),
                root,
            ]
            .concat()
        }
        Tier::Vm => [
            apt::missing(&vm::TOOLS),
            image::missing(workspace),
            vm::missing(workspace),
        ]
        .concat(),
        Tier::Fuzz => apt::missing(&fuzz::TOOLS),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::How;

    #[test]
    fn plan_has_tiers_installs_and_times() {
        let installs = [Install {
            what: "typos-cli 1".to_owned(),
            how: How::Cargo,
            seconds: 60,
        }];
        let (first, again) = Tier::Typos.seconds();
        assert_eq!(
            render(&[Tier::Typos], &installs),
            format!(
                "tiers: typos\n\
                 to be installed by cargo install, into target/tools: typos-cli 1\n\
                 time on two cores: about {} where nothing is built yet, {} once everything is\n",
                minutes(first + 60),
                minutes(again)
            )
        );
        assert_eq!(
            (minutes(0), minutes(1), minutes(61)),
            ("0 min".into(), "1 min".into(), "2 min".into())
        );
    }
}
