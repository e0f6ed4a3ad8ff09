use std::{fs, process};

use super::*;
use crate::capture::kmsg::record::Origin;

const KMSG: &str = "/dev/kmsg";

fn reader(next: Option<u64>) -> Reader {
    let path = Path::new("/dev/null");
    Reader {
        next,
        ..Reader::open(path, Start::Oldest).expect("open /dev/null")
    }
}

#[test]
fn gap_in_the_sequence_is_what_was_lost() {
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
fn records_from_before_the_start_are_left_out_and_those_after_it_are_counted() {
    let mut reader = reader(Some(50));
    assert!(!reader.is_new(49));
    assert!(reader.is_new(60));
    assert_eq!(reader.losses().records, 10);
    assert_eq!(reader.next_sequence(), Some(61));
}

#[test]
fn error_names_the_file_and_what_was_done() {
    let error = Reader::open(Path::new("/nonexistent/kmsg"), Start::End).expect_err("no such file");
    assert_eq!(error.to_string(), "open /nonexistent/kmsg");
}

/// Reads what is there, up to the record with a text: a write has put it there when it returns.
fn find(reader: &mut Reader, text: &str) -> Option<(u64, Origin)> {
    while let Some(record) = reader.next_record().expect("read the log") {
        if record.text == text.as_bytes() {
            return Some((record.sequence?, record.origin));
        }
    }
    None
}

#[test]
fn kernel_log_is_read_from_its_end_and_from_a_saved_place() {
    let text = format!("oomwatch-test {}", process::id());
    let Ok(mut reader) = Reader::open(Path::new(KMSG), Start::End) else {
        println!("skipped: {KMSG} cannot be read");
        return;
    };
    // Without its newline it is there only once the next record is.
    if fs::write(KMSG, format!("{text}\n")).is_err() {
        println!("skipped: {KMSG} cannot be written");
        return;
    }
    let Some((sequence, origin)) = find(&mut reader, &text) else {
        println!("skipped: what is written to {KMSG} does not arrive (printk.devkmsg)");
        return;
    };
    assert_eq!(origin, Origin::User);
    let mut again = Reader::open(Path::new(KMSG), Start::Sequence(sequence)).expect("open again");
    let record = again.next_record().expect("read").expect("still there");
    assert_eq!(record.sequence, Some(sequence));
    assert_eq!(again.losses(), Losses::default());
    let mut oldest = Reader::open(Path::new(KMSG), Start::Oldest).expect("open again");
    let first = oldest.next_record().expect("read").expect("a record");
    assert!(first.sequence <= Some(sequence));
}
