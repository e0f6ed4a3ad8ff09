//! Golden tests of `oomwatch report`: the whole output for logs of real kernels and for logs written after kernel sources.
//!
//! The logs named after 5.10, 6.1, 6.18 and 7.3 are of these kernels (`/dev/kmsg` in a virtual machine with two NUMA nodes;
//! `dmesg` on a host with cgroup v1). The others follow `mm/oom_kill.c` of their version.

#![expect(
    clippy::expect_used,
    reason = "a test: the helpers outside of its functions may fail too"
)]

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use jiff::Timestamp;

fn logs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logs")
}

fn oomwatch(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oomwatch"));
    command.env("TZ", "UTC");
    command.arg("report").args(arguments).env_remove("NO_COLOR");
    command
}

/// stdout and stderr of a successful run.
fn shown(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    format!(
        "{}--- stderr\n{}",
        text(&output.stdout),
        text(&output.stderr)
    )
}

/// A copy of a log with a fixed modification time.
fn dated(name: &str, folder: &Path) -> PathBuf {
    let path = folder.join(name);
    fs::copy(logs().join(name), &path).expect("copy the log");
    let time: Timestamp = "2026-11-24T00:00:00Z".parse().expect("time");
    File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_modified(time.into()))
        .expect("set the log's time");
    path
}

fn report(path: &Path, arguments: &[&str]) -> Output {
    oomwatch(arguments)
        .arg(path)
        .output()
        .expect("run oomwatch")
}

fn report_stdin(bytes: &[u8], arguments: &[&str]) -> Output {
    let mut child = oomwatch(arguments)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run oomwatch");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(bytes).expect("write the log");
    drop(stdin);
    child.wait_with_output().expect("wait for oomwatch")
}

fn check(name: &str, shown: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(logs());
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, shown));
}

#[test]
fn every_log_gives_its_reports() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut names: Vec<String> = fs::read_dir(logs())
        .expect("list the logs")
        .map(|entry| {
            entry
                .expect("entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .filter(|name| Path::new(name).extension() == Some("log".as_ref()) && name != FORMATS)
        .collect();
    names.sort();
    assert!(!names.is_empty());
    for name in &names {
        let output = report(&dated(name, folder.path()), &["-o", "json"]);
        check(name, &shown(&output));
    }
}

const FORMATS: &str = "6.18-every-dmesg-format.log";

#[test]
fn every_format_of_dmesg_gives_the_same_kill_except_its_time() {
    let log = fs::read_to_string(logs().join(FORMATS)).expect("read the log");
    let lines: Vec<&str> = log.lines().collect();
    let all: String = lines
        .chunks(7)
        .map(|lines| shown(&report_stdin(lines.join("\n").as_bytes(), &["-o", "json"])))
        .collect();
    check(FORMATS, &all);
}

#[test]
fn text_shows_the_time_of_the_log() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let tables: String = [
        "6.1-leader-gone.log",
        "journal-of-a-node.log",
        "rhel7-messages.log",
    ]
    .iter()
    .flat_map(|name| {
        let log = dated(name, folder.path());
        ["text", "wide"].map(|form| shown(&report(&log, &["-o", form])))
    })
    .collect();
    check("text-and-wide", &tables);
}

#[test]
fn filters_are_the_same_as_for_watch() {
    let log = logs().join("7.3-group-kill.log");
    for (arguments, kills) in [
        (&["--no-header"][..], 4),
        (&["--no-header", "--scope", "memcg"], 4),
        (&["--no-header", "--scope", "system"], 0),
        // Of the others only the cgroup of the group is known.
        (&["--no-header", "--cgroup", "/g"], 1),
        (&["--no-header", "--cgroup", "/h"], 0),
    ] {
        let output = report(&log, arguments);
        assert!(output.status.success(), "{output:?}");
        let lines = output.stdout.split(|&byte| byte == b'\n').count() - 1;
        assert_eq!(lines, kills, "{arguments:?}");
    }
}

#[test]
fn lines_of_processes_count_only_if_trusted() {
    let log = logs().join("written-by-a-user.log");
    let output = report(&log, &["--no-header", "--trust", "everyone"]);
    assert_eq!(output.stdout.split(|&byte| byte == b'\n').count() - 1, 2);
}

#[test]
fn node_is_the_option_or_the_host_of_the_log() {
    let log = logs().join("journal-of-a-node.log");
    for (arguments, node) in [
        (&["-o", "json"][..], r#""node":"node-7""#),
        (&["-o", "json", "--node", "other"], r#""node":"other""#),
    ] {
        let output = report(&log, arguments);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(text.lines().all(|line| line.contains(node)), "{text}");
    }
    let unnamed = report(&logs().join("7.3-global.log"), &["-o", "json"]);
    assert!(!String::from_utf8_lossy(&unnamed.stdout).contains(r#""node":"#));
}

#[test]
fn failure_exits_with_1_and_wrong_usage_with_2() {
    for (arguments, code, words) in [
        (&["/nonexistent/log"][..], 1, "open /nonexistent/log"),
        (&["/"], 1, "read /"),
        (&["--utc-offset", "noon", "-"], 2, "--utc-offset"),
        (&[], 2, "<FILE>"),
    ] {
        let output = oomwatch(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("run oomwatch");
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(words), "{stderr}");
    }
}

#[test]
fn closed_pipe_is_not_a_failure() {
    let mut log = Vec::new();
    for name in 0..2000 {
        let line = format!(
            "Out of memory: Killed process {name} (x) total-vm:1kB, anon-rss:1kB, file-rss:1kB\n"
        );
        log.extend(line.into_bytes());
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("log");
    fs::write(&path, log).expect("write the log");
    let mut child = oomwatch(&[])
        .arg(&path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("run oomwatch");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("wait for oomwatch").code(), Some(0));
}
