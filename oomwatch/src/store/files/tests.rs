use std::os::unix::fs::PermissionsExt as _;

use super::*;

#[test]
fn second_agent_gets_an_error_with_the_pid_of_the_first() {
    let folder = tempfile::tempdir().expect("create a folder");
    let folder = folder.path().join("a/b");
    let lock = Lock::acquire(&folder).expect("acquire it");
    let error = Lock::acquire(&folder).expect_err("it is held");
    let own = std::process::id();
    assert!(
        matches!(error, LockError::Held { pid: Some(pid), .. } if pid == own),
        "{error}"
    );
    let text = error.to_string();
    assert_eq!(
        text,
        format!(
            "the history database in {} is in use by process {own}",
            folder.display()
        )
    );
    drop(lock);
    Lock::acquire(&folder).expect("it is released");
    let mode = fs::metadata(folder.join("lock"))
        .expect("it is there")
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn lock_without_a_pid_is_held_by_another_process() {
    let folder = tempfile::tempdir().expect("create a folder");
    let _lock = Lock::acquire(folder.path()).expect("acquire it");
    for text in ["", "x", "99999999999999"] {
        fs::write(folder.path().join("lock"), text).expect("write it");
        let error = Lock::acquire(folder.path())
            .expect_err("it is held")
            .to_string();
        assert!(error.ends_with("by another process"), "{error}");
    }
}

#[test]
fn folder_that_cannot_be_created_is_an_error_with_the_path_of_the_lock() {
    let folder = tempfile::tempdir().expect("create a folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("create a file");
    let error = Lock::acquire(&file.join("below")).expect_err("a file in the way");
    let path = file.join("below/lock");
    assert_eq!(
        error.to_string(),
        format!("failed to lock {}", path.display())
    );
}

#[test]
fn existing_folder_is_left_unchanged() {
    let folder = tempfile::tempdir().expect("create a folder");
    let mode = fs::Permissions::from_mode(0o750);
    fs::set_permissions(folder.path(), mode).expect("change the mode");
    prepare(folder.path()).expect("it is there");
    let mode = fs::metadata(folder.path()).expect("look").mode();
    assert_eq!(mode & 0o777, 0o750);
}

#[test]
fn oldest_damaged_files_are_removed_even_if_the_calendar_is_set_back() {
    let folder = tempfile::tempdir().expect("create a folder");
    let path = folder.path().join(FILE);
    for second in [100, 50, 7, 7] {
        fs::write(&path, second.to_string()).expect("create a file");
        move_damaged(&path, second).expect("move it away");
    }
    let mut kept = list_damaged(&path).expect("list them");
    kept.sort();
    let seconds: Vec<u64> = kept.iter().map(|(second, _)| *second).collect();
    assert_eq!(seconds, [102, 103]);
    assert!(!path.exists());
}

#[test]
fn file_without_a_valid_header_is_not_a_database() {
    let folder = tempfile::tempdir().expect("create a folder");
    let path = folder.path().join(FILE);
    let header = [MAGIC, &[16, 0, 2, 2], &[0; 80]].concat();
    let newer = [MAGIC, &[16, 0, 3, 2], &[0; 80]].concat();
    for (bytes, is_valid) in [
        (&b""[..], true),
        (&header, true),
        (&newer, false),
        (&header[..99], false),
        (&[b'x'; 100], false),
    ] {
        fs::write(&path, bytes).expect("write it");
        assert_eq!(is_database(&path).expect("read it"), is_valid, "{bytes:?}");
    }
    // An empty file with a write-ahead log.
    fs::write(&path, "").expect("write it");
    fs::write(with_suffix(&path, "-wal"), "log").expect("write it");
    assert!(!is_database(&path).expect("read it"));
}

#[test]
fn lock_file_that_is_no_file_of_its_own_is_refused() {
    type Make = fn(&Path);
    let makes: [(Make, &str); 3] = [
        (
            |path| {
                let target = path.with_extension("target");
                fs::write(&target, "kept").expect("write a file");
                std::os::unix::fs::symlink(target, path).expect("make a link");
            },
            "symbolic link",
        ),
        (
            |path| {
                let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
                rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0)
                    .expect("make a pipe");
            },
            "not a regular file",
        ),
        (
            |path| fs::create_dir(path).expect("make a folder"),
            "directory",
        ),
    ];
    for (make, expected) in makes {
        let folder = tempfile::tempdir().expect("make a folder");
        make(&folder.path().join("lock"));
        let error = Lock::acquire(folder.path()).expect_err(expected);
        let LockError::Io { source, .. } = error else {
            panic!("{error:?}");
        };
        assert!(source.to_string().contains(expected), "{source}");
        let target = folder.path().join("lock.target");
        if target.exists() {
            assert_eq!(fs::read(target).expect("read it"), b"kept");
        }
    }
}

#[test]
fn lock_file_of_another_user_is_refused() {
    let folder = tempfile::tempdir().expect("make a folder");
    let path = folder.path().join("lock");
    fs::write(&path, "").expect("write a file");
    // Only root may give files away.
    if std::os::unix::fs::chown(&path, Some(65_534), None).is_ok() {
        let error = Lock::acquire(folder.path()).expect_err("another's");
        assert!(matches!(error, LockError::Io { .. }), "{error:?}");
    }
}
