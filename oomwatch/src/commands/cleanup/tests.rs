use super::*;

/// A state directory with these files.
fn state_dir(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("make a folder");
    for name in files {
        fs::write(folder.path().join(name), "").expect("write a file");
    }
    folder
}

fn remove_all(state_dir: &Path, is_history_removed: bool) -> anyhow::Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    remove(
        Path::new("/nonexistent"),
        state_dir,
        is_history_removed,
        &mut removed,
    )?;
    removed.sort();
    Ok(removed)
}

const FILES: [&str; 6] = [
    "lock",
    "oomwatch.db",
    "oomwatch.db-shm",
    "oomwatch.db-wal",
    "oomwatch.db.damaged-1764403200",
    "oomwatch.db.version-9",
];

#[test]
fn history_is_removed_with_databases_that_were_moved_away() {
    let folder = state_dir(&FILES);
    let removed = remove_all(folder.path(), true).expect("removed");
    let files = FILES.map(|name| folder.path().join(name));
    assert_eq!(removed[0], folder.path());
    assert_eq!(removed[1..], files);
    assert!(!folder.path().exists());
    assert_eq!(
        remove_all(folder.path(), true).expect("nothing there"),
        [""; 0].map(PathBuf::from)
    );
}

#[test]
fn history_is_kept_by_default() {
    let folder = state_dir(&FILES);
    assert!(
        remove_all(folder.path(), false)
            .expect("nothing to do")
            .is_empty()
    );
    assert!(FILES.iter().all(|name| folder.path().join(name).exists()));
}

#[test]
fn foreign_files_are_kept() {
    let folder = state_dir(&["oomwatch.db", "notes", "oomwatch.conf"]);
    let removed = remove_all(folder.path(), true).expect("removed");
    assert_eq!(removed, [folder.path().join("oomwatch.db")]);
    assert!(folder.path().join("notes").exists());
}

#[test]
fn nothing_is_removed_while_an_agent_is_running() {
    let folder = state_dir(&FILES);
    let agent = File::open(folder.path().join("lock")).expect("open the lock");
    agent.lock().expect("lock it");
    let error = remove_all(folder.path(), true).expect_err("the lock is held");
    assert!(error.to_string().contains("an agent is running"), "{error}");
    assert!(FILES.iter().all(|name| folder.path().join(name).exists()));
    drop(agent);
    remove_all(folder.path(), true).expect("removed");
}
