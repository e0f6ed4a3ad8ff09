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
use serde_json::{Map, Value};

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

/// Logs as people keep them: `NAME.expected.json` has, for each kill, some of its fields by their paths.
#[test]
fn every_log_of_the_field_gives_its_kills() {
    let folder = logs().join("field");
    let names = fs::read_dir(&folder).expect("list the logs").map(|entry| {
        let name = entry.expect("entry").file_name();
        name.into_string().expect("UTF-8")
    });
    let names: Vec<String> = names
        .filter_map(|name| name.strip_suffix(".log").map(str::to_owned))
        .collect();
    assert!(!names.is_empty());
    for name in names {
        let expected = fs::read(folder.join(format!("{name}.expected.json"))).expect("read");
        let expected: Vec<Map<String, Value>> = serde_json::from_slice(&expected).expect("JSON");
        let output = report(&folder.join(format!("{name}.log")), &["-o", "json"]);
        let kills = kills(&output.stdout);
        assert_eq!(kills.len(), expected.len(), "{name}: {output:?}");
        for (kill, expected) in kills.iter().zip(&expected) {
            for (path, value) in expected {
                let pointer = format!("/{}", path.replace('.', "/"));
                assert_eq!(kill.pointer(&pointer), Some(value), "{name}: {path}");
            }
        }
    }
}

fn kills(stdout: &[u8]) -> Vec<Value> {
    let text = str::from_utf8(stdout).expect("UTF-8");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[test]
fn several_files_and_compressed_ones_are_read() {
    let folder = logs().join("compressed");
    let mut logs: Vec<PathBuf> = ["gz", "bz2", "xz", "zst"]
        .map(|extension| folder.join(format!("one-kill.log.{extension}")))
        .to_vec();
    logs.push(self::logs().join("7.3-global.log"));
    let output = oomwatch(&["-o", "json"])
        .args(&logs)
        .output()
        .expect("run oomwatch");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(kills(&output.stdout).len(), logs.len());
}

#[test]
fn end_says_what_was_and_was_not_read() {
    let kill = "Out of memory: Killed process 7 (a) total-vm:1kB, anon-rss:1kB, file-rss:1kB";
    for (log, kills, words) in [
        (String::new(), Some(0), "kills=0"),
        (
            "[    1.000000] Linux version 6.1.0\n".to_owned(),
            Some(0),
            "kills=0",
        ),
        (
            format!("[ 1.5] x {kill}\n"),
            Some(0),
            "lines mention a kill and were not understood",
        ),
        (
            "hello\n".to_owned(),
            None,
            "no line of the kernel; it begins with: hello",
        ),
        (
            "Nov 23 18:54:33 h sshd[1]: x\n".to_owned(),
            None,
            "no line of the kernel",
        ),
        (
            "[ 1.5] Out of memory and no killable processes...\n".to_owned(),
            Some(0),
            "found no process to kill",
        ),
        (
            format!("Nov 23 18:54:33 h kernel: {kill}\n"),
            Some(1),
            "the log names no year",
        ),
    ] {
        let output = report_stdin(log.as_bytes(), &["-o", "json"]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(words), "{log}: {stderr}");
        assert_eq!(output.status.success(), kills.is_some(), "{log}");
        let lines = output.stdout.split(|&byte| byte == b'\n').count() - 1;
        assert_eq!(lines, kills.unwrap_or(0), "{log}");
    }
}

#[test]
fn piped_log_needs_no_operand() {
    let log = File::open(logs().join("7.3-global.log")).expect("open");
    let output = oomwatch(&["-o", "json"])
        .stdin(log)
        .output()
        .expect("run oomwatch");
    assert_eq!(kills(&output.stdout).len(), 1, "{output:?}");
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
    assert!(!String::from_utf8_lossy(&unnamed.stdout).contains(r#""node":""#));
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
