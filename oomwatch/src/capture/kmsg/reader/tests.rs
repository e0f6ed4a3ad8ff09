use std::{fs, process};

use super::*;
use crate::capture::kmsg::record::RecordOrigin;

const KMSG: &str = "/dev/kmsg";

fn reader(next: Option<u64>) -> Reader {
    let path = Path::new("/dev/null");
    Reader {
        next,
        ..Reader::open(path, Start::Oldest).expect("open /dev/null")
    }
}

#[test]
fn gap_in_the_sequence_counts_as_lost() {
    let mut reader = reader(None);
    for (sequence, is_new, lost) in [
        (100, true, 0),
        (101, true, 0),
        (105, true, 3),
        (104, false, 3),
        (u64::MAX, true, 3 + (u64::MAX - 106)),
    ] {
        assert_eq!(reader.is_new(sequence), is_new);
        assert_eq!(reader.losses().records, lost);
    }
}

#[test]
fn records_before_the_start_are_skipped_and_missing_ones_after_it_counted() {
    let mut reader = reader(Some(50));
    assert!(!reader.is_new(49));
    assert!(reader.is_new(60));
    assert_eq!(reader.losses().records, 10);
    assert_eq!(reader.next_sequence(), Some(61));
}

#[test]
fn error_names_the_action_the_file_and_the_remedy() {
    let error = Reader::open(Path::new("/nonexistent/kmsg"), Start::End).expect_err("no such file");
    assert_eq!(
        error.to_string(),
        "failed to open /nonexistent/kmsg (mount the host's /dev/kmsg, or name it with --kmsg)"
    );
}

/// Reads up to the record with this text. A record is available when the write returns.
fn find(reader: &mut Reader, text: &str) -> Option<(u64, RecordOrigin)> {
    while let Some(record) = reader.next_record().expect("read the log") {
        if record.text == text.as_bytes() {
            return Some((record.sequence?, record.origin));
        }
    }
    None
}

#[test]
fn kernel_log_is_read_from_its_end_and_from_a_sequence_number() {
    let text = format!("oomwatch-test {}", process::id());
    let Ok(mut reader) = Reader::open(Path::new(KMSG), Start::End) else {
        println!("skipped: {KMSG} cannot be read");
        return;
    };
    // Without a newline the record becomes available only with the next one.
    if fs::write(KMSG, format!("{text}\n")).is_err() {
        println!("skipped: {KMSG} cannot be written");
        return;
    }
    let Some((sequence, origin)) = find(&mut reader, &text) else {
        println!(
            "skipped: what is written to {KMSG} does not arrive (see the sysctl printk.devkmsg)"
        );
        return;
    };
    assert_eq!(origin, RecordOrigin::User);
    let mut again = Reader::open(Path::new(KMSG), Start::Sequence(sequence)).expect("open again");
    let record = again.next_record().expect("read").expect("still there");
    assert_eq!(record.sequence, Some(sequence));
    assert_eq!(again.losses(), LogLosses::default());
    let mut oldest = Reader::open(Path::new(KMSG), Start::Oldest).expect("open again");
    let first = oldest.next_record().expect("read").expect("a record");
    assert!(first.sequence <= Some(sequence));
}
