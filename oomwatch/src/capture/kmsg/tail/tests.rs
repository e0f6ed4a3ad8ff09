use super::*;

#[test]
fn error_names_the_path() {
    let error = LogTail::open(Path::new("/nonexistent/kmsg")).expect_err("no such file");
    assert!(
        error
            .to_string()
            .starts_with("failed to open /nonexistent/kmsg"),
        "{error}"
    );
}

#[test]
fn log_without_records_gives_nothing() {
    let mut tail = LogTail::open(Path::new("/dev/null")).expect("open /dev/null");
    let mut kills = Vec::new();
    let drained = tail.drain(|kill| kills.push(kill)).expect("read /dev/null");
    assert_eq!((drained, kills.len()), (Drained::Empty, 0));
    assert_eq!(tail.flush_due(), None);
    let (counts, losses) = tail.finish(|kill| kills.push(kill)).expect("read");
    assert_eq!(
        (counts, losses),
        (LogCounts::default(), LogLosses::default())
    );
    assert!(kills.is_empty());
}
