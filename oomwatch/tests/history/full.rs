use std::{
    fs,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use oomwatch::store::{Outcome, Provenance};

use crate::fixtures::{delivered, itself, kill, open, runtime, saved, value};

/// Runs [`agent`] on a file system of 4 MiB, in a mount namespace of its own.
pub(crate) fn until_there_is_room() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("mounting a small file system needs root".to_owned());
    }
    let probe = Command::new("unshare")
        .args(["--mount", "true"])
        .stderr(Stdio::null())
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        return Err("there is no unshare that can make a mount namespace".to_owned());
    }
    let folder = tempfile::tempdir().expect("make a folder");
    let mut test = Command::new("unshare");
    test.args(["--mount", "--propagation", "private"])
        .arg(itself().get_program())
        .arg("full")
        .arg(folder.path());
    let output = test.output().expect("run it");
    assert!(output.status.success(), "{output:?}");
    Ok(())
}

/// Fills the disk, writes kills, and frees space.
pub(crate) fn agent(folder: &str) -> ExitCode {
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs", folder])
        .status();
    assert!(mounted.is_ok_and(|status| status.success()), "mount");
    let folder = Path::new(folder);
    let filler = folder.join("filler");
    let fill = || {
        // Fails when the disk is full.
        let _ = fs::write(&filler, vec![7; 8 << 20]);
    };
    runtime().block_on(async {
        // Full at the first start: not even the tables exist.
        fill();
        let (history, mut answers, _) = open(folder);
        let ticket = history.write(&delivered(vec![kill(0)]));
        assert_eq!(answers.next().await.outcome, Outcome::Deferred);
        fs::remove_file(&filler).expect("make room");
        saved(&mut answers, ticket).await;
        // Full while the agent runs.
        fill();
        for round in 1..=5 {
            let kills = (round * 100..round * 100 + 100).map(kill).collect();
            let _ = history.write(&delivered(kills));
            let answer = answers.next().await;
            assert_eq!(answer.outcome, Outcome::Deferred, "round {round}");
        }
        let status = history.status();
        assert_eq!((status.pending, status.dropped), (500, 0));
        assert!(status.errors >= 6, "{status:?}");
        let why = status.failure.expect("a failure");
        assert!(
            why.contains("failed to write the history database"),
            "{why}"
        );
        let kills: i64 = value(folder, "SELECT sum(kills) FROM kills");
        assert_eq!(kills, 1);
        fs::remove_file(&filler).expect("make room");
        let ticket = history.write(&delivered(vec![kill(1000)]));
        saved(&mut answers, ticket).await;
        assert_eq!(history.status().failure, None);
        history.close().await;
        let kills: i64 = value(folder, "SELECT sum(kills) FROM kills");
        assert_eq!(kills, 502);
        // Full at a later start: the restored state stays in the database.
        fill();
        let (history, mut answers, restored) = open(folder);
        assert_eq!(restored.provenance, Provenance::SameBoot);
        let ticket = history.write(&delivered(vec![kill(1001)]));
        assert_eq!(answers.next().await.outcome, Outcome::Deferred);
        fs::remove_file(&filler).expect("make room");
        let answer = loop {
            let answer = answers.next().await;
            if answer.outcome == Outcome::Saved {
                break answer;
            }
        };
        assert_eq!((answer.ticket, answer.needs_full_state), (ticket, false));
        history.close().await;
    });
    ExitCode::SUCCESS
}
