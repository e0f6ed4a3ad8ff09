use super::*;

#[test]
fn log_that_cannot_be_opened_is_named() {
    let error = Live::open(Path::new("/nonexistent/kmsg")).expect_err("no such file");
    assert_eq!(error.to_string(), "open /nonexistent/kmsg");
}

#[test]
fn log_without_a_record_has_nothing_to_tell() {
    let mut live = Live::open(Path::new("/dev/null")).expect("open /dev/null");
    let mut found = Vec::new();
    let drained = live.drain(|kill| found.push(kill)).expect("read /dev/null");
    assert_eq!((drained, found.len()), (Drained::Empty, 0));
    assert_eq!(live.flush_due(), None);
    let (counts, losses) = live.finish(|kill| found.push(kill)).expect("read");
    assert_eq!((counts, losses), (Counts::default(), Losses::default()));
    assert!(found.is_empty());
}
