use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader},
    os::{
        fd::AsRawFd as _,
        unix::{fs::PermissionsExt as _, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use oomwatch::store::{Batch, FILE};
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use crate::fixtures::{create, delivered, itself, kill, value};

/// An unprivileged user; any would do.
const UNPRIVILEGED: u32 = 65534;

/// Kills of two pods, a minute apart.
fn batch(kills: u64) -> Batch {
    let report = |number: u64| {
        let mut report = kill(number * 600);
        let pod = report.pod.as_mut().expect("a pod");
        if number % 2 == 1 {
            pod.name = Some("web-1".to_owned());
            pod.namespace = Some("front".to_owned());
        }
        report
    };
    delivered((0..kills).map(report).collect())
}

fn created(batch: &Batch) -> TempDir {
    let folder = tempfile::tempdir().expect("create a folder");
    create(folder.path(), batch);
    folder
}

fn history(path: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oomwatch"));
    command.env("TZ", "UTC");
    command.arg("history").arg("--state-dir").arg(path);
    command.args(arguments).env_remove("NO_COLOR");
    command.stdin(Stdio::null());
    command
}

fn run(path: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    ended(&mut history(path, arguments))
}

fn ended(command: &mut Command) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("run the command");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

/// The pids of the kills in the output.
fn pids(path: &Path, arguments: &[&str]) -> Vec<u64> {
    let (code, stdout, stderr) = run(path, &[arguments, &["-o", "json"]].concat());
    assert_eq!(code, Some(0), "{stderr}");
    let pid = |line| {
        let json: Value = serde_json::from_str(line).expect("an object");
        json["victim"]["pid"].as_u64().expect("a pid")
    };
    stdout.lines().map(pid).collect()
}

pub(crate) fn filters() {
    let folder = created(&batch(6));
    let path = folder.path();
    let check = |arguments: &[&str], numbers: &[u64]| {
        let expected: Vec<u64> = numbers.iter().map(|number| 1000 + number * 600).collect();
        assert_eq!(pids(path, arguments), expected, "{arguments:?}");
    };
    check(&[], &[0, 1, 2, 3, 4, 5]);
    check(&["--limit", "0"], &[0, 1, 2, 3, 4, 5]);
    check(&["--limit", "2"], &[4, 5]);
    check(&["-n", "front"], &[1, 3, 5]);
    check(&["--pod", "cart-0", "--limit", "2"], &[2, 4]);
    check(&["-c", "app", "-n", "shop"], &[0, 2, 4]);
    check(&["-c", "3f1c0e7ab2d9"], &[0, 1, 2, 3, 4, 5]);
    check(&["--scope", "system"], &[]);
    check(&["--cgroup", "/kubepods.slice", "--limit", "3"], &[3, 4, 5]);
    check(&["--cgroup", "/system.slice"], &[]);
    check(&["--since", "2026-09-21T14:17:00Z"], &[3, 4, 5]);
    check(&["--until", "2026-09-21T14:15:00Z"], &[0, 1]);
    let file = path.join(FILE);
    assert_eq!(pids(&file, &[]).len(), 6);
}

pub(crate) fn forms() {
    let mut batch = delivered((0..50).map(kill).collect());
    let gap = r#"{"gap":{"kills":3,"kernel_count":45,"since_boot_time_ns":1,"boot_time_ns":2},
        "node":"n","id":"gap","time":"2026-09-21T14:20:00Z","since":"2026-09-21T14:19:59Z"}"#;
    batch.gaps = vec![oomwatch::store::codec::to_gap(gap).expect("a gap")];
    let folder = created(&batch);
    let (code, stdout, stderr) = run(folder.path(), &[]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines.len(), 1 + 21 + 1, "{stdout}");
    assert!(lines[0].starts_with("TIME  "), "{stdout}");
    assert!(
        lines[1].starts_with("2026-09-21T14:14:00.000Z "),
        "{stdout}"
    );
    let coalesced = "the last of 30 kills since 14:14:02, 30 incidents";
    assert!(lines[21].contains(coalesced), "{stdout}");
    assert!(
        lines[22].ends_with("3 kills counted since 14:19:59"),
        "{stdout}"
    );
    let (_, wide, _) = run(folder.path(), &["-o", "wide", "--no-header"]);
    assert_eq!(wide.lines().count(), 22, "{wide}");
    let (_, json, _) = run(folder.path(), &["-o", "json", "--limit", "2"]);
    let objects: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object"))
        .collect();
    assert_eq!(
        (&objects[0]["kills"], &objects[0]["incidents"]),
        (&30.into(), &30.into())
    );
    assert_eq!(objects[0]["victim"]["pid"], 1049);
    assert_eq!(objects[1]["unidentified"], 3);
}

pub(crate) fn limits() {
    let folder = created(&batch(3));
    let (_, _, stderr) = run(folder.path(), &["--limit", "2"]);
    assert!(
        stderr.contains("older kills") && stderr.contains("--limit 0"),
        "{stderr}"
    );
    for arguments in [&["--limit", "3"][..], &["--limit", "0"], &[]] {
        assert_eq!(run(folder.path(), arguments).2, "", "{arguments:?}");
    }
}

pub(crate) fn while_written() {
    let folder = tempfile::tempdir().expect("create a folder");
    let mut agent = itself()
        .arg("crash")
        .arg(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start an agent");
    let mut answers = BufReader::new(agent.stdout.take().expect("piped")).lines();
    let mut last = 0;
    for _ in 0..20 {
        let saved = answers.next().expect("it keeps running").expect("a line");
        let saved: usize = saved.parse().expect("a number");
        let (code, stdout, stderr) = run(folder.path(), &["-o", "json", "--limit", "0"]);
        assert_eq!(code, Some(0), "{stderr}");
        let kills = stdout.lines().map(|line| {
            let json: Value = serde_json::from_str(line).expect("an object");
            json["kills"].as_u64().unwrap_or(1)
        });
        let kills: u64 = kills.sum();
        assert!(kills >= saved as u64 && kills >= last, "{kills} of {saved}");
        last = kills;
    }
    agent.kill().expect("end it");
    agent.wait().expect("wait for it");
}

/// Runs the command as a user without privileges. It is executed by file descriptor, since its folder may be closed to that
/// user.
fn run_unprivileged(path: &Path) -> (Option<i32>, String, String) {
    let program = File::open(env!("CARGO_BIN_EXE_oomwatch")).expect("open the command");
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    command
        .arg0("oomwatch")
        .arg("history")
        .arg("--state-dir")
        .arg(path);
    command.stdin(Stdio::null()).current_dir("/");
    ended(command.uid(UNPRIVILEGED).gid(UNPRIVILEGED))
}

pub(crate) fn unprivileged() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("becoming another user needs root".to_owned());
    }
    let temp = tempfile::tempdir().expect("create a folder");
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("change the mode");
    };
    mode(temp.path(), 0o755);
    let folder = temp.path().join("oomwatch");
    create(&folder, &batch(3));
    // The agent creates the folder and the file for their owner only.
    let (code, stdout, stderr) = run_unprivileged(&folder);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("sudo"), "{stderr}");
    mode(&folder, 0o755);
    let (code, _, stderr) = run_unprivileged(&folder);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("permission denied"), "{stderr}");
    let lines = |expected: usize| {
        let (code, stdout, stderr) = run_unprivileged(&folder);
        assert_eq!(code, Some(0), "{stderr}");
        assert_eq!(stdout.lines().count(), 1 + expected, "{stdout}");
        stderr
    };
    mode(&folder.join(FILE), 0o644);
    assert_eq!(lines(3), "");
    // While an agent has the file open, its newest kills are in the write-ahead log.
    let agent = Connection::open(folder.join(FILE)).expect("open the database");
    agent
        .execute_batch("INSERT INTO kills SELECT 99, 'new', time_ns + 1, since_ns, state, sequence, kills, incidents, source, scope,
            namespace, pod, container, owner, incident, boot, written_ns, report FROM kills LIMIT 1")
        .expect("insert");
    assert_eq!(lines(4), "");
    // A user who can read the file but not the log gets a warning.
    let beside = |suffix: &str| folder.join(format!("{FILE}{suffix}"));
    mode(&beside("-wal"), 0o600);
    mode(&beside("-shm"), 0o600);
    assert!(lines(3).contains("newest kills are not shown"));
    drop(agent);
    let kills: i64 = value(&folder, "SELECT count(*) FROM kills");
    assert_eq!(kills, 4);
    Ok(())
}

pub(crate) fn unusable() {
    let folder = created(&batch(3));
    let check = |path: PathBuf, words: &[&str]| {
        let (code, stdout, stderr) = run(&path, &["--no-header"]);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
        for word in words {
            assert!(stderr.contains(word), "{word}: {stderr}");
        }
    };
    check(
        folder.path().join("nothing"),
        &["no history database at", "--state-dir"],
    );
    let other = folder.path().join("other.db");
    fs::write(&other, "no database".repeat(100)).expect("write it");
    check(other.clone(), &["other.db is damaged", ".recover"]);
    fs::write(&other, "").expect("write it");
    check(other.clone(), &["no history database at"]);
    fs::copy(folder.path().join(FILE), &other).expect("copy it");
    let newer = Connection::open(&other).expect("open it");
    newer
        .pragma_update(None, "user_version", 9)
        .expect("set the version");
    drop(newer);
    check(other, &["schema version 9", "supports versions up to 2"]);
}

pub(crate) fn closed_pipe() {
    let folder = created(&batch(3));
    for form in ["text", "wide", "json"] {
        let (reader, writer) = io::pipe().expect("make a pipe");
        drop(reader);
        let mut command = history(folder.path(), &["-o", form]);
        let output = command.stdout(writer).stderr(Stdio::piped()).output();
        let output = output.expect("run the command");
        assert_eq!(
            (output.status.code(), output.stderr),
            (Some(0), Vec::new()),
            "{form}"
        );
    }
}

pub(crate) fn usage() {
    for arguments in [
        &["--since", "tomorrow"][..],
        &["--until", "-1h"],
        &["--limit", "-1"],
        &["--limit", "x"],
        &["--pod", ""],
        &["-o", "yaml"],
    ] {
        let (code, stdout, _) = run(Path::new("/nonexistent"), arguments);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{arguments:?}");
    }
}
