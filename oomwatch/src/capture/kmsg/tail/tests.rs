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

#[test]
fn cpus_of_a_list_are_counted() {
    for (list, expected) in [
        ("0\n", Some(1)),
        ("0-3\n", Some(4)),
        ("0-3,8,10-11", Some(7)),
        ("", None),
        ("0-", None),
        ("3-0", None),
        ("0-18446744073709551615", None),
        ("x", None),
    ] {
        assert_eq!(count_cpus(list), expected, "{list}");
    }
    let LogMachine { page_bytes, cpus } = machine();
    assert!(page_bytes.is_some_and(u64::is_power_of_two));
    assert!(cpus.is_none_or(|cpus| cpus > 0));
}
