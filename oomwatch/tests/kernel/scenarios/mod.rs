//! What is claimed of kills, one file a concern.

/// What the killer chose from, and where the memory was.
mod accounts;
/// The agent and its history.
mod agent;
/// The same kills on every backend.
mod backends;
/// What is left behind.
mod cleanup;
/// The command itself: how it ends, what it shows, how it prints.
mod command;
/// What `docs/compatibility.md` says.
mod compatibility;
/// Kills of whole groups, and limits that a writer lowers: cgroup v2 alone.
mod group;
/// What keeps a backend from being had.
mod ladder;
/// The kernel's lockdown, which lasts until the next boot.
mod lockdown;
/// Kills that were not captured.
mod missing;
/// Names that processes and cgroups choose to do harm.
mod names;
/// A container's main process.
mod namespaces;
/// Pods and containers, and whose limit was hit.
mod pods;
/// What the command may still do, and what others learn from it.
mod privileges;
/// Over the end of one agent and the start of another.
mod restart;
/// One process and one limit.
mod single;
/// Many at once.
mod storm;
/// The machine runs out of memory.
mod system;
/// On a terminal.
mod terminal;
/// Victims that are more than one thread or one process.
mod threads;

use crate::Scenario;

/// Every test, in the order in which they run.
pub(crate) fn all() -> impl Iterator<Item = Scenario> {
    [
        single::ALL,
        accounts::ALL,
        pods::ALL,
        threads::ALL,
        namespaces::ALL,
        names::ALL,
        group::ALL,
        command::ALL,
        terminal::ALL,
        storm::ALL,
        restart::ALL,
        cleanup::ALL,
        missing::ALL,
        backends::ALL,
        ladder::ALL,
        privileges::ALL,
        system::ALL,
        agent::ALL,
    ]
    .into_iter()
    .chain(compatibility::ALL.iter().copied())
    // These lock the kernel down, for good.
    .chain([compatibility::LAST, lockdown::ALL])
    .flatten()
    .copied()
}

/// A unit of limits.
const MIB: u64 = 1 << 20;
