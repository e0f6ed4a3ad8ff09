use std::{fs, process, time::Instant};

use super::*;
use crate::capture::kmsg::testing::{at, invoked, killed, oom_kill};

const KMSG: &str = "/dev/kmsg";

fn now() -> ClockSample {
    ClockSample {
        instant: Instant::now(),
        raw_ns: 100_000_000_000,
        boot_time_ns: 100_000_000_000,
        unix_ns: 0,
    }
}

/// Records of the kernel as `syslog(2)` returns them: each line of a record has its time.
fn text(records: &[(u64, String)]) -> String {
    let line = |milliseconds: &u64, line| format!("<6>{}", at(*milliseconds, line));
    records
        .iter()
        .flat_map(|(milliseconds, text)| {
            text.split_inclusive('\n')
                .map(move |part| line(milliseconds, part))
        })
        .collect()
}

/// Stamp in milliseconds, process, name.
fn kills(snapshot: &LogSnapshot) -> Vec<(Option<u64>, u32, Vec<u8>)> {
    let kill = |item: &LogItem| match item {
        LogItem::Kill(kill) => (
            kill.stamp.boot_time_ns.map(|stamp| stamp / 1_000_000),
            kill.kill.victim.pid,
            kill.kill.victim.comm.clone().unwrap_or_default(),
        ),
        LogItem::Rekill { .. } => panic!("{item:?}"),
    };
    snapshot.items.iter().map(kill).collect()
}

#[test]
fn kills_come_with_their_stamps_and_headers() {
    let log = text(&[
        (1000, invoked("t")),
        (1000, oom_kill("/a", "v", 7)),
        (1000, killed(7, "v")),
        (2500, killed(8, "w")),
        (3500, "eth0: link up\n".to_owned()),
    ]);
    let snapshot = LogSnapshot::from_text(log.as_bytes(), now());
    assert_eq!(
        kills(&snapshot),
        [
            (Some(1000), 7, b"v".to_vec()),
            (Some(2500), 8, b"w".to_vec())
        ]
    );
    let Some(LogItem::Kill(first)) = snapshot.items.front() else {
        panic!("no kill");
    };
    let cgroup = first.kill.victim.cgroup.as_ref();
    assert_eq!(cgroup.map(|cgroup| &cgroup.path[..]), Some(&b"/a"[..]));
    assert_eq!(snapshot.clock.offset_ns(None), 0);
}

#[test]
fn newline_in_a_name_does_not_hide_a_kill() {
    let log = text(&[(1000, killed(7, "a\nb")), (1000, killed(8, "\n"))]);
    let snapshot = LogSnapshot::from_text(log.as_bytes(), now());
    let expected = [
        (Some(1000), 7, b"a\nb".to_vec()),
        (Some(1000), 8, b"\n".to_vec()),
    ];
    assert_eq!(kills(&snapshot), expected);
}

#[test]
fn records_of_processes_are_ignored() {
    let forged = at(1000, &killed(7, "v"));
    for log in [
        format!("<12>{forged}"),
        forged.clone(),
        format!("<12>[    1.000000] x\n{forged}"),
    ] {
        let snapshot = LogSnapshot::from_text(log.as_bytes(), now());
        assert!(snapshot.items.is_empty(), "{log}");
    }
}

#[test]
fn newest_kills_are_kept() {
    let number = |kill: usize| u32::try_from(kill).expect("a small number");
    let log: String = (0..MAX_ITEMS + 10)
        .map(|kill| text(&[(kill as u64, killed(number(kill), "v"))]))
        .collect();
    let snapshot = LogSnapshot::from_text(log.as_bytes(), now());
    assert_eq!(snapshot.items.len(), MAX_ITEMS);
    assert_eq!(kills(&snapshot)[0].1, 10);
}

/// The device and the system call give the same kills, as far as both have them.
#[test]
fn device_and_syslog_give_the_same_kills() {
    // Write a record newer than any kill, so that none is pending in only one of the two.
    let _ = fs::write(KMSG, format!("oomwatch-test {}\n", process::id()));
    let (Ok(device), Ok(call)) = (
        LogSnapshot::read(Path::new(KMSG)),
        LogSnapshot::read(Path::new("/nonexistent/kmsg")),
    ) else {
        println!("skipped: the kernel log cannot be read both ways");
        return;
    };
    let keys = |snapshot: &LogSnapshot| -> Vec<_> {
        let key = |item: &LogItem| match item {
            LogItem::Kill(kill) => (kill.stamp.boot_time_ns, kill.kill.victim.tid),
            LogItem::Rekill { non_kill, stamp } => (stamp.boot_time_ns, non_kill.tid),
        };
        snapshot.items.iter().map(key).collect()
    };
    let (device, call) = (keys(&device), keys(&call));
    println!("{} and {} kills", device.len(), call.len());
    // A process may be killed between the two reads, and the earlier one has more of the beginning.
    let common = device.iter().filter(|key| call.contains(key)).count();
    let first = device.iter().position(|key| call.first() == Some(key));
    let expected = first.map_or(0, |first| device.len() - first);
    assert_eq!(common, expected);
}

#[test]
fn error_names_the_path() {
    let error = LogSnapshot::read(Path::new("/")).expect_err("a folder");
    assert_eq!(error.to_string(), "failed to read /");
}
