//! What the agent leaves is gone after `cleanup`, and only then.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use aya::programs::loaded_links;

use super::restart::{pins_work, pins_work_and_no_guest};
use crate::{
    Scenario,
    bpffs::Bpffs,
    keeper::{Keeper, Saves},
    machine::Machine,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("cleanup_leaves_nothing_attached", nothing_attached).needing(pins_work),
    Scenario::new("cleanup_refuses_while_an_agent_runs", refuses).needing(pins_work_and_no_guest),
];

/// Between two looks at what is still attached.
const RETRY: Duration = Duration::from_millis(1);

fn cleanup(machine: &Machine, bpffs: &Path, state_dir: &Path, more: &[&str]) -> Output {
    Command::new(&machine.binary)
        .arg("cleanup")
        .args([Path::new("--bpffs"), bpffs])
        .args([Path::new("--state-dir"), state_dir])
        .args(more)
        .stdin(Stdio::null())
        .output()
        .expect("run the command")
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("paths in UTF-8")
}

/// Ids of what keeps programs attached, on the whole machine.
fn links() -> BTreeSet<u32> {
    loaded_links()
        .filter_map(Result::ok)
        .map(|link| link.id())
        .collect()
}

fn nothing_attached(machine: &Machine) {
    let bpffs = Bpffs::mount().expect("mounted before");
    let folder = tempfile::tempdir().expect("make a folder");
    let keeper = Keeper {
        machine,
        bpffs: &bpffs,
        file: folder.path().join("kept"),
    };
    let before = links();
    drop(keeper.start(Saves::Yes));
    let attached: BTreeSet<_> = links().difference(&before).copied().collect();
    assert!(!attached.is_empty());
    // Of another version, and one that was not completed.
    let pins = bpffs.pins();
    for name in ["77-00000000000000ff", "2-0000000000000001"] {
        fs::create_dir(pins.join(name)).expect("make a folder");
    }
    let generations = bpffs.generations();
    assert_eq!(generations.len(), 3);

    let state_dir = folder.path().join("state");
    fs::create_dir(&state_dir).expect("make a folder");
    let database = state_dir.join("oomwatch.db");
    fs::write(&database, "").expect("write a file");
    let output = printed(&cleanup(machine, bpffs.path(), &state_dir, &[]));
    for path in generations.iter().chain([&pins]) {
        assert!(!path.exists());
        let line = path.to_str().expect("a path in UTF-8");
        assert!(
            output.lines().any(|output| output == line),
            "{line}: {output}"
        );
    }
    assert!(database.exists());
    // The kernel detaches them after a grace period.
    let deadline = Instant::now() + machine.patience;
    while !links().is_disjoint(&attached) {
        assert!(Instant::now() < deadline, "{attached:?} are still attached");
        thread::sleep(RETRY);
    }

    let output = printed(&cleanup(machine, bpffs.path(), &state_dir, &["--history"]));
    assert!(output.contains("oomwatch.db"), "{output}");
    assert!(!state_dir.exists());
    assert_eq!(
        printed(&cleanup(machine, bpffs.path(), &state_dir, &["--history"])),
        ""
    );
}

fn refuses(machine: &Machine) {
    let bpffs = Bpffs::mount().expect("mounted before");
    let folder = tempfile::tempdir().expect("make a folder");
    let keeper = Keeper {
        machine,
        bpffs: &bpffs,
        file: folder.path().join("kept"),
    };
    let running = keeper.start(Saves::Yes);
    let generations = bpffs.generations();
    let output = cleanup(machine, bpffs.path(), folder.path(), &["--history"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty());
    let message = String::from_utf8(output.stderr).expect("text");
    assert!(message.contains("an agent is running"), "{message}");
    assert_eq!(bpffs.generations(), generations);
    running.end();
    // Now it does not.
    printed(&cleanup(machine, bpffs.path(), folder.path(), &[]));
}
