use std::os::unix::fs::PermissionsExt as _;

use super::*;

#[test]
fn second_agent_is_told_who_has_the_journal() {
    let folder = tempfile::tempdir().expect("make a folder");
    let folder = folder.path().join("a/b");
    let lock = Lock::take(&folder).expect("take it");
    let error = Lock::take(&folder).expect_err("it is held");
    let own = std::process::id();
    assert!(
        matches!(error, LockError::Held { pid: Some(pid), .. } if pid == own),
        "{error}"
    );
    let text = error.to_string();
    assert_eq!(
        text,
        format!(
            "the journal in {} is used by process {own}",
            folder.display()
        )
    );
    drop(lock);
    Lock::take(&folder).expect("it is free again");
    let mode = fs::metadata(folder.join("lock"))
        .expect("it is there")
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn lock_that_names_nobody_holds_too() {
    let folder = tempfile::tempdir().expect("make a folder");
    let _lock = Lock::take(folder.path()).expect("take it");
    for text in ["", "x", "99999999999999"] {
        fs::write(folder.path().join("lock"), text).expect("write it");
        let error = Lock::take(folder.path())
            .expect_err("it is held")
            .to_string();
        assert!(error.ends_with("by another process"), "{error}");
    }
}

#[test]
fn folder_that_cannot_be_is_told_with_the_lock() {
    let folder = tempfile::tempdir().expect("make a folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("make a file");
    let error = Lock::take(&file.join("below")).expect_err("a file in the way");
    let path = file.join("below/lock");
    assert_eq!(error.to_string(), format!("lock {}", path.display()));
}

#[test]
fn folder_that_is_there_stays_as_it_is() {
    let folder = tempfile::tempdir().expect("make a folder");
    let mode = fs::Permissions::from_mode(0o750);
    fs::set_permissions(folder.path(), mode).expect("change the mode");
    prepare(folder.path()).expect("it is there");
    let mode = fs::metadata(folder.path()).expect("look").mode();
    assert_eq!(mode & 0o777, 0o750);
}

#[test]
fn damaged_files_go_in_order_even_if_the_calendar_is_set_back() {
    let folder = tempfile::tempdir().expect("make a folder");
    let path = folder.path().join(FILE);
    for second in [100, 50, 7, 7] {
        fs::write(&path, second.to_string()).expect("make a file");
        set_damaged_aside(&path, second).expect("set aside");
    }
    let mut kept = damaged(&path).expect("list them");
    kept.sort();
    let seconds: Vec<u64> = kept.iter().map(|(second, _)| *second).collect();
    assert_eq!(seconds, [102, 103]);
    assert!(!path.exists());
}

#[test]
fn what_has_no_header_is_no_database() {
    let folder = tempfile::tempdir().expect("make a folder");
    let path = folder.path().join(FILE);
    let header = [MAGIC, &[16, 0, 2, 2], &[0; 80]].concat();
    let newer = [MAGIC, &[16, 0, 3, 2], &[0; 80]].concat();
    for (bytes, is_one) in [
        (&b""[..], true),
        (&header, true),
        (&newer, false),
        (&header[..99], false),
        (&[b'x'; 100], false),
    ] {
        fs::write(&path, bytes).expect("write it");
        assert_eq!(is_database(&path).expect("read it"), is_one, "{bytes:?}");
    }
    // Nothing, and a log of something.
    fs::write(&path, "").expect("write it");
    fs::write(with_suffix(&path, "-wal"), "log").expect("write it");
    assert!(!is_database(&path).expect("read it"));
}
