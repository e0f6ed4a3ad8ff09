use std::{
    fs,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use oomwatch::store::{Outcome, Provenance};

use crate::made::{itself, kill, open, runtime, saved, told, value};

/// On a file system of 4 MiB, in a mount namespace that ends with the test.
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

/// Fills the disk, writes kills, and makes room.
pub(crate) fn agent(folder: &str) -> ExitCode {
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs", folder])
        .status();
    assert!(mounted.is_ok_and(|status| status.success()), "mount");
    let folder = Path::new(folder);
    let filler = folder.join("filler");
    let fill = || {
        // All that there is room for.
        let _ = fs::write(&filler, vec![7; 8 << 20]);
    };
    runtime().block_on(async {
        // From the start: there is not even a table.
        fill();
        let (journal, mut answers, _) = open(folder);
        let ticket = journal.write(&told(vec![kill(0)]));
        assert_eq!(answers.next().await.outcome, Outcome::Kept);
        fs::remove_file(&filler).expect("make room");
        saved(&mut answers, ticket).await;
        // And on the way.
        fill();
        for round in 1..=5 {
            let kills = (round * 100..round * 100 + 100).map(kill).collect();
            let _ = journal.write(&told(kills));
            let answer = answers.next().await;
            assert_eq!(answer.outcome, Outcome::Kept, "round {round}");
        }
        let status = journal.status();
        assert_eq!((status.waiting, status.lost), (500, 0));
        assert!(status.errors >= 6, "{status:?}");
        let why = status.failure.expect("a failure");
        assert!(why.contains("it cannot be written now"), "{why}");
        let kills: i64 = value(folder, "SELECT sum(kills) FROM kills");
        assert_eq!(kills, 1);
        fs::remove_file(&filler).expect("make room");
        let ticket = journal.write(&told(vec![kill(1000)]));
        saved(&mut answers, ticket).await;
        assert_eq!(journal.status().failure, None);
        journal.close().await;
        let kills: i64 = value(folder, "SELECT sum(kills) FROM kills");
        assert_eq!(kills, 502);
        // And from a start that follows another: what it goes on from is never out of the journal.
        fill();
        let (journal, mut answers, restored) = open(folder);
        assert_eq!(restored.standing, Provenance::SameBoot);
        let ticket = journal.write(&told(vec![kill(1001)]));
        assert_eq!(answers.next().await.outcome, Outcome::Kept);
        fs::remove_file(&filler).expect("make room");
        let answer = loop {
            let answer = answers.next().await;
            if answer.outcome == Outcome::Saved {
                break answer;
            }
        };
        assert_eq!((answer.ticket, answer.is_fresh), (ticket, false));
        journal.close().await;
    });
    ExitCode::SUCCESS
}
