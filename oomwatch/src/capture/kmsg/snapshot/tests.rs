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

/// As `syslog(2)` gives them: the kernel's, each line of a record with its time.
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
fn told(whole: &Whole) -> Vec<(Option<u64>, u32, Vec<u8>)> {
    let told = |found: &LogItem| match found {
        LogItem::Kill(found) => (
            found.stamp.boot_time_ns.map(|stamp| stamp / 1_000_000),
            found.kill.victim.pid,
            found.kill.victim.comm.clone().unwrap_or_default(),
        ),
        LogItem::Rekill { .. } => panic!("{found:?}"),
    };
    whole.found.iter().map(told).collect()
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
    let whole = Whole::of_text(log.as_bytes(), now());
    assert_eq!(
        told(&whole),
        [
            (Some(1000), 7, b"v".to_vec()),
            (Some(2500), 8, b"w".to_vec())
        ]
    );
    let Some(LogItem::Kill(first)) = whole.found.front() else {
        panic!("no kill");
    };
    let cgroup = first.kill.victim.cgroup.as_ref();
    assert_eq!(cgroup.map(|cgroup| &cgroup.path[..]), Some(&b"/a"[..]));
    assert_eq!(whole.past.offset_ns(None), 0);
}

#[test]
fn newline_in_a_name_does_not_hide_a_kill_though_each_line_has_its_time() {
    let log = text(&[(1000, killed(7, "a\nb")), (1000, killed(8, "\n"))]);
    let whole = Whole::of_text(log.as_bytes(), now());
    let expected = [
        (Some(1000), 7, b"a\nb".to_vec()),
        (Some(1000), 8, b"\n".to_vec()),
    ];
    assert_eq!(told(&whole), expected);
}

#[test]
fn what_a_process_wrote_is_not_believed() {
    let forged = at(1000, &killed(7, "v"));
    for log in [
        format!("<12>{forged}"),
        forged.clone(),
        format!("<12>[    1.000000] x\n{forged}"),
    ] {
        let whole = Whole::of_text(log.as_bytes(), now());
        assert!(whole.found.is_empty(), "{log}");
    }
}

#[test]
fn newest_kills_are_kept() {
    let number = |kill: usize| u32::try_from(kill).expect("a small number");
    let log: String = (0..MOST_FOUND + 10)
        .map(|kill| text(&[(kill as u64, killed(number(kill), "v"))]))
        .collect();
    let whole = Whole::of_text(log.as_bytes(), now());
    assert_eq!(whole.found.len(), MOST_FOUND);
    assert_eq!(told(&whole)[0].1, 10);
}

/// The device and the call give the same kills, as far as both have them.
#[test]
fn kernel_log_is_the_same_by_either_way() {
    // Something newer than any kill, so that none is held back in one and not in the other.
    let _ = fs::write(KMSG, format!("oomwatch-test {}\n", process::id()));
    let (Ok(device), Ok(call)) = (
        Whole::read(Path::new(KMSG)),
        Whole::read(Path::new("/nonexistent/kmsg")),
    ) else {
        println!("skipped: the kernel log cannot be read in both ways");
        return;
    };
    let keys = |whole: &Whole| -> Vec<_> {
        let key = |found: &LogItem| match found {
            LogItem::Kill(found) => (found.stamp.boot_time_ns, found.kill.victim.tid),
            LogItem::Rekill { aside, stamp } => (stamp.boot_time_ns, aside.tid),
        };
        whole.found.iter().map(key).collect()
    };
    let (device, call) = (keys(&device), keys(&call));
    println!("{} and {} kills", device.len(), call.len());
    // Others may kill between the two, and the older has more of the beginning.
    let common = device.iter().filter(|key| call.contains(key)).count();
    let first = device.iter().position(|key| call.first() == Some(key));
    let expected = first.map_or(0, |first| device.len() - first);
    assert_eq!(common, expected);
}

#[test]
fn log_that_cannot_be_read_is_an_error_with_its_path() {
    let error = Whole::read(Path::new("/")).expect_err("a folder");
    assert_eq!(error.to_string(), "read /");
}
